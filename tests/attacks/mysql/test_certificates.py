"""A stolen password with the wrong certificate: another client's, or a server's."""

from __future__ import annotations

from pathlib import Path

import pytest

from plugins.filter import certificates
from plugins.modules import host_keys
from tests.e2e.mysql.hosts import Site

_TLS = "/etc/dbops/tls"


@pytest.fixture
def application(site: Site, tmp_path: Path) -> Path:
    """Return the folder with an application's certificate of the same authority."""
    keys = [{**key, "group": None} for key in certificates.clients(["flights"])]
    given = {"folder": str(tmp_path), "keys": keys, "reissue": False}
    answers = host_keys.run(given, host_keys.Change(False))
    made = certificates.signed(answers, keys, str(site.secrets / "pki"), 1, 0)
    (tmp_path / "flights.crt").write_text(made["flights"])
    return tmp_path


def _asks(site: Site, host: str, certificate: str) -> str:
    """Return what the primary answers to replication's password with ``certificate``."""
    password = (site.secrets / "mysql_replication").read_text().strip()
    return site.root(
        host,
        f"MYSQL_PWD={password} mariadb --no-defaults -h {site.lab.address(site.primary())} "
        f"-u dbops_replication --ssl-ca={_TLS}/ca.crt --ssl-verify-server-cert "
        f"--ssl-cert={certificate}.crt --ssl-key={certificate}.key -BNe 'SELECT 41 + 1' 2>&1 "
        "|| true",
    )


def test_the_password_of_replication_goes_with_one_hosts_certificate(
    site: Site, application: Path
) -> None:
    host = site.replica()
    folder = site.root(host, "mktemp -d")
    try:
        for kind in ("crt", "key"):
            text = (application / f"flights.{kind}").read_text()
            site.root(host, f"cat > {folder}/flights.{kind} <<'END'\n{text}END")
        assert _asks(site, host, f"{_TLS}/client") == "42"
        assert "Access denied" in _asks(site, host, f"{folder}/flights")
        said = _asks(site, host, f"{_TLS}/host")
        assert said != "42"
        assert "TLS" in said or "SSL" in said or "Lost connection" in said, said
    finally:
        site.root(host, f"rm -r {folder}")


def test_the_exporters_account_reads_no_key(site: Site) -> None:
    for host in site.members:
        for key in ("host", "client"):
            script = "setpriv --reuid=dbops --regid=dbops --init-groups cat"
            said = site.root(host, f"{script} {_TLS}/{key}.key 2>&1 || true")
            assert "Permission denied" in said, (host, key)
