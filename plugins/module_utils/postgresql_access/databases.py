"""Steps for databases themselves, and for the extensions and schemas in them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from psycopg import sql

from .catalog import ClusterNow, Contents, DatabaseNow
from .declaration import Database, Declaration
from .names import AccessError, shown
from .roles import check_role
from .step import Statement, Step


def plan_creations(now: ClusterNow, wanted: Declaration) -> list[Step]:
    """Return the steps that create missing databases; they run outside a transaction.

    Raises AccessError when an existing one differs in what only its creation can set.
    """
    steps = []
    for database in wanted.databases.values():
        where = f"Database {shown(database.name)}"
        if database.owner is not None:
            check_role(database.owner, now, wanted, f"{where}: owner")
        known = now.databases.get(database.name)
        if known is None:
            steps.append(_create(database, now))
        else:
            _check_fixed(database, known, where)
    return steps


def _create(database: Database, now: ClusterNow) -> Step:
    template = database.template
    locale = (database.encoding, database.lc_collate, database.lc_ctype)
    if template is None and any(value is not None for value in locale):
        template = "template0"
    if template is not None and template not in now.databases:
        raise AccessError(
            f"Database {shown(database.name)}: the template {shown(template)} is not there."
        )
    parts: list[sql.Composable] = [
        sql.SQL("CREATE DATABASE {}").format(sql.Identifier(database.name))
    ]
    if database.owner is not None:
        parts.append(sql.SQL("OWNER {}").format(sql.Identifier(database.owner)))
    if template is not None:
        parts.append(sql.SQL("TEMPLATE {}").format(sql.Identifier(template)))
    for keyword, value in zip(("ENCODING", "LC_COLLATE", "LC_CTYPE"), locale, strict=True):
        if value is not None:
            parts.append(sql.SQL(f"{keyword} {{}}").format(sql.Literal(value)))
    label = f"database {shown(database.name)}"
    owner = f"{label}: owner {shown(database.owner)}" if database.owner else None
    return Step(
        sql.SQL(" ").join(parts),
        f"create {label}",
        after=(label, owner) if owner else (label,),
    )


def _plain(value: str) -> str:
    return re.sub(r"[^a-z0-9]", "", value.lower())


def _check_fixed(database: Database, known: DatabaseNow, where: str) -> None:
    if not known.allows_connections:
        raise AccessError(f"{where} takes no connections, so it cannot be managed.")
    for key in ("encoding", "lc_collate", "lc_ctype"):
        target, current = getattr(database, key), getattr(known, key)
        if target is not None and _plain(target) != _plain(current):
            raise AccessError(
                f"{where} has {key} {shown(current)} and {shown(target)} is declared; only a new"
                " database can change that."
            )


def plan_structure(
    database: Database,
    known: DatabaseNow,
    contents: Contents,
    now: ClusterNow,
    wanted: Declaration,
) -> list[Step]:
    """Return the steps for the owner, the limit, the extensions and the schemas of a database."""
    return [
        *_itself(database, known, wanted),
        *_schemas(database, contents, now, wanted),
        *_extensions(database, contents),
    ]


def _itself(database: Database, known: DatabaseNow, wanted: Declaration) -> Iterator[Step]:
    label = f"database {shown(database.name)}"
    name = sql.Identifier(database.name)
    if database.owner is not None and database.owner != known.owner:
        yield Step(
            sql.SQL("ALTER DATABASE {} OWNER TO {}").format(name, sql.Identifier(database.owner)),
            f"give {label} to {shown(database.owner)}",
            before=(f"{label}: owner {shown(known.owner)}",),
            after=(f"{label}: owner {shown(database.owner)}",),
        )
    limit = database.connection_limit
    if limit is None and wanted.exact:
        limit = -1
    if limit is not None and limit != known.connection_limit:
        yield Step(
            sql.SQL("ALTER DATABASE {} CONNECTION LIMIT {}").format(name, sql.SQL(f"{limit:d}")),
            f"limit connections of {label} to {limit}",
            before=(f"{label}: connection_limit {known.connection_limit}",),
            after=(f"{label}: connection_limit {limit}",),
        )


def schema_owners(database: Database) -> Mapping[str, str | None]:
    """Return the declared schemas and who shall own them once they are created."""
    return {schema.name: schema.owner or database.owner for schema in database.schemas}


def _schemas(
    database: Database, contents: Contents, now: ClusterNow, wanted: Declaration
) -> Iterator[Step]:
    for schema in database.schemas:
        label = f"database {shown(database.name)}: schema {shown(schema.name)}"
        name = sql.Identifier(schema.name)
        if schema.owner is not None:
            check_role(schema.owner, now, wanted, f"{label}: owner")
        current = contents.schemas.get(schema.name)
        if current is None:
            owner = schema.owner or database.owner
            statement: Statement = sql.SQL("CREATE SCHEMA {}").format(name)
            after = [label]
            if owner is not None:
                statement += sql.SQL(" AUTHORIZATION {}").format(sql.Identifier(owner))
                after.append(f"{label}: owner {shown(owner)}")
            yield Step(statement, f"create {label}", after=tuple(after))
        elif schema.owner is not None and schema.owner != current:
            yield Step(
                sql.SQL("ALTER SCHEMA {} OWNER TO {}").format(name, sql.Identifier(schema.owner)),
                f"give {label} to {shown(schema.owner)}",
                before=(f"{label}: owner {shown(current)}",),
                after=(f"{label}: owner {shown(schema.owner)}",),
            )


def _extensions(database: Database, contents: Contents) -> Iterator[Step]:
    label = f"database {shown(database.name)}: extension"
    for extension in database.extensions:
        if extension.name in contents.extensions:
            continue
        if extension.name not in contents.available:
            raise AccessError(
                f"{label} {shown(extension.name)} is not installed on this host; install its"
                " package first."
            )
        # Without a schema it would go to the first of search_path, which is empty here on purpose.
        insists = contents.available[extension.name]
        schema = extension.schema or (None if insists else "public")
        place: sql.Composable = sql.SQL("")
        if schema is not None:
            place = sql.SQL(" SCHEMA {}").format(sql.Identifier(schema))
        yield Step(
            sql.SQL("CREATE EXTENSION {}{} CASCADE").format(sql.Identifier(extension.name), place),
            f"create {label} {shown(extension.name)}",
            after=(f"{label} {shown(extension.name)}",),
        )
