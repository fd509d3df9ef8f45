"""dbops against pgBackRest by hand, on pgbench data of scale 100."""

from __future__ import annotations

import json

from benchmarks.measuring import Hosts, Row, interleaved

ENGINES = ("postgresql",)
SCALE = 100
BIN = "/usr/lib/postgresql/15/bin"
DATA = "/var/lib/postgresql/15/main"
SERVICE = "postgresql@15-main.service"
AS_POSTGRES = "runuser -u postgres --"
AS_REPOSITORY = "runuser -u pgbackrest --"
RESTORE = "pgbackrest --stanza=flights restore"


def _until_primary(where: str) -> str:
    """Return a shell loop that ends when the server at ``where`` accepts writes."""
    ask = f"{AS_POSTGRES} psql {where} -XAtc 'select pg_is_in_recovery()'"
    return f'until [ "$({ask})" = f ]; do sleep 0.05; done'


class Bench(Hosts):
    """What is done on PostgreSQL's hosts; each method returns wall seconds."""

    def fill(self, scale: int) -> None:
        """Make the database ``bench`` at ``scale``."""
        self.on("pg1", "runuser -u postgres -- psql -qc 'DROP DATABASE IF EXISTS bench'; "
                       "runuser -u postgres -- createdb bench; "
                       f"runuser -u postgres -- {BIN}/pgbench -i -q -s {scale} bench; "
                       "runuser -u postgres -- psql -qc CHECKPOINT")  # fmt: skip

    def backup(self, fingerprint: bool) -> float:
        """Take a full backup through dbops."""
        extra = "" if fingerprint else " --no-fingerprint"
        return self.timed("backup1", f"{AS_REPOSITORY} dbops backup take --type full{extra}")

    def backup_by_hand(self) -> float:
        """Take a full backup with pgBackRest alone."""
        return self.timed(
            "backup1", f"{AS_REPOSITORY} pgbackrest --stanza=flights --type=full backup"
        )

    def _stop(self) -> None:
        self.on("pg2", f"systemctl stop {SERVICE}")
        self.on("pg1", f"systemctl stop {SERVICE}; rm -rf {DATA}.set-aside-* {DATA}.old")

    def restore(self) -> float:
        """Restore pg1 through dbops, until it accepts writes."""
        self._stop()
        return self.timed("pg1", "dbops restore run --cluster flights --confirm flights")

    def restore_by_hand(self) -> float:
        """Restore pg1 with pgBackRest alone, until it accepts writes."""
        self._stop()
        return self.timed(
            "pg1",
            f"mv {DATA} {DATA}.old; install -d -m 0700 -o postgres -g postgres {DATA}; "
            f"{AS_POSTGRES} {RESTORE}; systemctl start {SERVICE}; {_until_primary('')}",
        )

    def drill(self) -> float:
        """Run a drill and return the RTO it measured."""
        self.on("drill1", "dbops drill run >/dev/null 2>&1 || true")
        history = json.loads(self.on("drill1", "dbops drill history --json"))
        return float(history[-1]["rto_seconds"])

    def restore_bare(self) -> float:
        """Restore on the drill host with pgBackRest and start it, nothing proven."""
        place = "/var/lib/dbops/bare"
        data = f"{place}/data"
        control = f"{AS_POSTGRES} {BIN}/pg_ctl -D {data}"
        settings = (
            f"-k {place} -p 6543 -c listen_addresses= -c max_connections=100 "
            "-c max_wal_senders=10 -c archive_mode=off"
        )
        self.on(
            "drill1",
            f"rm -rf {place}; install -d -m 0755 -o postgres {place}; "
            f"install -d -m 0700 -o postgres -g postgres {data}",
        )
        seconds = self.timed(
            "drill1",
            f"{AS_POSTGRES} {RESTORE} --pg1-path={data}; "
            f"echo 'local all all trust' > {data}/pg_hba.conf; "
            f"touch {data}/pg_ident.conf {data}/postgresql.conf; chown postgres {data}/*.conf; "
            f"{control} -w -t 600 -o '{settings}' start; {_until_primary(f'-h {place} -p 6543')}",
        )
        self.on("drill1", f"{control} -m immediate stop; rm -rf {place}")
        return seconds

    def peak_memory(self, script: str, host: str) -> float:
        """Return the peak resident megabytes of the dbops process itself while ``script`` runs."""
        loop = (
            "peak=0; while kill -0 $! 2>/dev/null; do for p in $(pgrep -f '/bin/dbops backup'); do "
            "kb=$(awk '/VmHWM/ {print $2}' /proc/$p/status 2>/dev/null || echo 0); "
            '[ "${kb:-0}" -gt $peak ] && peak=$kb; done; sleep 0.05; done; echo $peak'
        )
        out = self.on(host, f"set +e; ( {script} ) >/dev/null 2>&1 & {loop}")
        return float(out.strip().splitlines()[-1]) / 1024


def _memory(bench: Bench) -> list[Row]:
    script = f"{AS_REPOSITORY} dbops backup take --type full"
    bench.fill(SCALE // 10)
    small = bench.peak_memory(script, "backup1")
    bench.fill(SCALE)
    large = bench.peak_memory(script, "backup1")
    what = f"PostgreSQL: peak memory of dbops in a backup, MB: scale {SCALE} against {SCALE // 10}"
    return [Row(what, [large], [small], "1.0")]


def _backup(bench: Bench) -> list[Row]:
    bench.fill(SCALE)
    bench.backup(False)
    ours, peer = interleaved(lambda: bench.backup(False), bench.backup_by_hand)
    return [
        Row(
            "PostgreSQL: full backup, no fingerprint, against pgBackRest by hand, s",
            ours,
            peer,
            "1.05",
        )
    ]


def _fingerprint(bench: Bench) -> list[Row]:
    rates = bench.fingerprint_rates("backup1", "pgbackrest", "flights")
    return [Row("PostgreSQL: fingerprint, MB/s of table data", rates, [], "400 or more")]


def _drill(bench: Bench) -> list[Row]:
    bench.backup(True)
    ours, peer = interleaved(bench.drill, bench.restore_bare)
    return [Row("PostgreSQL: drill's RTO against a bare restore, s", ours, peer, "1.25")]


def _restore(bench: Bench) -> list[Row]:
    ours, peer = interleaved(bench.restore, bench.restore_by_hand)
    return [
        Row("PostgreSQL: restore until it accepts writes, against by hand, s", ours, peer, "1.05")
    ]


PARTS = {
    "memory": _memory,
    "backup": _backup,
    "fingerprint": _fingerprint,
    "drill": _drill,
    "restore": _restore,
}
