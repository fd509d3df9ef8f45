"""Connections to Redis and Valkey: over the local socket, or over TLS with the server verified.

Answers are as the server sends them (RESP2), so that no client library's idea of a command stands
between. What is *not* here: which member is the primary; see :mod:`.members`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from redis import connection as wire
from redis import exceptions
from redis.backoff import NoBackoff
from redis.retry import Retry

from dbops.engines.redis.options import Options
from dbops.errors import CommandFailed, ConfigError, Unreachable
from dbops.targets import read_secret

CONNECT_TIMEOUT_SECONDS = 5.0
ANSWER_TIMEOUT_SECONDS = 30.0
REFUSALS = (exceptions.ResponseError, exceptions.AuthenticationError)
"""What the library makes of an answer that is an error and leaves the connection as it was."""

TOO_MANY = ("no", "such", "sub", "command")
"""More words than a command may have: a server that knows it refuses to carry it out."""

_NAMED = re.compile(r'^rename-command (\S+) "([0-9a-f]+)"$', re.MULTILINE)

Argument = str | bytes | int | float
Ask = tuple[Argument, ...]


class Connection:
    """One connection; :meth:`ask` and :meth:`many` raise Unreachable or CommandFailed in words.

    ``names`` are the secret names of commands, by their own, on a server that knows those alone.
    """

    def __init__(self, raw: Any, where: str) -> None:
        self._raw = raw
        self.where = where
        self.names: Mapping[str, str] = {}
        self.notes: dict[str, bool] = {}

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *about: object) -> None:
        self.close()

    def open(self) -> Connection:
        """Connect and log in now."""
        with self._explained("connect"):
            self._raw.connect()
        return self

    def close(self) -> None:
        """Let go of the connection."""
        self._raw.disconnect()

    def ask(self, *command: Argument) -> Any:
        """Send one command and return the answer; strings are bytes."""
        answer = self.many([command])[0]
        if isinstance(answer, REFUSALS):
            raise CommandFailed(
                f"{self.where} refuses {str(command[0]).upper()}: {reason(answer)}."
            )
        return answer

    def many(self, commands: Sequence[Ask]) -> list[Any]:
        """Send all commands in one go; an answer that is an error stands in its place."""
        answers: list[Any] = []
        named = [(self.names.get(str(one[0]), one[0]), *one[1:]) for one in commands]
        with self._explained(str(commands[0][0]).upper() if commands else ""):
            self._raw.send_packed_command([b"".join(map(_packed, named))])
            for _ in commands:
                try:
                    answers.append(self._raw.read_response())
                except REFUSALS as error:
                    answers.append(error)
        return answers

    @contextmanager
    def _explained(self, what: str) -> Iterator[None]:
        try:
            yield
        except (exceptions.ConnectionError, exceptions.TimeoutError, OSError) as error:
            self.close()
            raise Unreachable(f"{self.where} does not answer: {reason(error)}.") from None
        except exceptions.RedisError as error:
            self.close()
            raise CommandFailed(f"{self.where} refuses {what}: {reason(error)}.") from None

    def info(self, section: str) -> dict[str, str]:
        """Return one section of INFO by its names."""
        return fields(self.ask("INFO", section))

    def config(self, *patterns: str) -> dict[str, str]:
        """Return the settings that match ``patterns``."""
        found: dict[str, str] = {}
        for pattern in patterns:
            flat = [text(one) for one in self.ask("CONFIG", "GET", pattern)]
            found.update(zip(flat[::2], flat[1::2], strict=True))
        return found

    def loading(self) -> bool:
        """Tell whether the server is still reading its data."""
        return self.info("persistence").get("loading") != "0"


def _packed(command: Ask) -> bytes:
    parts = [b"*%d\r\n" % len(command)]
    for one in command:
        word = one if isinstance(one, bytes) else str(one).encode()
        parts.append(b"$%d\r\n%b\r\n" % (len(word), word))
    return b"".join(parts)


def text(value: object) -> str:
    """Return a server's string as text, whatever its bytes are."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def fields(answer: bytes) -> dict[str, str]:
    """Return what INFO answered, by its names."""
    pairs = (line.split(":", 1) for line in text(answer).splitlines() if ":" in line)
    return {name: value.strip() for name, value in pairs}


