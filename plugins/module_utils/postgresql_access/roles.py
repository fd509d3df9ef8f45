"""Steps that bring roles, their settings and memberships to what is declared."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from psycopg import sql

from . import scram
from .catalog import ClusterNow, Membership, RoleNow
from .declaration import FLAGS, Declaration, Role
from .names import AccessError, shown
from .step import Step

EXACT_FLAGS: Mapping[str, bool] = {flag: flag == "inherit" for flag in FLAGS}
# The server keeps these as lists of names, each of which it quotes on its own.
NAME_LISTS = (
    *("search_path", "temp_tablespaces", "session_preload_libraries"),
    *("local_preload_libraries", "shared_preload_libraries"),
)


# What predefined roles are members of when a server is made.
BUILT_IN_MEMBERSHIPS = {
    ("pg_read_all_settings", "pg_monitor"),
    ("pg_read_all_stats", "pg_monitor"),
    ("pg_stat_scan_tables", "pg_monitor"),
}


def undeclared(now: ClusterNow, wanted: Declaration) -> list[str]:
    """Return the roles that are there, may be touched, and were not declared."""
    if wanted.roles is None:
        return []
    return sorted(
        name
        for name, role in now.roles.items()
        if name not in wanted.roles and not role.untouchable and not wanted.is_protected(name)
    )


def plan_roles(
    now: ClusterNow, wanted: Declaration, moments: Mapping[str, str | None]
) -> list[Step]:
    """Return the steps for roles; ``moments`` holds each declared expiry as the server writes it.

    Raises AccessError when a membership names a role that is neither declared nor protected.
    """
    if wanted.roles is None:
        return []
    steps: list[Step] = []
    for role in wanted.roles.values():
        known = now.roles.get(role.name)
        steps += _attributes(role, known, wanted, moments.get(role.name))
        steps += _password(role, known, wanted.scram_iterations)
        steps += _settings(role, known, wanted)
    if wanted.exact:
        for name in undeclared(now, wanted):
            locked = Role(name, {**EXACT_FLAGS, "inherit": None}, settings={})
            steps += _attributes(locked, now.roles[name], wanted, None, forced=True)
    for role in wanted.roles.values():
        steps += _memberships(role, now, wanted)
    if wanted.exact:
        for name in undeclared(now, wanted):
            steps += _memberships(Role(name, {}, member_of=()), now, wanted)
        steps += _smuggled(now, wanted)
    return steps


def _smuggled(now: ClusterNow, wanted: Declaration) -> Iterator[Step]:
    """What a predefined role was made a member of reaches everybody who is in it."""
    for row in now.memberships:
        built_in = (row.role, row.member) in BUILT_IN_MEMBERSHIPS
        if row.member.startswith("pg_") and not built_in and not wanted.is_named(row.member):
            yield _take_back(row, now.version, admin_only=False)


def plan_drops(names: Iterable[str]) -> list[Step]:
    """Return the steps that drop roles."""
    return [
        Step(
            sql.SQL("DROP ROLE {}").format(sql.Identifier(name)),
            f"drop role {shown(name)}",
            before=(f"role {shown(name)}",),
        )
        for name in names
    ]


def _attributes(
    role: Role,
    now: RoleNow | None,
    wanted: Declaration,
    moment: str | None,
    forced: bool = False,
) -> Iterator[Step]:
    clauses: list[sql.Composable] = []
    before: list[str] = []
    after: list[str] = []
    label = f"role {shown(role.name)}"
    for flag in FLAGS:
        target = role.flags.get(flag)
        if target is None and wanted.exact and not forced:
            target = EXACT_FLAGS[flag]
        current = EXACT_FLAGS[flag] if now is None else now.flags[flag]
        if target is not None and target != current:
            clauses.append(sql.SQL(flag.upper() if target else "NO" + flag.upper()))
            before.append(f"{label}: {flag} {_yes(current)}")
            after.append(f"{label}: {flag} {_yes(target)}")
    limit = role.connection_limit
    if limit is None and wanted.exact and not forced:
        limit = -1
    current_limit = -1 if now is None else now.connection_limit
    if limit is not None and limit != current_limit:
        clauses.append(sql.SQL(f"CONNECTION LIMIT {limit:d}"))
        before.append(f"{label}: connection_limit {current_limit}")
        after.append(f"{label}: connection_limit {limit}")
    current_moment = None if now is None else now.valid_until
    manage_moment = role.valid_until is not None or (wanted.exact and not forced)
    if manage_moment and moment != current_moment:
        clauses.append(sql.SQL("VALID UNTIL {}").format(sql.Literal(moment or "infinity")))
        before.append(f"{label}: valid_until {current_moment or 'infinity'}")
        after.append(f"{label}: valid_until {moment or 'infinity'}")
    verb = "CREATE" if now is None else "ALTER"
    if now is None:
        before, after = [], [label, *after]
    if clauses or now is None:
        statement = sql.SQL(" ").join(
            [sql.SQL(f"{verb} ROLE"), sql.Identifier(role.name), *clauses]
        )
        listed = ", ".join(line.removeprefix(f"{label}: ") for line in after if line != label)
        line = f"{verb.lower()} {label}" + (f": {listed}" if listed else "")
        yield Step(statement, line, tuple(before), tuple(after))


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _password(role: Role, now: RoleNow | None, iterations: int) -> Iterator[Step]:
    label = f"role {shown(role.name)}: password"
    alter = sql.SQL("ALTER ROLE {} PASSWORD {}")
    name = sql.Identifier(role.name)
    stored = now.verifier if now else None
    if role.passwordless and stored is not None:
        yield Step(
            alter.format(name, sql.SQL("NULL")),
            f"remove the password of role {shown(role.name)}",
            before=(f"{label}: present",),
        )
    if role.password is None or scram.matches(role.password, stored, iterations):
        return
    ready = scram.is_verifier(role.password)
    secret = role.password if ready else scram.verifier(role.password, iterations)
    yield Step(
        alter.format(name, sql.Literal(secret)),
        f"set the password of role {shown(role.name)}",
        after=(f"{label}: changed",),
        masked=alter.format(name, sql.SQL("'********'")),
    )


def split_names(text: str) -> tuple[str, ...]:
    """Split a list of names as SQL writes it, taking each name literally (no folding of case)."""
    found = []
    for match in re.finditer(r'\s*("((?:[^"]|"")*)"|[^,]*)\s*(?:,|$)', text):
        quoted, bare = match[2], match[1].strip()
        if quoted is not None:
            found.append(quoted.replace('""', '"'))
        elif bare:
            found.append(bare)
    return tuple(found)


def _canonical(key: str, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
    if key.lower() in NAME_LISTS:
        return split_names(value) if isinstance(value, str) else value
    return value if isinstance(value, str) else ", ".join(value)


def _settings(role: Role, now: RoleNow | None, wanted: Declaration) -> Iterator[Step]:
    current = {} if now is None else now.settings
    declared = {key.lower(): value for key, value in (role.settings or {}).items()}
    everywhere = {key.lower(): value for key, value in current.get("", {}).items()}
    for key, value in sorted(declared.items()):
        target = _canonical(key, value)
        had = everywhere.get(key)
        if had is not None and _canonical(key, had) == target:
            continue
        values = target if isinstance(target, tuple) else (target,)
        text = ", ".join(values)
        yield Step(
            sql.SQL("ALTER ROLE {} SET {} TO {}").format(
                sql.Identifier(role.name),
                sql.Identifier(*key.split(".")),
                sql.SQL(", ").join(map(sql.Literal, values or ("",))),
            ),
            f"set {key} of role {shown(role.name)} to {shown(text)}",
            before=() if had is None else (_setting_line(role.name, "", key, had),),
            after=(_setting_line(role.name, "", key, text),),
        )
    if not wanted.exact:
        return
    for database, settings in sorted(current.items()):
        if database and database not in wanted.databases:
            continue
        for key, value in sorted(settings.items()):
            if not database and key.lower() in declared:
                continue
            yield _reset(role.name, database, key, value)


def _reset(role: str, database: str, key: str, value: str) -> Step:
    place = sql.SQL(" IN DATABASE {}").format(sql.Identifier(database)) if database else sql.SQL("")
    return Step(
        sql.SQL("ALTER ROLE {}{} RESET {}").format(
            sql.Identifier(role), place, sql.Identifier(*key.split("."))
        ),
        f"reset {key} of role {shown(role)}" + (f" in {shown(database)}" if database else ""),
        before=(_setting_line(role, database, key, value),),
    )


def _setting_line(role: str, database: str, key: str, value: str) -> str:
    place = f" in database {shown(database)}" if database else ""
    return f"role {shown(role)}{place}: {key} = {shown(value)}"


def _memberships(role: Role, now: ClusterNow, wanted: Declaration) -> Iterator[Step]:
    rows = [row for row in now.memberships if row.member == role.name]
    targets = role.member_of or ()
    for name in targets:
        check_role(name, now, wanted, f"Role {shown(role.name)}: member_of")
    inherit = role.flags.get("inherit")
    if inherit is None:
        known = now.roles.get(role.name)
        inherit = True if wanted.exact or known is None else known.flags["inherit"]
    if wanted.exact:
        for row in rows:
            if row.role not in targets:
                yield _take_back(row, now.version, admin_only=False)
            elif row.admin:
                yield _take_back(row, now.version, admin_only=True)
    for name in sorted(set(targets)):
        same = [row for row in rows if row.role == name]
        if not same:
            yield _admit(name, role.name, inherit, now.version, None)
        elif wanted.exact and now.version >= 16:
            for row in same:
                if (row.inherit, row.set) != (inherit, True):
                    yield _admit(name, role.name, inherit, now.version, row)


def check_role(name: str, now: ClusterNow, wanted: Declaration, where: str) -> None:
    """Raise AccessError unless a role that is referred to is declared or out of our hands."""
    if wanted.roles is not None and name in wanted.roles:
        return
    known = now.roles.get(name)
    if known is None:
        raise AccessError(f"{where}: the role {shown(name)} is neither declared nor there.")
    if wanted.roles is None or known.untouchable or wanted.is_protected(name) or not wanted.exact:
        return
    raise AccessError(
        f"{where}: the role {shown(name)} is there but not declared, so it would lose all access;"
        " declare it or add it to protected_roles."
    )


def _by(row: Membership, version: int) -> sql.Composable:
    if version < 16 or not row.grantor:
        return sql.SQL("")
    return sql.SQL(" GRANTED BY {}").format(sql.Identifier(row.grantor))


def _take_back(row: Membership, version: int, admin_only: bool) -> Step:
    statement = sql.SQL("REVOKE {}{} FROM {}{}{}").format(
        sql.SQL("ADMIN OPTION FOR " if admin_only else ""),
        sql.Identifier(row.role),
        sql.Identifier(row.member),
        _by(row, version),
        sql.SQL(" CASCADE" if row.admin else ""),
    )
    what = "the right to admit others to" if admin_only else "membership in"
    return Step(
        statement,
        f"take {what} {shown(row.role)} from role {shown(row.member)}",
        before=(_member_line(row.role, row.member, row.admin),),
        after=(_member_line(row.role, row.member, False),) if admin_only else (),
    )


def _admit(role: str, member: str, inherit: bool, version: int, row: Membership | None) -> Step:
    options = sql.SQL("")
    if version >= 16:
        options = sql.SQL(f" WITH INHERIT {str(inherit).upper()}, SET TRUE")
    statement = sql.SQL("GRANT {} TO {}{}{}").format(
        sql.Identifier(role),
        sql.Identifier(member),
        options,
        sql.SQL("") if row is None else _by(row, version),
    )
    line = _member_line(role, member, False)
    changed = "" if row is None else f" (inherit {_yes(row.inherit)}, set {_yes(row.set)})"
    return Step(
        statement,
        f"make role {shown(member)} a member of {shown(role)}",
        before=() if row is None else (line + changed,),
        after=(line,),
    )


def _member_line(role: str, member: str, admin: bool) -> str:
    return f"role {shown(member)}: member of {shown(role)}" + (
        " with admin option" if admin else ""
    )
