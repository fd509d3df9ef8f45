"""The whole run: look; when something differs, change it in transactions that prove themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import psycopg
from psycopg import sql

from .catalog import (
    HOLDERS,
    ClusterNow,
    Connection,
    Contents,
    DatabaseNow,
    Held,
    Target,
    new_catalogues,
    read_cluster,
    read_contents,
    read_moment,
    read_owners,
    read_shared,
)
from .databases import plan_creations, plan_structure, schema_owners
from .declaration import FLAGS, Database, Declaration
from .names import PUBLIC, AccessError, shown
from .privileges import plan_privileges
from .resolve import asked, owner_of, resolve, tolerance
from .roles import plan_drops, plan_roles, undeclared
from .step import Step, difference

LOCK = 0x64626F7073  # "dbops" in ASCII: one run at a time on a server
PASSES = 3
LANGUAGES = ("internal", "c", "sql", "plpgsql")
# A verifier is no password, but it is worth guessing at: it stays out of logs and statistics.
UNLOGGED = {
    "log_statement": "none",
    "log_min_duration_statement": "-1",
    "log_min_error_statement": "panic",
    "track_activities": "off",
    "pg_stat_statements.track_utility": "off",
}


@dataclass(frozen=True)
class Server:
    """Where the server is and who asks."""

    socket_dir: str
    port: int
    user: str
    maintenance_database: str = "postgres"
    lock_timeout_seconds: int = 10

    def connect(self, database: str, read_only: bool) -> Connection:
        """Open a connection on which names without a schema mean the system's own."""
        settings = {
            "search_path": "pg_catalog",
            "lock_timeout": f"{self.lock_timeout_seconds}s",
            "timezone": "UTC",
            "datestyle": "ISO",
            "default_transaction_read_only": "on" if read_only else "off",
            # Grants repeat themselves on the next run; a missing standby must not hold them up.
            "synchronous_commit": "local",
        }
        return psycopg.connect(
            host=self.socket_dir,
            port=self.port,
            user=self.user,
            dbname=database,
            options=" ".join(f"-c {key}={value}" for key, value in settings.items()),
            application_name="dbops access",
            client_encoding="utf8",
            connect_timeout=10,
            autocommit=True,
        )


@dataclass
class Outcome:
    """What was found and done."""

    steps: list[Step] = field(default_factory=list)
    undeclared_roles: list[str] = field(default_factory=list)
    undeclared_databases: list[str] = field(default_factory=list)
    undeclared_owners: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def report(self) -> dict[str, object]:
        """Return the result for Ansible; holds no secret."""
        return {
            "changed": bool(self.steps),
            "changes": [step.line for step in self.steps],
            "statements": [text for step in self.steps for text in step.texts()],
            "undeclared_roles": self.undeclared_roles,
            "undeclared_databases": self.undeclared_databases,
            "undeclared_owners": self.undeclared_owners,
            "diff": difference(self.steps),
        }


def converge(server: Server, wanted: Declaration, check: bool) -> Outcome:
    """Bring a server to what is declared, or with ``check`` only tell what that would take.

    Raises AccessError with one sentence; the transaction it happened in is rolled back, and the
    sentence says where. Nothing is written, and no lock taken, when nothing differs.
    """
    with _sentence("The server", ""), server.connect(server.maintenance_database, True) as look:
        _check_server(look)
        outcome = _Look(server, wanted, look).everything()
    if check or not outcome.steps:
        return outcome
    database = server.maintenance_database
    with _sentence("The server", ""), server.connect(database, read_only=False) as connection:
        with _sentence("Another run is at work", ""):
            connection.execute("SELECT pg_advisory_lock(%s)", (LOCK,))
        return _Change(server, wanted, connection).everything()


