"""What the accounts that the role declares may do, asked of a real server command by command."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from dbops.engines.redis import client
from dbops.engines.redis.client import Connection, by_name, text
from dbops.engines.redis.options import Options
from dbops.errors import CommandFailed
from plugins.filter.redis import accounts
from tests.integration.redis.conftest import Launch
from tests.integration.redis.server import Server, wait

ROOT = Path(__file__).resolve().parents[3]
RIGHTS = yaml.safe_load((ROOT / "roles/redis/vars/main.yml").read_text())["__redis_rights"]
_LOGIN = {"auth", "hello", "ping", "info", "role", "select", "client|setname"}
_MAY = {
    "monitor": _LOGIN | {"hget"},
    "heartbeat": _LOGIN | {"hget", "hset"},
    "backup": _LOGIN - {"select"},
    "migrate": _LOGIN | {"psync", "replconf", "client|pause", "client|unpause"},
    "sentinel": {
        "multi", "exec", "slaveof", "ping", "subscribe", "publish", "config|rewrite", "role",
        "info", "client|setname", "client|kill", "script|kill",
    },
}  # fmt: skip
_ANYBODY = {"auth", "hello", "quit", "reset"}
"""What needs no right at all."""

_USER = {"name": "app", "password": "p" * 32, "keys": ["app:*"]}


def _login(server: Server, name: str, rules: list[str]) -> Connection:
    server.run(("ACL", "SETUSER", name, "reset", "on", ">secret", *rules))
    connection = server.connect()
    connection.ask("AUTH", name, "secret")
    return connection


def _commands(connection: Connection) -> dict[str, int]:
    """Return every command and subcommand of the server with its arity."""
    found: dict[str, int] = {}
    for about in connection.ask("COMMAND"):
        parts = about[9] if len(about) > 9 and about[9] else [about]
        found |= {text(part[0]).lower(): int(part[1]) for part in parts}
    return found


def _may(server: Server, name: str) -> set[str]:
    with server.connect() as connection:
        known = _commands(connection)
        asked = [
            ("ACL", "DRYRUN", name, *command.split("|"),
             *("x" for _ in range(abs(arity) - len(command.split("|")))))
            for command, arity in known.items()
        ]  # fmt: skip
        said = [str(answer) for answer in connection.many(asked)]
    return {
        command
        for command, answer in zip(known, said, strict=True)
        if "permissions to run" not in answer and command not in _ANYBODY
    }


@pytest.mark.parametrize("name", _MAY)
def test_an_account_of_the_kit_may_do_what_it_needs_and_no_more(launch: Launch, name: str) -> None:
    server = launch()
    _login(server, name, RIGHTS[name]).close()
    assert _may(server, name) == _MAY[name] - _ANYBODY


@pytest.mark.parametrize("name", ["monitor", "heartbeat", "backup"])
@pytest.mark.parametrize(
    "command",
    [
        ("CONFIG", "GET", "masterauth"),
        ("CONFIG", "GET", "*"),
        ("ACL", "LOG"),
        ("SLOWLOG", "GET"),
        ("CLIENT", "LIST"),
        ("PSYNC", "?", "-1"),
        ("GET", "secret"),
        ("HGET", "other", "x"),
        ("RANDOMKEY",),
    ],
    ids=" ".join,
)
def test_who_watches_reads_no_secret(launch: Launch, name: str, command: tuple[str, ...]) -> None:
    server = launch(masterauth="the-password-of-replicas")
    server.run(("SET", "secret", "x"))
    with (
        _login(server, name, RIGHTS[name]) as connection,
        pytest.raises(CommandFailed, match="permissions"),
    ):
        connection.ask(*command)


def test_the_heartbeat_is_written_by_one_account_and_read_by_the_other(launch: Launch) -> None:
    server = launch()
    with _login(server, "heartbeat", RIGHTS["heartbeat"]) as writer:
        writer.ask("HSET", "dbops:heartbeat", "beat_at", "1.5")
    with _login(server, "monitor", RIGHTS["monitor"]) as reader:
        assert reader.ask("HGET", "dbops:heartbeat", "beat_at") == b"1.5"
        with pytest.raises(CommandFailed, match="permissions"):
            reader.ask("HSET", "dbops:heartbeat", "beat_at", "2.5")


def test_who_watches_a_sentinel_gets_no_password_of_it(folder: Path, options: Options) -> None:
    file, socket = folder / "sentinel.conf", folder / "s"
    rules = " ".join(RIGHTS["sentinel_monitor"])
    file.write_text(
        f"port 0\nunixsocket {socket}\nsentinel sentinel-user other\n"
        f"sentinel sentinel-pass the-secret\nuser monitor on nopass {rules}\n"
    )
    argv = [str(options.server), str(file), "--sentinel"]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL) as process:
        try:
            wait(socket.exists, "the Sentinel listens")
            with client.at_socket(socket) as connection:
                assert b"the-secret" in connection.ask("SENTINEL", "CONFIG", "GET", "*")
                connection.ask("AUTH", "monitor", "x")
                for words in (("CONFIG", "GET", "*"), ("FAILOVER", "x"), ("REMOVE", "x")):
                    with pytest.raises(CommandFailed, match="permissions"):
                        connection.ask("SENTINEL", *words)
        finally:
            process.terminate()


def _application(server: Server, **more: Any) -> Connection:
    (account,) = accounts([{**_USER, **more}])
    return _login(server, "app", account["rules"])


@pytest.mark.parametrize(
    "command",
    [
        ("SCAN", 0),
        ("KEYS", "*"),
        ("RANDOMKEY",),
        ("DBSIZE",),
        ("MEMORY", "STATS"),
        ("PUBSUB", "CHANNELS"),
        ("CLIENT", "TRACKING", "ON", "BCAST"),
        ("FUNCTION", "LIST"),
        ("FUNCTION", "DUMP"),
        ("FUNCTION", "FLUSH"),
        ("SCRIPT", "FLUSH"),
        ("SCRIPT", "KILL"),
    ],
    ids=lambda words: " ".join(map(str, words)),
)
def test_an_application_has_what_is_its_own(launch: Launch, command: tuple[Any, ...]) -> None:
    server = launch()
    server.run(("SET", "others:secret", 1), ("SET", "app:x", 1))
    name = "|".join(map(str, command[:2])).lower()
    with _application(server) as connection:
        with pytest.raises(CommandFailed, match="permissions"):
            connection.ask(*command)
        assert connection.ask("EVAL", "return redis.call('GET', KEYS[1])", 1, "app:x") == b"1"
    given = [command[0].lower()] if command[0] in ("SCAN", "RANDOMKEY", "DBSIZE") else [name]
    if command[0] != "KEYS":
        with _application(server, also=given) as connection:
            (said,) = connection.many([command])
            assert "permissions" not in str(said)


def test_no_command_without_a_key_tells_of_others(launch: Launch) -> None:
    """Whatever this release has: what is said to an application does not hold another's names."""
    server = launch()
    server.run(("SET", "others:secret-name", 1))
    with server.connect() as asking:
        known = _commands(asking)
    with server.connect() as listening:
        listening.ask("SUBSCRIBE", "others:secret-channel")
        _application(server).close()
        for command, arity in sorted(known.items()):
            if command in _ENDLESS:
                continue
            with _application(server) as connection:
                words = command.split("|")
                for end in ((), ("*",), ("0",), ("1", "0"), ("ON", "BCAST")):
                    asked = (*words, *end)
                    if 0 < arity != len(asked) or len(asked) < abs(arity):
                        continue
                    (said,) = connection.many([asked])
                    assert "secret-" not in _flat(said), asked


