"""Names that the server is given, and a client without its password."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest
from prometheus_client.parser import text_string_to_metric_families

from lab import fleet
from tests.e2e.postgresql.hosts import Site
from tests.e2e.refusals import HOSTILE

pytestmark = pytest.mark.usefixtures("nothing_changes")


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


def test_a_missing_secret_of_a_client_is_no_traceback(site: Site) -> None:
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(site.dsn("flights_writer"), passfile=os.devnull).close()
