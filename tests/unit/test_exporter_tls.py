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

from dbops.collecting import Fleet
from dbops.exporter import Server, Tls

x509 = pytest.importorskip("cryptography.x509")


def authority(folder: Path, name: str) -> Path:
    """Make a certificate authority and one host certificate of it in ``folder / name``."""
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    here = folder / name
    here.mkdir()
    ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    now = datetime.now(UTC)

    def certificate(subject: str, public: object, *, ca: bool) -> bytes:
        def named(text: str) -> object:
            return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

        made = (
            x509.CertificateBuilder()
            .subject_name(named(subject))
            .issuer_name(named(name))
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), False)
            .sign(ca_key, hashes.SHA256())
        )
        data: bytes = made.public_bytes(serialization.Encoding.PEM)
        return data

    (here / "ca.crt").write_bytes(certificate(name, ca_key.public_key(), ca=True))
    (here / "host.crt").write_bytes(certificate("host", key.public_key(), ca=False))
    (here / "host.key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return here


def files(folder: Path) -> Tls:
    return Tls(folder / "host.crt", folder / "host.key", folder / "ca.crt")


@contextmanager
def serving(server: Server) -> Iterator[int]:
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()


def scrape(port: int, trusted: Path, own: Path | None) -> int:
    context = ssl.create_default_context(cafile=str(trusted / "ca.crt"))
    if own is not None:
        context.load_cert_chain(own / "host.crt", own / "host.key")
    connection = HTTPSConnection("localhost", port, timeout=5, context=context)
    try:
        connection.request("GET", "/metrics")
        return connection.getresponse().status
    finally:
        connection.close()


def test_only_known_scrapers_and_rotation(tmp_path: Path) -> None:
    right, wrong = authority(tmp_path, "right"), authority(tmp_path, "wrong")
    (tmp_path / "targets").mkdir()
    server = Server(("127.0.0.1", 0), Fleet(tmp_path / "targets"), 1, files(right))
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
