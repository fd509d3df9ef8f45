"""Consistent snapshots on several connections, and the one GTID that they stand for.

MariaDB's snapshots tell their place in the binary log, so they are opened until they agree. MySQL's
do not: there writers are held for the moment in which the snapshots are opened.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pymysql

from dbops.engines.mysql import client, flavor, gtid
from dbops.engines.mysql.client import Connection
from dbops.engines.mysql.gtid import Position
from dbops.errors import CommandFailed

_PAIRING_ATTEMPTS = 40
_LOCKING_ATTEMPTS = 6
_TIMED_OUT = 1205
_OPEN = "START TRANSACTION WITH CONSISTENT SNAPSHOT"
Found = tuple[Position | None, list[Connection]]


def begin(control: Connection, readers: Sequence[Connection]) -> Found:
    """Open a snapshot on readers; return the GTID it is at, and those that stand there.

    The GTID is None for a server without a binary log. Raises CommandFailed when none can be told.
    """
    return _WAYS[flavor.of(control).name](control, list(readers))


def _agreeing(control: Connection, readers: list[Connection]) -> Found:
    """Open a snapshot on each reader; drop the later ones when writers never leave a gap."""
    for _ in range(_PAIRING_ATTEMPTS):
        for reader in readers:
            client.rows(reader, _OPEN)
        places = [_place(reader) for reader in readers]
        if len(set(places)) == 1:
            break
    else:
        readers, places = readers[:1], places[:1]
    return _position(readers[0], places[0]), readers


def _place(reader: Connection) -> tuple[str, int] | None:
    found: dict[str, str] = dict(client.rows(reader, "SHOW STATUS LIKE 'Binlog_snapshot_%'"))
    file = str(found.get("Binlog_snapshot_file") or "")
    return (file, int(found["Binlog_snapshot_position"])) if file else None


def _position(reader: Connection, place: tuple[str, int] | None) -> Position | None:
    if place is None:
        return None
    text = client.value(reader, "SELECT BINLOG_GTID_POS(%s, %s)", place)
    if text is None:
        raise CommandFailed(
            f"The server cannot tell the GTID of its place in {place[0]}: run again."
        )
    return gtid.parse(str(text))


def _locked(control: Connection, readers: list[Connection]) -> Found:
    """Hold writers while the snapshots are opened; a long statement keeps them from being held."""
    if client.value(control, "SELECT @@GLOBAL.log_bin") == 0:
        return None, readers[:1]
    _hold(control)
    try:
        for reader in readers:
            client.rows(reader, _OPEN)
        return flavor.of(control).position(control), readers
    finally:
        client.rows(control, "UNLOCK TABLES")


def _hold(control: Connection) -> None:
    for _ in range(_LOCKING_ATTEMPTS):
        try:
            client.rows(control, "FLUSH TABLES WITH READ LOCK")
            return
        except pymysql.Error as error:
            if not error.args or error.args[0] != _TIMED_OUT:
                raise
    raise CommandFailed(
        "Writers could not be held for the moment in which a fingerprint begins, as a long "
        "statement runs: run again when it is done."
    )


_WAYS: dict[str, Callable[[Connection, list[Connection]], Found]] = {
    flavor.MARIADB.name: _agreeing,
    flavor.MYSQL.name: _locked,
}
