"""The exporters: valid text, plausible values, an answer in time, and closed to others."""

from __future__ import annotations

import socket
import ssl
import time
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from prometheus_client.parser import text_string_to_metric_families

from lab import fleet
from tests.e2e.hosts import wait
from tests.e2e.postgresql.hosts import CLUSTER, Site

PORT = 9630
_SCRAPE_SECONDS = 10.0  # Prometheus' own default; the exporter's is 5
_READ = (
    "import sys, urllib.request as u; "
    f"sys.stdout.write(u.urlopen('http://127.0.0.1:{PORT}/metrics', timeout=60).read().decode())"
)


class Page:
    """One answer of an exporter."""

    def __init__(self, text: str) -> None:
        self.samples = [s for f in text_string_to_metric_families(text) for s in f.samples]
        series = [(s.name, tuple(sorted(s.labels.items()))) for s in self.samples]
        assert len(series) == len(set(series)), "a series is there twice"

    def value(self, name: str, **labels: str) -> float:
        """Return the value of the one series with ``labels``."""
        found = [
            s for s in self.samples if s.name == name and labels.items() <= dict(s.labels).items()
        ]
        assert len(found) == 1, (name, labels, found)
        return float(found[0].value)


def _scrape(site: Site, host: str) -> Page:
    return Page(site.root(host, f'python3 -c "{_READ}"') + "\n")


def test_every_host_answers_with_the_same_labels(whole: Site) -> None:
    for host in whole.hosts:
        page = _scrape(whole, host)
        assert page.value("dbops_up") == 1
        about = [s for s in page.samples if s.name != "dbops_exporter_target_file_unusable"]
        assert {s.labels["engine"] for s in about} == {"postgresql"}
        assert {s.labels["cluster"] for s in about} == {CLUSTER}
        assert {s.labels["instance_name"] for s in about} == {host}
        assert page.value("dbops_objective_rpo_seconds") == 120
        assert page.value("dbops_objective_rto_seconds") == 300
        assert page.value("dbops_exporter_collector_success") == 1


def test_members_tell_role_lag_and_the_end_of_their_certificate(whole: Site) -> None:
    roles = {whole.primary(): "primary", whole.replica(): "replica"}
    for host, role in roles.items():
        page = _scrape(whole, host)
        assert page.value("dbops_role", role=role) == 1
        assert sum(s.value for s in page.samples if s.name == "dbops_role") == 1
        assert page.value("dbops_replication_link_up") == 1
        assert page.value("dbops_replication_lag_seconds_known") == 1
        assert 0 <= page.value("dbops_replication_lag_seconds") < 30
        assert 0 <= page.value("dbops_replication_lag_bytes") < 100 << 20
        assert page.value("dbops_heartbeat_known") == 1
        assert -5 < page.value("dbops_heartbeat_age_seconds") < 30
        served = ssl.PEM_cert_to_DER_cert(whole.root(host, "cat /etc/dbops/tls/host.crt"))
        ends = x509.load_der_x509_certificate(served).not_valid_after_utc.timestamp()
        name = "dbops_tls_certificate_not_after_timestamp_seconds"
        assert page.value(name, port="5432", subject=host) == ends
        assert time.time() + 30 * 86400 < ends < time.time() + 400 * 86400


def test_the_repository_tells_of_its_backups(whole: Site) -> None:
    whole.take("full")  # an earlier test may have made one fail
    whole.take("incremental")
    newest = whole.backups()
    page = _scrape(whole, "backup1")
    for kind in ("full", "incremental"):
        last = [backup["stop"] for backup in newest if backup["kind"] == kind][-1]
        when = datetime.fromisoformat(last).timestamp()
        name = "dbops_backup_last_success_timestamp_seconds"
        assert abs(page.value(name, type=kind) - when) < 2, kind
        assert page.value("dbops_backup_last_result", type=kind) == 1
        assert page.value("dbops_backup_last_size_bytes", type=kind) > 0
    assert page.value("dbops_backup_retained_count") == len(newest)
    assert page.value("dbops_backup_encrypted") == 1
    assert page.value("dbops_rpo_exposure_known") == 1
    assert 0 <= page.value("dbops_rpo_exposure_seconds") < 180
    assert time.time() - page.value("dbops_backup_last_success_timestamp_seconds",
                                    type="incremental") < 600  # fmt: skip


def test_the_drill_host_tells_of_its_last_drill(whole: Site) -> None:
    before = time.time()
    whole.dbops("drill1", "drill", "run")
    last = whole.dbops("drill1", "drill", "history", "--json").json()[-1]
    page = _scrape(whole, "drill1")
    assert page.value("dbops_restore_drill_last_timestamp_seconds") >= before
    assert page.value("dbops_restore_drill_last_result") == 1
    rows = sum(table["rows_expected"] for table in last["tables"])
    assert rows > 300_000
    assert page.value("dbops_restore_drill_rows_checked") == rows
    assert page.value("dbops_restore_drill_rows_mismatched") == 0
    for name in ("rto", "rpo"):
        assert page.value(f"dbops_restore_drill_{name}_seconds") == pytest.approx(
            last[f"{name}_seconds"]
        )


