"""The question before something is destroyed, with real Ansible on this machine alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
PLAYBOOK = """
- name: Replace things
  hosts: all
  gather_facts: false
  tasks:
    - name: Ask for the cluster's exact name
      ansible.builtin.include_role: {name: dbops, tasks_from: confirm}
      vars:
        __dbops_confirm_action: replace things
        __dbops_confirm_alone: "{{ alone | default(true) }}"
    - name: Replace them
      ansible.builtin.debug: {msg: replaced}
"""
ONE, OTHER = {"dbops_cluster": "one"}, {"dbops_cluster": "other"}


def _ask(folder: Path, hosts: dict[str, dict[str, str]], *words: str) -> tuple[int, str]:
    (folder / "play.yml").write_text(PLAYBOOK)
    inventory = {
        "all": {"hosts": {n: {"ansible_connection": "local", **v} for n, v in hosts.items()}}
    }
    (folder / "hosts.yml").write_text(json.dumps(inventory))
    done = subprocess.run(
        [str(Path(sys.executable).with_name("ansible-playbook")), "-i", str(folder / "hosts.yml"),
         str(folder / "play.yml"), *words],
        cwd=CHECKOUT, env={**os.environ, "ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg")},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.returncode, " ".join(done.stdout.split())


@pytest.mark.parametrize(
    "other",
    [
        {"dbops_engine": "redis", **OTHER},
        {"dbops_engine": "postgresql", "dbops_cluster": "one"},
        {"dbops_engine": "postgresql"},
    ],
    ids=["other cluster", "other engine", "other engine without a name"],
)
def test_hosts_of_other_clusters_are_refused(tmp_path: Path, other: dict[str, str]) -> None:
    hosts = {"a": {"dbops_engine": "redis", **ONE}, "b": other}
    status, said = _ask(tmp_path, hosts, "-e", "dbops_confirm=one")
    assert status != 0
    assert (
        "This would replace things, but b in this run belongs to another cluster than one." in said
    )
    assert "--limit" in said
    assert '"msg": "replaced"' not in said
    status, said = _ask(tmp_path, hosts, "-e", "dbops_confirm=one", "--limit", "a")
    assert status == 0, said


def test_hosts_of_one_cluster_are_not(tmp_path: Path) -> None:
    named = {"dbops_engine": "redis", **ONE}
    assert _ask(tmp_path, {"a": named, "b": named}, "-e", "dbops_confirm=one")[0] == 0


def test_a_migration_has_two_clusters(tmp_path: Path) -> None:
    hosts = {
        "a": {"dbops_engine": "redis", **ONE},
        "b": {"dbops_engine": "redis", **ONE},
        "c": {"dbops_engine": "redis", **OTHER},
    }
    words = ("-e", "dbops_confirm=one", "-e", '{"alone": false}')
    # The name is asked for, which comes after the refusal of other clusters' hosts.
    assert "is not its name" in _ask(tmp_path, hosts, *words)[1]
