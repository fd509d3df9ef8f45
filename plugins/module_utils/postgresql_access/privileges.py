"""Steps that bring the privileges in one database to what is declared."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

from psycopg import sql

from .catalog import Held, Target
from .names import shown
from .resolve import PENDING, Wishes
from .step import Statement, Step, role_name, words

BATCH = 100
ON = {
    "database": "DATABASE",
    "schema": "SCHEMA",
    "table": "TABLE",
    "column": "TABLE",
    "sequence": "SEQUENCE",
    "function": "ROUTINE",
    "type": "TYPE",
    "language": "LANGUAGE",
    "foreign data wrapper": "FOREIGN DATA WRAPPER",
    "foreign server": "FOREIGN SERVER",
    "large object": "LARGE OBJECT",
    "parameter": "PARAMETER",
    "tablespace": "TABLESPACE",
    PENDING: "ROUTINE",
}
Key = tuple[Target, str, str]
Group = tuple[str, str, str, bool, str | None, tuple[str, ...]]


def plan_privileges(
    database: str,
    held: Iterable[Held],
    wishes: Wishes,
    owner: Callable[[Target], str | None],
    tolerated: Callable[[Held], bool],
    untouched: Collection[str],
    exact: bool,
) -> list[Step]:
    """Return the steps: first what is taken back (when ``exact``), then what is given.

    Never taken back: what is ``kept`` (came with the system or an extension), an owner's own
    privileges, what ``untouched`` roles hold, and what a declared default privilege brings. An
    empty ``database`` means the whole server.
    """
    rows = sorted(held)
    surplus = list(_surplus(rows, wishes, tolerated, untouched)) if exact else []
    rest = _after(rows, surplus)
    steps = list(_revokes(database, rows, surplus))
    missing: dict[Key, bool] = {}
    for (target, grantee, privilege), grantable in wishes.items():
        key = (target, grantee, privilege)
        if grantee != owner(target) and not (rest.get(key, -1) >= grantable):
            missing[key] = grantable
    return steps + list(_grants(database, missing))


def _surplus(
    rows: Iterable[Held],
    wishes: Wishes,
    tolerated: Callable[[Held], bool],
    untouched: Collection[str],
) -> Iterator[tuple[Held, bool]]:
    """Yield what is too much, and whether only its grant option is."""
    for row in rows:
        if row.kept or row.grantee == row.owner or row.grantee in untouched:
            continue
        wish = wishes.get((row.target, row.grantee, row.privilege))
        if wish is None and not tolerated(row):
            yield row, False
        elif row.grantable and not wish:
            yield row, True


def _after(rows: Iterable[Held], surplus: list[tuple[Held, bool]]) -> Mapping[Key, int]:
    """Return what is left once surplus is gone: 1 with grant option, 0 without.

    What somebody passed on goes when that person's own grant option goes, and a table privilege
    takes the same privilege on the table's columns along.
    """
    left = {row: int(row.grantable) for row in rows}
    for row, option_only in surplus:
        if option_only:
            left[row] = 0
        else:
            left.pop(row, None)
    tables = {_place_of(row) for row, only in surplus if row.target.kind == "table" and not only}
    for row in [row for row in left if row.target.kind == "column"]:
        if _place_of(row) in tables:
            del left[row]
    while True:
        givers = {(row.target, row.grantee, row.privilege) for row, rank in left.items() if rank}
        orphans = [
            row
            for row in left
            if row.grantor != row.owner and (row.target, row.grantor, row.privilege) not in givers
        ]
        if not orphans:
            break
        for row in orphans:
            del left[row]
    found: dict[Key, int] = {}
    for row, rank in left.items():
        key = (row.target, row.grantee, row.privilege)
        found[key] = max(rank, found.get(key, 0))
    return found


def _place_of(row: Held) -> tuple[str, str, str, str, str]:
    return (row.target.schema, row.target.name, row.grantee, row.privilege, row.grantor)


def _depth(row: Held, givers: Mapping[Key, list[Held]], seen: frozenset[str] = frozenset()) -> int:
    """Return how many hands a privilege went through; the last ones are taken back first."""
    if row.grantor == row.owner or row.grantor in seen:
        return 0
    found = givers.get((row.target, row.grantor, row.privilege), [])
    return 1 + max((_depth(giver, givers, seen | {row.grantor}) for giver in found), default=0)


def _revokes(database: str, rows: list[Held], surplus: list[tuple[Held, bool]]) -> Iterator[Step]:
    givers: dict[Key, list[Held]] = {}
    for row in rows:
        if row.grantable:
            givers.setdefault((row.target, row.grantee, row.privilege), []).append(row)
    by_depth: dict[int, list[tuple[Held, bool]]] = {}
    for row, option_only in surplus:
        by_depth.setdefault(_depth(row, givers), []).append((row, option_only))
    for depth in sorted(by_depth, reverse=True):
        cells: dict[tuple[Target, str, bool, str | None, bool], list[Held]] = {}
        for row, option_only in by_depth[depth]:
            giver = None if row.grantor == row.owner else row.grantor
            cell = (row.target, row.grantee, option_only, giver, row.grantable)
            cells.setdefault(cell, []).append(row)
        groups: dict[tuple[Group, bool], list[Target]] = {}
        for (target, grantee, option_only, giver, cascade), members in cells.items():
            privileges = tuple(sorted({row.privilege for row in members}))
            group = (*_where(target), grantee, option_only, giver, privileges)
            groups.setdefault((group, cascade), []).append(target)
        for (group, cascade), targets in groups.items():
            for batch in _batches(group[0], targets):
                yield _revoke(database, group, cascade, batch)


def _where(target: Target) -> tuple[str, str]:
    return target.kind, target.schema


def _batches(kind: str, targets: list[Target]) -> Iterator[list[Target]]:
    size = 1 if kind == "column" or kind.startswith("default ") else BATCH
    size = size * 10 if kind == "large object" else size
    ordered = sorted(targets)
    for start in range(0, len(ordered), size):
        yield ordered[start : start + size]


def _revoke(database: str, group: Group, cascade: bool, targets: list[Target]) -> Step:
    kind, _, grantee, option_only, giver, privileges = group
    body = sql.SQL("REVOKE {}{} FROM {}{}").format(
        sql.SQL("GRANT OPTION FOR " if option_only else ""),
        _what(privileges, targets),
        role_name(grantee),
        sql.SQL(" CASCADE" if cascade else ""),
    )
    with_option = " with grant option" if cascade else ""
    source = f" (granted by {shown(giver)})" if giver else ""
    before = _lines(database, targets, privileges, grantee, with_option + source)
    after = _lines(database, targets, privileges, grantee, source) if option_only else ()
    what = "the right to pass on " if option_only else ""
    return Step(
        _frame(kind, targets) + body,
        f"{_place_in(database)}: take {what}{', '.join(privileges)} on"
        f" {_listed(targets)} from {shown(grantee)}{source}",
        before=before,
        after=after,
        run_as=giver,
    )


def _grants(database: str, missing: Mapping[Key, bool]) -> Iterator[Step]:
    cells: dict[tuple[Target, str, bool], list[str]] = {}
    for (target, grantee, privilege), grantable in missing.items():
        cells.setdefault((target, grantee, grantable), []).append(privilege)
    groups: dict[Group, list[Target]] = {}
    for (target, grantee, grantable), found in cells.items():
        group: Group = (*_where(target), grantee, grantable, None, tuple(sorted(found)))
        groups.setdefault(group, []).append(target)
    for group in sorted(groups, key=lambda group: (group[0], group[1], group[2], group[5])):
        kind, _, grantee, grantable, _, privileges = group
        option = " with grant option" if grantable else ""
        for targets in _batches(kind, groups[group]):
            body = sql.SQL("GRANT {} TO {}{}").format(
                _what(privileges, targets),
                role_name(grantee),
                sql.SQL(option.upper()),
            )
            yield Step(
                _frame(kind, targets) + body,
                f"{_place_in(database)}: give {', '.join(privileges)} on"
                f" {_listed(targets)} to {shown(grantee)}{option}",
                after=_lines(database, targets, privileges, grantee, option),
            )


def _frame(kind: str, targets: list[Target]) -> Statement:
    if not kind.startswith("default "):
        return sql.SQL("")
    frame: Statement = sql.SQL("ALTER DEFAULT PRIVILEGES FOR ROLE {} ").format(
        sql.Identifier(targets[0].name)
    )
    if targets[0].schema:
        frame += sql.SQL("IN SCHEMA {} ").format(sql.Identifier(targets[0].schema))
    return frame


def _what(privileges: tuple[str, ...], targets: list[Target]) -> Statement:
    kind = targets[0].kind
    listed = words(privileges)
    if kind.startswith("default "):
        objects = kind.removeprefix("default ").upper()
        return sql.SQL("{} ON {}").format(listed, words((objects,)))
    if kind == "column":
        column = sql.Identifier(targets[0].detail)
        each = [sql.SQL("{} ({})").format(words((name,)), column) for name in privileges]
        listed = sql.SQL(", ").join(each)
    places = sql.SQL(", ").join(map(_place, targets))
    return sql.SQL("{} ON {} {}").format(listed, words((ON[kind],)), places)


def _place(target: Target) -> sql.Composable:
    if target.kind == PENDING:
        return sql.SQL(target.name)
    if target.kind == "large object":
        return sql.SQL(f"{int(target.name):d}")
    if target.kind == "parameter":
        return sql.Identifier(*target.name.split("."))
    parts = (target.schema, target.name) if target.schema else (target.name,)
    place: sql.Composable = sql.Identifier(*parts)
    if target.kind == "function":
        # The argument types are text of the server's own, quoted by format_type.
        place += sql.SQL(f"({target.detail})")
    return place


def _place_in(database: str) -> str:
    return f"database {shown(database)}" if database else "server"


def _label(target: Target) -> str:
    if target.kind == PENDING:
        return f"function {target.name}"
    name = shown(target.name)
    if target.kind.startswith("default "):
        place = f" in schema {shown(target.schema)}" if target.schema else ""
        return f"future {target.kind.removeprefix('default ')} of {name}{place}"
    if target.schema:
        name = f"{shown(target.schema)}.{name}"
    if target.kind == "column":
        return f"column {name}.{shown(target.detail)}"
    return f"{target.kind} {name}" + (f"({target.detail})" if target.kind == "function" else "")


def _listed(targets: list[Target]) -> str:
    labels = [_label(target) for target in targets[:5]]
    more = len(targets) - len(labels)
    return ", ".join(labels) + (f" and {more} more" if more else "")


def _lines(
    database: str,
    targets: list[Target],
    privileges: tuple[str, ...],
    grantee: str,
    tail: str,
) -> tuple[str, ...]:
    return tuple(
        f"{_place_in(database)}: {_label(target)}: {privilege} to {shown(grantee)}{tail}"
        for target in targets
        for privilege in privileges
    )
