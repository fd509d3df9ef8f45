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
    "neither cluster takes writes now, because the other one does not answer: when it does, run "
    "'dbops migrate switch' again."
)
_UNKNOWN = (
    "whether this cluster was opened is not known, because its server does not answer, and the "
    "other one stays closed: start the server, then run 'dbops migrate switch' again."
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
                f"{amount} of log behind; 'dbops migrate prove' waits for it. Nothing was done."
            )
        time.sleep(0.5)


def switch(opts: Options, names: Sequence[str], tell: Callable[[str], None]) -> float:
    """Move the writers here; return for how many seconds nothing could be written.

    Raises CommandFailed when it did not happen; the other side is then open as before. After a run
    that was killed, the next one ends what that had begun.
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
            _give_up(opts, sides, error)
        pause = time.monotonic() - began
    finish(opts, names)
    return pause


def is_done(opts: Options, names: Sequence[str]) -> bool:
    """Return whether this side is open already: all that is left is to stop following."""
    with link.here(opts, names[0]) as ours:  # all are opened in one transaction
        return link.is_open(ours)


def finish(opts: Options, names: Sequence[str]) -> None:
    """Stop following the other side, once this one is open."""
    for name in names:
        with link.here(opts, name) as ours:
            link.drop_subscription(ours)


def _give_up(opts: Options, sides: Sequence[_Sides], error: BaseException) -> None:
    """Undo what was begun and raise CommandFailed; return when the switch has happened after all.

    Only what is known for certain opens the other side: both sides open would be the worst end.
    """
    text = client.reason(error) if isinstance(error, psycopg.Error) else str(error)
    failed = f"The switch did not happen ({text.rstrip('.') or 'interrupted'}): "
    try:
        if is_done(opts, [side.database for side in sides]):
            return
        for side in sides:
            side.holder.close()
            _follow_again(opts, side.database)
    except (DbopsError, psycopg.Error):
        raise CommandFailed(failed + _UNKNOWN) from None
    closed = [side for side in sides if not _reopened(opts, side.database)]
    raise CommandFailed(failed + (_STAYS_CLOSED if closed else _OPEN_AGAIN)) from None


def _move(sides: Sequence[_Sides], tell: Callable[[str], None]) -> None:
    for side in sides:  # a run that was killed may have left it so
        link.drop_slots(side.here, (link.slot(side.database),))
        link.resume(side.here)
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


def _follow_again(opts: Options, database: str) -> None:
    with link.here(opts, database) as ours:
        link.drop_slots(ours, (link.slot(database),))
        link.resume(ours)


def _reopened(opts: Options, database: str) -> bool:
    """Let applications write to the other side again; False when it does not answer."""
    end = time.monotonic() + LIMIT_SECONDS
    while time.monotonic() < end:
        try:
            with link.there(opts, database) as theirs:
                theirs.execute("SELECT dbops_migrate.reopen()")
        except (DbopsError, psycopg.Error):
            time.sleep(1)
        else:
            return True
    return False
