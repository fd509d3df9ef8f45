"""Bad target files: torn, foreign, unreadable, or pointing at what is not dbops's."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.postgresql.hosts import CLUSTER, Site
from tests.e2e.refusals import refused

pytestmark = pytest.mark.usefixtures("nothing_changes")
_TARGETS = "/run/bad-targets"


def _target(site: Site, options: dict[str, Any] | None = None, **words: Any) -> str:
    """Return the target file of pg1 with some words changed."""
    settings = site.settings("pg1")
    settings["options"].update(options or {})
    return json.dumps({**settings, "cluster": "bad", **words})


@pytest.mark.parametrize(
    ("text", "mode", "names"),
    [
        ("{", 0o640, ["line 1", "not JSON"]),
        ("", 0o640, ["not JSON"]),
        ("[]", 0o640, ["/bad.json"]),
        ("\udcff", 0o640, ["not UTF-8"]),
        ({"schema_version": 2}, 0o640, ["schema_version"]),
        ({"engine": "oracle"}, 0o640, ["Unknown engine 'oracle'", "postgresql"]),
        ({"engine": "../postgresql"}, 0o640, ["engine"]),
        ({"cluster": "a;touch x"}, 0o640, ["cluster"]),
        ({"part": "owner"}, 0o640, ["part"]),
        ({"colour": "red"}, 0o640, ["colour"]),
        ({"options": {"prot": 5432}}, 0o640, ["prot"]),
        ({"options": {"port": "many"}}, 0o640, ["port"]),
        ({"objectives": {"rpo_seconds": -1, "rto_seconds": 1}}, 0o640, ["rpo_seconds"]),
        ({}, 0o644, ["0644", "chmod 0640"]),
        ({}, 0o660, ["0660", "chmod 0640"]),
    ],
    ids=str,
)
def test_a_bad_target_file(
    site: Site, tmp_path: Path, text: str | dict[str, Any], mode: int, names: list[str]
) -> None:
    content = text if isinstance(text, str) else _target(site, **text)
    coded = content.encode(errors="surrogateescape").hex()
    script = f"bytes.fromhex('{coded}')"
    site.root(
        "pg1",
        f'mkdir -p -m 0700 {_TARGETS}; cd {_TARGETS}; python3 -c "import sys; '
        f"open('bad.json', 'wb').write({script})\"; chmod {mode:o} bad.json",
    )
    try:
        done = site.run("pg1", "env", f"DBOPS_TARGETS_DIR={_TARGETS}", "dbops", "audit",
                        "--cluster", "bad")  # fmt: skip
    finally:
        site.root("pg1", f"rm -rf {_TARGETS}")
    refused(done, 2, *names)


def test_an_unreadable_target_file_and_directory(site: Site) -> None:
    site.root("pg1", f"mkdir -p -m 0755 {_TARGETS}; touch {_TARGETS}/bad.json; "
              f"chmod 0600 {_TARGETS}/bad.json")  # fmt: skip
    words = ("env", f"DBOPS_TARGETS_DIR={_TARGETS}", "dbops", "audit", "--cluster", "bad")
    try:
        refused(site.run("pg1", *words, user="nobody"), 2, "bad.json", "Permission denied")
    finally:
        site.root("pg1", f"rm -rf {_TARGETS}")
    refused(site.run("pg1", "dbops", "audit", user="nobody"), 2, "run dbops as root")
    refused(site.run("pg1", *words), 2, "No target 'bad'")


def test_a_restore_does_not_take_a_directory_that_holds_something_else(site: Site) -> None:
    settings = site.settings("pg1")
    settings["options"]["data_dir"] = "/srv/precious"
    text = shlex.quote(json.dumps(settings))
    site.root(
        "pg1",
        f"umask 027; mkdir -p /srv/precious {_TARGETS}; echo dear > /srv/precious/file; "
        f"echo {text} > {_TARGETS}/{CLUSTER}.json",
    )
    try:
        done = site.run("pg1", "env", f"DBOPS_TARGETS_DIR={_TARGETS}", "dbops", "restore", "run",
                        "--confirm", CLUSTER)  # fmt: skip
        assert site.root("pg1", "cat /srv/precious/file; ls -A /srv") == "dear\nprecious"
    finally:
        site.root("pg1", f"rm -rf /srv/precious {_TARGETS}")
    refused(done, 7, "/srv/precious", "not a PostgreSQL data directory")
