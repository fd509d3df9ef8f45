"""MariaDB's hosts under test: who is primary, what is inside, and how to mend them."""

from __future__ import annotations

import json
import shlex
from typing import Any

from demo.mysql import MysqlFleet
from lab import faults
from lab.machine import LabError
from tests.e2e import hosts
from tests.e2e.hosts import wait

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


class Site(MysqlFleet, hosts.Site):
    """The lab's MariaDB hosts."""

    controls = ("MY", 28)
    profiles = frozenset({"MY-01"})  # the lab's hosts have one file system each

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

    def replica(self) -> str:
        """Return the other member."""
        return next(host for host in MEMBERS if host != self.primary())

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

    def wait_whole(self, seconds: float = 60) -> None:
        """Wait until the cluster is whole."""
        wait(self.whole, seconds, "one primary with a replica that follows")

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
            self.run_play("restore", *CONFIRM, "-e", f"mysql_restore_to={MEMBERS[0]}")
            return
        other = next(host for host in MEMBERS if host != primary)
        self.run_play("replicate", "-e", f"mysql_replicate_rebuild={other}")


def _numbers(position: str) -> int:
    numbers = [int(part.split("-")[2]) for part in position.split(",") if part.count("-") == 2]
    return max(numbers, default=0)
