"""The two sides of a migration and what joins them: one publication and subscription per database.

Each side knows the other as the role ``dbops_migrate``, which reads everything, replicates, and may
call the functions made here: nothing of it writes to a table of the application. What is *not*
here: the order of the steps; see :mod:`.migrate`.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from dbops.engines.postgresql import client, fingerprint
from dbops.engines.postgresql.client import Connection
from dbops.engines.postgresql.options import Options
from dbops.errors import CommandFailed, ConfigError, Refused

NAME = "dbops_migrate"
"""The schema, the publication and the subscription of a migration."""

_NAME = sql.Identifier(NAME)
_ERRORS_ALLOWED = 5
_DROP_ATTEMPTS = 10

# Schema, name, whether an extension brought it, whether updates and deletes can be published.
_TABLES = """
SELECT n.nspname, c.relname,
  EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e'),
  c.relpersistence <> 'p' OR c.relreplident IN ('f', 'i') OR c.relreplident = 'd'
    AND EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND n.nspname NOT IN ('information_schema', 'dbops_migrate')
  AND n.nspname !~ '^pg_' ORDER BY 1, 2"""

_OBJECTS = """
CREATE SCHEMA IF NOT EXISTS dbops_migrate AUTHORIZATION dbops_migrate;
CREATE TABLE IF NOT EXISTS dbops_migrate.marker
  (token text PRIMARY KEY, written_at timestamptz NOT NULL DEFAULT clock_timestamp());
ALTER TABLE dbops_migrate.marker OWNER TO dbops_migrate;

CREATE OR REPLACE FUNCTION dbops_migrate.hold() RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
  one record;
BEGIN
  FOR one IN SELECT n.nspname, c.relname
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind = 'r' AND c.relpersistence = 'p' AND n.nspname !~ '^pg_'
      AND n.nspname NOT IN ('information_schema', 'dbops_migrate') ORDER BY 1, 2
  LOOP
    EXECUTE format('LOCK TABLE ONLY %I.%I IN SHARE MODE', one.nspname, one.relname);
  END LOOP;
END $body$;

CREATE OR REPLACE FUNCTION dbops_migrate.close() RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
  EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only = on', current_database());
END $body$;

CREATE OR REPLACE FUNCTION dbops_migrate.reopen() RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
  EXECUTE format('ALTER DATABASE %I RESET default_transaction_read_only', current_database());
END $body$;

CREATE OR REPLACE FUNCTION dbops_migrate.evict() RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
  SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
  WHERE datname = current_database() AND backend_type = 'client backend'
    AND usename !~ '^dbops_' AND pid <> pg_backend_pid()
$body$;
"""


def here(opts: Options, database: str) -> Connection:
    """Return a superuser's connection to this host's server that may write, closed or not."""
    found = client.connect(opts, database=database, user=opts.os_user, statement_timeout_seconds=0)
    found.execute("SET default_transaction_read_only = off")
    return found


def there(opts: Options, database: str) -> Connection:
    """Return a connection to the other cluster's primary, over verified TLS."""
    found = client.connect(
        _peer(opts),
        role="primary",
        database=database,
        user=opts.migrate_user,
        statement_timeout_seconds=0,
    )
    found.execute("SET default_transaction_read_only = off")
    return found


def _peer(opts: Options) -> Options:
    if not opts.migrate_hosts:
        raise ConfigError(
            "This cluster knows no other one to migrate from or to: set dbops_migrate_peers "
            "in the inventory of both and run site."
        )
    return opts.model_copy(
        update={
            "hosts": opts.migrate_hosts,
            "port": opts.migrate_port,
            "passfile": opts.migrate_passfile,
            "ca_file": opts.migrate_ca_file,
        }
    )


def peer_conninfo(opts: Options, database: str, **more: str) -> str:
    """Return how a server or a tool on this host reaches the other primary; holds no secret."""
    peer = _peer(opts)
    return make_conninfo(
        host=",".join(peer.hosts),
        port=peer.port,
        dbname=database,
        user=opts.migrate_user,
        passfile=str(opts.migrate_passfile),
        sslmode="verify-full",
        sslrootcert=str(opts.migrate_ca_file),
        target_session_attrs="primary",
        connect_timeout=client.CONNECT_TIMEOUT_SECONDS,
        **more,
    )


