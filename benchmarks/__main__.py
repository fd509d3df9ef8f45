"""Measure dbops against pgBackRest by hand, interleaved, medians of five; write a table.

A lab of its own (``bench``) is made, filled by pgbench at scale 100 and removed. Nothing here
passes or fails: the figures go to ``docs/reference/benchmarks.md`` with date and machine.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from demo.postgresql import PostgresqlFleet
from lab import faults, fleet
from lab.fleet import CHECKOUT, Lab

RUNS = 5
SCALE = 100
PAGE = CHECKOUT / "docs" / "reference" / "benchmarks.md"
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


@dataclass(frozen=True)
class Row:
    """One comparison: what, our values and the peer's, and the bound aimed at."""

    what: str
    ours: list[float]
    peer: list[float]
    bound: str

    def cells(self) -> tuple[str, ...]:
        """Return the row as text."""
        if not self.peer:
            return (self.what, _spread(self.ours), "-", "-", self.bound)
        ratio = f"{statistics.median(self.ours) / statistics.median(self.peer):.2f}"
        return (self.what, _spread(self.ours), _spread(self.peer), ratio, self.bound)


def _spread(values: list[float]) -> str:
    if not values:
        return "-"
    middle = statistics.median(values)
    return f"{middle:.2f} ({min(values):.2f}-{max(values):.2f})"


class Bench:
    """The lab and what is done on its hosts; each method returns wall seconds."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.site = PostgresqlFleet(lab)

    def on(self, host: str, script: str) -> str:
        """Run a script as root on ``host``."""
        return faults.on(self.lab, host, f"set -euo pipefail; cd /; {script}")

    def timed(self, host: str, script: str) -> float:
        """Return the seconds that ``script`` takes on ``host``, measured there."""
        out = self.on(host, f"s=$(date +%s.%N); {{ {script}; }} >/dev/null 2>&1; e=$(date +%s.%N); "
                            'python3 -c "print($e - $s)"')  # fmt: skip
        return float(out.strip().splitlines()[-1])

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

    def fingerprint(self) -> tuple[float, float]:
        """Return seconds and megabytes of one fingerprint of everything."""
        out = self.on(
            "backup1",
            f"{AS_REPOSITORY} dbops fingerprint --cluster flights --json 2>/dev/null",
        )
        taken = json.loads(out)
        parts = taken if isinstance(taken, list) else taken.get("fingerprints", [taken])
        return sum(p["seconds"] for p in parts), sum(p["bytes_read"] for p in parts) / 1e6

    def peak_memory(self, script: str, host: str) -> float:
        """Return the peak resident megabytes of the dbops process itself while ``script`` runs."""
        loop = (
            "peak=0; while kill -0 $! 2>/dev/null; do for p in $(pgrep -f '/bin/dbops backup'); do "
            "kb=$(awk '/VmHWM/ {print $2}' /proc/$p/status 2>/dev/null || echo 0); "
            '[ "${kb:-0}" -gt $peak ] && peak=$kb; done; sleep 0.05; done; echo $peak'
        )
        out = self.on(host, f"set +e; ( {script} ) >/dev/null 2>&1 & {loop}")
        return float(out.strip().splitlines()[-1]) / 1024

    def site_yml(self, strategy: str) -> float:
        """Return the seconds of one run of site.yml."""
        environment = {
            **os.environ,
            "ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg"),
            "ANSIBLE_STRATEGY": strategy,
        }
        began = time.monotonic()
        subprocess.run(
            ["ansible-playbook", "-i", str(self.site.inventory), "playbooks/site.yml"],
            cwd=CHECKOUT, env=environment, check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        return time.monotonic() - began


def interleaved(
    ours: Callable[[], float], peer: Callable[[], float]
) -> tuple[list[float], list[float]]:
    """Return ``RUNS`` measurements of each, taken in turn."""
    left: list[float] = []
    right: list[float] = []
    for number in range(RUNS):
        left.append(ours())
        right.append(peer())
        print(f"  {number + 1}: {left[-1]:.2f} {right[-1]:.2f}", file=sys.stderr)
    return left, right


def _site(bench: Bench) -> list[Row]:
    ours, peer = interleaved(lambda: bench.site_yml("dbops_fast"), lambda: bench.site_yml("linear"))
    what = "site.yml, second run: with mitogen against without, s"
    return [Row(what, ours, peer, "20 with, 60 without")]


def _memory(bench: Bench) -> list[Row]:
    script = f"{AS_REPOSITORY} dbops backup take --type full"
    bench.fill(SCALE // 10)
    small = bench.peak_memory(script, "backup1")
    bench.fill(SCALE)
    large = bench.peak_memory(script, "backup1")
    what = f"peak memory of dbops in a backup, MB: scale {SCALE} against {SCALE // 10}"
    return [Row(what, [large], [small], "1.0")]


def _backup(bench: Bench) -> list[Row]:
    bench.fill(SCALE)
    bench.backup(False)
    ours, peer = interleaved(lambda: bench.backup(False), bench.backup_by_hand)
    return [Row("full backup, no fingerprint, against pgBackRest by hand, s", ours, peer, "1.05")]


def _fingerprint(bench: Bench) -> list[Row]:
    taken = [bench.fingerprint() for _ in range(RUNS)]
    rates = [megabytes / seconds for seconds, megabytes in taken]
    return [Row("fingerprint, MB/s of table data", rates, [], "400 or more")]


def _drill(bench: Bench) -> list[Row]:
    bench.backup(True)
    ours, peer = interleaved(bench.drill, bench.restore_bare)
    return [Row("drill's RTO against a bare restore, s", ours, peer, "1.25")]


def _restore(bench: Bench) -> list[Row]:
    ours, peer = interleaved(bench.restore, bench.restore_by_hand)
    return [Row("restore until it accepts writes, against by hand, s", ours, peer, "1.05")]


PARTS = {
    "site": _site,
    "memory": _memory,
    "backup": _backup,
    "fingerprint": _fingerprint,
    "drill": _drill,
    "restore": _restore,
}


def main(names: list[str]) -> int:
    """Measure the named parts, all by default; print the table and write the page."""
    unknown = [name for name in names if name not in PARTS]
    if unknown:
        print(f"benchmarks: unknown {unknown[0]!r}; parts are {', '.join(PARTS)}", file=sys.stderr)
        return 2
    bench = Bench(Lab("bench", "bookworm"))
    rows: list[Row] = []
    try:
        fleet.up(bench.lab)
        rows.append(Row("site.yml, first run, s", [bench.site_yml("linear")], [], "-"))
        for name in names or PARTS:
            print(name, file=sys.stderr)
            rows += PARTS[name](bench)
    finally:
        _publish(rows)
        if os.environ.get("DBOPS_KEEP_LAB") != "1":
            fleet.down(bench.lab)
    return 0


def _publish(rows: list[Row]) -> None:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    machine = f"{os.cpu_count()} cores, {memory:.0f} GiB, Linux {platform.release().split('-')[0]}"
    lines = [
        "# Benchmarks",
        "",
        f"Taken {datetime.now(UTC):%Y-%m-%d} by `make bench` on {machine}, all hosts on this one "
        f"machine; pgbench scale {SCALE}; median (minimum-maximum) of {RUNS} runs taken in turn.",
        "",
        "| what | dbops | peer | ratio | aim |",
        "|---|---|---|---|---|",
    ]
    lines += ["| " + " | ".join(row.cells()) + " |" for row in rows]
    text = "\n".join(lines) + "\n"
    PAGE.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
