"""Accounts: what was changed by hand is taken back unnoticed, and what applications may do."""

from __future__ import annotations

from tests.e2e.redis.hosts import Load, Site


def test_taking_accounts_back_drops_no_client(load: Load) -> None:
    site = load.site
    with load.running():
        load.more(50)
        primary = site.primary()
        site.ask(primary, "ACL", "SETUSER", "rogue", "on", "nopass", "~*", "+@all")
        site.ask(primary, "ACL", "SETUSER", "flights_writer", ">hackedhackedhacked", "+flushall")
        site.run_play("secure")
        load.more(50)
    accounts = site.ask(primary, "ACL", "LIST")
    assert "rogue" not in accounts
    assert "+flushall" not in accounts
    load.nothing_lost()
    assert load.uninterrupted(), "a client was dropped"


def test_applications_may_do_nothing_dangerous(whole: Site) -> None:
    primary = whole.primary()
    for user in ("flights_writer", "flights_reader"):
        for words in (
            ("FLUSHALL",), ("CONFIG", "GET", "*"), ("SHUTDOWN",), ("DEBUG", "SLEEP", "1"),
            ("REPLICAOF", "NO", "ONE"), ("ACL", "LIST"), ("KEYS", "*"), ("SET", "other", "1"),
        ):  # fmt: skip
            answer = whole.ask(primary, "ACL", "DRYRUN", user, *words, ok=False)
            assert "permissions" in answer, (user, words, answer)
    assert (
        whole.ask(primary, "ACL", "DRYRUN", "flights_writer", "HSET", "flights:x", "a", "b") == "OK"
    )
