"""Drills: killed, and red for each bit, row and version that is not what it should be."""

from __future__ import annotations

import json
import re
from typing import Any

import psycopg
import pytest
from psycopg import sql

from tests.e2e.hosts import wait
from tests.e2e.postgresql.hosts import CLUSTER, Load, Site
from tests.e2e.same.site import bit_flipped

_SCRATCH = f"/var/lib/dbops/{CLUSTER}/scratch"
# Whatever works in the scratch data: a cell's processes have other numbers inside.
_SERVERS = (
    f"for one in /proc/[0-9]*; do [ $one/cwd -ef {_SCRATCH}/data ] 2>/dev/null && "
    "echo ${one#/proc/}; done"
)
_REPOSITORY = "/var/lib/pgbackrest"
_BACKUPS = f"{_REPOSITORY}/backup/{CLUSTER}"


def _last(site: Site) -> dict[str, Any]:
    history: list[dict[str, Any]] = site.dbops("drill1", "drill", "history", "--json").json()
    return history[-1]


def _red(site: Site, status: int = 6) -> tuple[str, dict[str, Any]]:
    """Run a drill that must fail; return its complaint and its record."""
    done = site.dbops("drill1", "drill", "run", ok=False)
    assert done.status == status, done.said
    record = _last(site)
    assert record["proven"] is False
    assert site.root("drill1", f"ls -d {_SCRATCH} 2>/dev/null || echo gone", ok=False) == "gone"
    return " ".join(done.stderr.split()), record


def test_a_killed_drill_leaves_no_server_and_the_next_one_its_place(whole: Site) -> None:
    whole.root(
        "drill1",
        "dbops drill run >/dev/null 2>&1 & "
        f'for i in $(seq 1200); do [ -n "$({_SERVERS})" ] && break; sleep 0.05; done; '
        f'[ -n "$({_SERVERS})" ] && kill -9 $!; '
        f'for i in $(seq 100); do [ -z "$({_SERVERS})" ] && exit 0; sleep 0.05; done; exit 1',
    )
    assert whole.root("drill1", f"ls -d {_SCRATCH}") == _SCRATCH
    whole.dbops("drill1", "drill", "run")
    assert whole.root("drill1", f"ls -d {_SCRATCH} 2>/dev/null || echo gone", ok=False) == "gone"


def _files(words: str) -> set[str]:
    return {name.removesuffix(".zst") for name in re.findall(r"pg_data/[\w/.]+\w", words)}


def test_one_flipped_bit_in_a_bundle_is_found_and_named(load: Load) -> None:
    site = load.site
    site.take("full")
    label = site.backups()[-1]["backup_id"]
    largest = (
        f"find {_BACKUPS}/{label} -type f -path '*/bundle/*' -printf '%s %p\\n' | sort -n | tail -1"
    )
    file = site.root("backup1", largest).split()[-1]
    with bit_flipped(site, "backup1", file):
        verified = site.dbops("backup1", "backup", "verify", ok=False)
        said, _ = _red(site)
    assert label in verified.said
    assert verified.status == 6
    assert label in said
    assert _files(said), said
    # pgBackRest 2.44 names the files in the bundle, 2.55 the bundle.
    damaged, bundle = _files(verified.said), f"{label}/bundle/{file.rsplit('/', 1)[-1]}"
    assert damaged & _files(said) or bundle in verified.said, (verified.said, said)
    assert site.dbops("backup1", "backup", "verify").status == 0
    site.dbops("drill1", "drill", "run")


def test_one_flipped_bit_in_the_log_is_found_and_named(load: Load) -> None:
    site = load.site
    site.take("incremental")
    with load.running():
        load.more(100)
    segment = site.wait_archived()
    with load.running():
        load.more(50)
    site.wait_archived()
    file = site.root("backup1", f"ls {_REPOSITORY}/archive/{CLUSTER}/*/*/{segment}-*")
    with bit_flipped(site, "backup1", file):
        verified = site.dbops("backup1", "backup", "verify", ok=False)
        said, _ = _red(site)
    assert verified.status == 6
    assert segment in verified.said
    assert segment in said
    assert site.dbops("backup1", "backup", "verify").status == 0