_ENDLESS = {"quit", "wait", "waitaof", "client|reply"}


def _flat(said: Any) -> str:
    return json.dumps(said, default=repr)


def test_a_function_s_library_is_loaded_by_whom_it_was_given(launch: Launch) -> None:
    server = launch()
    library = "#!lua name=one\nredis.register_function('f', function() return 1 end)"
    with _application(server, also=["function|load"]) as connection:
        assert connection.ask("FUNCTION", "LOAD", library) == b"one"
        assert connection.ask("FCALL", "f", 0) == 1
        with pytest.raises(CommandFailed, match="permissions"):
            connection.ask("FUNCTION", "DELETE", "one")
    with server.connect() as connection:
        about = by_name(connection.ask("ACL", "GETUSER", "app"))
        assert "-function" in text(about["commands"])


def test_a_migration_s_account_copies_and_holds_writers(launch: Launch) -> None:
    source = launch(port=True)
    source.run(("SET", "data", 1))
    with _login(source, "migrate", RIGHTS["migrate"]) as connection:
        copy = launch(masteruser="migrate", masterauth="secret")
        copy.follow(source)
        assert copy.run(("GET", "data")) == [b"1"]
        assert connection.ask("ROLE")[0] == b"master"
        assert connection.info("replication")["connected_slaves"] == "1"
        assert connection.ask("CLIENT", "PAUSE", 1000, "WRITE") == b"OK"
        assert connection.ask("CLIENT", "UNPAUSE") == b"OK"
        with pytest.raises(CommandFailed, match="permissions"):
            connection.ask("GET", "data")
    wait(lambda: copy.info("persistence")["aof_rewrite_in_progress"] == "0", "it is written")
