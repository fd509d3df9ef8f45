"""Ask every host of an inventory at once how it stands, over SSH with host keys checked."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dbops.control.inventory import Host
from dbops.errors import ConfigError

_QUESTION = "dbops status --json"
_AT_ONCE = 16


@dataclass(frozen=True)
class Answer:
    """What one host said: its targets, or why there is no answer."""

    host: str
    targets: tuple[dict[str, Any], ...]
    error: str = ""
    reached: bool = True


def ask(hosts: Sequence[Host], timeout_seconds: float) -> list[Answer]:
    """Return one answer for each host, in the order given; a host that fails is an answer, too."""
    if not hosts:
        return []
    with ThreadPoolExecutor(min(_AT_ONCE, len(hosts))) as pool:
        return list(pool.map(lambda host: _ask(host, timeout_seconds), hosts))


def _ask(host: Host, timeout_seconds: float) -> Answer:
    try:
        status, stdout, stderr = _run(host, timeout_seconds)
    except _NotReachedError as error:
        return Answer(host.name, (), str(error), reached=False)
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    if status != 0:
        return Answer(host.name, (), lines[-1] if lines else f"'{_QUESTION}' ended with {status}.")
    try:
        return Answer(host.name, tuple(json.loads(stdout)))
    except (ValueError, TypeError):
        return Answer(host.name, (), f"'{_QUESTION}' did not answer with JSON.")


class _NotReachedError(Exception):
    """A host that gave no shell, in one sentence."""


def _run(host: Host, timeout_seconds: float) -> tuple[int, str, str]:
    try:
        from fabric import Config, Connection
        from invoke.exceptions import CommandTimedOut
        from paramiko import RejectPolicy, SSHException
    except ImportError:
        raise ConfigError(
            "Fabric is not installed here: pip install 'dbops[control]' on the controller."
        ) from None
    own_key: dict[str, Any] = {"allow_agent": host.key_file is None}
    if host.key_file is not None:
        own_key |= {"pkey": _key(host.key_file), "look_for_keys": False}
    connection = Connection(
        host.address,
        user=host.user,
        port=host.port,
        connect_timeout=max(1, int(timeout_seconds)),
        connect_kwargs={
            **own_key,
            "banner_timeout": timeout_seconds,
            "auth_timeout": timeout_seconds,
        },
        config=Config(overrides={"load_ssh_configs": False}),
    )
    connection.client.set_missing_host_key_policy(RejectPolicy())
    question = _QUESTION if host.user == "root" else f"sudo -n {_QUESTION}"
    with connection:
        _open(host, connection.open, [str(path) for path in host.known_hosts], connection.client)
        try:
            done = connection.run(
                question, hide=True, warn=True, in_stream=False, timeout=timeout_seconds
            )
        except (SSHException, EOFError, OSError):
            raise _NotReachedError(f"{host.address} broke the connection off.") from None
        except CommandTimedOut:
            return 1, "", f"'{_QUESTION}' gave no answer within {timeout_seconds:.0f} s."
        return int(done.return_code), str(done.stdout), str(done.stderr)


def _key(path: Path) -> Any:
    from paramiko import PKey, SSHException
    from paramiko.pkey import UnknownKeyType

    try:
        return PKey.from_path(path)
    except OSError as error:
        raise _NotReachedError(f"The key {path} cannot be read: {error.strerror}.") from None
    except (SSHException, UnknownKeyType, ValueError, TypeError):
        raise _NotReachedError(f"The key {path} is none that can be used without asking.") from None


def _open(host: Host, connect: Callable[[], Any], known_hosts: list[str], client: Any) -> None:
    from paramiko.ssh_exception import (
        AuthenticationException,
        BadHostKeyException,
        NoValidConnectionsError,
        SSHException,
    )

    where = f"{host.address}:{host.port}"
    try:
        for path in known_hosts:
            try:
                client.load_system_host_keys(path)
            except FileNotFoundError:
                continue
        connect()
    except BadHostKeyException:
        raise _NotReachedError(
            f"The host key of {where} has changed: see whether the host was made anew, then mend "
            f"{known_hosts[0]}."
        ) from None
    except AuthenticationException:
        raise _NotReachedError(f"{where} does not let {host.user!r} in with this key.") from None
    except (NoValidConnectionsError, socket.gaierror, TimeoutError) as error:
        reason = getattr(error, "strerror", None) or "no answer"
        raise _NotReachedError(f"{where} cannot be reached: {reason}.") from None
    except SSHException as error:
        if "known_hosts" in str(error):
            raise _NotReachedError(
                f"The host key of {where} is not known: add it to {known_hosts[0]}."
            ) from None
        raise _NotReachedError(f"{where} does not speak SSH with us: {error}.") from None
    except OSError as error:
        raise _NotReachedError(f"{where} cannot be reached: {error.strerror or error}.") from None
