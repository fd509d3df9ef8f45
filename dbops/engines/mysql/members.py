"""Who is who in the cluster now: asked of the servers, never of the inventory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import pymysql

from dbops.engines.mysql import client, flavor
from dbops.engines.mysql.client import Connection
from dbops.engines.mysql.options import Options
from dbops.errors import DbopsError, Refused, Unreachable

Role = Literal["primary", "replica"]
MAX_LAG_SECONDS = 60
MIGRATION = "dbops_migrate"
"""The name of the connection by which a cluster follows another one; it makes no replica."""


@dataclass(frozen=True)
class Standing:
    """How one member stands: ``lag_seconds`` is None for a replica that does not receive."""

    role: Role
    receiving: bool
    lag_seconds: int | None
    position: str


def standing(connection: Connection) -> Standing:
    """Ask a server for its role: a replica is one that has a source configured."""
    position = str(flavor.of(connection).position(connection))
    one = following(connection)
    if one is None:
        return Standing("primary", False, None, position)
    receiving = one["Slave_IO_Running"] == "Yes" and one["Slave_SQL_Running"] == "Yes"
    lag = one["Seconds_Behind_Master"]
    return Standing("replica", receiving, None if lag is None else int(lag), position)


def following(connection: Connection, name: str | None = None) -> dict[str, Any] | None:
    """Return how the server follows its source, or the connection ``name``; None if it does not."""
    for one in flavor.of(connection).following(connection):
        known = str(one["Connection_name"])
        if known == name or (name is None and known != MIGRATION):
            return one
    return None


def survey(opts: Options) -> dict[str, Standing | str]:
    """Ask every member from the repository host; one that does not answer has the reason."""
    file = opts.require_path("backup_file")
    found: dict[str, Standing | str] = {}
    for member in opts.hosts:
        try:
            with client.remote(opts, file, member) as connection:
                found[member] = standing(connection)
        except (DbopsError, pymysql.Error, OSError) as error:
            found[member] = str(error)
    return found


def source(opts: Options, prefer: str | None = None) -> str:
    """Return the member to copy from: a replica that keeps up when there is one, else the primary.

    ``prefer`` is taken when it is either. Raises Unreachable when none answers, Refused when two
    are open for writing.
    """
    found = survey(opts)
    known = {name: one for name, one in found.items() if isinstance(one, Standing)}
    primaries = [name for name, one in known.items() if one.role == "primary"]
    if len(primaries) > 1:
        raise Refused(
            f"{' and '.join(sorted(primaries))} both take themselves for the primary: "
            "say which is right by rebuilding the other."
        )
    fit = [name for name, one in known.items() if _keeps_up(one)]
    if prefer in (*fit, *primaries):
        return str(prefer)
    if fit:
        return fit[0]
    if primaries:
        return primaries[0]
    if known:
        return next(iter(known))
    first = next((str(one) for one in found.values()), "the target names no member")
    raise Unreachable(f"No member of the cluster answers: {first}")


def _keeps_up(one: Standing) -> bool:
    return one.receiving and one.lag_seconds is not None and one.lag_seconds <= MAX_LAG_SECONDS