def test_one_value_one_row_and_one_table_are_missed(whole: Site) -> None:
    """The expectation of the first backup is laid beside the second, which lacks the three."""
    with psycopg.connect(whole.dsn("flights_owner"), autocommit=True) as connection:
        for name in ("one_value", "one_row", "one_table"):
            table = sql.Identifier("flights", name)
            connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(table))
            create = "CREATE TABLE {} AS SELECT i, 'v' || i AS v FROM generate_series(1, 5000) AS i"
            connection.execute(sql.SQL(create).format(table))
        whole.take("incremental")
        first = whole.backups()[-1]["backup_id"]
        connection.execute("UPDATE flights.one_value SET v = 'v4243' WHERE i = 4242")
        connection.execute("DELETE FROM flights.one_row WHERE i = 77")
        connection.execute("DROP TABLE flights.one_table")
        whole.take("incremental")
        second = whole.backups()[-1]["backup_id"]
        for name in ("one_value", "one_row"):
            connection.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier("flights", name)))
    path = f"{_BACKUPS}/{second}/dbops.json"
    before = json.loads(whole.root("backup1", f"cat {_BACKUPS}/{first}/dbops.json"))
    after = json.loads(whole.root("backup1", f"cat {path}"))
    expected = {t["name"]: t for t in _tables(before)}
    tables = _tables(after)
    tables[:] = [expected[t["name"]] if "one_" in t["name"] else t for t in tables]
    tables.append(expected["flights.one_table"])
    whole.root(
        "backup1", f"cp -a {path} /run/kept.json; cat > {path} <<'END'\n{json.dumps(after)}\nEND"
    )
    try:
        said, record = _red(whole)
    finally:
        whole.root("backup1", f"cp -a /run/kept.json {path}")
    found = {one["table"]: one["what"] for one in record["differences"]}
    assert found == {
        "flights.one_value": "content",
        "flights.one_row": "rows",
        "flights.one_table": "missing table",
    }
    assert "flights.one_" in said
    whole.dbops("drill1", "drill", "run")


def _tables(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    databases = manifest["fingerprints"][0]["databases"]
    found: list[dict[str, Any]] = next(
        one["tables"] for one in databases if one["database"] == CLUSTER
    )
    return found


@pytest.mark.parametrize("host", ["standby", "drill1"])
def test_a_backup_of_a_newer_major_version_is_refused(whole: Site, host: str) -> None:
    """No second major version is at hand: the target's programs say that they are an older one."""
    name = whole.replica() if host == "standby" else host
    target = whole.settings(name)
    older = str(int(target["version"]) - 1)
    real = target["options"]["bin_dir"]
    target["options"]["bin_dir"] = "/run/older/bin"
    place = "/run/older"
    whole.root(
        name,
        f"mkdir -p {place}/bin {place}/targets; ln -sf {real}/* {place}/bin/; "
        f"rm {place}/bin/postgres; "
        f"printf '#!/bin/sh\\necho \"postgres (PostgreSQL) {older}.1\"\\n' > {place}/bin/postgres; "
        f"chmod 0755 {place} {place}/bin {place}/bin/postgres; "
        f"cat > {place}/targets/{CLUSTER}.json <<'END'\n{json.dumps(target)}\nEND\n"
        f"chmod 0640 {place}/targets/{CLUSTER}.json",
    )
    words = ("restore", "run", "--confirm", CLUSTER) if host == "standby" else ("drill", "run")
    program = "/usr/local/bin/dbops"
    try:
        if host == "standby":
            whole.server(name, "stop")
        done = whole.run(name, "env", f"DBOPS_TARGETS_DIR={place}/targets", program, *words)
    finally:
        whole.root(name, f"rm -r {place}")
        if host == "standby":
            whole.server(name, "start")
    assert done.status in (2, 6), done.said
    assert f"PostgreSQL {target['version']}" in done.said
    assert older in done.said
    assert "Traceback" not in done.said
    whole.wait_whole()
    assert whole.root(name, f"ls -d {_SCRATCH} 2>/dev/null || echo gone", ok=False) == "gone"
    wait(lambda: whole.ask(whole.primary(), "SELECT 1") == "1", 10, "the cluster")
