"""The checks of the hosts that keep the backups and that restore them to prove them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

from dbops.check import lines
from dbops.contract import Catalogue, Check
from dbops.engines.postgresql import client, pgbackrest, retention
from dbops.engines.postgresql.checks_member import archiver
from dbops.engines.postgresql.options import Options
from dbops.errors import Unreachable
from dbops.repository import sealing
from dbops.targets import Target

SEAL_SECONDS = 60


def tool(opts: Options) -> Iterator[Check]:
    """That nobody but its account can stop pgBackRest, mislead its log, or change old log."""
    found = [opts.lock_path / f"{n}.stop" for n in (opts.stanza, "all")]
    stopped = ", ".join(str(path) for path in found if os.path.lexists(path))
    hint = "if nobody of you stopped it, find out who did; then run pgbackrest start"
    yield Check("pgBackRest is not stopped", not stopped, stopped, hint)
    for path, name in ((opts.lock_path, "locks"), (opts.log_path, "logs")):
        yield lines.private(path, f"pgBackRest's {name} are its own", opts.os_user)
    links = [str(path) for path in sorted(opts.log_path.glob("*")) if path.is_symlink()]
    yield Check("pgBackRest's logs are no links", not links, ", ".join(links), "remove them")
    yield _sealed(opts)


def _sealed(opts: Options) -> Check:
    name = "archived log is sealed"
    try:
        seal = sealing.run(
            str(opts.repo_path / "archive"), opts.gate_user, opts.os_user, take=False
        )
    except (KeyError, OSError) as error:
        return Check(name, False, f"cannot be looked at: {error}", "run provision")
    old = time.time() - SEAL_SECONDS
    odd = [f"{one.path!a} ({one.reason})" for one in seal.odd if one.changed < old]
    hint = "look at pgbackrest-seal.timer; remove what does not belong there"
    return Check(name, not odd, "; ".join(odd[:5]), hint)


def servers(target: Target, opts: Options) -> Iterator[Check]:
    """The members as the backup account sees them."""
    hint = "look at the server, pg_hba.conf and the backup account's password file"
    try:
        with client.connect(opts, role="primary", user=opts.backup_user) as connection:
            version = connection.info.parameter_status("server_version") or ""
            yield Check("primary answers", True, f"PostgreSQL {version}")
            yield lines.version(version, target, hint)
            yield archiver(connection, target.objectives.rpo_seconds)
        yield _system_identifier(opts)
    except Unreachable as error:
        yield Check("primary answers", False, str(error), hint)
    if len(opts.hosts) > 1:
        try:
            client.connect(opts, role="standby", user=opts.backup_user).close()
            yield Check("standby answers", True, "backups are copied from it")
        except Unreachable as error:
            yield Check("standby answers", False, str(error), "run replicate")


def _system_identifier(opts: Options) -> Check:
    stanza = pgbackrest.info(opts)
    with client.connect(
        opts, role="primary", user=opts.backup_user, replication=True
    ) as connection:
        here = int(connection.execute("IDENTIFY_SYSTEM").fetchall()[0][0])
    detail = f"primary {here}, repository {stanza.system_id}"
    return Check("system identifier", here == stanza.system_id, detail, "this is another cluster")


def log(opts: Options, known: Catalogue) -> Iterator[Check]:
    """Yield whether the archived log has a hole."""
    found = pgbackrest.info(opts)
    archive = found.archive()
    if archive is None or archive.newest is None:
        return
    hole = retention.hole_after_oldest(opts, found, archive)
    detail = f"{hole} is missing" if hole else f"{archive.oldest} to {archive.newest}"
    hint = "points behind it cannot be reached from older backups: take a full backup now"
    yield Check("archived log has no hole", hole is None, detail, hint)
