"""The parts of the redis role's modules that need no server: texts in, texts out."""

from __future__ import annotations

from typing import Any

import pytest

from plugins.module_utils.redis_server import accounts, settings
from plugins.module_utils.redis_server.client import RedisError


class Server:
    """A server that keeps settings and accounts in memory; ``immutable`` ones are refused."""

    def __init__(self, values: dict[str, str], immutable: tuple[str, ...] = ()) -> None:
        self.values, self.immutable = values, immutable

    def table(self, *words: str) -> dict[str, str]:
        return {words[2]: self.values[words[2]]} if words[2] in self.values else {}

    def ask(self, *words: str) -> Any:
        if words[2] in self.immutable:
            return RedisError("ERR CONFIG SET failed - can't set immutable config")
        self.values[words[2]] = words[3]
        return "OK"


def converge(server: Server, wanted: dict[str, str], check_mode: bool = False) -> settings.Outcome:
    client: Any = server
    return settings.converge(client, wanted, ["masterauth"], check_mode)


def test_spellings_of_one_value_are_equal() -> None:
    assert settings.plain("64mb") == settings.plain("67108864")
    assert settings.plain(' "TLSv1.2  TLSv1.3" ') == settings.plain("tlsv1.2 TLSv1.3")
    assert settings.plain("64m") != settings.plain("64mb")


def test_what_differs_is_set_and_told() -> None:
    server = Server({"maxmemory": "52428800", "timeout": "0"})
    outcome = converge(server, {"maxmemory": "100mb", "timeout": "0"})
    assert server.values["maxmemory"] == "100mb"
    assert (outcome.before, outcome.after) == (["maxmemory 52428800"], ["maxmemory 100mb"])


def test_a_check_sets_nothing() -> None:
    server = Server({"maxmemory": "1"})
    assert converge(server, {"maxmemory": "2"}, check_mode=True).actions == ["set maxmemory"]
    assert server.values["maxmemory"] == "1"


def test_what_only_a_restart_can_change_waits_and_is_no_change() -> None:
    outcome = converge(Server({"io-threads": "1"}, ("io-threads",)), {"io-threads": "2"})
    assert outcome.pending_restart == ["io-threads"]
    assert outcome.actions == []


def test_a_secret_setting_is_never_shown() -> None:
    outcome = converge(Server({"masterauth": "former"}), {"masterauth": "present"})
    assert not any(
        word in " ".join(outcome.before + outcome.after) for word in ("former", "present")
    )


def test_an_unknown_setting_is_named() -> None:
    with pytest.raises(RedisError, match="maxmemmory"):
        converge(Server({}), {"maxmemmory": "1"})


def test_the_acl_file_is_never_empty_and_default_is_off() -> None:
    text = accounts.file_text(accounts.declared([]))
    assert text == "user default off sanitize-payload resetchannels ~* &* +@all\n"


def test_a_line_of_the_acl_file_is_shown_with_its_hashes_cut() -> None:
    entry = {"name": "shop", "enabled": True, "hashes": ["ab" * 32], "rules": ["~shop:*", "+get"]}
    (_, account) = accounts.declared([entry])
    head = "user shop on sanitize-payload resetchannels"
    assert account.line() == f"{head} #{'ab' * 32} ~shop:* +get"
    assert accounts.masked(account.line()) == f"{head} #abababab… ~shop:* +get"