def names(opts: Options, connection: Connection) -> list[str]:
    """Return the databases to migrate: those declared, or all of ``connection``'s server."""
    found = [name for name in fingerprint.databases(connection) if name != opts.database]
    missing = sorted(set(opts.migrate_databases) - set(found))
    if missing:
        raise ConfigError(
            f"No database {missing[0]!r} to migrate: see postgresql_migrate_databases."
        )
    return [name for name in found if not opts.migrate_databases or name in opts.migrate_databases]


def slot(database: str) -> str:
    """Return the slot of a database: its name may hold more than a slot's name can."""
    return f"{NAME}_{hashlib.sha256(database.encode()).hexdigest()[:12]}"


def require_primary(connection: Connection) -> None:
    """Raise Refused on a standby."""
    if one(connection, "SELECT pg_is_in_recovery()"):
        raise Refused("This member is a standby: a migration is run on the primary.")


def one(connection: Connection, query: str, *values: object) -> object:
    """Return the only value that ``query`` gives, None when there is no row."""
    row = connection.execute(query, values or None).fetchone()
    return None if row is None else row[0]


def require_carriable(connection: Connection, database: str) -> None:
    """Raise Refused when logical replication cannot carry all of a database."""
    rows = connection.execute(_TABLES).fetchall()
    bare = [f"{schema}.{name}" for schema, name, _, identified in rows if not identified]
    if bare:
        raise Refused(
            f"Database {database!r} has tables without a replica identity, whose updates would "
            "fail once they are published: give each a primary key, or ALTER TABLE … REPLICA "
            f"IDENTITY FULL: {', '.join(bare[:10])}{', …' if len(bare) > 10 else ''}."
        )
    objects = one(connection, "SELECT count(*) FROM pg_largeobject_metadata")
    if objects:
        raise Refused(
            f"Database {database!r} holds {objects} large objects, which logical replication does "
            "not carry: move them into tables, or migrate by dump and restore."
        )


def prepare(connection: Connection) -> None:
    """Make the schema, its functions and the publication in one database; again is harmless."""
    with connection.transaction():
        connection.execute(_OBJECTS)
        if not one(connection, "SELECT 1 FROM pg_publication WHERE pubname = %s", NAME):
            connection.execute(sql.SQL("CREATE PUBLICATION {} FOR ALL TABLES").format(_NAME))


def tables(connection: Connection, *, of_extensions: bool = False) -> list[sql.Identifier]:
    """Return the tables that the application made, or those that extensions brought."""
    rows = connection.execute(_TABLES).fetchall()
    return [sql.Identifier(*row[:2]) for row in rows if row[2] == of_extensions]


def is_empty(connection: Connection) -> bool:
    """Return whether no table of the application holds a row."""
    first = sql.SQL("SELECT 1 FROM {} LIMIT 1")
    return not any(
        connection.execute(first.format(table)).fetchone() for table in tables(connection)
    )


def clear_extensions(connection: Connection) -> None:
    """Empty the tables that extensions brought: their rows come from the other side, too."""
    for table in tables(connection, of_extensions=True):
        connection.execute(sql.SQL("TRUNCATE {} CASCADE").format(table))


def subscribed(connection: Connection) -> bool:
    """Return whether this database follows the other cluster, or is set to."""
    query = """SELECT 1 FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid
      WHERE d.datname = current_database() AND s.subname = %s"""
    return bool(one(connection, query, NAME))


def close(opts: Options, connection: Connection, database: str) -> None:
    """Let applications only read here, while what is received is still written."""
    name = sql.Identifier(database)
    connection.execute(
        sql.SQL("ALTER ROLE {} IN DATABASE {} SET default_transaction_read_only = off").format(
            sql.Identifier(opts.os_user), name
        )
    )
    connection.execute(
        sql.SQL("ALTER DATABASE {} SET default_transaction_read_only = on").format(name)
    )


def is_open(connection: Connection) -> bool:
    """Return whether an application's new session may write to the connection's database."""
    query = """SELECT 1 FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase
      WHERE d.datname = current_database() AND s.setrole = 0
      AND 'default_transaction_read_only=on' = ANY(s.setconfig)"""
    return not one(connection, query)


def subscribe(opts: Options, connection: Connection, database: str, *, copy: bool) -> None:
    """Follow the other cluster: with all that is there already, or from the slot it has made."""
    options = f"slot_name = {slot(database)}, streaming = off, copy_data = {str(copy).lower()}"
    connection.execute(
        sql.SQL(
            "CREATE SUBSCRIPTION {} CONNECTION {} PUBLICATION {} WITH "
            f"({options}, create_slot = {str(copy).lower()})"
        ).format(
            _NAME,
            peer_conninfo(opts, database, application_name=slot(database)),
            _NAME,
        )
    )


