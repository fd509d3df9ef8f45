"""The switch of a migration: writers move to this cluster, and nothing that was acknowledged stays.

The other side is closed (new sessions only read), its sessions are ended and its tables held, so
nothing is written there any more. When the last marker has arrived here, the sequences are set, the
slot for the way back is made, and this side is opened. Until that last step everything is undone by
itself when something fails.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import psycopg
from psycopg import sql

from dbops.engines.postgresql import client
from dbops.engines.postgresql import migrate_link as link
from dbops.engines.postgresql.client import Connection
from dbops.engines.postgresql.options import Options
from dbops.errors import CommandFailed, DbopsError, Refused

BEHIND_LIMIT_BYTES = 16 * 1024 * 1024
LIMIT_SECONDS = 15
"""How long each wait may take while writers wait, too."""

_NAME = sql.Identifier(link.NAME)
_OPEN_AGAIN = "the other cluster takes writes as before."
_STAYS_CLOSED = (
    "the other cluster does not answer and still refuses writes; when it is back, run there as its "
    "superuser: ALTER DATABASE {!r} RESET default_transaction_read_only."
)
_SEQUENCES = """
SELECT schemaname, sequencename, last_value FROM pg_sequences
WHERE last_value IS NOT NULL AND schemaname <> 'dbops_migrate'"""


@dataclass(frozen=True)
class _Sides:
    """The connections for one database: here, there, and one there that holds the tables."""

    database: str
    here: Connection
    there: Connection
    holder: Connection


def require_ready(opts: Options, names: Sequence[str]) -> None:
    """Raise Refused unless every database follows closely and nothing there is in the way."""
    for name in names:
        with link.here(opts, name) as ours, link.there(opts, name) as theirs:
            if not link.subscribed(ours):
                raise Refused(
                    f"Database {name!r} does not follow the other cluster: run 'dbops migrate "
                    "start', or 'follow' after a switch, on this host first."
                )
            if link.one(
                theirs, "SELECT 1 FROM pg_prepared_xacts WHERE database = current_database()"
            ):
                raise Refused(
                    f"Database {name!r} has prepared transactions: commit or roll them back there."
                )
            _require_close(opts, ours, name)


def _require_close(opts: Options, ours: Connection, name: str) -> None:
    end = time.monotonic() + LIMIT_SECONDS
    while True:
        ready, total, _ = link.copied(ours)
        behind = link.behind_bytes(opts, name)
        if ready == total and behind is not None and behind <= BEHIND_LIMIT_BYTES:
            return
        if time.monotonic() > end:
            amount = "an unknown amount" if behind is None else f"{behind} bytes"
            raise Refused(
                f"Database {name!r} is not close enough: {ready} of {total} tables copied, "
                f"{amount} of log behind. Nothing was done."
            )
        time.sleep(0.5)


def switch(opts: Options, names: Sequence[str], tell: Callable[[str], None]) -> float:
    """Move the writers here; return for how many seconds nothing could be written.

    Raises CommandFailed when it did not happen; the other side is then open as before.
    """
    with ExitStack() as stack:
        sides = [
            _Sides(
                name,
                stack.enter_context(link.here(opts, name)),
                stack.enter_context(link.there(opts, name)),
                stack.enter_context(link.there(opts, name)),
            )
            for name in names
        ]
        began = time.monotonic()
        try:
            _move(sides, tell)
        except (DbopsError, psycopg.Error, KeyboardInterrupt) as error:
            text = client.reason(error) if isinstance(error, psycopg.Error) else str(error)
            closed = [side.database for side in sides if not _undone(opts, side)]
            raise CommandFailed(
                f"The switch did not happen ({text.rstrip('.') or 'interrupted'}): "
                + (_STAYS_CLOSED.format(closed[0]) if closed else _OPEN_AGAIN)
            ) from None
        pause = time.monotonic() - began
        for side in sides:
            side.holder.execute("ROLLBACK")
            link.drop_subscription(side.here)
    tell(f"writers waited for {pause:.1f} s")
    return pause


def _move(sides: Sequence[_Sides], tell: Callable[[str], None]) -> None:
    tell("closing the other cluster for writes")
    for side in sides:
        side.there.execute("SELECT dbops_migrate.close()")
    for side in sides:
        side.there.execute("SELECT dbops_migrate.evict()")
    for side in sides:
        side.holder.execute("BEGIN")
        side.holder.execute(f"SET LOCAL statement_timeout = '{LIMIT_SECONDS}s'")
        side.holder.execute("SELECT dbops_migrate.hold()")
        # A session that began while the database was being closed shows itself by now.
        side.there.execute("SELECT dbops_migrate.evict()")
    tell("waiting for the last of its writes")
    for side in sides:
        _drain(side)
    for side in sides:
        _set_sequences(side)
        side.here.execute(sql.SQL("ALTER SUBSCRIPTION {} DISABLE").format(_NAME))
        side.here.execute(f"SET statement_timeout = '{LIMIT_SECONDS}s'")
        side.here.execute(
            "SELECT pg_create_logical_replication_slot(%s, 'pgoutput')",
            (link.slot(side.database),),
        )
    tell("opening this cluster")
    with sides[0].here.transaction():
        for side in sides:
            sides[0].here.execute(
                sql.SQL("ALTER DATABASE {} RESET default_transaction_read_only").format(
                    sql.Identifier(side.database)
                )
            )


def _drain(side: _Sides) -> None:
    token = str(uuid.uuid4())
    side.there.execute("INSERT INTO dbops_migrate.marker VALUES (%s)", (token,))
    end = time.monotonic() + LIMIT_SECONDS
    while not link.one(side.here, "SELECT 1 FROM dbops_migrate.marker WHERE token = %s", token):
        if time.monotonic() > end:
            raise CommandFailed(
                f"the last write of database {side.database!r} did not arrive within "
                f"{LIMIT_SECONDS} s"
            )
        time.sleep(0.005)


def _set_sequences(side: _Sides) -> None:
    for schema, name, value in side.there.execute(_SEQUENCES).fetchall():
        side.here.execute(
            "SELECT setval(format('%%I.%%I', %s::text, %s::text)::regclass, %s)",
            (schema, name, value),
        )


def _undone(opts: Options, side: _Sides) -> bool:
    """Open the other side again and go on following it; False when it does not answer."""
    side.here.execute("SET statement_timeout = 0")
    link.drop_slots(side.here, (link.slot(side.database),))
    side.here.execute(sql.SQL("ALTER SUBSCRIPTION {} ENABLE").format(_NAME))
    side.holder.close()
    end = time.monotonic() + LIMIT_SECONDS
    while time.monotonic() < end:
        try:
            with link.there(opts, side.database) as again:
                again.execute("SELECT dbops_migrate.reopen()")
        except (DbopsError, psycopg.Error):
            time.sleep(1)
        else:
            return True
    return False
