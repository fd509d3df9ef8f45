"""Bad input: one clear sentence, the documented status, nothing half done."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from prometheus_client.parser import text_string_to_metric_families

from demo.__main__ import CLUSTER
from lab import fleet
from tests.e2e.hosts import Done, Site
from tests.e2e.state import changes, state

HOSTILE = (
    "a;touch x",
    "$(id>/tmp/x)",
    "`id`",
    "-rf",
    "--help",
    'it\'s "quoted"',
    "back\\slash",
    "%s %(user)s",
    "новый ключ",
    "../../etc/cron.d/x",
    " ",
)
_TARGETS = "/run/bad-targets"
_OLD = "20200101-000000F"


@pytest.fixture(autouse=True, scope="module")
def nothing_changes(site: Site) -> Iterator[None]:
    """Compare the whole fleet before the first test with that after the last."""
    site.heal()
    before = state(site)
    yield
    assert changes(before, state(site)) == []
    assert site.root("pg1", "ls -d /tmp/x /x /root/x /home/ops/x /etc/cron.d/x || true") == ""


def _refused(done: Done, status: int, *names: str) -> None:
    """Assert that a command ended with ``status`` and one sentence that says ``names``."""
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("dbops: "), lines
    assert lines[0].endswith("."), lines
    assert done.status == status, (done.status, lines)
    assert "Unexpected" not in lines[0]
    for name in names:
        assert name in lines[0], lines[0]


# On a host


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
    _refused(done, 2, *names)


def test_an_unreadable_target_file_and_directory(site: Site) -> None:
    site.root("pg1", f"mkdir -p -m 0755 {_TARGETS}; touch {_TARGETS}/bad.json; "
              f"chmod 0600 {_TARGETS}/bad.json")  # fmt: skip
    words = ("env", f"DBOPS_TARGETS_DIR={_TARGETS}", "dbops", "audit", "--cluster", "bad")
    try:
        _refused(site.run("pg1", *words, user="nobody"), 2, "bad.json", "Permission denied")
    finally:
        site.root("pg1", f"rm -rf {_TARGETS}")
    _refused(site.run("pg1", "dbops", "audit", user="nobody"), 2, "run dbops as root")
    _refused(site.run("pg1", *words), 2, "No target 'bad'")


@pytest.mark.parametrize(
    ("host", "line", "status", "names"),
    [
        ("pg1", "check --cluster nowhere", 2, ["'nowhere'", "flights"]),
        ("pg1", "check --clutser flights", 2, ["--clutser", "--help"]),
        ("pg1", "chekc", 2, ["chekc"]),
        ("pg1", "restore run --time yesterday", 2, ["yesterday", "2026-05-01T12:30:00Z"]),
        ("pg1", "restore run --time 2026-05-01T12:30:00", 2, ["zone"]),
        (
            "pg1",
            "restore run --time 2001-01-01T00:00:00Z --dry-run",
            2,
            ["recovery window", "to 2"],
        ),
        (
            "pg1",
            "restore run --time 2999-01-01T00:00:00Z --dry-run",
            2,
            ["recovery window", "to 2"],
        ),
        ("pg1", "restore run --point FFFF/0 --dry-run", 2, ["recovery window"]),
        ("pg1", "restore run --point zero --dry-run", 2, ["zero"]),
        ("pg1", "restore run --time 2026-05-01T12:30:00Z --name x", 2, ["one of"]),
        ("pg1", f"restore run --backup-id {_OLD} --dry-run", 2, [_OLD]),
        ("pg1", "restore run --confirm flights", 7, ["running", "stop it"]),
        ("pg1", "restore run", 7, ["running"]),
        ("pg1", "restore discard --confirm flight", 7, ["flight"]),
        ("drill1", "restore run --dry-run", 2, ["member"]),
        ("drill1", f"drill run --backup-id {_OLD}", 2, [_OLD]),
        ("drill1", "backup take", 2, ["repository"]),
        ("pg1", "drill run", 2, ["drill"]),
        ("backup1", f"backup expire --backup-id {_OLD} --confirm flights", 2, [_OLD]),
        ("backup1", "backup expire --confirm flight", 7, ["flight"]),
        ("backup1", "backup take --type whole", 2, ["whole", "full"]),
        ("pg1", "fingerprint --compare /nowhere.json", 2, ["/nowhere.json"]),
        ("pg1", "fingerprint --compare /etc/hostname", 2, ["/etc/hostname"]),
        ("pg1", "exporter --listen everywhere", 2, ["everywhere"]),
        ("pg1", "exporter --listen 0.0.0.0:9699", 7, ["0.0.0.0", "--client-ca"]),
    ],
)
def test_a_bad_word(site: Site, host: str, line: str, status: int, names: list[str]) -> None:
    done = site.dbops(host, *line.split(), ok=False)
    _refused(done, status, *names)
    assert done.stdout == ""


@pytest.mark.parametrize("name", [*HOSTILE, "a\nb", "x" * 300])
def test_a_hostile_name_on_the_command_line(site: Site, name: str) -> None:
    for host, lines in (
        ("pg1", (
            ["check", f"--cluster={name}"],
            ["restore", "run", f"--backup-id={name}", "--dry-run"],
            ["restore", "run", f"--point={name}", "--dry-run"],
        )),
        ("drill1", (["drill", "run", f"--backup-id={name}"],)),
    ):  # fmt: skip
        for words in lines:
            done = site.root(host, f'dbops {shlex.join(words)} 2>&1 >/dev/null; echo "status $?"')
            said = done.splitlines()
            assert len(said) == 2, done
            assert said[0].startswith("dbops: "), done
            assert "Unexpected" not in said[0]
            assert said[1] == "status 2", done


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
    _refused(done, 7, "/srv/precious", "not a PostgreSQL data directory")


# In the server


def _access(site: Site, **arguments: Any) -> subprocess.CompletedProcess[str]:
    """Run the module that reconciles roles and databases, additively, on the primary."""
    extra = ("-e", "ansible_python_interpreter=/opt/dbops/bin/python")
    words = json.dumps({"exact": False, **arguments})
    program = str(Path(sys.executable).with_name("ansible"))
    return subprocess.run(
        [program, "-i", str(site.inventory), site.primary(), "-b", "--become-user", "postgres",
         "-m", "postgresql_access", *extra, "-a", words],
        cwd=fleet.CHECKOUT, env=site.environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_hostile_names_of_databases_and_roles_are_taken_literally(site: Site) -> None:
    names = [*HOSTILE, "two\nlines"]
    roles = [{"name": name, "login": True} for name in names]
    databases: list[dict[str, Any]] = [
        {"name": name, "owner": name, "schemas": [{"name": name, "owner": name}]} for name in names
    ]
    grants = [{"role": name, "database": name, "privileges": ["CONNECT"]} for name in names]
    grants += [{"role": "dbops_backup", "database": name, "privileges": ["CONNECT"]}
               for name in names]  # fmt: skip
    primary = site.primary()
    try:
        done = _access(site, roles=roles, databases=databases, grants=grants)
        assert done.returncode == 0, done.stdout + done.stderr
        found = json.loads(site.ask(primary, "SELECT json_agg(datname) FROM pg_database"))
        assert set(names) <= set(found)
        found = json.loads(site.ask(primary, "SELECT json_agg(rolname) FROM pg_roles"))
        assert set(names) <= set(found)

        again = _access(site, roles=roles, databases=databases, grants=grants)
        assert again.stdout.startswith(f"{primary} | SUCCESS"), again.stdout

        prints = site.dbops(primary, "fingerprint", "--json").json()
        seen = {database["database"] for one in prints for database in one["databases"]}
        assert set(names) <= seen
        for words in (("check",), ("audit",), ("status",)):
            done_here = site.dbops(primary, *words, ok=False)
            assert done_here.status in (0, 6), done_here.said
            assert "Unexpected" not in done_here.said
        page = site.root(
            primary,
            "python3 -c 'from urllib.request import urlopen; "
            'print(urlopen("http://127.0.0.1:9630/metrics").read().decode())\'',
        )
        samples = [s for f in text_string_to_metric_families(page) for s in f.samples]
        assert [s.value for s in samples if s.name == "dbops_up"] == [1.0]
        # pgBackRest would take this backup and never be able to read its manifest again.
        refused = site.take("incremental", ok=False)
        assert refused.status == 2, refused.said
        assert "two" in refused.said
        site.ask(primary, 'DROP DATABASE "two\nlines"')
        site.take("incremental")
        assert site.dbops("backup1", "backup", "verify").status == 0
    finally:
        for name in names:
            quoted = '"' + name.replace('"', '""') + '"'
            site.ask(primary, f"DROP DATABASE IF EXISTS {quoted} WITH (FORCE)")
            site.ask(primary, f"DROP ROLE IF EXISTS {quoted}")


@pytest.mark.parametrize("name", ["", "x" * 64, "ключ" * 10])
def test_a_name_that_the_server_cannot_take_is_refused(site: Site, name: str) -> None:
    for words in ({"roles": [{"name": name}]}, {"databases": [{"name": name}]}):
        done = _access(site, **words)
        assert done.returncode != 0
        assert "Traceback" not in done.stdout + done.stderr
        assert re.search(r"empty|at most\s+63|\b63\b", done.stdout), done.stdout


# On the controller


def _dbops(site: Site, *words: str, **environment: str) -> Done:
    done = subprocess.run(
        [str(Path(sys.executable).with_name("dbops")), *words], cwd=fleet.CHECKOUT,
        env={**site.environment(), **environment}, capture_output=True, text=True, check=False,
        stdin=subprocess.DEVNULL, timeout=120,
    )  # fmt: skip
    return Done(done.returncode, done.stdout, done.stderr)


def _last(done: Done) -> Done:
    """Leave the last line of the standard error: a play tells its progress on it, too."""
    assert "Traceback" not in done.stderr
    sentences = [line for line in done.stderr.splitlines() if line.startswith("dbops: ")]
    assert len(sentences) == 1, done.stderr
    assert done.stderr.splitlines()[-1] == sentences[0]
    return Done(done.status, done.stdout, sentences[0])


@pytest.mark.parametrize(
    ("verb", "extra", "status", "names"),
    [
        ("restore", {"dbops_confirm": "flight"}, 5, ["flight", "Nothing was changed"]),
        ("restore", {}, 5, ["exact name", "Nothing was changed"]),
        ("switchover", {"dbops_confirm": "flight"}, 5, ["Nothing was changed"]),
        ("site", {"postgresql_max_conections": 5}, 5,
         ["postgresql_max_conections", "did you mean postgresql_max_connections?"]),
        ("secure", {"postgresql_backup_password": ""}, 5, ["postgresql_backup_password", "secret"]),
        ("secure", {"postgresql_cluster": "a;touch x"}, 5, ["postgresql_cluster"]),
        ("secure", {"postgresql_members": ["pg1", "$(touch /tmp/x)"]}, 5, ["postgresql_members"]),
        ("restore", {"dbops_confirm": CLUSTER, "postgresql_restore_time": "2001-01-01T00:00:00Z"},
         5, ["recovery window"]),
        ("restore", {"dbops_confirm": CLUSTER, "postgresql_restore_backup_id": "a;touch x"},
         5, ["a;touch x"]),
    ],
    ids=lambda value: str(value)[:40],
)  # fmt: skip
def test_a_bad_variable(
    site: Site, tmp_path: Path, verb: str, extra: dict[str, Any], status: int, names: list[str]
) -> None:
    file = tmp_path / "extra.json"
    file.write_text(json.dumps(extra))
    done = _dbops(site, "play", verb, "-i", str(site.inventory), "-e", f"@{file}")
    _refused(_last(done), status, *names)
    assert site.streaming()


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["play", "destroy", "-i", "INV"], ["'destroy'", "restore"]),
        (["play", "../../etc/cron.d/x", "-i", "INV"], ["cron.d"]),
        (["play", "site", "-i", "/nowhere"], ["/nowhere"]),
        (["play", "site", "-i", "INV", "-e", "@/nowhere"], ["/nowhere"]),
        (["play", "site", "-i", "INV", "-e", "postgresql_backup_password=x"], ["@FILE"]),
        (["play", "site", "-i", "INV", "-e", "--become"], ["NAME=VALUE"]),
        (["fleet", "status", "-i", "INV", "--limit", "nobody"], ["nobody"]),
        (["fleet", "status"], ["--inventory"]),
    ],
    ids=lambda value: " ".join(value)[:40],
)
def test_a_bad_word_on_the_controller(site: Site, words: list[str], names: list[str]) -> None:
    done = _dbops(site, *[str(site.inventory) if word == "INV" else word for word in words])
    _refused(done, 2, *names)


@pytest.fixture
def inventory(site: Site, tmp_path: Path) -> Path:
    """Return a copy of the lab's inventory that a test may spoil."""
    folder = tmp_path / "inventory"
    shutil.copytree(site.inventory, folder, symlinks=True)
    return folder


