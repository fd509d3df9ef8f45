"""Database names that pgBackRest's manifest cannot hold, asked of a real server.

pgBackRest itself is stood in for: the refusal must come before it copies anything.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from psycopg import sql

from dbops import status
from dbops.contract import BackupRequest
from dbops.engines.postgresql import backup, pgbackrest
from dbops.errors import ConfigError, VerificationFailed
from dbops.targets import Target
from tests.integration.cluster import PORT, Cluster
from tests.unit.postgresql import made


@pytest.fixture
def repository(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> made.Repository:
    """Return what stands in for pgBackRest: a stanza of the running server's version."""
    ((number,),) = cluster.rows("SELECT current_setting('server_version_num')::int / 10000")
    text = made.info().replace('"version": "15"', f'"version": "{number}"')
    stands_in = made.Repository(text, {}, {})
    monkeypatch.setattr(pgbackrest, "ask", stands_in.ask)
    return stands_in


@pytest.fixture
def target(cluster: Cluster, tmp_path: Path) -> Target:
    """Return a repository's target whose member is the running server."""
    return made.target(
        tmp_path, socket_dir=str(cluster.directory), port=PORT, backup_user="postgres"
    )


def take(target: Target) -> None:
    """Take a full backup, as far as it goes without pgBackRest."""
    request = BackupRequest(kind="full", fingerprint=False)
    backup.take_backup(target, request, lambda words: None)


@pytest.mark.parametrize(
    "name",
    ["two\nlines", "\nlines", "lines\n", "carriage\rreturn", "a=b", "=", "[air", "[", "#air"],
)
def test_a_name_that_the_manifest_cannot_hold_is_refused(
    cluster: Cluster, repository: made.Repository, target: Target, name: str
) -> None:
    cluster.run(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    with pytest.raises(ConfigError, match="rename the database") as refused:
        take(target)
    assert repr(name) in str(refused.value)
    assert "\n" not in str(refused.value)
    assert {asked[0] for asked in repository.asked} == {"info"}
    assert status.read(target)["kinds"]["full"]["last_result"] == 0


@pytest.mark.parametrize(
    "name",
    [
        "air",
        "with spaces ",
        'it\'s "quoted"',
        "новый ключ 🛫",
        "back\\slash",
        "back\\nslash",
        "tab\tstop",
        "in [the] middle #1",
        "a:b;c,d",
        "$(id) %s {}",
        "../../x",
    ],
)
def test_any_other_name_is_backed_up(
    cluster: Cluster, repository: made.Repository, target: Target, name: str
) -> None:
    cluster.run(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    with pytest.raises(VerificationFailed, match="named no new backup"):
        take(target)
    assert repository.asked[-1][0] == "backup"
