"""What the accounts that the role declares mean to a server that reads its own files back."""

from __future__ import annotations

import socket
from pathlib import Path

from dbops.engines.redis import client
from plugins.module_utils.redis_server import accounts
from tests.integration.redis.conftest import Launch
from tests.integration.redis.server import Server

PASSWORD = "a-password-for-tests-of-this-kit"
ADMIN = {"name": "admin", "enabled": True, "hashes": [], "rules": ["~*", "&*", "+@all"]}


def closed(launch: Launch, folder: Path) -> Server:
    """Return a server that has the accounts of the role and lets only ``admin`` in."""
    password = folder / "password"
    password.write_text(f"{PASSWORD}\n")
    password.chmod(0o600)
    server = launch()
    server.stop()
    lines = [account.line().removeprefix("user ") for account in accounts.declared([ADMIN])]
    server.accounts = tuple(f"{line} >{PASSWORD}" if "admin" in line else line for line in lines)
    server.login = ("admin", password)
    server.start()
    return server


def test_transactions_in_the_log_survive_a_restart(launch: Launch, folder: Path) -> None:
    server = closed(launch, folder)
    server.run(("SET", "alone", 1))
    server.run(("MULTI",), ("SET", "one", 1), ("SET", "two", 1), ("EXEC",))
    server.run(("EVAL", "redis.call('SET', 'three', 1) redis.call('SET', 'four', 1)", 0))
    server.kill()
    server.start()
    (left,) = server.run(("DBSIZE",))
    assert left == 5
    assert client.discarded(server.info("stats")) == 0


def test_nobody_gets_in_by_the_account_that_is_off(launch: Launch, folder: Path) -> None:
    server = closed(launch, folder)
    for said in (b"PING", b"GET alone", b"AUTH x", b"AUTH default x", b"HELLO 2 AUTH default x"):
        with socket.socket(socket.AF_UNIX) as raw:
            raw.connect(str(server.socket))
            raw.sendall(said + b"\r\n")
            assert raw.recv(1000).startswith((b"-NOAUTH", b"-WRONGPASS", b"-ERR AUTH")), said
