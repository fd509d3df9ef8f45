"""When a host's certificate needs no renewal: each reason to renew, one by one."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from plugins.filter.certificates import certificate_serves

NAMES = ["DNS:pg1", "IP:10.0.0.1"]
KEY = ec.generate_private_key(ec.SECP256R1())
AUTHORITY = ec.generate_private_key(ec.SECP256R1())


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _signed(
    subject: str,
    key: ec.EllipticCurvePrivateKey,
    signer: ec.EllipticCurvePrivateKey,
    days: int = 90,
    names: bool = True,
) -> str:
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(_name("authority"))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=days, minutes=1))
    )
    if names:
        held = [x509.DNSName("pg1"), x509.IPAddress(ip_address("10.0.0.1"))]
        builder = builder.add_extension(x509.SubjectAlternativeName(held), critical=False)
    return builder.sign(signer, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


def _fingerprint(key: ec.EllipticCurvePrivateKey) -> str:
    public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    digest = hashlib.sha256(public).hexdigest()
    return ":".join(digest[at : at + 2] for at in range(0, len(digest), 2))


ROOT = _signed("authority", AUTHORITY, AUTHORITY)


def _serves(
    pem: str, names: list[str] = NAMES, days: int = 30, fingerprint: str | None = None
) -> bool:
    return certificate_serves(pem, ROOT, names, days, fingerprint or _fingerprint(KEY))


def test_a_good_one_serves() -> None:
    assert _serves(_signed("pg1", KEY, AUTHORITY))


@pytest.mark.parametrize(
    "pem",
    [
        "",
        "-----BEGIN CERTIFICATE-----\nnone\n-----END CERTIFICATE-----\n",
        _signed("pg1", KEY, ec.generate_private_key(ec.SECP256R1())),
        _signed("pg1", KEY, AUTHORITY, days=29),
        _signed("pg1", KEY, AUTHORITY, names=False),
    ],
    ids=["absent", "torn", "of another authority", "near its end", "without names"],
)
def test_a_bad_one_does_not(pem: str) -> None:
    assert not _serves(pem)


def test_one_for_other_names_or_another_key_does_not() -> None:
    good = _signed("pg1", KEY, AUTHORITY)
    assert not _serves(good, names=["DNS:pg1"])
    assert not _serves(good, names=[*NAMES, "IP:10.0.0.2"])
    assert not _serves(good, fingerprint=_fingerprint(AUTHORITY))
