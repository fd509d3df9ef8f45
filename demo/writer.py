"""A client that commits rows without pause and keeps its own record of what was acknowledged.

Run as a process of its own: ``python -m demo.writer --hosts a,b --ledger FILE …``. The ledger
stands outside the database: one line per acknowledged commit, ``SEQUENCE UNIX_TIME``, and one line
``# …`` per event. A commit whose answer was lost counts as neither acknowledged nor refused.
"""

from __future__ import annotations

import argparse
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path

import psycopg


@dataclass
class Ledger:
    """What a writer recorded: acknowledged sequences with their times, and its interruptions."""

    acknowledged: dict[int, float] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    longest_gap_seconds: float = 0.0


def read(path: Path) -> Ledger:
    """Return what the ledger at ``path`` says so far."""
    ledger = Ledger()
    previous = None
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            ledger.failures.append(line[2:])
            continue
        parts = line.split()
        if len(parts) != 2:
            continue  # the line being written now
        when = float(parts[1])
        ledger.acknowledged[int(parts[0])] = when
        if previous is not None:
            ledger.longest_gap_seconds = max(ledger.longest_gap_seconds, when - previous)
        previous = when
    return ledger


def conninfo(hosts: str, user: str, passfile: Path, ca_file: Path, database: str) -> str:
    """Return the connection string of an application that follows the primary, TLS verified."""
    return psycopg.conninfo.make_conninfo(
        host=hosts, user=user, passfile=str(passfile), dbname=database, sslmode="verify-full",
        sslrootcert=str(ca_file), target_session_attrs="read-write", connect_timeout=3,
        keepalives_idle=2, keepalives_interval=1, keepalives_count=2, tcp_user_timeout=4000,
        application_name="flights-writer",
    )  # fmt: skip


def write(dsn: str, path: Path, pause: float, stopped: list[bool]) -> None:
    """Commit rows until ``stopped`` is filled, recording each acknowledged one in ``path``."""
    sequence = time.time_ns() // 1000  # never again a number whose answer was lost
    with path.open("a", encoding="utf-8", buffering=1) as ledger:
        while not stopped:
            try:
                with psycopg.connect(dsn, autocommit=True) as connection:
                    ledger.write(f"# connected to {connection.info.host} at {time.time():.3f}\n")
                    while not stopped:
                        sequence += 1
                        connection.execute(
                            "INSERT INTO flights.journal VALUES (%s, clock_timestamp(), %s)",
                            (sequence, "written by the demo"),
                        )
                        ledger.write(f"{sequence} {time.time():.6f}\n")
                        time.sleep(pause)
            except psycopg.Error as error:
                first = str(error).strip().splitlines()[:1]
                ledger.write(
                    f"# interrupted at {time.time():.3f}: {first[0] if first else error}\n"
                )
                time.sleep(0.2)


def main() -> int:
    """Entry point of ``python -m demo.writer``."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("hosts", "user", "passfile", "ca-file", "database", "ledger"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--pause", type=float, default=0.005, help="seconds between commits")
    given = parser.parse_args()
    stopped: list[bool] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.append(True))
    dsn = conninfo(
        given.hosts, given.user, Path(given.passfile), Path(given.ca_file), given.database
    )
    write(dsn, Path(given.ledger), given.pause, stopped)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
