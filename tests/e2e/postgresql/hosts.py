"""PostgreSQL's hosts under test, and a client that keeps a ledger."""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from demo.postgresql import PostgresqlFleet
from lab import faults
from lab.machine import LabError
from tests.e2e import hosts
from tests.e2e.hosts import wait
from tests.e2e.same import site as same

CLUSTER = PostgresqlFleet.cluster
MEMBERS = PostgresqlFleet.members
REPOSITORY = "/var/lib/pgbackrest"
_HBA = "host all all 0.0.0.0/0 trust"

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


class Site(PostgresqlFleet, same.Site):
    """The lab's PostgreSQL hosts."""

    controls = ("PG", 30)
    profiles = frozenset({"PG-15"})  # pgaudit is a profile, off by default
    data = "/var/lib/postgresql/*/main"
    program = "postgres"
    ports = (5432, 8432)
    alone = False  # a commit waits for the standby, whoever is primary
    told = (
        f"-{_HBA}",
        "-listen_addresses = '127.0.0.1'",
        "/etc/dbops/targets/flights.json",
        "pgbackrest-seal.timer",
        "-role intruder: superuser yes",
        "-role stranger: login yes",
        "-role stranger: member of flights_owner",
        "-role flights_writer: createdb yes",
        "-role flights_writer: member of pg_write_all_data",
        "-database flights: table flights.flights: DELETE to flights_writer",
        "+database flights: database flights: CONNECT to flights_writer",
    )
    # Half way: the copy's folder is there and pgBackRest has not put its manifest into it.
    tear = (
        f"cd {REPOSITORY}/backup/{CLUSTER}; for i in $(seq 600); do "
        "for d in 2*F; do [ -e $d/backup.manifest ] || { [ -d $d ] && break 2; }; done; "
        "sleep 0.05; done; kill -9 $(pgrep -x pgbackrest; pgrep -f '[d]bops backup take'); "
        "[ -e $d/backup.manifest ] || echo $d torn; systemctl restart pgbackrest-gate"
    )

    def inside(self, host: str) -> str:
        """Return roles, settings and privileges of the server on ``host``."""
        if host not in MEMBERS:
            return ""
        psql = "cd /; runuser -u postgres -- psql -XAtq"
        text = self.root(host, f"{psql} postgres <<'SQL'\n{_SERVER}\n{_DATABASE}\nSQL")
        return text + "\n" + self.root(host, f"{psql} flights <<'SQL'\n{_DATABASE}\nSQL")

    def whole(self) -> bool:
        """Return whether there is one primary with its standby streaming from it."""
        try:
            primary = self.primary()
        except (AssertionError, LabError):
            return False
        query = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'"
        return self.ask(primary, query, ok=False) == "1"

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
        assert any(one["name"] == "archived log has no hole" for one in self.checks("backup1"))
        super().no_hole()

    def tree(self, under: str = "") -> dict[str, str]:
        """Return the SHA-256 of every file of the repository, or of what is ``under`` it."""
        lines = self.root(
            "backup1", f"cd /var/lib/pgbackrest; find ./{under} -type f -exec sha256sum {{}} +"
        ).splitlines()
        return {line[66:]: line[:64] for line in lines}

    def store_log(self) -> None:
        """Have everything that was written until now in the repository."""
        self.wait_archived(120)

    def switch_log(self) -> None:
        """Let the primary begin a new segment."""
        self.ask(self.primary(), "SELECT pg_switch_wal()")

    @contextmanager
    def small_repository(self) -> Iterator[str]:
        """Have the repository on a small disk while the block runs; gives its folder."""
        host = self.repository
        used = int(self.root(host, f"du -sm {REPOSITORY} | cut -f1"))
        running = "pgbackrest-gate.service pgbackrest-seal.timer"
        self.root(host, f"systemctl stop {running} pgbackrest-seal.service")
        with faults.small_disk(self.lab, host, REPOSITORY, used + 24):
            self.root(host, f"systemctl start {running}")
            try:
                yield REPOSITORY
            finally:
                # What comes in while the files are carried back would be lost with the small disk.
                faults.relieve(self.lab, host, REPOSITORY)
                stop = f"systemctl stop {running} pgbackrest-seal.service"
                self.root(host, f"{stop}; pkill -9 -x pgbackrest || true")
        self.root(host, f"systemctl start {running}")

    @contextmanager
    def flipped(self) -> Iterator[str]:
        """Flip one bit of the newest backup's largest file while the block runs; gives its name."""
        folder = f"{REPOSITORY}/backup/{CLUSTER}/{self.fulls()[-1]}"
        files = f"find {folder} -type f -path '*/pg_data/*' -printf '%s %p\\n' | sort -n | tail -1"
        file = self.root(self.repository, files).split()[-1]
        with same.bit_flipped(self, self.repository, file):
            yield file.split("/pg_data/")[1].removesuffix(".zst")

    @contextmanager
    def lossless(self) -> Iterator[None]:
        """Let commits wait for the standby while the block runs."""
        self._synchronous(True)
        try:
            yield
        finally:
            self.heal()
            self._synchronous(False)

    def _synchronous(self, wanted: bool) -> None:
        extra = ("-e", "postgresql_synchronous=true") if wanted else ()
        self.run_play("provision", "--limit", "postgresql_members", *extra)
        query = "SELECT count(*) FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum')"
        told = f"synchronous is {wanted}"
        wait(lambda: self.ask(self.primary(), query) == str(int(wanted)), 20, told)

    def promote(self, dead: str) -> None:
        """Have the other member take writes after the host ``dead`` has gone."""
        other = next(host for host in MEMBERS if host != dead)
        self.ask(other, "SELECT pg_promote(true, 60)")

    def rejoin(self, host: str) -> None:
        """Let a former primary follow, which came back open and may have written by then."""
        refused = self.run_play("secure", ok=False)
        assert refused.status != 0
        assert "Split brain" in refused.said
        self.server(host, "stop")
        self.run_play("replicate", "-e", f"postgresql_replicate_rejoin={host}")

    def drift(self) -> None:
        """Change settings, rules, roles, privileges, units and files by hand, on every host."""
        primary, replica = self.primary(), self.replica()
        config = self.settings(replica)["options"]["config_dir"]
        self.root(replica, f"sed -i \"s/^listen_addresses.*/listen_addresses = '127.0.0.1'/\" "
                  f"{config}/postgresql.conf")  # fmt: skip
        self.root(primary, f"echo '{_HBA}' >> {config}/pg_hba.conf")
        self.root(self.drill, f"chmod 0644 /etc/dbops/targets/{CLUSTER}.json")
        self.root(self.repository, "systemctl disable --now pgbackrest-seal.timer")
        for statement in (
            "CREATE ROLE intruder LOGIN SUPERUSER",
            "ALTER ROLE flights_writer CREATEDB",
            "GRANT pg_write_all_data TO flights_writer",
            "CREATE ROLE stranger LOGIN PASSWORD 'strange' IN ROLE flights_owner",
            "REVOKE CONNECT ON DATABASE flights FROM flights_writer",
        ):
            self.ask(primary, statement)
        self.root(primary, "cd /; runuser -u postgres -- psql -Xqc "
                  "'GRANT DELETE ON flights.flights TO flights_writer' flights")  # fmt: skip

    def forget(self) -> None:
        """Remove the roles that the drift made, which ``secure`` only disarms."""
        for role in ("intruder", "stranger"):
            self.ask(self.primary(), f"DROP ROLE IF EXISTS {role}")

    def armed(self) -> str:
        """Return which roles made by hand may still log in or are superusers."""
        return self.ask(
            self.primary(),
            "SELECT rolname FROM pg_roles WHERE rolname IN ('intruder', 'stranger') "
            "AND (rolcanlogin OR rolsuper)",
        )

    def heal(self) -> None:
        """Make the cluster whole again after a test that broke it."""
        if self.whole():
            return
        running = self.powered()
        for host in self.hosts:
            if host not in running:
                faults.start(self.lab, host)
        try:
            wait(self.whole, 10, "the cluster")
        except AssertionError:
            self._rebuild()
        self.wait_whole()

    def _rebuild(self) -> None:
        try:
            primary = self.primary()
        except AssertionError:
            confirm = ("-e", f"dbops_confirm={CLUSTER}", "-e", "dbops_restore_to=pg1")
            for host in MEMBERS:
                self.root(host, "systemctl stop 'postgresql@*'", ok=False)
            self.run_play("restore", *confirm)
            return
        other = next(host for host in MEMBERS if host != primary)
        self.root(other, "rm -rf /var/lib/postgresql/*/main.set-aside-*")
        self.run_play("replicate", "-e", f"dbops_replicate_rebuild={other}")

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
