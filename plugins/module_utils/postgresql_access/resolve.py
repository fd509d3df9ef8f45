"""From declared rules to single privileges on the objects that are there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from .catalog import ClusterNow, Contents, Held, Target
from .declaration import (
    DEFAULT_KINDS,
    IN_DATABASE,
    Declaration,
    DefaultRule,
    GrantRule,
    expand,
)
from .names import PUBLIC, AccessError, shown
from .roles import check_role

Wishes = Mapping[tuple[Target, str, str], bool]
PENDING = "function to be created"
OTHERS = frozenset({*IN_DATABASE.values(), "type", "tablespace"})


def asked(wanted: Declaration, database: str) -> tuple[set[str], set[str], bool]:
    """Return the schemas and the function signatures that rules for a database speak of.

    The last is whether any speaks of large objects, of which there may be very many.
    """
    rules = [rule for rule in wanted.grants if rule.database == database]
    schemas = {rule.schema for rule in rules if rule.schema}
    signed = (rule.names for rule in rules if rule.kind == "function" and rule.names is not None)
    large_objects = any(rule.kind == "large object" for rule in rules)
    return schemas, {signature for names in signed for signature in names}, large_objects


def resolve(
    wanted: Declaration, database: str, contents: Contents, now: ClusterNow, lenient: bool
) -> Wishes:
    """Return each declared privilege of a database and whether it comes with the grant option.

    ``lenient``: objects that are not there are taken as about to be created (check mode, before a
    database or an extension exists). Otherwise AccessError names the rule and what is missing.
    """
    found: dict[tuple[Target, str, str], bool] = {}
    rules: list[GrantRule | DefaultRule] = [*wanted.grants, *wanted.defaults]
    for rule in rules:
        if rule.database != database:
            continue
        if rule.role != PUBLIC:
            check_role(rule.role, now, wanted, rule.where)
        if isinstance(rule, GrantRule):
            kind, targets = rule.kind, _targets(rule, contents, lenient)
        else:
            check_role(rule.owner, now, wanted, f"{rule.where}: owner")
            _check_default(rule, now.version)
            kind, targets = DEFAULT_KINDS[rule.objects], iter((_default(rule, contents),))
        privileges = expand(kind, rule.privileges, now.version, rule.where)
        for target in targets:
            for privilege in privileges:
                key = (target, rule.role, privilege)
                found[key] = found.get(key, False) or rule.grant_option
    return found


def _missing(rule: GrantRule | DefaultRule, what: str) -> AccessError:
    place = f"in database {shown(rule.database)}" if rule.database else "on the server"
    return AccessError(f"{rule.where}: {what} is not there {place}.")


def _check_default(rule: DefaultRule, version: int) -> None:
    if rule.objects == "large_objects" and version < 18:
        raise AccessError(
            f"{rule.where}: PostgreSQL {version} has no default privileges on large objects."
        )


def _check_schema(rule: GrantRule | DefaultRule, contents: Contents) -> None:
    if rule.schema and rule.schema not in contents.schemas:
        raise _missing(rule, f"schema {shown(rule.schema)}")


def _default(rule: DefaultRule, contents: Contents) -> Target:
    _check_schema(rule, contents)
    return Target(f"default {rule.objects.replace('_', ' ')}", rule.schema, rule.owner)


def _targets(rule: GrantRule, contents: Contents, lenient: bool) -> Iterator[Target]:
    _check_schema(rule, contents)
    if rule.kind == "database":
        yield Target("database", "", rule.database)
    elif rule.kind == "schema":
        yield Target("schema", "", rule.schema)
    elif rule.kind == "function":
        yield from _functions(rule, contents, lenient)
    elif rule.kind == "parameter":
        yield from (Target("parameter", "", name) for name in rule.names or ())
    elif rule.kind in OTHERS:
        yield from _others(rule, contents, lenient)
    elif rule.names is None:
        for (schema, name), (kind, _, member) in contents.relations.items():
            if schema == rule.schema and kind == rule.kind and not member:
                yield Target(kind, schema, name)
    else:
        yield from _named(rule, contents, lenient)


def _functions(rule: GrantRule, contents: Contents, lenient: bool) -> Iterator[Target]:
    if rule.names is None:
        for target, (_, member) in contents.functions.items():
            if target.schema == rule.schema and not member:
                yield target
        return
    for signature in rule.names:
        known = contents.signatures.get(signature)
        if known is not None:
            yield known
        elif lenient:
            yield Target(PENDING, "", signature)
        else:
            raise _missing(rule, f"function {shown(signature)}")


def _others(rule: GrantRule, contents: Contents, lenient: bool) -> Iterator[Target]:
    if rule.names is None:
        for target, (_, member) in contents.others.items():
            if (target.kind, target.schema) == (rule.kind, rule.schema) and not member:
                yield target
    for name in rule.names or ():
        target = Target(rule.kind, rule.schema, name)
        if not lenient and target not in contents.others:
            raise _missing(rule, f"{rule.kind} {shown(name)}")
        yield target


def _named(rule: GrantRule, contents: Contents, lenient: bool) -> Iterator[Target]:
    kind = "sequence" if rule.kind == "sequence" else "table"
    for name in rule.names or ():
        known = contents.relations.get((rule.schema, name))
        if not lenient and (known is None or known[0] != kind):
            raise _missing(rule, f"{kind} {shown(rule.schema)}.{shown(name)}")
        if not rule.columns:
            yield Target(kind, rule.schema, name)
        for column in rule.columns:
            if not lenient and (rule.schema, name, column) not in contents.columns:
                raise _missing(
                    rule, f"column {shown(column)} of {shown(rule.schema)}.{shown(name)}"
                )
            yield Target("column", rule.schema, name, column)


def owner_of(contents: Contents, database_owner: str) -> Callable[[Target], str | None]:
    """Return a function that tells who owns a target, or None when it is not there yet."""

    def owner(target: Target) -> str | None:
        if target.kind == "database":
            return database_owner
        if target.kind == "schema":
            return contents.schemas.get(target.name)
        if target.kind == "function":
            known = contents.functions.get(target)
            return known[0] if known else None
        if target.kind.startswith("default "):
            return target.name
        if target.kind in OTHERS:
            other = contents.others.get(target)
            return other[0] if other else None
        relation = contents.relations.get((target.schema, target.name))
        return relation[1] if relation else None

    return owner


def tolerance(wanted: Declaration, database: str, now: ClusterNow) -> Callable[[Held], bool]:
    """Return a function that tells whether a privilege follows from a declared default privilege.

    Such privileges are there because the owner made the object later; taking them back would undo
    what the next object brings again.
    """
    allowed: set[tuple[str, str, str, str, str]] = set()
    for rule in wanted.defaults:
        if rule.database == database:
            kind = DEFAULT_KINDS[rule.objects]
            for privilege in expand(kind, rule.privileges, now.version, rule.where):
                allowed.add((kind, rule.owner, rule.schema, rule.role, privilege))

    def tolerated(held: Held) -> bool:
        target = held.target
        return any(
            (target.kind, held.owner, schema, held.grantee, held.privilege) in allowed
            for schema in ("", target.schema)
        )

    return tolerated
