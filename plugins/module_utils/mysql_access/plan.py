"""The statements that lead from what there is to what is declared. Nothing is executed here."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby

from .catalog import Now, UserNow
from .declaration import GRANT_OPTION, LIMITS, Database, Declaration, Right, Target, User
from .dialect import Dialect
from .names import Grantee, identifier, text

# What stands behind USING or AS in the clause that sets a password.
_SECRET = re.compile(r"(?<= USING )'.*'$|(?<= AS )0x[0-9A-F]+$")


@dataclass(frozen=True)
class Step:
    """A statement, a line for people, and the lines of state that vanish and appear.

    ``shown`` replaces a statement that holds a digest wherever it is shown. ``oracle``: the server
    reads it in its Oracle mode only.
    """

    statement: str
    line: str
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    shown: str | None = None
    oracle: bool = False


def plan(now: Now, wanted: Declaration) -> list[Step]:
    """Return what to do, in order: what gives first, what takes last."""
    return [
        *_databases(now, wanted),
        *_new_roles(now, wanted),
        *_users(now, wanted),
        *_memberships(now, wanted),
        *_grants(now, wanted),
        *_defaults(now, wanted),
        *_leftovers(now, wanted),
    ]


def undeclared(now: Now, wanted: Declaration) -> list[Grantee]:
    """Return the accounts and roles that are there but neither declared nor the server's own."""
    roles = {Grantee(name) for name in now.roles} - {Grantee(name) for name in wanted.roles}
    users = set(now.users) - set(wanted.users) - wanted.superusers
    return sorted((roles | users) - wanted.dialect.own)


def _databases(now: Now, wanted: Declaration) -> Iterator[Step]:
    for database in wanted.databases.values():
        clauses = _clauses(database, now)
        if database.name not in now.databases:
            verb, line = "CREATE", f"create database {database.name}"
        elif clauses:
            verb, line = "ALTER", f"change the character set of database {database.name}"
        else:
            continue
        statement = f"{verb} DATABASE {identifier(database.name)}{clauses}"
        yield Step(statement, line, after=(f"database {database.name}{clauses.lower()}",))
    if wanted.exact and now.test_is_empty and "test" not in wanted.databases:
        yield Step("DROP DATABASE `test`", "drop database test", before=("database test",))


def _clauses(database: Database, now: Now) -> str:
    charset, collation = now.databases.get(database.name, ("", ""))
    clauses = ""
    if database.charset and database.charset != charset:
        clauses += f" CHARACTER SET {text(database.charset)}"
    if database.collation and database.collation != collation:
        clauses += f" COLLATE {text(database.collation)}"
    return clauses


def _new_roles(now: Now, wanted: Declaration) -> Iterator[Step]:
    for name in sorted(set(wanted.roles) - now.roles):
        statement = f"CREATE ROLE {identifier(name)}"
        yield Step(statement, f"create role {name}", after=(f"role {name}",))


def _users(now: Now, wanted: Declaration) -> Iterator[Step]:
    for grantee, user in sorted(wanted.users.items()):
        known = now.users.get(grantee)
        if known is None:
            line = f"create account {grantee}"
            yield _statement("CREATE USER", user, line, (), wanted.dialect)
            continue
        differs = _differences(known, user, wanted.dialect)
        if differs:
            line = f"change account {grantee}: {', '.join(differs)}"
            changed = "password" in differs or "plugin" in differs
            before = tuple(f"account {grantee}: {name} differs" for name in differs)
            dialect = wanted.dialect if changed or user.authentication is not None else None
            yield _statement("ALTER USER", user, line, before, dialect)
        if known.second_password:
            yield Step(
                f"ALTER USER {grantee.sql()} DISCARD OLD PASSWORD",
                f"discard the second password of account {grantee}",
                before=(f"account {grantee}: a second password",),
            )


def _differences(known: UserNow, user: User, dialect: Dialect) -> list[str]:
    pairs = {
        "plugin": (known.plugin, user.plugin),
        "require": (known.require, user.require),
        "limits": (dict(known.limits), dict(user.limits)),
        "locked": (known.locked, user.locked),
    }
    differs = [name for name, (old, new) in pairs.items() if new is not None and old != new]
    secret = user.authentication
    if secret is not None and not dialect.same(known.authentication, secret):
        differs.insert(int("plugin" in differs), "password")
    return [*differs, "other ways to log in"] if known.alternatives else differs


def _statement(
    verb: str, user: User, line: str, before: tuple[str, ...], dialect: Dialect | None
) -> Step:
    """``dialect`` says how it is to log in; None leaves that as it is."""
    limits = " ".join(f"{LIMITS[name]} {number}" for name, number in sorted(user.limits.items()))
    rest = f" REQUIRE {user.require} WITH {limits} ACCOUNT {'LOCK' if user.locked else 'UNLOCK'}"
    after = (f"account {user.grantee}: {user.plugin}, require {user.require}",)
    head = f"{verb} {user.grantee.sql()}"
    if dialect is None:
        return Step(head + rest, line, before, after)
    way = dialect.identified(user.plugin, user.authentication)
    masked = _SECRET.sub("'********'", way)
    shown = None if masked == way else head + masked + rest
    return Step(head + way + rest, line, before, after, shown)


def _memberships(now: Now, wanted: Declaration) -> Iterator[Step]:
    declared = {(user.grantee, role) for user in wanted.users.values() for role in user.roles}
    declared |= {(Grantee(name), role) for name, of in wanted.roles.items() for role in of}
    for member, role in sorted(declared - now.memberships):
        statement = f"GRANT {identifier(role)} TO {member.sql()}"
        yield Step(statement, f"make {member} a member of {role}", after=(f"{member} has {role}",))
    if wanted.exact:
        for member, role in sorted(now.memberships - declared):
            statement = f"REVOKE {identifier(role)} FROM {member.sql()}"
            line = f"take {role} from {member}"
            yield Step(statement, line, before=(f"{member} has {role}",))
        for member, role in sorted(now.admins & declared):
            line = f"take from {member} the right to pass {role} on"
            for template in wanted.dialect.no_admin:
                statement = template.format(role=identifier(role), user=member.sql())
                yield Step(statement, line, before=(f"{member} may pass {role} on",))


