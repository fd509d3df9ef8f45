"""Who is the primary now: the Sentinels' word, or the members' own when no Sentinel answers."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from dbops.engines.redis import client
from dbops.engines.redis.client import Connection, text
from dbops.engines.redis.options import Options
from dbops.errors import CommandFailed, DbopsError, Unreachable

Place = tuple[str, int]


def primary(opts: Options, user: str, password_file: Path | None) -> Place:
    """Return the address and port of the primary; ``user`` asks the members if need be.

    Raises Unreachable when nobody knows one, CommandFailed when two members say to be it.
    """
    told = Counter(_told(opts))
    if told:
        return told.most_common(1)[0][0]
    claims = [name for name in opts.hosts if _claims(opts, name, user, password_file)]
    if len(claims) > 1:
        raise CommandFailed(
            f"{' and '.join(claims)} both say to be the primary: make one the other's replica."
        )
    if not claims:
        raise Unreachable("No Sentinel and no member of the cluster tells who the primary is.")
    return opts.hosts[claims[0]], opts.port


def reachable(place: Place) -> bool:
    """Tell whether anything takes connections at ``place``."""
    try:
        with socket.create_connection(place, client.CONNECT_TIMEOUT_SECONDS):
            return True
    except OSError:
        return False


def member_at(opts: Options, place: Place) -> str | None:
    """Return the name of the member that answers at ``place``, None when it is none of ours."""
    return next((name for name, address in opts.hosts.items() if address == place[0]), None)


def _told(opts: Options) -> Iterator[Place]:
    for name in opts.sentinels:
        try:
            with sentinel(opts, name) as connection:
                found = connection.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", _name(opts))
        except DbopsError:
            continue
        if found:
            yield text(found[0]), int(found[1])


def _name(opts: Options) -> str:
    return opts.sentinel_name or "primary"


def sentinel(opts: Options, name: str) -> Connection:
    """Return a connection to the Sentinel on the host ``name``."""
    return client.at_address(
        opts,
        opts.sentinels[name],
        opts.sentinel_port,
        opts.sentinel_user,
        opts.sentinel_password_file,
        name=f"the Sentinel on {name}",
        timeout_seconds=client.CONNECT_TIMEOUT_SECONDS,
    )


def sentinels(opts: Options, ask: Callable[[Connection], str]) -> dict[str, str]:
    """Return what ``ask`` makes of each Sentinel, or what kept it from answering."""
    found = {}
    for name in opts.sentinels:
        try:
            with sentinel(opts, name) as connection:
                found[name] = ask(connection)
        except DbopsError as error:
            found[name] = str(error)
    return found


def _claims(opts: Options, name: str, user: str, password_file: Path | None) -> bool:
    try:
        with client.member(opts, name, user, password_file) as connection:
            return text(connection.ask("ROLE")[0]) == "master"
    except DbopsError:
        return False