def _spoil(inventory: Path, host: str, address: str) -> None:
    file = inventory / "zzz_spoiled.yml"
    file.write_text(json.dumps({"all": {"hosts": {host: {"ansible_host": address}}}}))


def test_an_unreachable_host(site: Site, inventory: Path) -> None:
    _spoil(inventory, "pg2", site.lab.address("pg2").rsplit(".", 1)[0] + ".250")
    done = _dbops(site, "play", "monitor", "-i", str(inventory))
    _refused(_last(done), 4, "pg2", "unreachable")
    done = _dbops(site, "fleet", "status", "-i", str(inventory), "--timeout", "4")
    assert done.status == 4, done.stderr
    assert "pg2: " in done.stderr
    assert "Traceback" not in done.stderr
    assert "primary" in done.stdout, "the others were not asked"


def test_a_changed_host_key(site: Site, inventory: Path) -> None:
    known = (site.lab.state / "known_hosts").read_text().splitlines()
    keys = [line.split(" ", 1) for line in known]
    pg2 = site.lab.address("pg2")
    strange = next(key for address, key in keys if address != pg2)
    file = inventory.parent / "known_hosts"
    file.write_text(
        "".join(f"{address} {strange if address == pg2 else key}\n" for address, key in keys)
    )
    addresses = inventory / "zz_addresses.yml"
    addresses.write_text(
        addresses.read_text().replace(str(site.lab.state / "known_hosts"), str(file))
    )
    assert str(file) in addresses.read_text()
    # An open connection of an earlier play would be used again, without another look at the key.
    with tempfile.TemporaryDirectory() as sockets:
        own = {"ANSIBLE_SSH_CONTROL_PATH_DIR": sockets}
        done = _dbops(site, "play", "monitor", "-i", str(inventory), **own)
    _refused(_last(done), 4, "pg2", "host key")
    done = _dbops(site, "fleet", "status", "-i", str(inventory))
    assert done.status == 4, done.stderr
    assert re.search("pg2: .*key", done.stderr), done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("address", ["-oProxyCommand=touch${IFS}/tmp/pwned", "a;touch /tmp/pwned"])
def test_a_hostile_address(site: Site, inventory: Path, address: str) -> None:
    pwned = Path("/tmp/pwned")
    _spoil(inventory, "pg2", address)
    done = _dbops(site, "fleet", "status", "-i", str(inventory), "--limit", "pg2")
    assert done.status in (2, 4), done.stderr
    assert "Traceback" not in done.stderr
    done = _dbops(site, "play", "monitor", "-i", str(inventory))
    assert done.status in (2, 4), done.stderr
    assert "Traceback" not in done.stderr
    assert not pwned.exists()


def test_a_missing_secret_of_a_client_is_no_traceback(site: Site) -> None:
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(site.dsn("flights_writer"), passfile=os.devnull).close()
