"""Bad variables: a play says which one, and changes nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.postgresql.hosts import CLUSTER, Site
from tests.e2e.refusals import last, on_controller, refused

pytestmark = pytest.mark.usefixtures("nothing_changes")


@pytest.mark.parametrize(
    ("verb", "extra", "status", "names"),
    [
        ("site", {"postgresql_max_conections": 5}, 5,
         ["postgresql_max_conections", "did you mean postgresql_max_connections?"]),
        ("secure", {"postgresql_backup_password": ""}, 5, ["postgresql_backup_password", "secret"]),
        ("secure", {"dbops_cluster": "a;touch x"}, 5, ["dbops_cluster"]),
        ("secure", {"dbops_members": ["pg1", "$(touch /tmp/x)"]}, 5, ["dbops_members"]),
        ("restore", {"postgresql_restore_time": "2001-01-01T00:00:00Z"},
         5, ["postgresql_restore_time", "its name is dbops_restore_time"]),
        ("restore", {"dbops_confirm": CLUSTER, "dbops_restore_time": "2001-01-01T00:00:00Z"},
         5, ["recovery window"]),
        ("restore", {"dbops_confirm": CLUSTER, "dbops_restore_backup_id": "a;touch x"},
         5, ["a;touch x"]),
    ],
    ids=lambda value: str(value)[:40],
)  # fmt: skip
def test_a_bad_variable(
    site: Site, tmp_path: Path, verb: str, extra: dict[str, Any], status: int, names: list[str]
) -> None:
    file = tmp_path / "extra.json"
    file.write_text(json.dumps(extra))
    done = on_controller(site, "play", verb, "-i", str(site.inventory), "-e", f"@{file}")
    refused(last(done), status, *names)
    assert site.whole()