def _check_server(connection: Connection) -> None:
    row = connection.execute(
        "SELECT pg_is_in_recovery(), rolsuper FROM pg_roles WHERE rolname = current_user"
    ).fetchone()
    if row is None or not row[1]:
        raise AccessError("Access can only be brought in order by a superuser.")
    if row[0]:
        raise AccessError("This server is a standby; access is set on the primary.")


@contextmanager
def _sentence(where: str, after: str) -> Iterator[None]:
    try:
        yield
    except psycopg.Error as error:
        text = error.diag.message_primary or " ".join(str(error).split())
        raise AccessError(f"{where}: {text}{after}.") from None


def _moments(connection: Connection, wanted: Declaration) -> dict[str, str | None]:
    return {
        role.name: read_moment(connection, role.valid_until, f"Role {shown(role.name)}")
        for role in (wanted.roles or {}).values()
        if role.valid_until is not None
    }


def _untouched(now: ClusterNow, wanted: Declaration) -> set[str]:
    """Return the roles whose privileges stay: protected ones and those that are superusers.

    Predefined roles are none of these: what they came with is ``kept``, and what somebody gave them
    reaches all their members.
    """
    found = set()
    for name, role in now.roles.items():
        declared = (wanted.roles or {}).get(name)
        target = None if declared is None else declared.flags.get("superuser")
        if target is None:
            managed = wanted.exact and wanted.roles is not None and not role.untouchable
            target = False if managed else role.flags["superuser"]
        if target or role.untouchable or wanted.is_named(name):
            found.add(name)
    return found


def _owners(wanted: Declaration) -> set[str]:
    """Return the roles that are declared as owner of anything."""
    databases = wanted.databases.values()
    schemas = {schema.owner for database in databases for schema in database.schemas}
    named = schemas | {database.owner for database in databases}
    return {name for name in named if name} | {rule.owner for rule in wanted.defaults}


class _Plans:
    """What both passes share: the declaration and how a database is planned."""

    def __init__(self, server: Server, wanted: Declaration, connection: Connection) -> None:
        self.server = server
        self.wanted = wanted
        self.connection = connection

    def cluster(self) -> ClusterNow:
        return read_cluster(self.connection, FLAGS)

    def roles(self) -> list[Step]:
        moments = _moments(self.connection, self.wanted)
        return plan_roles(self.cluster(), self.wanted, moments)

    def contents(self, connection: Connection, database: str) -> Contents:
        return read_contents(connection, *asked(self.wanted, database))

    def structure(
        self, connection: Connection, database: Database, now: ClusterNow
    ) -> tuple[list[Step], Contents]:
        known = now.databases[database.name]
        contents = self.contents(connection, database.name)
        return plan_structure(database, known, contents, now, self.wanted), contents

    def privileges(
        self, name: str, owner: str, contents: Contents, now: ClusterNow, lenient: bool = False
    ) -> list[Step]:
        return plan_privileges(
            name,
            contents.held,
            resolve(self.wanted, name, contents, now, lenient),
            owner_of(contents, owner),
            tolerance(self.wanted, name, now),
            _untouched(now, self.wanted),
            self.wanted.exact,
        )

    def shared(self) -> list[Step]:
        """Plan the privileges on what belongs to the whole server."""
        return self.privileges("", "", read_shared(self.connection), self.cluster())

    def look_around(self, outcome: Outcome) -> None:
        """Report what nobody declared and is not changed here: owners, and new kinds of rights."""
        for name in new_catalogues(self.connection) if self.wanted.exact else ():
            outcome.warnings.append(
                f"This version of PostgreSQL keeps privileges in {name}, too, which this module"
                " does not know: they are not brought in order."
            )

    def owners(self, connection: Connection, database: Database, known: DatabaseNow) -> list[str]:
        """Return a line for each role that owns things here and is declared as owner of nothing."""
        declared = _owners(self.wanted) | {database.owner or known.owner}
        belongings: dict[str, list[str]] = {}
        for role, kind, number in read_owners(connection, declared):
            if not self.wanted.is_named(role):
                belongings.setdefault(role, []).append(f"{number} of the kind {kind}")
        return [
            f"database {shown(database.name)}: role {shown(role)} owns {', '.join(found)}"
            for role, found in belongings.items()
        ]

    def droppable(self, outcome: Outcome, now: ClusterNow) -> list[Step]:
        outcome.undeclared_roles = undeclared(now, self.wanted)
        outcome.undeclared_databases = sorted(
            set(now.databases) - set(self.wanted.databases) - {"template0", "template1"}
        )
        if not (self.wanted.exact and self.wanted.drop_undeclared):
            return []
        parameters = {
            "managed": list(self.wanted.databases),
            "roles": outcome.undeclared_roles,
        }
        free = []
        for name, connected, holding in self.connection.execute(HOLDERS, parameters):
            if connected or holding:
                reason = "is connected" if connected else "owns or holds something"
                outcome.warnings.append(f"The role {shown(name)} {reason}, so it was not dropped.")
            else:
                free.append(name)
        return plan_drops(free)


