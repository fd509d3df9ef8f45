"""dbops against mariadb-backup piped to restic by hand, and against mariadb-dump, at about 1 GB."""

from __future__ import annotations

import json

from benchmarks.measuring import RUNS, Hosts, Row, interleaved
from demo.mysql import MysqlFleet

ENGINES = ("mysql",)
CLUSTER = MysqlFleet.cluster
PRIMARY, REPLICA = MysqlFleet.members
REPOSITORY = MysqlFleet.repository
TABLES, ROWS = 4, 1_000_000
DATA = "/var/lib/mysql/main"
BARE = "/var/lib/dbops-repository/bare"
AS_REPOSITORY = f"runuser -u {MysqlFleet.account} --"
RESTIC = (
    f"{AS_REPOSITORY} env RESTIC_PASSWORD_FILE={BARE}/key restic --no-cache -q -r {BARE}/restic"
)
STREAM = (
    f"{AS_REPOSITORY} ssh -F/dev/null -i/etc/dbops/secrets/mysql-{CLUSTER}-stream.ssh "
    f"-oBatchMode=yes -oUserKnownHostsFile=/etc/dbops/mysql-{CLUSTER}-known_hosts dbops-stream@"
)
DUMP = "/var/tmp/bench.sql"
_WRITABLE = (
    'until [ "$(mariadb --no-defaults -BNe "select @@read_only" 2>/dev/null)" = 0 ]; '
    "do sleep 0.05; done"
)
_TABLE = (
    "CREATE TABLE bench.t{0} (id int PRIMARY KEY AUTO_INCREMENT, k int NOT NULL, c char(120) NOT "
    "NULL, pad char(60) NOT NULL, KEY (k)); INSERT INTO bench.t{0} (k, c, pad) SELECT "
    "floor(rand() * {1}), concat(sha2(rand(), 224), sha2(rand(), 256)), sha1(rand()) "
    "FROM bench.seq_1_to_{1};"
)


