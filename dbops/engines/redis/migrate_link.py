"""The two sides of a migration: how each is reached, and how one follows the other.

The receiving primary becomes a replica of the sending one. Its own log-in for replication is kept
aside, in a file that only root reads, and comes back at the end. What a migration sets meanwhile is
also in a file that the server reads last when it starts, and that the role leaves alone.
"""

from __future__ import annotations

import json
import os
import pwd
import time
from collections.abc import Mapping
from pathlib import Path

from dbops import files
from dbops.contract import Progress
from dbops.engines.redis import client, rdb
from dbops.engines.redis.client import Connection, text
from dbops.engines.redis.options import Options
from dbops.errors import CommandFailed, ConfigError, DbopsError, Refused, Unreachable
from dbops.targets import Target, read_secret, state_folder

SILENCE_SECONDS = 120.0
HELD = "migration.conf"
"""Beside the server's own configuration: what holds while a migration needs it."""

NEVER = "255"
"""So many replicas nobody has: a primary that wants them accepts no write."""

_LOGIN = "migration.login"
_KEPT = ("masteruser", "masterauth", "replica-priority")
# The format of snapshots that each series writes for its replicas.
FORMATS = {
    ("Redis", "7.0"): "REDIS0010",
    ("Redis", "7.2"): "REDIS0011",
    ("Valkey", "7.2"): "REDIS0011",
    ("Valkey", "8.0"): "REDIS0011",
    ("Valkey", "8.1"): "REDIS0011",
    ("Redis", "7.4"): "REDIS0012",
    ("Redis", "8.0"): "REDIS0012",
    ("Redis", "8.2"): "REDIS0012",
    ("Valkey", "9.0"): "VALKEY080",
}


def here(opts: Options) -> Connection:
    """Return the administrator's connection to the server on this host."""
    return client.admin(opts)


def there(opts: Options) -> tuple[str, Connection]:
    """Return the name of the other cluster's primary and a connection to it.

    Raises ConfigError when the target names no other cluster, Unreachable when it has no primary.
    """
    if not opts.migrate_hosts:
        raise ConfigError("The target names no other cluster: declare its members, run secure.")
    trouble = "none of its members is the primary"
    for name, address in opts.migrate_hosts.items():
        try:
            connection = client.at_address(
                opts,
                address,
                opts.migrate_port,
                opts.migrate_user,
                opts.migrate_password_file,
                name=name,
                ca_file=opts.migrate_ca_file,
            )
            if text(connection.ask("ROLE")[0]) == "master":
                return name, connection
            connection.close()
        except DbopsError as error:
            trouble = str(error).rstrip(".")
    raise Unreachable(f"The other cluster has no primary that answers: {trouble}.")


def is_primary(connection: Connection) -> bool:
    """Tell whether a server takes writes by its role."""
    return text(connection.ask("ROLE")[0]) == "master"


def follows(opts: Options, connection: Connection) -> bool:
    """Tell whether the server here follows the other cluster."""
    found = connection.info("replication")
    return found.get("role") == "slave" and found.get("master_host") in opts.migrate_hosts.values()


def product(connection: Connection) -> tuple[str, str]:
    """Return the name of the server's product and its version."""
    found = connection.info("server")
    if "valkey_version" in found:
        return "Valkey", found["valkey_version"]
    return "Redis", found.get("redis_version", "")


def unreadable(opts: Options, theirs: Connection) -> str | None:
    """Return why the server here cannot read what the other one sends, None when it can."""
    name, version = product(theirs)
    format_ = FORMATS.get((name, ".".join(version.split(".")[:2])))
    if format_ is not None and rdb.readable(opts, format_):
        return None
    return (
        f"The other cluster runs {name} {version}, whose format of data "
        f"({format_ or 'not known'}) the {rdb.server_version(opts)} on this host cannot read"
    )


def require_readable(opts: Options, theirs: Connection) -> None:
    """Raise Refused, naming versions, when the server here cannot read what the other one sends."""
    if why := unreadable(opts, theirs):
        raise Refused(
            f"{why}: migrate to the same or a newer server of its kind. Nothing was done."
        )


