"""Who is the primary: the Sentinels' word, the members' own without them, and no guess."""

from __future__ import annotations

from typing import Any

import pytest

from dbops.engines.redis import client, members
from dbops.engines.redis.options import Options
from dbops.errors import CommandFailed, Unreachable

HOSTS = {"db1": "10.0.0.1", "db2": "10.0.0.2"}
SENTINELS = {"s1": "10.0.0.1", "s2": "10.0.0.2", "s3": "10.0.0.3"}


class Answering:
    """A server with one answer."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def __enter__(self) -> Answering:
        return self

    def __exit__(self, *about: object) -> None:
        pass

    def ask(self, *command: Any) -> Any:
        return self.answer


def known(monkeypatch: Any, sentinels: dict[str, Any], roles: dict[str, str]) -> Options:
    """Return options of a cluster in which Sentinels and members answer so."""

    def at_address(*about: Any, name: str = "", **more: Any) -> Any:
        host = name.removeprefix("the Sentinel on ")
        if sentinels.get(host) is None:
            raise Unreachable(f"{host} does not answer.")
        return Answering([sentinels[host].encode(), b"6379"])

    def member(opts: Any, name: str, user: str, file: Any) -> Any:
        if name not in roles:
            raise Unreachable(f"{name} does not answer.")
        return Answering([roles[name].encode()])

    monkeypatch.setattr(client, "at_address", at_address)
    monkeypatch.setattr(client, "member", member)
    return Options.model_validate({"hosts": HOSTS, "sentinels": SENTINELS})


def test_most_sentinels_are_right(monkeypatch: Any) -> None:
    said = {"s1": "10.0.0.1", "s2": "10.0.0.2", "s3": "10.0.0.2"}
    opts = known(monkeypatch, said, {"db1": "master", "db2": "slave"})
    found = members.primary(opts, "x", None)
    assert found == ("10.0.0.2", 6379)
    assert members.member_at(opts, found) == "db2"


def test_without_sentinels_the_members_are_asked(monkeypatch: Any) -> None:
    opts = known(monkeypatch, {}, {"db1": "slave", "db2": "master"})
    assert members.primary(opts, "x", None) == ("10.0.0.2", 6379)


def test_two_primaries_are_no_primary(monkeypatch: Any) -> None:
    opts = known(monkeypatch, {}, {"db1": "master", "db2": "master"})
    with pytest.raises(CommandFailed, match="db1 and db2 both"):
        members.primary(opts, "x", None)


def test_nobody_knows(monkeypatch: Any) -> None:
    opts = known(monkeypatch, {}, {"db1": "slave"})
    with pytest.raises(Unreachable, match="No Sentinel and no member"):
        members.primary(opts, "x", None)
