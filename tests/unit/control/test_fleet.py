"""Asking hosts: an SSH server inside the test, with a known key, a changed and an unknown one."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paramiko
import pytest

from dbops.control.fleet import ask
from dbops.control.inventory import Host


@dataclass
class Served:
    """A server: its port, its key, and what it will say."""

    port: int
    key: Any
    stdout: bytes = b'[{"cluster": "flights"}]'
    stderr: bytes = b""
    status: int = 0
    asked: str = ""


def _interface(served: Served, client: Any) -> Any:
    class Interface(paramiko.ServerInterface):  # type: ignore[misc]
        def get_allowed_auths(self, username: str) -> str:
            return "publickey"

        def check_auth_publickey(self, username: str, key: Any) -> int:
            return int(paramiko.AUTH_SUCCESSFUL if key == client else paramiko.AUTH_FAILED)

        def check_channel_request(self, kind: str, chanid: int) -> int:
            return int(paramiko.OPEN_SUCCEEDED)

        def check_channel_exec_request(self, channel: Any, command: bytes) -> bool:
            served.asked = command.decode()
            threading.Timer(0.1, self._say, (channel,)).start()
            return True

        def _say(self, channel: Any) -> None:
            channel.sendall(served.stdout)
            channel.sendall_stderr(served.stderr)
            channel.send_exit_status(served.status)
            channel.close()

    return Interface()


@pytest.fixture
def client_key(tmp_path: Path) -> Any:
    key = paramiko.ECDSAKey.generate()
    key.write_private_key_file(str(tmp_path / "key"))
    return key


@pytest.fixture
def served(client_key: Any) -> Iterator[Served]:
    listener = socket.create_server(("127.0.0.1", 0))
    server = Served(listener.getsockname()[1], paramiko.ECDSAKey.generate())

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            transport = paramiko.Transport(connection)
            transport.add_server_key(server.key)
            try:
                transport.start_server(server=_interface(server, client_key))
            except (paramiko.SSHException, EOFError):
                continue

    threading.Thread(target=serve, daemon=True).start()
    yield server
    listener.close()


def host(served: Served, tmp_path: Path, key: Any, user: str = "root") -> Host:
    known = tmp_path / "known_hosts"
    if key is not None:
        known.write_text(f"[127.0.0.1]:{served.port} {key.get_name()} {key.get_base64()}\n")
    return Host("pg1", "127.0.0.1", served.port, user, tmp_path / "key", (known,))


def test_a_known_host_answers(served: Served, tmp_path: Path) -> None:
    (answer,) = ask([host(served, tmp_path, served.key)], 5)
    assert answer.error == ""
    assert answer.targets == ({"cluster": "flights"},)
    assert served.asked == "dbops status --json"
    ask([host(served, tmp_path, served.key, user="admin")], 5)
    assert served.asked == "sudo -n dbops status --json"


def test_a_changed_host_key_is_refused(served: Served, tmp_path: Path) -> None:
    (answer,) = ask([host(served, tmp_path, paramiko.ECDSAKey.generate())], 5)
    assert "host key" in answer.error
    assert "has changed" in answer.error
    assert not answer.reached
    assert served.asked == ""


def test_an_unknown_host_key_is_refused(served: Served, tmp_path: Path) -> None:
    (answer,) = ask([host(served, tmp_path, None)], 5)
    assert "is not known" in answer.error
    assert not answer.reached
    assert served.asked == ""


def test_a_wrong_key_of_ours(served: Served, tmp_path: Path) -> None:
    ours = host(served, tmp_path, served.key)
    paramiko.ECDSAKey.generate().write_private_key_file(str(tmp_path / "key"))
    (answer,) = ask([ours], 5)
    assert "does not let 'root' in" in answer.error


def test_failures_on_the_host_are_its_last_words(served: Served, tmp_path: Path) -> None:
    served.stderr, served.status = b"one\ndbops: No target.\n", 2
    (answer,) = ask([host(served, tmp_path, served.key)], 5)
    assert (answer.error, answer.reached) == ("dbops: No target.", True)
    served.stderr, served.status, served.stdout = b"", 0, b"<html>"
    (answer,) = ask([host(served, tmp_path, served.key)], 5)
    assert "JSON" in answer.error


def test_nobody_listens(tmp_path: Path) -> None:
    kh = (tmp_path / "kh",)
    (answer,) = ask([Host("x", "127.0.0.1", 1, "root", None, kh)], 2)
    assert "cannot be reached" in answer.error
    assert not answer.reached


@pytest.mark.parametrize("content", [None, "garbage"])
def test_a_key_that_cannot_be_used(content: str | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "key").write_text(content)
    (answer,) = ask([Host("x", "127.0.0.1", 1, "root", tmp_path / "key", ())], 2)
    assert answer.error.startswith(f"The key {tmp_path}/key ")