def loaded(info: Mapping[str, str]) -> str:
    """Return how much of its data a server has loaded, in words that change ten times at most."""
    share = float(info.get("loading_loaded_perc", "0"))
    return f"loaded {share // 10 * 10:.0f} %"


def discarded(info: Mapping[str, str]) -> int:
    """Return how many commands of its files or its primary a server did not carry out.

    ``info`` has the section ``stats``. It counts refusals that a server should never meet, and says
    nothing else of them: what it serves since lacks something.
    """
    return int(info.get("unexpected_error_replies", "0"))


def by_name(flat: Sequence[Any]) -> dict[str, Any]:
    """Return a flat answer of names and values as a dictionary."""
    return {text(name): value for name, value in zip(flat[::2], flat[1::2], strict=True)}


def at_socket(
    path: Path,
    user: str | None = None,
    password_file: Path | None = None,
    *,
    timeout_seconds: float = ANSWER_TIMEOUT_SECONDS,
) -> Connection:
    """Return a connection to the server on the Unix socket ``path``."""
    kind: Any = wire.UnixDomainSocketConnection
    raw = kind(path=str(path), **_common(user, password_file, timeout_seconds))
    return Connection(raw, f"The server on {path}").open()


def at_address(
    options: Options,
    address: str,
    port: int,
    user: str | None,
    password_file: Path | None,
    *,
    name: str = "",
    ca_file: Path | None = None,
    timeout_seconds: float = ANSWER_TIMEOUT_SECONDS,
) -> Connection:
    """Return a TLS connection, the server's certificate verified for ``address``."""
    raw = wire.SSLConnection(
        host=address,
        port=port,
        ssl_cert_reqs="required",
        ssl_check_hostname=True,
        ssl_ca_certs=str(ca_file or options.ca_file),
        ssl_certfile=str(options.agent_certificate) if options.agent_certificate.exists() else None,
        ssl_keyfile=str(options.agent_key) if options.agent_certificate.exists() else None,
        **_common(user, password_file, timeout_seconds),
    )
    return Connection(raw, f"{name or address} (port {port})").open()


def _common(user: str | None, password_file: Path | None, timeout: float) -> dict[str, Any]:
    return {
        "username": user if password_file else None,
        "password": read_secret(password_file) if password_file else None,
        "socket_connect_timeout": CONNECT_TIMEOUT_SECONDS,
        "socket_timeout": timeout,
        "protocol": 2,
        "driver_info": None,
        "retry": Retry(NoBackoff(), 0),
    }


def member(options: Options, name: str, user: str, password_file: Path | None) -> Connection:
    """Return a connection to one member; ConfigError when the target does not know it."""
    if name not in options.hosts:
        known = ", ".join(sorted(options.hosts)) or "none"
        raise ConfigError(f"No member {name!r} in the target's hosts (known: {known}).")
    address = options.hosts[name]
    return at_address(options, address, options.port, user, password_file, name=name)


def admin(options: Options) -> Connection:
    """Return the administrator's connection to the member on this host."""
    return at_socket(
        options.require_path("socket"),
        options.admin_user,
        options.require_path("admin_password_file"),
    )


def replica(options: Options) -> Connection:
    """Return the connection to the hidden replica on the repository host.

    What it must not be told by its primary goes by the names that the role made for it.
    """
    connection = at_socket(
        options.require_path("replica_socket"),
        options.backup_user,
        options.backup_password_file,
    )
    connection.names = _secret_names(options.replica_commands_file)
    if connection.names and not _hidden(connection):
        connection.names = {}  # they hold from the next start on
    return connection


def _secret_names(path: Path | None) -> dict[str, str]:
    if path is None:
        return {}
    try:
        return dict(_NAMED.findall(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise ConfigError(
            f"{path}, which names the hidden replica's commands, cannot be read: {error.strerror}."
        ) from None


def _hidden(connection: Connection) -> bool:
    """Tell whether a server knows commands by their secret names."""
    name, secret = min(connection.names.items())
    (said,) = connection.many([(name, *TOO_MANY)])
    return secret not in str(said)


def reason(error: BaseException) -> str:
    """Return what the server or the system said, in one line without its full stop."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__).rstrip(".")
