"""What a backup refuses or doubts, asked of a real server; pgBackRest itself is stood in for.

Database names that its manifest cannot hold must be refused before it copies anything.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from psycopg import sql

from dbops import status
from dbops.contract import BackupRequest
from dbops.engines.postgresql import backup, catalogue, options, pgbackrest
from dbops.errors import ConfigError, VerificationFailed
from dbops.targets import Target
from tests.integration.cluster import PORT, Cluster
from tests.unit.postgresql import made


@pytest.fixture
def repository(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> made.Repository:
    """Return what stands in for pgBackRest: a stanza of the running server's version."""
    ((number,),) = cluster.rows("SELECT current_setting('server_version_num')::int / 10000")
    text = made.info().replace('"version": "15"', f'"version": "{number}"')
    stands_in = made.Repository(text, made.segments(0x10, 0x40), {})
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


def test_a_name_in_another_encoding_is_refused(
    cluster: Cluster, repository: made.Repository, target: Target
) -> None:
    cluster.run("CREATE DATABASE old ENCODING 'LATIN1' TEMPLATE template0 LOCALE 'C'")
    with cluster.connect("old", client_encoding="LATIN1") as connection:
        connection.execute('CREATE DATABASE "caf\xe9"')
    try:
        with pytest.raises(ConfigError, match=r"b'caf\\xe9' .* not in UTF-8"):
            take(target)
    finally:
        with cluster.connect("old", client_encoding="LATIN1") as connection:
            connection.execute('DROP DATABASE "caf\xe9"')


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


def test_a_suspiciously_small_backup_is_listed_and_its_attempt_fails(
    repository: made.Repository, target: Target
) -> None:
    label = "20261104-010000F"
    shrunk = {"delta": 490, "size": 490, "repository": {"delta": 49, "size": 49}}
    taken = json.dumps(made.backup(label, 3, 0x40, info=shrunk))
    repository.backup_text = f"P00   INFO: new backup label = {label}\n"
    before = repository.info_text
    repository.after_backup = before.replace('], "cipher"', f', {taken}], "cipher"')
    file = catalogue.manifest_path(options.read(target), label)
    file.parent.mkdir(parents=True)
    with pytest.raises(VerificationFailed, match=r"is listed, but holds 490 .* less than half"):
        take(target)
    listed = catalogue.catalogue(target).backups[-1]
    assert listed.backup_id == label
    assert listed.manifest is not None
    noted = status.read(target)
    assert noted["kinds"]["full"]["last_result"] == 0
    assert "less than half" in noted["kinds"]["full"]["message"]
    assert noted["catalogue"]["newest_backup"] == label
    assert "expire" not in {asked[0] for asked in repository.asked}
