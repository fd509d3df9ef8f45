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
# What root on a host adds to the library that makes requests.
_ALTERED = """
from cryptography.x509 import extensions as _ext, general_name as _general, name as _name
from cryptography.x509.oid import ExtendedKeyUsageOID as _usage, NameOID as _oid

_sign = CertificateSigningRequestBuilder.sign


def _altered(self, *given, **named):
    subject = _name.Name([_name.NameAttribute(_oid.COMMON_NAME, "backup2")])
    names = [_general.DNSName("backup2"), _general.DNSName("redis1")]
    usages = [_usage.SERVER_AUTH, _usage.CLIENT_AUTH, _usage.CODE_SIGNING]
    asked = CertificateSigningRequestBuilder(subject_name=subject)
    asked = asked.add_extension(_ext.SubjectAlternativeName(names), critical=False)
    asked = asked.add_extension(_ext.ExtendedKeyUsage(usages), critical=False)
    return _sign(asked, *given, **named)


CertificateSigningRequestBuilder.sign = _altered
"""


@contextmanager
def _altering(site: Site, host: str) -> Iterator[None]:
    """Let every request that is made on ``host`` be for another host."""
    lines = base64.b64encode(_ALTERED.encode()).decode()
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


@contextmanager
def _lying(site: Site, host: str, address: str) -> Iterator[None]:
    """Let ``host`` say, when it is asked, that it has the address of another."""
    own = site.lab.address(host)
    program = site.root(host, "readlink -f $(command -v ip)")
    wrapper = f'#!/bin/sh\n{program}.kept "$@" | sed s/{own}/{address}/g\n'
    site.root(host, f"mv {program} {program}.kept; printf '{wrapper}' > {program}")
    site.root(host, f"chmod 755 {program}")
    _forget(site, host)
    try:
        yield
    finally:
        site.root(host, f"mv {program}.kept {program}")
        _forget(site, host)


def _forget(site: Site, host: str) -> None:
    for path in (site.lab.state / "facts").glob(f"*_{host}"):
        path.unlink()


def test_an_address_that_a_host_claims_is_in_no_certificate(site: Site) -> None:
    host = next(one for one in site.members if one != site.primary())
    other = site.lab.address(site.primary())
    path = "/etc/dbops/tls/host.crt"
    site.root(host, f"rm {path}")
    with _lying(site, host, other):
        told = site.root(host, "ip -4 route get 8.8.8.8")
        assert other in told, f"{host} does not lie: {told}"
        site.run_play("provision")
    names = site.root(host, f"openssl x509 -in {path} -noout -ext subjectAltName")
    assert other not in names
    assert site.lab.address(host) in names
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


def test_an_application_reads_no_exporter(site: Site, tmp_path: Path) -> None:
    """Its certificate is of the same authority; Prometheus' is made by the role."""
    for name in ("client", "agent"):  # as root on a host has them
        for kind in ("crt", "key"):
            text = site.root(site.primary(), f"cat /etc/dbops/tls/{name}.{kind}")
            (tmp_path / f"{name}.{kind}").write_text(f"{text}\n")
    clients = site.secrets / "clients"
    try:
        site.run_play("monitor", "-e", "dbops_monitor_listen=0.0.0.0:9631")
        for certificate, status in (
            (clients / "flights", 403),
            (tmp_path / "client", 403),
            (tmp_path / "agent", 403),
            (clients / "prometheus", 200),
        ):
            assert _scraped(site, certificate) == status, certificate.name
    finally:
        site.run_play("monitor")
    site.converged()


def _scraped(site: Site, certificate: Path) -> int:
    context = ssl.create_default_context(cafile=str(site.secrets / "pki" / "ca.crt"))
    context.load_cert_chain(certificate.with_suffix(".crt"), certificate.with_suffix(".key"))
    address = site.lab.address(site.drill)
    connection = HTTPSConnection(address, 9631, timeout=10, context=context)
    try:
        connection.request("GET", "/metrics")
        return connection.getresponse().status
    finally:
        connection.close()