def test_a_frozen_server_is_down_within_the_time_of_a_scrape(whole: Site) -> None:
    standby = whole.replica()
    assert _scrape(whole, standby).value("dbops_up") == 1
    postmaster = "$(head -1 /var/lib/postgresql/*/main/postmaster.pid)"
    whole.root(standby, f"kill -STOP {postmaster}")
    try:
        started = time.monotonic()
        page = _scrape(whole, standby)
        assert time.monotonic() - started < _SCRAPE_SECONDS
        assert page.value("dbops_up") == 0
        assert page.value("dbops_exporter_collector_success") == 0
        # What was known is repeated, so that no alert resolves itself, and said to be old.
        assert page.value("dbops_objective_rpo_seconds") == 120
        assert page.value("dbops_heartbeat_known") == 0
    finally:
        whole.root(standby, f"kill -CONT {postmaster}")
    wait(lambda: _scrape(whole, standby).value("dbops_up") == 1, 30, "dbops_up 1 again")


# Beyond loopback


def _certificate(folder: Path, ca: Path | None) -> Path:
    """Make a client's key and certificate, signed by the authority in ``ca`` or by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "scraper")])
    signer: ec.EllipticCurvePrivateKey = key
    issuer = name
    if ca is not None:
        loaded = serialization.load_pem_private_key((ca / "ca.key").read_bytes(), None)
        assert isinstance(loaded, ec.EllipticCurvePrivateKey)
        signer = loaded
        issuer = x509.load_pem_x509_certificate((ca / "ca.crt").read_bytes()).subject
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), False)
        .sign(signer, hashes.SHA256())
    )
    file = folder / f"client-{'known' if ca else 'stranger'}.pem"
    file.touch(mode=0o600)
    file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return file


@pytest.fixture(scope="module")
def open_site(site: Site) -> Iterator[Site]:
    """Let the exporters listen on every address, by the role's own variable."""
    site.heal()
    site.run_play("monitor", "-e", f"dbops_monitor_listen=0.0.0.0:{PORT}")
    yield site
    site.run_play("monitor")


def _get(site: Site, host: str, client: Path | None) -> str:
    context = ssl.create_default_context(cafile=site.secrets / "pki" / "ca.crt")
    if client is not None:
        context.load_cert_chain(client)
    address = site.lab.address(host)
    answer = b""
    with (
        socket.create_connection((address, PORT), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname=host) as secured,
    ):
        secured.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        while block := secured.recv(65536):
            answer += block
    head, _, body = answer.decode().partition("\r\n\r\n")
    return body if head.split()[1] == "200" else head.split()[1]


def test_a_client_with_a_certificate_gets_metrics(open_site: Site, tmp_path: Path) -> None:
    made = open_site.secrets / "clients" / "prometheus"
    client = tmp_path / "prometheus.pem"
    client.touch(mode=0o600)
    client.write_text(made.with_suffix(".key").read_text() + made.with_suffix(".crt").read_text())
    for host in fleet.FLEETS["postgresql"]:
        assert Page(_get(open_site, host, client)).value("dbops_exporter_collector_success") == 1


def test_others_are_refused(open_site: Site, tmp_path: Path) -> None:
    application = _certificate(tmp_path, open_site.secrets / "pki")
    assert _get(open_site, "pg1", application) == "403"
    for client in (None, _certificate(tmp_path, None)):
        with pytest.raises((ssl.SSLError, ConnectionError)):
            _get(open_site, "pg1", client)
    with pytest.raises(OSError, match=r"."):
        urllib.request.urlopen(f"http://{open_site.lab.address('pg1')}:{PORT}/metrics", timeout=10)


def test_loopback_is_the_default_and_nobody_else_gets_in(site: Site) -> None:
    site.run_play("monitor")
    for host in fleet.FLEETS["postgresql"]:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((site.lab.address(host), PORT), timeout=5)


def test_it_does_not_listen_for_others_without_tls(whole: Site) -> None:
    for words in (
        "0.0.0.0:9699",
        "[::]:9699",
        "0.0.0.0:9699 --tls-cert /etc/dbops/tls/host.crt --tls-key /etc/dbops/tls/host.key",
        "0.0.0.0:9699 --tls-cert /etc/dbops/tls/host.crt --tls-key /etc/dbops/tls/host.key "
        "--client-ca /etc/dbops/tls/ca.crt",
    ):
        done = whole.run("pg1", "timeout", "10", "dbops", "exporter", "--listen", *words.split())
        assert done.status in (2, 7), f"it serves with {words}"
        assert len(done.stderr.splitlines()) == 1, done.stderr
        assert "--client-ca" in done.stderr
