"""With the password of one account: what the others have is neither read nor changed."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from redis import ResponseError
from redis.exceptions import NoPermissionError

from tests.e2e.redis.hosts import CLUSTER, MEMBERS, SECRETS, Site

_FOREIGN = "others:secret-name"
_LIBRARY = "#!lua name=attack\nredis.register_function('attack', function() return 1 end)"


def _as(site: Site, host: str, account: str, *words: str) -> str:
    """Return what the server of ``host`` says to one of the kit's accounts, refusals too."""
    socket = f"/run/dbops-redis-{CLUSTER}/redis.sock"
    line = shlex.join(["redis-cli", "-s", socket, "--user", f"dbops_{account}", *words])
    login = f"REDISCLI_AUTH=$(cat {SECRETS}-{account}.password)"
    return site.root(host, f"{login} {line} 2>&1", ok=False)


def _refused(answer: str) -> bool:
    return "NOPERM" in answer


@pytest.mark.parametrize("account", ["monitor", "heartbeat"])
@pytest.mark.parametrize(
    "words",
    [
        ("CONFIG", "GET", "masterauth"),
        ("CONFIG", "GET", "tls-key-file-pass"),
        ("SLOWLOG", "GET"),
        ("ACL", "LOG"),
        ("CLIENT", "LIST"),
        ("PSYNC", "?", "-1"),
        ("GET", "flights:airports:1061"),
        ("SCAN", "0"),
        ("RANDOMKEY",),
        ("MONITOR",),
        ("EVAL", "return 1", "0"),
    ],
    ids=" ".join,
)
def test_who_watches_reads_neither_secrets_nor_data(
    site: Site, account: str, words: tuple[str, ...]
) -> None:
    for host in MEMBERS:
        assert _refused(_as(site, host, account, *words)), words


def test_who_watches_gets_no_password_of_the_sentinels(site: Site) -> None:
    socket = f"/run/dbops-redis-sentinel-{CLUSTER}/sentinel.sock"
    how = (socket, "dbops_monitor", f"{SECRETS}-monitor.password")
    for words in (("CONFIG", "GET", "*"), ("SET", CLUSTER, "quorum", "9"), ("FAILOVER", CLUSTER)):
        answer = site._call(MEMBERS[0], *how, "SENTINEL", *words, ok=False)
        assert _refused(answer), answer


def test_who_sends_the_sentinels_words_cannot_listen_to_applications(site: Site) -> None:
    answer = _as(site, MEMBERS[0], "sentinel", "PUBLISH", "flights:events", "forged")
    assert _refused(answer), answer


@pytest.fixture(params=["flights_writer", "flights_reader"])
def application(request: pytest.FixtureRequest, site: Site) -> Iterator[Any]:
    """An application's own connection to the primary, where another one has a key, too."""
    secret = site.secrets / f"redis_{request.param}"
    given = replace(site.application(), user=request.param, password_file=secret)
    site.ask(site.primary(), "SET", _FOREIGN, "x")
    with given.connect() as client:
        yield client
    site.ask(site.primary(), "DEL", _FOREIGN)


@pytest.mark.parametrize(
    "words",
    [
        ("SCAN", "0", "MATCH", "others:*", "COUNT", "1000000"),
        ("KEYS", "others:*"),
        ("RANDOMKEY",),
        ("DBSIZE",),
        ("PUBSUB", "CHANNELS"),
        ("CLIENT", "TRACKING", "ON", "REDIRECT", "1", "BCAST"),
        ("FLUSHDB",),
        ("SWAPDB", "0", "1"),
    ],
    ids=" ".join,
)
def test_an_application_learns_nothing_of_others_keys(
    application: Any, words: tuple[str, ...]
) -> None:
    with pytest.raises(NoPermissionError):
        application.execute_command(*words)


@pytest.mark.parametrize(
    "words",
    [
        ("FUNCTION", "LOAD", "REPLACE", _LIBRARY),
        ("FUNCTION", "DELETE", "attack"),
        ("FUNCTION", "FLUSH"),
        ("FUNCTION", "DUMP"),
        ("FUNCTION", "LIST", "WITHCODE"),
        ("SCRIPT", "FLUSH"),
        ("SCRIPT", "KILL"),
    ],
    ids=lambda words: " ".join(words[:2]),
)
def test_an_application_does_not_touch_the_code_of_others(
    application: Any, words: tuple[str, ...]
) -> None:
    with pytest.raises(NoPermissionError):
        application.execute_command(*words)


def test_a_lock_by_a_script_still_works(site: Site) -> None:
    with site.application().connect() as client:
        asked = "return redis.call('SET', KEYS[1], ARGV[1])"
        assert client.eval(asked, 1, "flights:lock", "held")
        client.delete("flights:lock")
        with pytest.raises(ResponseError):
            client.eval("return redis.call('GET', ARGV[1])", 0, _FOREIGN)