class _Look(_Plans):
    """Plans everything on what is there, with what earlier steps would bring. Changes nothing."""

    def everything(self) -> Outcome:
        outcome = Outcome()
        outcome.steps += self.roles()
        outcome.steps += self.shared()
        now = self.cluster()
        outcome.steps += plan_creations(now, self.wanted)
        for database in self.wanted.databases.values():
            with _sentence(f"Database {shown(database.name)}", ""):
                outcome.steps += self._database(database, now, outcome)
        self.look_around(outcome)
        outcome.steps += self.droppable(outcome, now)
        return outcome

    def _database(self, database: Database, now: ClusterNow, outcome: Outcome) -> list[Step]:
        if database.name not in now.databases:
            return self._new(database, now)
        known = now.databases[database.name]
        with self.server.connect(database.name, read_only=True) as connection:
            steps, contents = self.structure(connection, database, now)
            outcome.undeclared_owners += self.owners(connection, database, known)
        lenient = any(e.name not in contents.extensions for e in database.extensions)
        expected = _expected(database, known, contents)
        owner = database.owner or known.owner
        return steps + self.privileges(database.name, owner, expected, now, lenient)

    def _new(self, database: Database, now: ClusterNow) -> list[Step]:
        owner = database.owner or self.server.user
        known = DatabaseNow(database.name, owner)
        here = self.contents(self.connection, database.name)
        contents = _fresh(database.name, owner, here)
        steps = plan_structure(database, known, contents, now, self.wanted)
        expected = _expected(database, known, contents)
        return steps + self.privileges(database.name, owner, expected, now, lenient=True)


def _fresh(name: str, owner: str, here: Contents) -> Contents:
    """Return what a new database holds; ``here`` is any other one of the same server."""
    target = Target("database", "", name)
    return Contents(
        extensions=frozenset({"plpgsql"}),
        available=here.available,
        schemas={
            "public": "pg_database_owner",
            "pg_catalog": here.schemas["pg_catalog"],
            "information_schema": here.schemas["pg_catalog"],
        },
        relations={},
        columns=frozenset(),
        functions={t: v for t, v in here.functions.items() if t.schema == "pg_catalog"},
        signatures={s: t for s, t in here.signatures.items() if t.schema == "pg_catalog"},
        held=tuple(
            Held(target, PUBLIC, privilege, False, owner, owner)
            for privilege in ("CONNECT", "TEMPORARY")
        ),
        others={t: v for t, v in here.others.items() if t.schema == "pg_catalog"}
        | {t: v for t, v in here.others.items() if t.kind == "language" and t.name in LANGUAGES},
    )


