"""Who is ``dbops`` on a host, and wants more, by way of root's next play."""

from __future__ import annotations

from tests.attacks.paths import Place, decoys, planted
from tests.e2e.redis.hosts import CLUSTER, Site


def test_a_play_gives_no_account_what_its_link_points_to(site: Site) -> None:
    """As the agent: a link in the place of a folder."""
    places = [
        Place(host, "dbops", f"/var/lib/dbops/{CLUSTER}")
        for host in (site.members[-1], site.drill, site.repository)
    ]
    with planted(site, places):
        play = site.run_play("provision", ok=False)
        assert decoys(site, places) == ["root:root 700"] * len(places)
    assert play.status == 0 or "is a link" in play.said
    site.converged("provision")
