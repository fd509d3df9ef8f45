"""What ``dbops check`` sees of a real member."""

from __future__ import annotations

import pytest

from dbops.contract import Check
from dbops.engines.mysql import checks_member
from tests.integration.mysql.site import Site

pytestmark = pytest.mark.integration


def found(site: Site) -> dict[str, Check]:
    with site.member.connect() as connection:
        return {one.name: one for one in checks_member.server(site.restored, connection)}


def test_system_tables_of_an_older_release_are_seen(site: Site) -> None:
    name = "system tables are of this release"
    assert found(site)[name].ok
    note = site.member.data / "mysql_upgrade_info"
    note.write_text("10.5.23-MariaDB")
    line = found(site)[name]
    assert not line.ok
    assert line.detail.startswith("10.5.23-MariaDB, the server is 10.11.")
    assert line.hint == "run mariadb-upgrade as root"
    note.unlink()
    assert found(site)[name].ok