def copied(connection: Connection) -> tuple[int, int, int]:
    """Return how many tables follow, how many are to, and how many errors there were."""
    row = connection.execute(
        """SELECT count(*) FILTER (WHERE r.srsubstate = 'r'), count(*) FROM pg_subscription_rel r
        JOIN pg_subscription s ON s.oid = r.srsubid JOIN pg_database d ON d.oid = s.subdbid
        WHERE d.datname = current_database() AND s.subname = %s""",
        (NAME,),
    ).fetchone()
    errors = one(
        connection,
        """SELECT sum(t.apply_error_count + t.sync_error_count)::int8
        FROM pg_stat_subscription_stats t JOIN pg_subscription s ON s.oid = t.subid
        JOIN pg_database d ON d.oid = s.subdbid
        WHERE d.datname = current_database() AND t.subname = %s""",
        NAME,
    )
    ready, total = row or (0, 0)
    return int(ready), int(total), int(str(errors or 0))


def wait_copied(connection: Connection, database: str, tell: Callable[[str], None]) -> None:
    """Wait until every table is copied and follows; CommandFailed when copying keeps failing."""
    at_first = copied(connection)[2]
    said = ""
    while True:
        ready, total, errors = copied(connection)
        text = f"{database}: {ready} of {total} tables copied"
        if text != said:
            tell(text)
            said = text
        if ready == total:
            return
        if errors > at_first + _ERRORS_ALLOWED:
            raise CommandFailed(
                f"Copying database {database!r} keeps failing: the reason is in the server's log "
                "on this host; mend it there, the copying goes on by itself."
            )
        time.sleep(0.5)


def behind_bytes(opts: Options, database: str) -> int | None:
    """Return how much log the other side holds for this one, None when that is not known."""
    with there(opts, database) as connection:
        found = one(
            connection,
            """SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), confirmed_flush_lsn)::int8
            FROM pg_replication_slots WHERE slot_name = %s""",
            slot(database),
        )
    return None if found is None else int(str(found))


def refresh_views(connection: Connection, tell: Callable[[str], None]) -> None:
    """Fill the materialized views: their content is derived here, not received."""
    for view in connection.execute(
        """SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind = 'm' ORDER BY c.oid"""
    ).fetchall():
        tell(f"filling the materialized view {'.'.join(view)}")
        connection.execute(sql.SQL("REFRESH MATERIALIZED VIEW {}").format(sql.Identifier(*view)))


def remove(opts: Options, connection: Connection, database: str) -> None:
    """Remove all that a migration made in one database, whether or not the other side answers."""
    if subscribed(connection):
        drop_subscription(connection)
    connection.execute(sql.SQL("DROP PUBLICATION IF EXISTS {}").format(_NAME))
    connection.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(_NAME))
    connection.execute(
        sql.SQL("ALTER ROLE {} IN DATABASE {} RESET default_transaction_read_only").format(
            sql.Identifier(opts.os_user), sql.Identifier(database)
        )
    )
    drop_slots(connection, (slot(database),))


def resume(connection: Connection) -> None:
    """Go on following after it was stopped."""
    connection.execute(sql.SQL("ALTER SUBSCRIPTION {} ENABLE").format(_NAME))


def drop_subscription(connection: Connection) -> None:
    """Stop following; the slot at the other side goes with it, unless that side is away."""
    connection.execute(sql.SQL("ALTER SUBSCRIPTION {} DISABLE").format(_NAME))
    drop = sql.SQL("DROP SUBSCRIPTION {}").format(_NAME)
    for _ in range(_DROP_ATTEMPTS):
        try:
            connection.execute(drop)
        except psycopg.errors.ObjectInUse:
            time.sleep(0.5)  # the sender there has not noticed yet that nobody listens
        except psycopg.Error:
            break
        else:
            return
    connection.execute(sql.SQL("ALTER SUBSCRIPTION {} SET (slot_name = NONE)").format(_NAME))
    connection.execute(drop)


def drop_slots(connection: Connection, slots: Sequence[str]) -> None:
    """Drop slots of this server; CommandFailed when the other side still follows one."""
    try:
        connection.execute(
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots "
            "WHERE slot_name = ANY(%s)",
            (list(slots),),
        )
    except psycopg.errors.ObjectInUse:
        raise CommandFailed(
            "The other cluster still follows this one: finish the migration there first."
        ) from None
