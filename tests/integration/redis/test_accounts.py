"""What the accounts that the role declares mean to a server that reads its own files back."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from dbops.engines.redis import client
from plugins.module_utils.redis_server import accounts
from plugins.module_utils.redis_server.client import Client
from tests.integration.redis.conftest import Launch
from tests.integration.redis.server import Server

PASSWORD = "a-password-for-tests-of-this-kit"
SHOP = {
    "name": "shop",
    "enabled": True,
    "hashes": ["ab" * 32],
    "rules": ["~shop:*", "&shop:*", "-@all", "+get", "+set"],
}
SMUGGLED = (
    "(+get ~*)",
    "(+@all %R~other:* &*)",
    "&*",
    "allchannels",
    "~*",
    "%R~other:*",
    "nopass",
    "skip-sanitize-payload",
    "+@all",
    "+config|get",
    "#" + "cd" * 32,
    "off",
)
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
    server.settle()
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


@pytest.mark.parametrize("word", SMUGGLED)
def test_whatever_was_added_to_an_account_is_found_and_removed(launch: Launch, word: str) -> None:
    client = Client(str(launch().socket))
    wanted = accounts.declared([ADMIN, SHOP])
    accounts.converge(client, wanted, check_mode=False)
    fresh = client.call("ACL", "LIST")
    client.call("ACL", "SETUSER", "shop", word)
    client.call("ACL", "SETUSER", "evil", "on", "nopass", "allkeys", "+@all")
    smuggled = client.call("ACL", "LIST")

    foretold = accounts.converge(client, wanted, check_mode=True)
    assert client.call("ACL", "LIST") == smuggled
    done = accounts.converge(client, wanted, check_mode=False)

    assert foretold == done
    assert done.actions == ["change the account shop", "remove the account evil"]
    assert client.call("ACL", "LIST") == fresh
    assert accounts.converge(client, wanted, check_mode=False).actions == []
    client.close()


def test_channels_are_closed_whatever_the_server_opens_by_default(launch: Launch) -> None:
    client = Client(str(launch().socket))
    client.call("CONFIG", "SET", "acl-pubsub-default", "allchannels")
    client.call("ACL", "SETUSER", "shop", "on", "#" + "ab" * 32, "~shop:*", "+get")
    quiet = {**SHOP, "rules": ["~shop:*", "+get"]}
    accounts.converge(client, accounts.declared([ADMIN, quiet]), check_mode=False)
    rights = dict(zip(*[iter(client.call("ACL", "GETUSER", "shop"))] * 2, strict=True))
    assert rights["channels"] == ""
    client.close()


def test_a_line_of_the_acl_file_means_the_same_to_a_server_that_opens_channels(
    launch: Launch,
) -> None:
    server = launch(acl_pubsub_default="allchannels")
    server.stop()
    line = accounts.declared([{**SHOP, "rules": ["~shop:*", "+get"]}])[1].line()
    server.accounts = (line.removeprefix("user "),)
    server.start()
    client = Client(str(server.socket))
    rights = dict(zip(*[iter(client.call("ACL", "GETUSER", "shop"))] * 2, strict=True))
    assert rights["channels"] == ""
    client.close()
