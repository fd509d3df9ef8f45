"""``dbops play`` with real Ansible on this machine alone."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from dbops import cli

pytest.importorskip("ansible_runner")

Capture = pytest.CaptureFixture[str]

PLAYBOOK = """
- name: Things
  hosts: all
  gather_facts: false
  tasks:
    - name: Say what was given
      ansible.builtin.debug: {msg: "{{ word | default('none') }}"}
    - name: Change something
      ansible.builtin.command: {argv: [/bin/echo, x]}
      changed_when: true
    - name: Fail on demand
      ansible.builtin.fail: {msg: this was asked for}
      when: bad is defined
    - name: Fail as a server's tool does
      ansible.builtin.shell: |
        echo 'tool: error: directory "x" exists but is not empty' >&2
        echo 'tool: removing data directory "y"' >&2
        exit 1
      when: tool is defined
    - name: Write files
      ansible.builtin.copy:
        dest: "{{ playbook_dir }}/../{{ item }}-{{ inventory_hostname }}"
        content: "{{ item }} of {{ inventory_hostname }}\\n"
        mode: "0600"
      loop: "{{ files | default([]) }}"
    - name: Write a secret
      ansible.builtin.copy:
        dest: "{{ playbook_dir }}/../secret"
        content: canary
        mode: "0600"
      when: files is defined
      no_log: true
"""
INVENTORY = """
all:
  hosts: {a: , b: }
  vars: {ansible_connection: local, ansible_python_interpreter: /usr/bin/python3}
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("playbooks", "roles", "tmp"):
        (tmp_path / name).mkdir()
    (tmp_path / "playbooks" / "site.yml").write_text(PLAYBOOK)
    (tmp_path / "playbooks" / "broken.yml").write_text("a: [")
    (tmp_path / "inventory.yml").write_text(INVENTORY)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setattr("tempfile.tempdir", None)
    return tmp_path


def play(*arguments: str) -> int:
    return cli.run(["play", *arguments, "-i", "inventory.yml"])


def test_progress_counts_and_nothing_left_behind(project: Path, capsys: Capture) -> None:
    assert play("site", "--json") == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["a"] == {"ok": 2, "changed": 1, "failed": 0, "unreachable": 0}
    assert "PLAY Things" in err
    assert "Change something: changed 2" in err
    assert not [path for path in (project / "tmp").iterdir() if "dbops-play" in path.name]
    assert Path.cwd() == project


def test_a_failure_names_host_and_task(project: Path, capsys: Capture) -> None:
    assert play("site", "-e", "bad=1", "--limit", "a") == 5
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last == "dbops: Task 'Fail on demand' failed on a: this was asked for."


def test_the_reason_is_the_error_and_not_how_the_tool_cleaned_up(
    project: Path, capsys: Capture
) -> None:
    assert play("site", "-e", "tool=1", "--limit", "a") == 5
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.endswith('failed on a: tool: error: directory "x" exists but is not empty.')


def test_differences_are_shown_for_each_host_and_secrets_are_not(
    project: Path, capsys: Capture
) -> None:
    (project / "vars.yml").write_text("files: [one, two]")
    assert play("site", "-e", "@vars.yml", "--check", "--diff") == 0
    err = capsys.readouterr().err
    for line in ("+one of a", "+two of a", "+one of b", "+two of b"):
        assert line in err.splitlines()
    assert "Write files: a" in err
    assert "canary" not in err
    assert not list(project.glob("one-*"))
    assert play("site", "-e", "@vars.yml", "--check") == 0
    assert "+one" not in capsys.readouterr().err


def test_unreachable_is_one_sentence(project: Path, capsys: Capture) -> None:
    (project / "inventory.yml").write_text(
        "all: {hosts: {a: {ansible_host: 127.0.0.1, ansible_port: 1}}}"
    )
    assert play("site") == 4
    assert capsys.readouterr().err.strip().splitlines()[-1].startswith("dbops: a is unreachable")


def test_secrets_go_in_files(project: Path, capsys: Capture) -> None:
    assert play("site", "-e", "x_password=canary") == 2
    assert "canary" not in capsys.readouterr().err
    (project / "vars.yml").write_text("word: given")
    assert play("site", "-e", "@vars.yml", "--keep-artifacts", "kept") == 0
    assert list((project / "kept").rglob("stdout"))
    for path in (project / "kept", *(project / "kept").rglob("*")):
        assert path.stat().st_mode & 0o077 == 0, path


@pytest.mark.parametrize("verb", ["nope", "../x", "-rf", "a;b", ""])
def test_unknown_playbooks_list_the_known(verb: str, project: Path, capsys: Capture) -> None:
    assert cli.run(["play", "-i", "inventory.yml", "--", verb]) == 2
    assert "broken, site" in capsys.readouterr().err


def test_a_broken_playbook(project: Path, capsys: Capture) -> None:
    assert play("broken") == 5
    err = capsys.readouterr().err
    assert "Traceback" not in err
    assert "broken" in err


def test_not_a_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.chdir(tmp_path)
    assert play("site") == 2
    assert "--project-dir" in capsys.readouterr().err
    assert os.getcwd() == str(tmp_path)
