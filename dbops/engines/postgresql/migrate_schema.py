"""Definitions of one database brought from the other cluster, by pg_dump and pg_restore.

The newer server's programs are used, all in one transaction. What the roles made beforehand on the
receiving side (schemas, extensions) is not made again.
"""

from __future__ import annotations

import os
import pwd
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dbops import handles, runner
from dbops.engines.postgresql import migrate_link
from dbops.engines.postgresql.client import Connection
from dbops.engines.postgresql.options import Options
from dbops.runner import Command


def carry(opts: Options, connection: Connection, database: str) -> None:
    """Make every object of the other cluster's ``database`` here, without rows.

    Raises CommandFailed with the tool's own words, and then nothing was made.
    """
    with _folder(opts.os_user) as folder:
        dump, listing = folder / "definitions", folder / "list"
        runner.check(_dump(opts, database, dump))
        listed = runner.check(_command(opts, "pg_restore", "--list", str(dump))).stdout
        text = wanted(listed, *_made(connection))
        handles.write(listing, text.encode(), mode=0o644)  # the folder is the account's alone
        runner.check(
            _command(
                opts,
                "pg_restore",
                "--single-transaction",
                "--exit-on-error",
                f"--use-list={listing}",
                f"--host={opts.socket_dir}",
                f"--port={opts.port}",
                f"--dbname={database}",
                str(dump),
                writing=True,
            )
        )


def wanted(listing: str, schemas: set[str], extensions: set[str]) -> str:
    """Return the lines of ``pg_restore --list`` without schemas and extensions that are there."""
    present = {f"SCHEMA - {name}" for name in schemas} | {
        f"EXTENSION - {name}" for name in extensions
    }
    # Each line is: id; catalogue object TYPE SCHEMA NAME OWNER.
    lines = [
        line
        for line in listing.splitlines()
        if line.split(" ", 3)[-1].rpartition(" ")[0] not in present
    ]
    return "\n".join(lines) + "\n"


def _made(connection: Connection) -> tuple[set[str], set[str]]:
    schemas = {row[0] for row in connection.execute("SELECT nspname FROM pg_namespace").fetchall()}
    rows = connection.execute("SELECT extname FROM pg_extension").fetchall()
    return schemas, {row[0] for row in rows}


def _dump(opts: Options, database: str, path: Path) -> Command:
    return _command(
        opts,
        "pg_dump",
        "--schema-only",
        "--format=custom",
        "--no-publications",
        "--no-subscriptions",
        f"--exclude-schema={migrate_link.NAME}",
        f"--file={path}",
        f"--dbname={migrate_link.peer_conninfo(opts, database)}",
    )


def _command(opts: Options, program: str, *argv: str, writing: bool = False) -> Command:
    directory = opts.require_path("bin_dir")
    # A closed database lets a session only read unless it says otherwise.
    env = {"PGOPTIONS": "-c default_transaction_read_only=off"} if writing else {}
    return Command(
        (str(directory / program), *argv),
        title=program,
        user=opts.os_user,
        env=env,
        timeout_seconds=3600,
    )


@contextmanager
def _folder(account: str) -> Iterator[Path]:
    """Yield a new folder that only ``account`` and root can look into."""
    folder = Path(tempfile.mkdtemp(prefix="dbops-migrate-"))
    try:
        if os.geteuid() == 0:
            os.chown(folder, pwd.getpwnam(account).pw_uid, -1)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
