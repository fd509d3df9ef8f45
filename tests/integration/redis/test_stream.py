"""What a primary that was taken over can make a hidden replica do by what it streams."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import yaml

from dbops.engines.redis import client, replica, tampering
from dbops.engines.redis.client import Connection, text
from dbops.engines.redis.options import Options
from dbops.errors import VerificationFailed
from plugins.module_utils.redis_server import commands
from plugins.module_utils.redis_server.client import Client, login
from tests.integration.redis.conftest import Launch
from tests.integration.redis.primary import giving
from tests.integration.redis.server import Server, wait

ROOT = Path(__file__).resolve().parents[3]
_VARS = yaml.safe_load((ROOT / "roles/redis/vars/main.yml").read_text())
HIDDEN, REMOVED = _VARS["__redis_hidden_commands"], _VARS["__redis_removed_commands"]
_ORDERS: tuple[tuple[str, ...], ...] = (
    ("ACL", "SETUSER", "attacker", "on", "nopass", "~*", "&*", "+@all"),
    ("CONFIG", "SET", "appendfsync", "no"),
    ("CONFIG", "SET", "appendonly", "no"),
    ("EVAL", "return redis.call('SET', 'attacker', '1')", "0"),
    ("FUNCTION", "LOAD", "#!lua name=a\nredis.register_function('a', function() return 1 end)"),
    ("FCALL", "a", "0"),
    ("CLIENT", "KILL", "TYPE", "normal"),
    ("DEBUG", "SLEEP", "0"),
    ("SLAVEOF", "NO", "ONE"),
    ("REPLICAOF", "NO", "ONE"),
    ("SHUTDOWN", "NOSAVE"),
)
_DATA = ("SET", "data", "1")
_REFUSED = len(_ORDERS) - 1  # a library of functions is data
_HARMLESS = {
    "flushall", "flushdb", "swapdb", "restore", "restore-asking", "sort", "sort_ro", "function",
    "info", "role", "replconf", "lastsave",
}  # fmt: skip
"""Data, what replication itself sends, and what only tells."""


@pytest.fixture
def hidden(launch: Launch, folder: Path) -> tuple[Server, Options]:
    """A replica whose commands have secret names, and how the kit reaches it."""
    file = folder / "commands.conf"
    file.write_text(commands.text(HIDDEN, REMOVED, ""))
    server = launch(include=str(file))
    about = {"replica_socket": server.socket, "replica_commands_file": file,
             "replica_settings": {"appendfsync": "everysec", "appendonly": "yes"}}  # fmt: skip
    return server, Options.model_validate(about)


def _follow(connection: Connection, port: int) -> None:
    connection.ask("REPLICAOF", "127.0.0.1", port)
    wait(lambda: connection.ask("GET", "data") == b"1", "what the primary streamed is here")
    wait(lambda: not replica.rewriting(connection), "the copy is in its files")


def _users(connection: Connection) -> list[str]:
    return [text(one) for one in connection.ask("ACL", "USERS")]


def test_a_replica_that_hides_nothing_is_commanded(launch: Launch) -> None:
    server = launch()
    with giving(_ORDERS[0], _ORDERS[1], _DATA) as port, server.connect() as connection:
        _follow(connection, port)
        assert "attacker" in _users(connection)
        assert connection.config("appendfsync") == {"appendfsync": "no"}


def test_a_hidden_replica_takes_data_and_no_orders(hidden: tuple[Server, Options]) -> None:
    server, opts = hidden
    with client.replica(opts) as connection:
        tampering.require_as_declared(opts, connection)
        with giving(*_ORDERS, _DATA) as port:
            _follow(connection, port)
            assert _users(connection) == ["default"]
            assert connection.ask("EXISTS", "attacker") == 0
            assert server.info("replication")["role"] == "slave"
            assert tampering.differences(opts, connection) == []
            assert tampering.refusals(connection) == [
                f"{_REFUSED} commands of its primary were refused"
            ]
            with pytest.raises(VerificationFailed, match="may have been taken over"):
                tampering.require_as_declared(opts, connection)


def test_what_was_changed_on_a_hidden_replica_is_named(
    hidden: tuple[Server, Options], tmp_path: Path
) -> None:
    _, opts = hidden
    password = tmp_path / "password"
    password.write_text("p" * 32 + "\n")
    password.chmod(0o600)
    sums = [hashlib.sha256(one.encode()).hexdigest() for one in ("p" * 32, "another")]
    with client.replica(opts) as connection:
        connection.ask("CONFIG", "SET", "appendfsync", "no")
        for name in ("attacker", opts.backup_user):
            connection.ask("ACL", "SETUSER", name, "on", f"#{sums[1]}", "+@all", "~*")
        known = opts.model_copy(update={"backup_password_file": password})
        assert tampering.differences(known, connection) == [
            "appendfsync is 'no' and not 'everysec'",
            "there is an account 'attacker'",
            f"the account '{opts.backup_user}' has another password",
            "the account 'default' is on",
        ]
        connection.ask("ACL", "SETUSER", opts.backup_user, f"#{sums[0]}", f"!{sums[1]}")
        connection.ask("ACL", "DELUSER", "attacker")
        connection.ask("CONFIG", "SET", "appendfsync", "everysec")
        assert tampering.differences(known, connection) == ["the account 'default' is on"]


def test_a_replica_that_was_not_restarted_since_is_reached_and_told_of(
    launch: Launch, folder: Path
) -> None:
    file = folder / "commands.conf"
    file.write_text(commands.text(HIDDEN, REMOVED, ""))
    server = launch()
    opts = Options.model_validate({"replica_socket": server.socket, "replica_commands_file": file})
    with client.replica(opts) as connection:
        assert connection.config("appendonly") == {"appendonly": "yes"}
        assert "it takes CONFIG from its primary" in tampering.differences(opts, connection)
    assert not _module(server, file).hides()
    assert _module(server, file).table("CONFIG", "GET", "port") == {"port": "0"}


def test_the_role_s_modules_know_the_names(hidden: tuple[Server, Options]) -> None:
    server, opts = hidden
    assert opts.replica_commands_file is not None
    module = _module(server, opts.replica_commands_file)
    assert module.hides()
    assert module.table("CONFIG", "GET", "port") == {"port": "0"}


def _module(server: Server, file: Path) -> Client:
    server_login: dict[str, Any] = {
        "socket": str(server.socket), "user": "default", "password": "x", "password_file": "",
        "commands_file": str(file),
    }  # fmt: skip
    return login(server_login)


def test_every_command_that_governs_a_server_is_hidden(launch: Launch) -> None:
    """A release may bring new ones: each must be judged."""
    server = launch()
    governing: set[str] = set()
    with server.connect() as connection:
        for category in ("admin", "dangerous", "scripting"):
            found = connection.ask("COMMAND", "LIST", "FILTERBY", "ACLCAT", category)
            governing |= {text(one).split("|")[0] for one in found}
    assert governing - {one.lower() for one in (*HIDDEN, *REMOVED)} <= _HARMLESS


def test_names_stay_and_are_never_shown() -> None:
    first = commands.text(["ACL"], ["SAVE"], "")
    name = commands.names_in(first)["ACL"]
    second = commands.text(["ACL", "CONFIG"], ["SAVE"], first)
    assert commands.names_in(second)["ACL"] == name
    assert name not in "".join(commands.masked(second))
    assert commands.text(["ACL", "CONFIG"], ["SAVE"], second) == second
