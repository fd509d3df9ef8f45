"""A restart keeps the roles, and a rotation of logs keeps them where they are."""

from __future__ import annotations

from lab import fleet
from tests.e2e.mysql.hosts import CONFIRM, Site


def test_a_restart_of_every_member_keeps_the_roles(whole: Site) -> None:
    primary = whole.primary()
    for host in whole.members:
        whole.server(host, "restart")
    whole.wait_whole()
    assert whole.primary() == primary
    whole.converged("replicate")


def test_logs_are_where_they_are_said_to_be_after_a_rotation(site: Site) -> None:
    """The package's logrotate moved the audit log away from under the server."""
    host, path = site.replica(), "/var/log/mysql-audit/audit.log"
    site.root(host, "command -v logrotate || apt-get install -qqy logrotate")
    site.root(host, "logrotate -f /etc/logrotate.d/mariadb")
    before = site.root(host, f"wc -l < {path}")
    site.ask(host, "SELECT 1")
    assert int(site.root(host, f"wc -l < {path}")) > int(before)
    site.root(host, "test -e /var/log/mysql/error.log && test -e /var/log/mysql/slow.log")


def test_a_member_whose_host_was_made_anew_comes_back_by_site_alone(whole: Site) -> None:
    """Its data come from the repository, which it must first be let to reach."""
    whole.run_play("switchover", *CONFIRM)  # a primary whose own log does not hold everything
    whole.wait_archived()
    host = whole.replica()
    fleet.remove(whole.lab, (host,))
    fleet.up(whole.lab)
    whole.run_play("site")
    whole.wait_whole()
    assert whole.replica() == host