def _grants(now: Now, wanted: Declaration) -> Iterator[Step]:
    untouched = wanted.dialect.own - {Grantee("PUBLIC")} | wanted.superusers
    have = {right for right in now.rights if right.grantee not in untouched}
    declared = {right for right in wanted.rights if right.grantee not in untouched}
    for grantee, target, privileges in _grouped(declared - have):
        yield _grant(grantee, target, privileges)
    if wanted.exact:
        # The server's own accounts hold nothing on everything or on a whole database.
        added = {
            right
            for right in now.rights
            if wanted.dialect.own_hold_little
            and right.grantee in untouched - wanted.superusers
            and right.target.level in ("global", "database", "proxy")
        }
        for grantee, target, privileges in _grouped((have - declared) | added):
            yield _revoke(grantee, target, privileges)


def _grouped(rights: Iterable[Right]) -> Iterator[tuple[Grantee, Target, list[str]]]:
    ordered = sorted(rights, key=lambda right: (right.grantee, right.target, right.privilege))
    for (grantee, target), group in groupby(ordered, lambda right: (right.grantee, right.target)):
        yield grantee, target, [right.privilege for right in group]


def _grant(grantee: Grantee, target: Target, privileges: list[str]) -> Step:
    names = [name for name in privileges if name != GRANT_OPTION] or ["USAGE"]
    option = " WITH GRANT OPTION" if GRANT_OPTION in privileges else ""
    statement = f"GRANT {_listed(names, target)} ON {_where(target)} TO {grantee.sql()}{option}"
    line = f"grant {', '.join(privileges)} on {_shown(target)} to {grantee}"
    after = _lines(grantee, target, privileges)
    return Step(statement, line, after=after, oracle=_is_package(target))


def _revoke(grantee: Grantee, target: Target, privileges: list[str]) -> Step:
    statement = f"REVOKE {_listed(privileges, target)} ON {_where(target)} FROM {grantee.sql()}"
    line = f"revoke {', '.join(privileges)} on {_shown(target)} from {grantee}"
    before = _lines(grantee, target, privileges)
    return Step(statement, line, before=before, oracle=_is_package(target))


def _is_package(target: Target) -> bool:
    return target.level == "routine" and target.column.startswith("PACKAGE")


def _lines(grantee: Grantee, target: Target, privileges: list[str]) -> tuple[str, ...]:
    return tuple(f"{grantee}: {name} on {_shown(target)}" for name in privileges)


def _listed(privileges: list[str], target: Target) -> str:
    if target.level != "column":
        return ", ".join(privileges)
    return ", ".join(f"{name} ({identifier(target.column)})" for name in privileges)


def _where(target: Target) -> str:
    if target.level == "global":
        return "*.*"
    if target.level == "proxy":
        return f"{text(target.object)}@{text(target.database)}"
    database = identifier(target.database)
    if target.level == "database":
        return f"{database}.*"
    name = f"{database}.{identifier(target.object)}"
    return f"{target.column} {name}" if target.level == "routine" else name


def _shown(target: Target) -> str:
    if target.level == "column":
        return f"{target.database}.{target.object}({target.column})"
    if target.level == "proxy":
        return f"account {target.object}@{target.database}"
    return _where(target).replace("`", "")


def _defaults(now: Now, wanted: Declaration) -> Iterator[Step]:
    for grantee, user in sorted(wanted.users.items()):
        known = now.users.get(grantee)
        if (known.default_role if known else "") == user.default_role:
            continue
        role = identifier(user.default_role) if user.default_role else "NONE"
        line = f"set the default role of {grantee} to {user.default_role or 'none'}"
        after = (f"{grantee}: default role {user.default_role or 'none'}",)
        statement = wanted.dialect.default_role.format(role=role, user=grantee.sql())
        yield Step(statement, line, after=after)


def _leftovers(now: Now, wanted: Declaration) -> Iterator[Step]:
    if not wanted.exact:
        return
    for grantee in sorted(wanted.dialect.own & set(now.users) - wanted.superusers):
        if not now.users[grantee].locked:
            statement = f"ALTER USER {grantee.sql()} ACCOUNT LOCK"
            line = f"lock the server's own account {grantee}"
            yield Step(statement, line, after=(f"account {grantee}: locked",))
    for grantee in undeclared(now, wanted):
        kind = "role" if grantee.is_role else "account"
        before = (f"{kind} {grantee}",)
        if wanted.drop_undeclared or not grantee.name:
            verb = "DROP ROLE" if grantee.is_role else "DROP USER"
            yield Step(f"{verb} {grantee.sql()}", f"drop {kind} {grantee}", before)
        elif not grantee.is_role and not now.users[grantee].locked:
            statement = f"ALTER USER {grantee.sql()} ACCOUNT LOCK"
            yield Step(
                statement, f"lock account {grantee}", before, (f"account {grantee}: locked",)
            )


def difference(steps: Iterable[Step]) -> Mapping[str, str]:
    """Return the sorted lines that vanish and appear, in the shape of Ansible's ``diff``."""
    steps = list(steps)
    before = sorted({line for step in steps for line in step.before})
    after = sorted({line for step in steps for line in step.after})
    return {
        "before": "".join(f"{line}\n" for line in before),
        "after": "".join(f"{line}\n" for line in after),
    }
