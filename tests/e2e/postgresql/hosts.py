"""PostgreSQL's hosts under test, and a client that keeps a ledger."""

from __future__ import annotations

import re
import shlex
import time
from pathlib import Path

import psycopg

from demo.postgresql import PostgresqlFleet
from lab import faults
from lab.machine import LabError
from tests.e2e import hosts
from tests.e2e.hosts import wait

CLUSTER = PostgresqlFleet.cluster
MEMBERS = PostgresqlFleet.members


_SERVER = """
SELECT 'role', r.rolname, to_jsonb(r) - 'oid' FROM pg_authid r ORDER BY 2;
SELECT 'member', roleid::regrole, member::regrole FROM pg_auth_members ORDER BY 2, 3;
SELECT 'setting', setdatabase, setrole, setconfig FROM pg_db_role_setting ORDER BY 2, 3;
SELECT 'database', datname, datdba::regrole, datacl FROM pg_database ORDER BY 2;
SELECT 'file', name, setting FROM pg_file_settings WHERE applied ORDER BY 2, 3;
"""
_DATABASE = """
SELECT 'schema', nspname, nspowner::regrole, nspacl FROM pg_namespace
WHERE nspname !~ '^pg_(toast_)?temp' ORDER BY 2;
SELECT 'relation', oid::regclass::text, relowner::regrole, relacl FROM pg_class
WHERE relnamespace >= 16384 AND relkind NOT IN ('t', 'i') ORDER BY 2;
SELECT 'function', oid::regprocedure::text, proacl FROM pg_proc WHERE proacl IS NOT NULL ORDER BY 2;
SELECT 'default', defaclrole::regrole, defaclnamespace::regnamespace, defaclobjtype, defaclacl
FROM pg_default_acl ORDER BY 2, 3, 4;
"""


class Site(PostgresqlFleet, hosts.Site):
    """The lab's PostgreSQL hosts."""

    controls = ("PG", 30)
    profiles = frozenset({"PG-15"})  # pgaudit is a profile, off by default

    def inside(self, host: str) -> str:
        """Return roles, settings and privileges of the server on ``host``."""
        if host not in MEMBERS:
            return ""
        psql = "cd /; runuser -u postgres -- psql -XAtq"
        text = self.root(host, f"{psql} postgres <<'SQL'\n{_SERVER}\n{_DATABASE}\nSQL")
        return text + "\n" + self.root(host, f"{psql} flights <<'SQL'\n{_DATABASE}\nSQL")

    def whole(self) -> bool:
        """Return whether there is one primary with its standby streaming from it."""
        return self.streaming()

    def ask(self, host: str, query: str, ok: bool = True) -> str:
        """Return psql's answer to a query as the superuser of ``host``."""
        line = f"cd /; runuser -u postgres -- psql -XAtqc {shlex.quote(query)}"
        return self.root(host, line, ok=ok)

    def primary(self) -> str:
        """Return the member that accepts writes; AssertionError unless it is exactly one."""
        states = {host: self.ask(host, "SELECT pg_is_in_recovery()", ok=False) for host in MEMBERS}
        found = [host for host, state in states.items() if state == "f"]
        assert len(found) == 1, f"not exactly one primary: {states}"
        return found[0]

    def standby(self) -> str:
        """Return the other member."""
        return next(host for host in MEMBERS if host != self.primary())

    def streaming(self) -> bool:
        """Return whether the cluster is whole: one primary with its standby streaming from it."""
        try:
            primary = self.primary()
        except (AssertionError, LabError):
            return False
        query = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'"
        return self.ask(primary, query, ok=False) == "1"

    def wait_streaming(self, seconds: float = 60) -> None:
        """Wait until the cluster is whole."""
        wait(self.streaming, seconds, "one primary with a streaming standby")

    def wait_archived(self, seconds: float = 90) -> str:
        """Switch the log and wait until it is in the repository; return the segment's name."""
        primary = self.primary()
        segment = self.ask(primary, "SELECT pg_walfile_name(pg_switch_wal())")
        deadline = time.monotonic() + seconds
        nudge = time.monotonic() + 4
        while segment not in self.segments():
            assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {segment} archived"
            time.sleep(0.5)
            if time.monotonic() > nudge:
                # An archiver that failed sleeps for a minute unless a segment is finished.
                self.ask(primary, "SELECT pg_switch_wal()")
                nudge = time.monotonic() + 4
        return segment

    def segments(self) -> list[str]:
        """Return the WAL segments in the archive's newest generation, sorted."""
        listing = self.root(
            "backup1", f"ls /var/lib/pgbackrest/archive/{CLUSTER}/*-*/*/ | cut -c1-24"
        )
        return sorted(name for name in listing.split() if re.fullmatch("[0-9A-F]{24}", name))

    def no_hole(self) -> None:
        """Assert that every segment since the oldest backup is in the archive."""
        found = [one for one in self.checks("backup1") if one["name"] == "archived log has no hole"]
        assert found
        assert all(check["ok"] for check in found), found

    def tree(self, under: str = "") -> dict[str, str]:
        """Return the SHA-256 of every file of the repository, or of what is ``under`` it."""
        lines = self.root(
            "backup1", f"cd /var/lib/pgbackrest; find ./{under} -type f -exec sha256sum {{}} +"
        ).splitlines()
        return {line[66:]: line[:64] for line in lines}

    def heal(self) -> None:
        """Make the cluster whole again after a test that broke it."""
        if self.streaming():
            return
        running = self.powered()
        for host in self.hosts:
            if host not in running:
                faults.start(self.lab, host)
        try:
            wait(self.streaming, 10, "the cluster")
        except AssertionError:
            self._rebuild()
        self.wait_streaming()

    def _rebuild(self) -> None:
        try:
            primary = self.primary()
        except AssertionError:
            confirm = ("-e", f"dbops_confirm={CLUSTER}", "-e", "postgresql_restore_to=pg1")
            for host in MEMBERS:
                self.root(host, "systemctl stop 'postgresql@*'", ok=False)
            self.run_play("restore", *confirm)
            return
        other = next(host for host in MEMBERS if host != primary)
        self.root(other, "rm -rf /var/lib/postgresql/*/main.set-aside-*")
        self.run_play("replicate", "-e", f"postgresql_replicate_rebuild={other}")

    def writer(self, path: Path) -> Load:
        """Return a writer whose ledger is ``path``, not yet running."""
        return Load(self, path)


class Load(hosts.Load):
    """A writer whose rows hold the time at which the server wrote them."""

    site: Site

    def stored(self) -> dict[int, float]:
        """Return the rows of this ledger's writer in the database, with their times."""
        with psycopg.connect(self.site.dsn("flights_owner")) as connection:
            rows = connection.execute(
                "SELECT sequence, extract(epoch FROM written_at) FROM flights.journal "
                "WHERE sequence BETWEEN %s AND %s",
                (self._first, self._last),
            ).fetchall()
        return {int(row[0]): float(row[1]) for row in rows}
