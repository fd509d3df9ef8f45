"""The protocol of Redis, Valkey and Sentinel over a Unix socket, with the standard library only.

One request, one answer. What is *not* here: TLS (a module works on the server's own host),
pipelines, subscriptions.
"""

from __future__ import annotations

import os
import socket
import time
from typing import Any

from . import commands

_TOO_MANY = ("no", "such", "sub", "command")


class RedisError(Exception):
    """One sentence about what a server said or why it did not."""


class Client:
    """One connection. Texts come back as ``str``, nested replies as lists, nothing as None."""

    def __init__(self, path: str, timeout_seconds: float = 10.0) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(timeout_seconds)
        try:
            self._socket.connect(path)
        except OSError as error:
            self._socket.close()
            raise RedisError(f"no answer on {path}: {error.strerror or error}") from None
        self._stream = self._socket.makefile("rb")
        self.names: dict[str, str] = {}

    def call(self, *words: object) -> Any:
        """Send one command and return its answer; RedisError with the server's own words."""
        answer = self.ask(*words)
        if isinstance(answer, RedisError):
            raise answer
        return answer

    def ask(self, *words: object) -> Any:
        """Send one command and return its answer, which may be a RedisError."""
        name = self.names.get(str(words[0]))
        answer = self._ask(*(words if name is None else (name, *words[1:])))
        if name is not None and isinstance(answer, RedisError) and name in str(answer):
            # Not under that name: the server has not been started since it was made.
            return self._ask(*words)
        return answer

    def hides(self) -> bool:
        """Tell whether the commands that have secret names are known by those alone."""
        # Too many words for any of them: one that is known does nothing.
        said = (str(self._ask(command, *_TOO_MANY)).lower() for command in self.names)
        return all("unknown command" in one for one in said)

    def _ask(self, *words: object) -> Any:
        parts = [str(word).encode() for word in words]
        request = [b"*%d\r\n" % len(parts)]
        request += [b"$%d\r\n%s\r\n" % (len(part), part) for part in parts]
        try:
            self._socket.sendall(b"".join(request))
            return self._answer()
        except OSError as error:
            raise RedisError(f"the connection broke: {error.strerror or error}") from None

    def table(self, *words: object) -> dict[str, Any]:
        """Return an answer of names and values in turn as a dictionary."""
        flat = self.call(*words)
        return dict(zip(flat[::2], flat[1::2], strict=True))

    def info(self, section: str) -> dict[str, str]:
        """Return one section of INFO."""
        lines = str(self.call("INFO", section)).splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)

    def wait_loaded(self, seconds: float = 600.0) -> None:
        """Wait until the server has loaded its data; before that it takes few commands.

        RedisError when that takes longer than ``seconds``.
        """
        deadline = time.monotonic() + seconds
        while (state := self.info("persistence")).get("loading", "0") != "0":
            if time.monotonic() >= deadline:
                done = state.get("loading_loaded_perc", "?")
                raise RedisError(
                    f"the server is still loading its data ({done} %): run this again later"
                )
            time.sleep(0.2)

    def close(self) -> None:
        """End the connection."""
        self._stream.close()
        self._socket.close()

    def _answer(self) -> Any:
        line = self._stream.readline()
        if not line.endswith(b"\r\n"):
            raise RedisError("the server closed the connection")
        kind, text = line[:1], line[1:-2].decode(errors="replace")
        if kind == b"+":
            return text
        if kind == b"-":
            return RedisError(text)
        if kind == b":":
            return int(text)
        if kind == b"$":
            return self._bulk(int(text))
        if kind == b"*":
            return None if int(text) < 0 else [self._answer() for _ in range(int(text))]
        raise RedisError(f"an answer of unknown kind {kind!r}")

    def _bulk(self, length: int) -> str | None:
        if length < 0:
            return None
        data = self._stream.read(length + 2)
        if len(data) != length + 2:
            raise RedisError("the server closed the connection")
        return data[:-2].decode(errors="surrogateescape")


def login(how: dict[str, Any]) -> Client:
    """Return a connection to the ``socket`` as the ``user`` of ``how``.

    The ``password`` declared may not have reached the server yet: then the one in the
    ``password_file`` is in force. Commands go by the names in the ``commands_file``, if any.
    """
    path, user = how["socket"], how["user"]
    refused = RedisError(f"there is no password of {user}")
    for password in _passwords(how):
        client = Client(path)
        answer = client.ask("AUTH", user, password)
        if not isinstance(answer, RedisError):
            client.names = commands.read(how.get("commands_file") or "")
            return client
        client.close()
        refused = answer
    raise RedisError(f"{user} may not log in on {path}: {refused}")


def _passwords(how: dict[str, Any]) -> list[str]:
    path = how["password_file"]
    if not path or not os.path.exists(path):
        return [how["password"]]
    with open(path, encoding="utf-8") as stream:
        return [how["password"], stream.read().strip()]
