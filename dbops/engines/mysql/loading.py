"""Loading a dump of MySQL into an empty server, and setting the programs ahead of it aside.

The client takes the dump apart into statements. A dump holds tables, data and accounts, where all
that users wrote is quoted by the server; their programs never come near the client. What is *not*
here: making the programs (:mod:`.recreate`), and dumps that still hold them (:mod:`.former`).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from dbops.accounts import acting_as
from dbops.contract import Progress
from dbops.engines.mysql import former, private_server, programs
from dbops.engines.mysql.private_server import Server
from dbops.engines.mysql.programs import Program
from dbops.errors import VerificationFailed
from dbops.repository.restic import Repository
from dbops.repository.routes import Entry
from dbops.runner import Command

FORMER = ("base.sql.zst", "base.sql")
"""What earlier versions stored: one dump with the programs in it."""
_KEPT = "programs"
_PACKET = "1073741824"
_TITLE = "loading the dump"
_GATE = "from dbops.engines.mysql import former; raise SystemExit(former.main())"
# The client, given half a dump, has words of its own: these go before them.
_JUDGED = (
    '; found=("${PIPESTATUS[@]}"); for one in "${found[@]}"; do '
    f"(( one != {former.STATUS} )) || {{ echo 'dbops: {former.WORDS}' >&2; exit 1; }}; done; "
    'for one in "${found[@]}"; do (( one == 0 )) || exit "$one"; done'
)
_UNPACK = "/usr/bin/zstd --quiet --decompress --stdout"
# bash reads a pipe byte by byte to the end of a line, and head no further than it is told.
_PARTED = (
    f"{_UNPACK} | {{ IFS= read -r -n {programs.HEAD_BYTES + 1} mark; "
    rf'if [[ ! $mark =~ ^"{programs.MARK.decode()}"([0-9]{{10}})$ ]] '
    f"|| (( (size = 10#${{BASH_REMATCH[1]}}) > {programs.MOST_BYTES} )); then "
    "echo 'The stream does not begin with the programs that belong to it.' >&2; exit 1; fi; "
    '/usr/bin/head -c "$size" > "$0" && exec "$@"; }'
)


def load(repo: Repository, entry: Entry, at: Server, work: Path, tell: Progress) -> list[Program]:
    """Let the running server carry a stored dump out; return the programs that go with it.

    ``work`` is a folder of the account that the server is asked as, here and in the server.
    Raises CommandFailed with the words of whichever failed, VerificationFailed for a stream that is
    not there, or whose programs are not whole.
    """
    name = at.flavor.streams["full"]
    if name not in entry.snapshots:
        _load_former(repo, entry, at, tell)
        return []
    kept = work / _KEPT
    argv = ("/bin/bash", "-o", "pipefail", "-c", _PARTED, str(kept), *_client(at))
    repo.dump(entry.snapshots[name], name, _asked(at, argv), tell)
    # As the account whose folder it is in: what somebody else may have put there is not read.
    with acting_as(at.account), os.fdopen(os.open(kept, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
        text = file.read(programs.MOST_BYTES + 1)
        kept.unlink()
    if len(text) > programs.MOST_BYTES:
        raise VerificationFailed(f"Backup {entry.backup_id} holds programs without end.")
    return list(programs.unpack(text))


def _load_former(repo: Repository, entry: Entry, at: Server, tell: Progress) -> None:
    """Load a dump with programs: as it is in a cell, else only if the client cannot be misled."""
    name = next((one for one in FORMER if one in entry.snapshots), None)
    if name is None:
        raise VerificationFailed(
            f"Backup {entry.backup_id} lacks its stream {at.flavor.streams['full']}: was it made "
            f"by {at.flavor.title}?"
        )
    steps = [_UNPACK] if name.endswith(".zst") else []
    if at.cell is None:
        steps.append(f"{sys.executable} -I -c '{_GATE}'")
    script = " | ".join((*steps, '"$@"')) + _JUDGED
    argv = ("/bin/bash", "-c", script, "load", *_client(at))
    repo.dump(entry.snapshots[name], name, _asked(at, argv), tell)


def _asked(at: Server, argv: Sequence[str]) -> Command:
    """Return the command that runs ``argv`` as the account that the server knows over its socket.

    In a cell that is its account, else root.
    """
    return at.tool(argv, _TITLE) if at.cell is not None else Command(tuple(argv), title=_TITLE)


def _client(at: Server) -> Sequence[str]:
    """Return the program that carries a dump out; it ends at the first statement that fails.

    With --binary-mode it knows no command of its own but ``delimiter`` and ``charset``.
    """
    return (
        at.flavor.client,
        "--no-defaults",
        f"--socket={at.socket}",
        f"--user={at.account}",
        "--binary-mode",
        "--local-infile=0",
        "--default-character-set=utf8mb4",
        f"--max-allowed-packet={_PACKET}",
        *((f"--init-command=SET ROLE {private_server.CONTROL}",) if at.cell is not None else ()),
    )
