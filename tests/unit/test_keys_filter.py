"""Public keys that hosts give: two words of one line, or a sentence that names the host."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError

from plugins.filter import keys

pytestmark = pytest.mark.unit

KEY = "ssh-ed25519 " + "AAAAC3NzaC1lZDI1NTE5AAAAI" + "K" * 43
EVIL = "ssh-ed25519 " + "AAAAC3NzaC1lZDI1NTE5AAAAI" + "E" * 43


def slurped(text: str, **more: Any) -> dict[str, Any]:
    content = base64.b64encode(text.encode()).decode()
    return {"content": content, "source": "/etc/key.pub", **more}


def test_two_words_are_taken_and_a_comment_left() -> None:
    assert keys.public_key(slurped(f"{KEY} root@pg1 and more\n"), "pg1") == KEY
    assert keys.public_key(slurped(KEY), "pg1") == KEY
    assert keys.public_key({}, "pg1") == ""
    assert keys.public_key({"msg": "file not found: /x"}, "pg1") == ""


@pytest.mark.parametrize(
    "text",
    [
        f"{KEY} a\n{EVIL} b\n",
        f"{KEY}\n\nrestrict {EVIL}\n",
        f"{KEY}\n# BEGIN mysql other\n",
        f"{KEY}\r{EVIL}",
        f"{KEY} \x0b{EVIL}",
        f'from="10.0.0.1" {KEY}',
        f"{KEY}A",
        KEY[:-1],
        KEY.replace(" ", "  "),
        KEY.replace("ssh-ed25519", "ssh-rsa"),
        KEY.replace("K", ",", 1),
        f"\n{KEY}",
        "\n",
        "{{ lookup('pipe', 'id') }}",
    ],
)
def test_anything_else_is_refused_by_the_hosts_name(text: str) -> None:
    with pytest.raises(
        AnsibleFilterError, match=r"What pg1 gives as a public key \(/etc/key.pub\)"
    ):
        keys.public_key(slurped(text), "pg1")


def test_a_known_host_is_its_address_and_its_key() -> None:
    host = {"inventory_hostname": "pg1", "ansible_host": "10.0.0.1", "read": slurped(f"{KEY} x\n")}
    assert keys.known_host(host, "read") == f"10.0.0.1 {KEY}\n"
    assert keys.known_host({**host, "read": {}}, "read") == ""


def test_who_was_not_asked_stays_known_and_who_left_does_not() -> None:
    asked = {"inventory_hostname": "a", "ansible_host": "10.0.0.1", "read": slurped(f"{KEY} x\n")}
    down = {"inventory_hostname": "b", "ansible_host": "10.0.0.2"}
    new = {"inventory_hostname": "c", "ansible_host": "10.0.0.3"}
    lines = (f"10.0.0.{n} {EVIL}\n" for n in (1, 2, 4))
    former = slurped("".join(lines))
    found = keys.known_hosts([asked, down, new], "read", former)
    assert found == f"10.0.0.1 {KEY}\n10.0.0.2 {EVIL}\n"
    assert keys.known_hosts([asked, down], "read", {"msg": "file not found"}) == f"10.0.0.1 {KEY}\n"


def test_readers_are_those_that_are_meant_and_who_is_down_keeps_its_line() -> None:
    former = slurped(
        f"# BEGIN mysql flights\nrestrict {KEY} b\nrestrict {EVIL} gone\nrestrict {KEY} c\n"
        f"{EVIL} b\nrestrict {EVIL}\nrestrict {KEY} x y\n"
    )
    results: list[dict[str, Any]] = [
        slurped(f"{EVIL} own\n", reader="a"),
        {"reader": "b", "unreachable": True},
        {"reader": "c", "failed": False, "msg": "file not found: /x"},
        {"reader": "d", "unreachable": True},
    ]
    assert keys.readers(results, former, "backup") == (f"restrict {EVIL} a\nrestrict {KEY} b\n")
    assert keys.readers([], former, "backup") == ""
    assert keys.readers(results[:1], {"failed": False, "msg": "file not found"}, "backup") == (
        f"restrict {EVIL} a\n"
    )