def _expected(database: Database, known: DatabaseNow, contents: Contents) -> Contents:
    """Return the contents as they will be once owners are changed and schemas created."""
    owners: dict[Target, str] = {}
    if database.owner is not None:
        owners[Target("database", "", database.name)] = database.owner
    for schema in database.schemas:
        if schema.owner is not None:
            owners[Target("schema", "", schema.name)] = schema.owner
    schemas = dict(contents.schemas)
    for name, owner in schema_owners(database).items():
        target = Target("schema", "", name)
        schemas[name] = owners.get(target) or schemas.get(name) or owner or known.owner
    held = tuple(_passed(row, owners.get(row.target)) for row in contents.held)
    return replace(contents, schemas=schemas, held=held)


def _passed(row: Held, owner: str | None) -> Held:
    """Return a privilege as ALTER ... OWNER leaves it: the new owner steps in for the old."""
    if owner is None or owner == row.owner:
        return row
    grantee = owner if row.grantee == row.owner else row.grantee
    grantor = owner if row.grantor == row.owner else row.grantor
    return replace(row, owner=owner, grantee=grantee, grantor=grantor)


class _Change(_Plans):
    """Changes what differs: roles first, then each database, each in one transaction."""

    def everything(self) -> Outcome:
        outcome = Outcome()
        with _sentence("Roles", "; nothing was changed"), self.connection.transaction():
            outcome.steps += self._until_quiet(self.connection, self.roles)
            outcome.steps += self._until_quiet(self.connection, self.shared)
        now = self.cluster()
        for step in plan_creations(now, self.wanted):
            with _sentence(f"Could not {step.line}", ""):
                self.connection.execute(step.statement)
                outcome.steps.append(step)
        for database in self.wanted.databases.values():
            outcome.steps += self._database(database, outcome)
        self.look_around(outcome)
        self._drop(outcome)
        return outcome

    def _database(self, database: Database, outcome: Outcome) -> list[Step]:
        where = f"Database {shown(database.name)}"
        with (
            _sentence(where, "; nothing was changed in it"),
            self.server.connect(database.name, read_only=False) as connection,
            connection.transaction(),
        ):
            plans = _Plans(self.server, self.wanted, connection)
            now = plans.cluster()
            steps, _ = plans.structure(connection, database, now)
            known = now.databases[database.name]
            outcome.undeclared_owners += plans.owners(connection, database, known)
            _execute(connection, steps)

            def privileges() -> list[Step]:
                now = plans.cluster()
                owner = now.databases[database.name].owner
                contents = plans.contents(connection, database.name)
                return plans.privileges(database.name, owner, contents, now)

            return steps + self._until_quiet(connection, privileges)

    def _until_quiet(self, connection: Connection, plan: Callable[[], list[Step]]) -> list[Step]:
        """Execute what ``plan`` returns until it returns nothing: the proof that it worked."""
        done: list[Step] = []
        for _ in range(PASSES):
            steps = plan()
            if not steps:
                return done
            _execute(connection, steps)
            done += steps
        left = plan()
        if left:
            raise AccessError(f"The server did not accept this change: {left[0].line}.")
        return done

    def _drop(self, outcome: Outcome) -> None:
        for step in self.droppable(outcome, self.cluster()):
            try:
                self.connection.execute(step.statement)
                outcome.steps.append(step)
            except psycopg.errors.DependentObjectsStillExist:
                outcome.warnings.append(f"Could not {step.line}, as something depends on it.")


def _execute(connection: Connection, steps: list[Step]) -> None:
    for step in steps:
        if step.masked is not None:
            _quietly(connection, step)
        elif step.run_as is not None:
            become = sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(step.run_as))
            connection.execute(become)
            connection.execute(step.statement)
            connection.execute("RESET ROLE")
        else:
            connection.execute(step.statement)


def _quietly(connection: Connection, step: Step) -> None:
    set_local = "SELECT set_config(%s, %s, true)"
    for key, value in UNLOGGED.items():
        connection.execute(set_local, (key, value))
    connection.execute(step.statement)
    for key in UNLOGGED:
        connection.execute(
            sql.SQL("SET LOCAL {} TO DEFAULT").format(sql.Identifier(*key.split(".")))
        )
