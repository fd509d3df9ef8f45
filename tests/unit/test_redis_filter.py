"""Accounts as ACL rules, what the Sentinels elected, and who follows another cluster."""

from __future__ import annotations

import hashlib

from plugins.filter.redis import accounts, discovery, elected, guests, quoted

USER = {"name": "shop", "password": "p" * 32, "keys": ["shop:*"], "read_keys": ["prices:*"]}
HASH = hashlib.sha256(b"p" * 32).hexdigest()


def test_an_application_gets_its_keys_and_nothing_dangerous() -> None:
    (account,) = accounts([USER])
    assert account["hashes"] == [HASH]
    assert account["rules"][:6] == [
        "~shop:*", "%R~prices:*", "resetchannels", "+@all", "-@admin", "-@dangerous",
    ]  # fmt: skip
    assert {rule[0] for rule in account["rules"][6:]} == {"-"}
    assert {"-scan", "-randomkey", "-dbsize", "-function"} < set(account["rules"])


def test_what_is_named_is_given_after_the_rest_was_taken() -> None:
    (account,) = accounts([{**USER, "also": ["info", "scan"], "commands": ["+@read"]}])
    rules = account["rules"]
    assert rules.index("+@read") < rules.index("-@dangerous") < rules.index("-scan")
    assert rules[-2:] == ["+info", "+scan"]


def test_only_an_administrator_keeps_all() -> None:
    (account,) = accounts([{**USER, "admin": True}])
    assert not [rule for rule in account["rules"] if rule.startswith("-")]


def test_hashes_serve_in_place_of_a_password_and_beside_it() -> None:
    (account,) = accounts([{**USER, "password_hashes": ["0" * 64]}])
    assert account["hashes"] == sorted([HASH, "0" * 64])


def test_at_a_sentinel_an_application_may_only_ask() -> None:
    (account,) = discovery([USER], ["+client|setinfo"])
    assert account["rules"][0] == "-@all"
    assert "+sentinel|get-master-addr-by-name" in account["rules"]
    assert not [rule for rule in account["rules"] if "failover" in rule or "set " in rule]
    assert account["rules"][-1] == "+client|setinfo"


def test_the_sentinels_elect_by_their_quorum_only() -> None:
    assert elected(["a 1", "a 1", "b 1"], 2) == "a 1"
    assert elected(["a 1", "b 1", ""], 2) == ""
    assert elected(["", "", ""], 1) == ""


def test_a_guest_is_who_follows_a_host_of_the_other_cluster() -> None:
    hostvars = {
        "one": {"__redis_state": {"primary": "10.0.0.9 6379"}},
        "two": {"__redis_state": {"primary": "10.0.0.1 6379"}},
        "three": {"__redis_state": {"primary": None}},
        "four": {},
    }
    assert guests(list(hostvars), hostvars, ["10.0.0.9"]) == ["one"]
    assert guests(list(hostvars), hostvars, []) == []


def test_a_value_is_one_word_of_a_configuration_file() -> None:
    assert quoted("p" * 3) == '"ppp"'
    assert quoted("""a "b" 'c' \\d #e""") == """"a \\"b\\" 'c' \\\\d #e\""""
    assert quoted(7) == '"7"'  # type: ignore[arg-type]
