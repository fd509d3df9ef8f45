"""Who is ``postgres`` or ``dbops`` on a host, and wants more, by way of root's next play."""

from __future__ import annotations

import json

from tests.attacks.paths import Place, decoys, planted
from tests.e2e.postgresql.hosts import Site

CLUSTER = "flights"


def test_a_play_gives_no_account_what_its_link_points_to(site: Site) -> None:
    """As postgres on a standby and the archive's owner, and as the agent: a link for a folder."""
    version = site.root("pg2", "ls /etc/postgresql")
    places = [
        Place("pg2", "postgres", f"/etc/postgresql/{version}/main"),
        Place("pg2", "dbops", f"/var/lib/dbops/{CLUSTER}"),
        Place("drill1", "dbops", f"/var/lib/dbops/{CLUSTER}"),
        Place("backup1", "dbops", f"/var/lib/dbops/{CLUSTER}"),
    ]
    with planted(site, places):
        play = site.run_play("provision", ok=False)
        assert decoys(site, places) == ["root:root 700"] * len(places)
    assert play.status == 0 or "is a link" in play.said
    site.converged("provision")


def test_the_agent_forges_no_drill(site: Site) -> None:
    """As the agent on the drill host: a folder of its own with a record that says proven."""
    state, aside = f"/var/lib/dbops/{CLUSTER}", f"/var/lib/dbops/{CLUSTER}.attack"
    record = json.dumps(
        {
            "schema_version": 1,
            "engine": "postgresql",
            "cluster": CLUSTER,
            "backup_id": "FORGED",
            "started_at": "2031-01-01T00:00:00Z",
            "finished_at": "2031-01-01T00:01:00Z",
            "proven": True,
            "reason": "",
            "rpo_seconds": 1,
            "rto_seconds": 1,
            "rpo_objective_seconds": 60,
            "rto_objective_seconds": 600,
            "bytes_restored": 1,
            "steps": [],
            "tables": [],
            "differences": [],
        }
    )
    forge = f"mv {state} {aside}; mkdir -p {state}/drills; "
    forge += f"echo '{record}' > {state}/drills/20310101T000000Z.json"
    try:
        site.run("drill1", "sh", "-c", forge, user="dbops")
        history = site.run("drill1", "dbops", "drill", "history", "--json")
        assert "FORGED" not in history.stdout
    finally:
        site.root("drill1", f"if [ -d {aside} ]; then rm -rf {state}; mv {aside} {state}; fi")
