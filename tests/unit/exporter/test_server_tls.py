"""The exporter over TLS: only scrapers with a certificate of the right authority, and rotation."""

from __future__ import annotations

import os
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.client import HTTPSConnection
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from dbops.exporter.collecting import Fleet
from dbops.exporter.server import Server, Tls


def authority(folder: Path, name: str) -> Path:
    """Make a certificate authority in ``folder / name``, and certificates of it.

    ``host`` is the server's, ``prometheus`` and ``flights`` are clients', the latter of an
    application.
    """
    here = folder / name
    here.mkdir()
    signer = ec.generate_private_key(ec.SECP256R1())
    _write(here / "ca", name, name, signer, signer, None)
    for subject, usage in (
        ("host", ExtendedKeyUsageOID.SERVER_AUTH),
        ("prometheus", ExtendedKeyUsageOID.CLIENT_AUTH),
        ("flights", ExtendedKeyUsageOID.CLIENT_AUTH),
    ):
        _write(
            here / subject, subject, name, ec.generate_private_key(ec.SECP256R1()), signer, usage
        )
    return here


def _write(
    path: Path,
    subject: str,
    issuer: str,
    key: ec.EllipticCurvePrivateKey,
    signer: ec.EllipticCurvePrivateKey,
    usage: x509.ObjectIdentifier | None,
) -> None:
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=usage is None, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
    )
    if usage is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    made = builder.sign(signer, hashes.SHA256())
    path.with_suffix(".crt").write_bytes(made.public_bytes(Encoding.PEM))
    text = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.with_suffix(".key").write_bytes(text)


def files(folder: Path) -> Tls:
    clients = frozenset({"prometheus"})
    return Tls(folder / "host.crt", folder / "host.key", folder / "ca.crt", clients)


@contextmanager
def serving(server: Server) -> Iterator[int]:
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()


def scrape(port: int, trusted: Path, own: Path | None, name: str = "prometheus") -> int:
    """Return the status of an answer; OSError when there is none."""
    context = ssl.create_default_context(cafile=str(trusted / "ca.crt"))
    if own is not None:
        context.load_cert_chain(own / f"{name}.crt", own / f"{name}.key")
    connection = HTTPSConnection("localhost", port, timeout=5, context=context)
    try:
        connection.request("GET", "/metrics")
        answer = connection.getresponse()
        assert (b"dbops_" in answer.read()) == (answer.status == 200)
        return answer.status
    finally:
        connection.close()


def test_only_known_scrapers_and_rotation(tmp_path: Path) -> None:
    right, wrong = authority(tmp_path, "right"), authority(tmp_path, "wrong")
    server = Server(("127.0.0.1", 0), Fleet(_targets(tmp_path)), 1, files(right))
    with serving(server) as port:
        assert scrape(port, right, right) == 200
        for own in (None, wrong):
            with pytest.raises((ssl.SSLError, OSError)):
                scrape(port, right, own)
        assert scrape(port, right, right) == 200
        for file in ("ca.crt", "host.crt", "host.key"):
            (right / file).write_bytes((wrong / file).read_bytes())
            os.utime(right / file, (1, 1))
        assert scrape(port, wrong, wrong) == 200


def test_an_application_of_the_same_authority_gets_nothing(tmp_path: Path) -> None:
    right = authority(tmp_path, "right")
    server = Server(("127.0.0.1", 0), Fleet(_targets(tmp_path)), 1, files(right))
    with serving(server) as port:
        assert scrape(port, right, right, "flights") == 403
        assert scrape(port, right, right) == 200


def test_a_servers_certificate_is_no_scrapers(tmp_path: Path) -> None:
    right = authority(tmp_path, "right")
    named = Tls(right / "host.crt", right / "host.key", right / "ca.crt", frozenset({"host"}))
    server = Server(("127.0.0.1", 0), Fleet(_targets(tmp_path)), 1, named)
    with serving(server) as port, pytest.raises((ssl.SSLError, OSError)):
        scrape(port, right, right, "host")


def _targets(folder: Path) -> Path:
    """Return a folder with a target file that cannot be read: there is a metric about that."""
    targets = folder / "targets"
    targets.mkdir()
    (targets / "torn.json").write_text("{")
    return targets