def follow(opts: Options, target: Target, name: str, connection: Connection) -> None:
    """Make the server here a replica of the member ``name`` of the other cluster.

    The other cluster's Sentinels see it like any replica, and must not make it the primary.
    """
    _keep_login(target, connection)
    secret = read_secret(opts.migrate_password_file)
    held = {"masteruser": opts.migrate_user, "masterauth": secret, "replica-priority": "0"}
    _hold(opts, connection, held)
    connection.ask("REPLICAOF", opts.migrate_hosts[name], opts.migrate_port)
    _remember(connection)


def lead(opts: Options, target: Target, connection: Connection, *, closed: bool = False) -> None:
    """Make the server here a primary again, with its own log-in; ``closed`` it takes no writes."""
    if closed:
        close(opts, connection)
    connection.ask("REPLICAOF", "NO", "ONE")
    settle(opts, target, connection)
    _remember(connection)


def close(opts: Options, connection: Connection) -> None:
    """Let a primary refuse every write, also after a restart and a run of the role."""
    _hold(opts, connection, {"min-replicas-to-write": NEVER, "min-replicas-max-lag": "10"})


def is_closed(connection: Connection) -> bool:
    """Tell whether a server was closed for good when a migration left it."""
    return connection.config("min-replicas-to-write").get("min-replicas-to-write") == NEVER


def _hold(opts: Options, connection: Connection, settings: Mapping[str, str]) -> None:
    """Set what a migration needs, now and when the server is started again."""
    if opts.config_file is not None:
        path = opts.config_file.with_name(HELD)
        lines = [f"{name} {_quoted(value)}\n" for name, value in settings.items()]
        files.write(path, "# Managed by dbops migrate.\n" + "".join(lines))
        if os.geteuid() == 0:
            os.chown(path, 0, pwd.getpwnam(opts.os_user).pw_gid)
    for name, value in settings.items():
        connection.ask("CONFIG", "SET", name, value)


def _quoted(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _remember(connection: Connection) -> None:
    """Let the server write down whom it follows, where it may."""
    connection.many([("CONFIG", "REWRITE")])


def _keep_login(target: Target, connection: Connection) -> None:
    with state_folder(target.state_dir) as place:
        if place.look(_LOGIN) is None:
            found = connection.config(*_KEPT)
            place.write(_LOGIN, json.dumps(found).encode(), mode=0o600)


def settle(opts: Options, target: Target, connection: Connection) -> None:
    """Give the server its own log-in back and let nothing else hold, unless it was closed."""
    if opts.config_file is not None and not is_closed(connection):
        opts.config_file.with_name(HELD).unlink(missing_ok=True)
    path: Path = target.state_dir / _LOGIN
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    for name in _KEPT:
        if name in found:
            connection.ask("CONFIG", "SET", name, str(found[name]))
    path.unlink()


def wait_in_step(connection: Connection, tell: Progress) -> None:
    """Return once everything was copied and the link is up.

    Raises CommandFailed when nothing moves for two minutes: the server's log says why.
    """
    last, since, told = "", time.monotonic(), ""
    while True:
        found = connection.info("replication")
        if found.get("master_link_status") == "up" and not connection.loading():
            return
        left = found.get("master_sync_left_bytes", "")
        now = f"{found.get('master_sync_in_progress')} {left} {found.get('master_sync_read_bytes')}"
        if now != last:
            last, since = now, time.monotonic()
        words = "copying everything" if found.get("master_sync_in_progress") == "1" else "waiting"
        if words != told:
            tell(words)
            told = words
        if time.monotonic() - since > SILENCE_SECONDS:
            raise CommandFailed(
                f"The copy stands still for {SILENCE_SECONDS:.0f} s: look at the server's log here."
            )
        time.sleep(0.2)


def written(connection: Connection) -> int:
    """Return the position up to which a primary has written its stream."""
    return int(connection.info("replication")["master_repl_offset"])


def applied(connection: Connection) -> int:
    """Return the position up to which a replica has applied what it received."""
    found = connection.info("replication")
    if found.get("master_link_status") != "up":
        raise CommandFailed("The link to the other cluster is down.")
    return int(found["slave_repl_offset"])


def wait_applied(connection: Connection, position: int, seconds: float) -> None:
    """Return once a replica has applied everything up to ``position``."""
    end = time.monotonic() + seconds
    while applied(connection) < position:
        if time.monotonic() > end:
            raise CommandFailed(f"The last writes did not arrive within {seconds:.0f} s.")
        time.sleep(0.005)