class Bench(Hosts):
    """What is done on MariaDB's hosts; each method returns wall seconds."""

    def sql(self, statements: str) -> str:
        """Run statements on the primary."""
        return self.on(PRIMARY, f"mariadb --no-defaults -BN -e '{statements}'")

    def fill(self) -> None:
        """Make the database ``bench``, as sysbench's tables are, and a bare repository."""
        self.sql("CREATE DATABASE bench")
        for number in range(1, TABLES + 1):
            self.sql(_TABLE.format(number, ROWS))
        self.on(REPOSITORY, f"install -d -o {MysqlFleet.account} {BARE}; "
                            f"(umask 077; head -c 24 /dev/urandom | base64 > {BARE}/key); "
                            f"chown {MysqlFleet.account} {BARE}/key; {RESTIC} init")  # fmt: skip
        self.settle()

    def settle(self) -> None:
        """Wait until the replica has everything, with nothing left to write back."""
        position = self.sql("SELECT @@gtid_binlog_pos").strip()
        self.on(REPLICA, f"mariadb --no-defaults -e \"SELECT MASTER_GTID_WAIT('{position}', 600)\"")

    def change(self) -> None:
        """Change a quarter of the copied member's rows, so that a backup finds something new.

        They stay out of the binary log, which dbops stores besides and the peer does not.
        """
        words = "UPDATE bench.t1 SET c = concat(sha2(rand(), 224), sha2(rand(), 256))"
        self.on(REPLICA, f"mariadb --no-defaults -e 'SET sql_log_bin = 0; {words}'")

    def backup(self) -> float:
        """Take a full backup through dbops, listed and with its log, without a fingerprint."""
        self.change()
        words = "dbops backup take --type full --no-fingerprint"
        return self.timed(REPOSITORY, f"{AS_REPOSITORY} {words}")

    def backup_by_hand(self) -> float:
        """Stream the same member by the same way into restic."""
        self.change()
        address = self.lab.address(REPLICA)
        return self.timed(
            REPOSITORY,
            f"{STREAM}{address} full | {RESTIC} backup --stdin --stdin-filename base.mbstream",
        )

    def _stop(self) -> None:
        self.on(PRIMARY, f"systemctl stop mariadb; rm -rf {DATA}.set-aside-* {DATA}.old")

    def restore(self) -> float:
        """Restore the newest backup and its log through dbops, until it accepts writes."""
        return self._restored()

    def restore_alone(self) -> float:
        """Restore the newest full backup through dbops as it was, as by hand: without later log."""
        said = self.on(REPOSITORY, f"{AS_REPOSITORY} dbops backup list --json")
        full = [one for one in json.loads(said)["backups"] if one["kind"] == "full"]
        return self._restored("--point", full[-1]["manifest"]["stop_point"])

    def _restored(self, *point: str) -> float:
        self._stop()
        words = ("dbops", "restore", "run", "--cluster", CLUSTER, "--confirm", CLUSTER, *point)
        return self.timed(PRIMARY, f"{' '.join(words)}; {_WRITABLE}")

    def fetch_bare(self) -> None:
        """Let the primary read the bare repository: the same files, by the same SFTP."""
        self.on(REPOSITORY, f"chgrp -R dbops-reader {BARE}; chmod -R g+rX {BARE}")
        key = self.on(REPOSITORY, f"cat {BARE}/key").strip()
        self.on(PRIMARY, f"(umask 077; echo {key} > /root/bare.key)")

    def restore_by_hand(self) -> float:
        """Restore the newest bare backup, without any log, until it accepts writes."""
        self._stop()
        reader = f"dbops-reader@{self.lab.address(REPOSITORY)}"
        ssh = (
            "ssh -F/dev/null -i/etc/dbops/secrets/repository.ssh -oBatchMode=yes "
            f"-oUserKnownHostsFile=/etc/dbops/known_hosts/mysql-{CLUSTER} {reader} -s sftp"
        )
        restic = (
            "env HOME=/root RESTIC_PASSWORD_FILE=/root/bare.key restic --no-cache -q --no-lock "
            f"-r sftp:{reader}:/bare/restic -o sftp.command='{ssh}'"
        )
        return self.timed(
            PRIMARY,
            f"mv {DATA} {DATA}.old; install -d -m 0700 -o mysql -g mysql {DATA}; "
            f"{restic} dump latest /base.mbstream | runuser -u mysql -- mbstream -x -C {DATA}; "
            f"runuser -u mysql -- mariadb-backup --no-defaults --prepare --use-memory=512M "
            f"--target-dir={DATA}; systemctl start mariadb; {_WRITABLE}",
        )

    def dump(self) -> None:
        """Dump the database into a file of the primary."""
        self.on(PRIMARY, f"mariadb-dump --no-defaults --single-transaction bench > {DUMP}")

    def load_dump(self) -> float:
        """Load the dump into the running server."""
        self.sql("SET sql_log_bin = 0; DROP DATABASE bench; CREATE DATABASE bench")
        return self.timed(PRIMARY, f"mariadb --no-defaults bench < {DUMP}")


def _backup(bench: Bench) -> list[Row]:
    bench.fill()
    bench.backup()
    bench.backup_by_hand()
    ours, peer = interleaved(bench.backup, bench.backup_by_hand)
    what = "MariaDB: full backup, no fingerprint, against mariadb-backup to restic by hand, s"
    return [Row(what, ours, peer, "1.05")]


def _fingerprint(bench: Bench) -> list[Row]:
    rates = bench.fingerprint_rates(REPOSITORY, MysqlFleet.account, CLUSTER)
    return [Row("MariaDB: fingerprint, MB/s of table data", rates, [], "-")]


def _restore(bench: Bench) -> list[Row]:
    bench.dump()
    bench.fetch_bare()
    ours, peer = interleaved(bench.restore, bench.restore_by_hand)
    what = "MariaDB: restore with its log, against one by hand without, s"
    rows = [Row(what, ours, peer, "1.05")]
    alone, peer = interleaved(bench.restore_alone, bench.restore_by_hand)
    what = "MariaDB: restore to a backup's own GTID, against one by hand, s"
    rows.append(Row(what, alone, peer, "1.05"))
    loads = [bench.load_dump() for _ in range(RUNS)]
    what = "MariaDB: restore with its log, against loading a mariadb-dump, s"
    return [*rows, Row(what, ours, loads, "below 1")]


PARTS = {"backup": _backup, "fingerprint": _fingerprint, "restore": _restore}
