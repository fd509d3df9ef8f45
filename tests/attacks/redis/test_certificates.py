"""Root on one host asks for another's name, and certificates are shown where they do not belong."""

from __future__ import annotations

import base64
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPSConnection
from pathlib import Path

from tests.e2e.redis.hosts import Site

_LIBRARY = "/usr/lib/python3/dist-packages/cryptography/x509/base.py"
_ALTERED = Path(__file__).with_name("altered_request.txt")


@contextmanager
def _altering(site: Site, host: str) -> Iterator[None]:
    """Let every request that is made on ``host`` be for another host."""
    lines = base64.b64encode(_ALTERED.read_bytes()).decode()
    site.root(host, f"cp -a {_LIBRARY} /root/kept; echo {lines} | base64 -d >> {_LIBRARY}")
    try:
        yield
    finally:
        site.root(host, f"mv /root/kept {_LIBRARY}")


def test_root_on_one_host_gets_no_certificate_for_another(site: Site) -> None:
    host = next(one for one in site.members if one != site.primary())
    path = "/etc/dbops/tls/client.crt"
    kept = site.root(host, f"cat {path}")
    site.root(host, f"rm {path}")
    with _altering(site, host):
        play = site.run_play("provision", ok=False)
    assert play.status != 0, "a request for another host was signed"
    assert f"{host} was to ask for its certificate client.crt" in play.said
    for word in ("CN=backup2", "DNS:redis1", "codeSigning", "Nothing was signed"):
        assert word in play.said, word
    assert site.root(host, f"test -e {path} || echo none") == "none"
    site.run_play("provision")
    subject = site.root(host, f"openssl x509 -in {path} -noout -subject -ext extendedKeyUsage")
    assert f"CN = {host}" in subject
    assert "TLS Web Client Authentication" in subject
    assert "Server" not in subject
    assert site.root(host, f"cat {path}") != kept
    site.heal()
    site.converged()


def test_a_servers_certificate_is_no_clients(site: Site) -> None:
    address = site.lab.address(site.primary())
    host = next(one for one in site.members if one != site.primary())
    for port in (6379, 26379):
        for name, let_in in (("client", True), ("agent", True), ("host", False)):
            line = (
                f"timeout 5 redis-cli -h {address} -p {port} --tls --cacert /etc/dbops/tls/ca.crt "
                f"--cert /etc/dbops/tls/{name}.crt --key /etc/dbops/tls/{name}.key PING 2>&1"
            )
            answer = site.root(host, f"{line} || true")
            assert "PONG" not in answer
            assert ("NOAUTH" in answer) == let_in, (port, name, answer)


def test_an_application_reads_no_exporter(site: Site) -> None:
    """Its certificate is of the same authority; Prometheus' is made by the role."""
    host = site.drill
    address = site.lab.address(host)
    try:
        site.run_play("site", "-e", "redis_monitor_listen=0.0.0.0:9631")
        for name, status in (("flights", "403"), ("prometheus", "200")):
            assert _scraped(site, address, name) == status, name
        for name in ("client", "agent"):
            line = (
                f"curl -s -o /dev/null -w '%{{http_code}}' --cacert /etc/dbops/tls/ca.crt "
                f"--cert /etc/dbops/tls/{name}.crt --key /etc/dbops/tls/{name}.key "
                f"https://{address}:9631/metrics"
            )
            assert site.root(site.primary(), line) == "403", name
    finally:
        site.run_play("site")
    site.converged()


def _scraped(site: Site, address: str, name: str) -> str:
    context = ssl.create_default_context(cafile=str(site.secrets / "pki" / "ca.crt"))
    certificate = site.secrets / "clients" / name
    context.load_cert_chain(certificate.with_suffix(".crt"), certificate.with_suffix(".key"))
    connection = HTTPSConnection(address, 9631, timeout=10, context=context)
    try:
        connection.request("GET", "/metrics")
        return str(connection.getresponse().status)
    finally:
        connection.close()
