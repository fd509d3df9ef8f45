"""What an inventory says about reaching its hosts."""

from __future__ import annotations

from pathlib import Path

import pytest

from dbops.control.inventory import hosts
from dbops.errors import ConfigError

INVENTORY = """
all:
  vars:
    ansible_user: admin
    state: "{{ inventory_dir }}/state"
    ansible_ssh_private_key_file: "{{ state }}/key"
    ansible_ssh_common_args: -o UserKnownHostsFile={{ state }}/known_hosts -o Compression=no
  hosts:
    b: {ansible_host: 10.0.0.2, ansible_port: 2222}
    a: {ansible_user: root, ansible_ssh_common_args: "-oUserKnownHostsFile='/x y/kh'"}
"""


def test_templates_are_resolved(tmp_path: Path) -> None:
    path = tmp_path / "hosts.yml"
    path.write_text(INVENTORY)
    first, second = hosts(path)
    assert (first.name, first.address, first.port, first.user) == ("a", "a", 22, "root")
    assert (second.address, second.port, second.user) == ("10.0.0.2", 2222, "admin")
    assert second.key_file == tmp_path / "state" / "key"
    assert second.known_hosts == (tmp_path / "state" / "known_hosts",)
    assert [host.name for host in hosts(path, "b")] == ["b"]


@pytest.mark.parametrize(
    ("text", "limit", "words"),
    [
        (INVENTORY, "nobody", "No host"),
        ("all: {hosts: {a: {ansible_host: '{{ absent }}'}}}", None, "cannot be used"),
    ],
)
def test_what_is_wrong_is_one_sentence(
    text: str, limit: str | None, words: str, tmp_path: Path
) -> None:
    path = tmp_path / "hosts.yml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=words) as caught:
        hosts(path, limit)
    assert "\n" not in str(caught.value)


def test_absent(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No inventory"):
        hosts(tmp_path / "absent")
