"""MariaDB's hosts under test: who is primary, what is inside, and how to mend them."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from demo.mysql import MysqlFleet
from lab import faults
from lab.machine import LabError
from tests.e2e.hosts import wait
from tests.e2e.mysql import drift
from tests.e2e.restic import site as restic

CLUSTER = MysqlFleet.cluster
MEMBERS = MysqlFleet.members
CONFIRM = ("-e", f"dbops_confirm={CLUSTER}")

_INSIDE = """
SELECT 'account', Host, User, JSON_REMOVE(Priv, '$.password_last_changed', '$.version_id')
FROM mysql.global_priv WHERE User <> 'PUBLIC' ORDER BY 2, 3;
SELECT 'member', Host, User, Role FROM mysql.roles_mapping ORDER BY 2, 3, 4;
SELECT * FROM mysql.db ORDER BY Host, Db, User;
SELECT Host, Db, User, Table_name, Table_priv FROM mysql.tables_priv ORDER BY 1, 2, 3, 4;
SELECT 'database', SCHEMA_NAME, DEFAULT_CHARACTER_SET_NAME FROM information_schema.SCHEMATA
ORDER BY 2;
SELECT 'table', TABLE_SCHEMA, TABLE_NAME FROM information_schema.TABLES
WHERE TABLE_SCHEMA = 'flights' ORDER BY 2, 3;
SELECT 'setting', VARIABLE_NAME, GLOBAL_VALUE FROM information_schema.SYSTEM_VARIABLES
WHERE GLOBAL_VALUE_ORIGIN IN ('CONFIG', 'SQL') AND VARIABLE_NAME NOT LIKE 'GTID%' ORDER BY 2;
"""


class Site(MysqlFleet, restic.Site):
    """The lab's MariaDB hosts."""

    controls = ("MY", 28)
    profiles = frozenset({"MY-01"})  # the lab's hosts have one file system each
    data = "/var/lib/mysql/main"
    program = "mariadbd"
    ports = (3306, 22)
    # MariaDB keeps the password of a replica's link in plain, in a folder that is closed to others.
    held = frozenset({"/var/lib/mysql/main/master.info"})
    told = drift.TOLD
    # Half way: the stream runs.
    tear = (
        "for i in $(seq 400); do pgrep -f '[d]bops-stream@' >/dev/null && break; sleep 0.05; "
        "done; sleep 1; pkill -9 -f '[d]bops-stream@' && echo torn"
    )

    def inside(self, host: str) -> str:
        """Return accounts, privileges and settings of the server on ``host``."""
        return self.ask(host, _INSIDE) if host in MEMBERS else ""

    def ask(self, host: str, query: str, ok: bool = True) -> str:
        """Return the answer to a query as the superuser of ``host``, columns apart by tabs."""
        line = f"mariadb --no-defaults -BN -e {shlex.quote(query)}"
        return self.root(host, line, ok=ok)

    def following(self, host: str) -> dict[str, str]:
        """Return the status of the replica on ``host``, empty when it is none."""
        line = "mariadb --no-defaults -B -e 'SHOW SLAVE STATUS'"
        lines = self.root(host, line, ok=False).splitlines()
        pairs = zip(*(line.split("\t") for line in lines[:2]), strict=False)
        return dict(pairs) if len(lines) > 1 else {}

    def primary(self) -> str:
        """Return the member that accepts writes; AssertionError unless it is exactly one."""
        states = {host: self.ask(host, "SELECT @@read_only", ok=False) for host in MEMBERS}
        found = [host for host, state in states.items() if state == "0"]
        assert len(found) == 1, f"not exactly one primary: {states}"
        return found[0]

    def whole(self) -> bool:
        """Return whether there is one primary that the other member follows."""
        try:
            primary = self.primary()
        except (AssertionError, LabError):
            return False
        other = next(host for host in MEMBERS if host != primary)
        row = self.following(other)
        running = row.get("Slave_IO_Running"), row.get("Slave_SQL_Running")
        return row.get("Master_Host") == primary and running == ("Yes", "Yes")

    def position(self) -> str:
        """Return the primary's last transaction."""
        return self.ask(self.primary(), "SELECT @@gtid_binlog_pos")

    def wait_archived(self, seconds: float = 90) -> str:
        """Wait until what the primary has written by now is in the repository; return its GTID."""
        position = self.position()
        self.dbops(self.repository, "backup", "take", "--type", "log", ok=False)
        wait(lambda: self._archived(position), seconds, f"{position} in the repository", 2)
        return position

    def _archived(self, position: str) -> bool:
        logs = [one for one in self.listed() if one["kind"] == "log"]
        newest = str(logs[-1]["manifest"]["stop_point"]) if logs else ""
        return _numbers(newest) >= _numbers(position)

    def store_log(self) -> None:
        """Have everything that was written until now in the repository."""
        self.wait_archived(180)

    def switch_log(self) -> None:
        """Let each member begin a new binary log."""
        for host in self.members:
            self.ask(host, "FLUSH LOCAL BINARY LOGS")

    @contextmanager
    def small_repository(self) -> Iterator[str]:
        """Have backups and logs on a small disk while the block runs; gives their folder."""
        host = self.repository
        readers = f"'dbops-binlog-{CLUSTER}@*.service' 'dbops-backup-{CLUSTER}@*.timer'"
        names = "systemctl list-units --plain --no-legend"
        units = self.root(host, f"{names} {readers} | cut -d' ' -f1").replace("\n", " ")
        used = int(self.root(host, f"du -sm {self.home} | cut -f1"))
        self.root(host, f"systemctl stop {units}")
        try:
            with faults.small_disk(self.lab, host, self.home, used + 24):
                self.root(host, f"systemctl start {units}")
                yield self.home
                self.root(host, f"systemctl stop {units}")
        finally:
            self.root(host, f"systemctl start {units}")

    @contextmanager
    def lossless(self) -> Iterator[None]:
        """Let the primary wait for the replica's acknowledgement while the block runs."""
        self._semi_sync(True)
        try:
            yield
        finally:
            self.heal()
            self._semi_sync(False)

    def _semi_sync(self, wanted: bool) -> None:
        extra = ("-e", "mysql_semi_sync=true", "-e", "mysql_semi_sync_timeout_seconds=3600")
        self.run_play("provision", *(extra if wanted else ()))
        # A replica tells at log-in whether it will acknowledge, so it logs in again.
        self.ask(self.replica(), "STOP SLAVE; START SLAVE")
        status = "SELECT VARIABLE_VALUE FROM information_schema.GLOBAL_STATUS WHERE VARIABLE_NAME ="
        query = f"{status} 'Rpl_semi_sync_master_clients'"
        told = f"semi-sync is {wanted}"
        wait(lambda: self.ask(self.primary(), query) == str(int(wanted)), 30, told)

    def promote(self, dead: str) -> None:
        """Have the other member take writes after the host ``dead`` has gone."""
        other = next(host for host in MEMBERS if host != dead)
        words = ("-e", f"mysql_replicate_promote={other}", "--limit", f"all:!{dead}")
        self.run_play("replicate", *words)

    def rejoin(self, host: str) -> None:
        """Let a former primary follow, which came back open and may have written by then."""
        refused = self.run_play("secure", ok=False)
        assert refused.status != 0
        assert "Split brain" in refused.said
        self.server(host, "stop")
        back = self.run_play("replicate", "-e", f"mysql_replicate_rejoin={host}", ok=False)
        if back.status != 0:
            assert f"dbops_replicate_rebuild={host}" in back.said
            self.run_play("replicate", "-e", f"dbops_replicate_rebuild={host}")

    def drift(self) -> None:
        """Change settings, accounts, grants, units and files by hand, on every host."""
        primary, replica = self.primary(), self.replica()
        config = "/etc/mysql/dbops.cnf"
        self.root(replica, f"sed -i 's/^max_connections.*/max_connections = 7/' {config}")
        self.ask(replica, "SET GLOBAL long_query_time = 3")
        self.root(self.drill, f"chmod 0644 /etc/dbops/targets/{CLUSTER}.json")
        unit = f"dbops-binlog-{CLUSTER}@{MEMBERS[0]}.service"
        self.root(self.repository, f"systemctl disable --now {unit}")
        self.ask(primary, drift.STATEMENTS)

    def forget(self) -> None:
        """Remove the accounts and roles that the drift made, which ``secure`` only locks."""
        self.ask(self.primary(), drift.REMOVE)

    def armed(self) -> str:
        """Return which accounts made by hand may still log in, or do something."""
        return self.ask(self.primary(), drift.ARMED)

    def listed(self) -> list[dict[str, Any]]:
        """Return backups and logs of the catalogue with their manifests."""
        said = self.dbops(self.repository, "backup", "list", "--json").stdout
        found: list[dict[str, Any]] = json.loads(said)["backups"]
        return found

    def heal(self) -> None:
        """Make the cluster whole again after a test that broke it."""
        running = self.powered()
        for host in self.hosts:
            if host not in running:
                faults.start(self.lab, host)
        try:
            wait(self.whole, 15, "the cluster")
        except AssertionError:
            self._rebuild()
        self.wait_whole()
        for host in MEMBERS:
            self.root(host, "rm -rf /var/lib/mysql/main.set-aside-*")

    def _rebuild(self) -> None:
        try:
            primary = self.primary()
        except AssertionError:
            for host in MEMBERS:
                self.root(host, "systemctl stop mariadb", ok=False)
            self.run_play("restore", *CONFIRM, "-e", f"dbops_restore_to={MEMBERS[0]}")
            return
        other = next(host for host in MEMBERS if host != primary)
        self.run_play("replicate", "-e", f"dbops_replicate_rebuild={other}")


def _numbers(position: str) -> int:
    numbers = [int(part.split("-")[2]) for part in position.split(",") if part.count("-") == 2]
    return max(numbers, default=0)
