"""What the controller signs: a host's public key and nothing else that the host asks for.

Requests are made by the real module and by real attackers' hands; nothing is mocked.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from plugins.filter import certificates
from plugins.modules import host_keys

WANTED = certificates.wanted({"host": "postgres", "client": "postgres"}, "pg1", "10.0.0.1")
HOST, CLIENT = WANTED
KEY = ec.generate_private_key(ec.SECP256R1())
SERVER, SHOWN = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH
CODE = ExtendedKeyUsageOID.CODE_SIGNING
NAMES: list[x509.GeneralName] = [x509.DNSName("pg1"), x509.IPAddress(ip_address("10.0.0.1"))]


def _name(*texts: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text) for text in texts])


@pytest.fixture
def pki(tmp_path: Path) -> Path:
    """Return the folder of an authority."""
    return _authority(tmp_path / "pki")


def _authority(folder: Path) -> Path:
    folder.mkdir()
    key, now = ec.generate_private_key(ec.SECP384R1()), datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(_name("authority"))
        .issuer_name(_name("authority"))
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=900))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "ca.crt").write_bytes(made.public_bytes(Encoding.PEM))
    text = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "ca.key").write_bytes(text)
    return folder


def _asks(
    subject: x509.Name,
    *extensions: x509.ExtensionType,
    key: Any = KEY,
) -> str:
    """Return a request as somebody makes it who is root on a host."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


def _sans(*names: x509.GeneralName) -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName(names)


def _usage(*usages: x509.ObjectIdentifier) -> x509.ExtendedKeyUsage:
    return x509.ExtendedKeyUsage(usages)


GOOD = _asks(_name("pg1"), _usage(SERVER), _sans(*NAMES))


def _answers(request: str, certificate: str = "") -> dict[str, dict[str, str]]:
    return {"host": {"request": request, "certificate": certificate}}


def _sign(pki: Path, request: str, now: str = "", days: int = 90) -> str:
    return certificates.signed(_answers(request, now), [HOST], str(pki), days, 30)["host"]


def test_the_module_makes_what_the_controller_signs(pki: Path, tmp_path: Path) -> None:
    folder = tmp_path / "tls"
    folder.mkdir()
    keys: list[dict[str, Any]] = [{**key, "group": None} for key in WANTED]
    given = {"folder": str(folder), "keys": keys, "reissue": False}
    change = host_keys.Change(False)
    answers = host_keys.run(given, change)
    assert change.paths == [str(folder / "host.key"), str(folder / "client.key")]
    assert "PRIVATE" not in f"{answers} {change.diff}"
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    assert len({path.read_bytes() for path in folder.iterdir()}) == 2
    assert certificates.refused(answers, WANTED) == []
    made = certificates.signed(answers, WANTED, str(pki), 90, 30)
    for name, text in made.items():
        (folder / f"{name}.crt").write_text(text)
    change = host_keys.Change(False)
    again = host_keys.run(given, change)
    assert (change.paths, change.diff) == ([], [])
    assert certificates.signed(again, WANTED, str(pki), 90, 30) == made
    change = host_keys.Change(False)
    new = host_keys.run({**given, "reissue": True}, change)
    assert len(change.paths) == 2
    assert certificates.signed(new, WANTED, str(pki), 90, 30) != made


def test_a_dry_run_makes_no_key_and_keeps_the_certificates(pki: Path, tmp_path: Path) -> None:
    entry: dict[str, Any] = {**HOST, "group": "no such group"}
    given = {"folder": str(tmp_path), "keys": [entry], "reissue": True}
    change = host_keys.Change(True)
    answers = host_keys.run(given, change)
    assert answers == {"host": {"request": "", "certificate": ""}}
    assert change.paths == [str(tmp_path / "host.key")]
    assert not (tmp_path / "host.key").exists()
    assert certificates.signed(answers, [HOST], str(pki), 90, 30) == {}
    held = _answers("", "in force")
    assert certificates.signed(held, [HOST], str(pki), 90, 30) == {"host": "in force"}


def test_a_key_that_is_a_link_or_none_of_ours_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "host.key").symlink_to(tmp_path / "victim")
    given = {"folder": str(tmp_path), "keys": [{**HOST, "group": None}], "reissue": False}
    with pytest.raises(OSError, match="symbolic links"):
        host_keys.run(given, host_keys.Change(False))
    (tmp_path / "host.key").unlink()
    (tmp_path / "host.key").write_text("precious")
    with pytest.raises(ValueError, match=re.escape(f"{tmp_path}/host.key holds no private key")):
        host_keys.run(given, host_keys.Change(False))
    assert (tmp_path / "host.key").read_text() == "precious"


def test_what_is_signed_is_the_controllers(pki: Path) -> None:
    made = x509.load_pem_x509_certificate(_sign(pki, GOOD).encode())
    assert made.subject == _name("pg1")
    assert made.public_key() == KEY.public_key()
    found = {type(one.value): one.value for one in made.extensions}
    assert list(found[x509.ExtendedKeyUsage]) == [SERVER]
    assert list(found[x509.SubjectAlternativeName]) == NAMES
    assert found[x509.BasicConstraints].ca is False
    assert found[x509.KeyUsage].digital_signature
    assert not found[x509.KeyUsage].key_cert_sign
    lasts = made.not_valid_after_utc - datetime.now(UTC)
    assert timedelta(days=89) < lasts <= timedelta(days=90)


def test_a_clients_certificate_is_no_servers(pki: Path) -> None:
    answers = {"client": {"request": _asks(_name("pg1"), _usage(SHOWN)), "certificate": ""}}
    text = certificates.signed(answers, [CLIENT], str(pki), 90, 30)["client"]
    found = x509.load_pem_x509_certificate(text.encode()).extensions
    usage = found.get_extension_for_class(x509.ExtendedKeyUsage)
    assert list(usage.value) == [SHOWN]
    with pytest.raises(x509.ExtensionNotFound):
        found.get_extension_for_class(x509.SubjectAlternativeName)


FORGED = {
    "another host": (_asks(_name("backup1"), _usage(SERVER), _sans(*NAMES)), "CN=backup1"),
    "two names of one subject": (
        _asks(_name("pg1", "backup1"), _usage(SERVER), _sans(*NAMES)),
        "CN=backup1",
    ),
    "one name more": (
        _asks(_name("pg1"), _usage(SERVER), _sans(*NAMES, x509.DNSName("backup1"))),
        "DNS:backup1",
    ),
    "another kind of name": (
        _asks(_name("pg1"), _usage(SERVER), _sans(*NAMES, x509.RFC822Name("root@pg2"))),
        "RFC822Name:root@pg2",
    ),
    "no name": (_asks(_name("pg1"), _usage(SERVER)), "asks for subject CN=pg1; usage serverAuth"),
    "a client's usage": (
        _asks(_name("pg1"), _usage(SERVER, SHOWN), _sans(*NAMES)),
        "serverAuth, clientAuth",
    ),
    "signing of code": (
        _asks(_name("pg1"), _usage(SERVER, CODE), _sans(*NAMES)),
        "codeSigning",
    ),
    "no usage": (_asks(_name("pg1"), _sans(*NAMES)), "subject CN=pg1; names"),
    "an authority": (
        _asks(_name("pg1"), _usage(SERVER), _sans(*NAMES), x509.BasicConstraints(True, None)),
        "2.5.29.19",
    ),
    "a weaker key": (
        _asks(
            _name("pg1"),
            _usage(SERVER),
            _sans(*NAMES),
            key=rsa.generate_private_key(public_exponent=65537, key_size=2048),
        ),
        "not on the curve P-256",
    ),
    "no request": ("-----BEGIN CERTIFICATE REQUEST-----\nnone\n", "cannot be read"),
    "a long one": (GOOD + "x" * 20_000, "cannot be read"),
}


@pytest.mark.parametrize("kind", FORGED)
def test_a_request_that_was_altered_is_refused_by_name(kind: str, pki: Path) -> None:
    request, told = FORGED[kind]
    (sentence,) = certificates.refused(_answers(request), [HOST])
    assert sentence.startswith("pg1 was to ask for its certificate host.crt, and ")
    assert told in sentence
    with pytest.raises(AnsibleFilterError, match=re.escape(sentence)):
        _sign(pki, request)


def test_a_request_with_another_signature_is_refused() -> None:
    other = _asks(_name("pg1"), _usage(SERVER), _sans(*NAMES), key=_other())
    mine, theirs = (x509.load_pem_x509_csr(text.encode()) for text in (GOOD, other))
    der = mine.public_bytes(Encoding.DER)
    torn = der.replace(mine.signature[-16:], theirs.signature[-16:])
    text = x509.load_der_x509_csr(torn).public_bytes(Encoding.PEM).decode()
    assert "not signed with its own key" in certificates.refused(_answers(text), [HOST])[0]


def _other() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@pytest.mark.parametrize(
    "answers", [None, [], {"host": None}, {"host": {"request": ["x"]}}, {"other": {}}]
)
def test_an_answer_of_another_shape_gets_nothing(answers: Any, pki: Path) -> None:
    assert certificates.refused(answers, [HOST]) == []
    assert certificates.signed(answers, [HOST], str(pki), 90, 30) == {}


def _former(pki: Path, *usages: x509.ObjectIdentifier, ca: bool = False) -> str:
    """Return a certificate that the authority signed, as an earlier release or an attacker had."""
    signer: Any = load_pem_private_key((pki / "ca.key").read_bytes(), None)
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name("pg1"))
        .issuer_name(_name("authority"))
        .public_key(KEY.public_key())
        .serial_number(2)
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=90))
        .add_extension(_sans(*NAMES), critical=False)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )
    if usages:
        builder = builder.add_extension(_usage(*usages), critical=False)
    return builder.sign(signer, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


def test_one_that_serves_is_kept_and_every_other_replaced(pki: Path, tmp_path: Path) -> None:
    good = _sign(pki, GOOD)
    assert _sign(pki, GOOD, good) == good
    former = _former(pki, SERVER)
    assert _sign(pki, GOOD, former) == former
    stranger = _authority(tmp_path / "stranger")
    bad = {
        "absent": "",
        "torn": "-----BEGIN CERTIFICATE-----\nnone\n-----END CERTIFICATE-----\n",
        "of another authority": _sign(stranger, GOOD),
        "near its end": _sign(pki, GOOD, days=29),
        "of the former kind": _former(pki, SERVER, SHOWN),
        "for signing code": _former(pki, SERVER, CODE),
        "for nothing": _former(pki),
        "an authority": _former(pki, SERVER, ca=True),
    }
    for kind, text in bad.items():
        assert _sign(pki, GOOD, text) != text, kind


def test_one_for_other_names_or_another_key_is_replaced(pki: Path) -> None:
    good = _sign(pki, GOOD)
    moved = certificates.wanted({"host": "postgres"}, "pg1", "10.0.0.2")
    names = _sans(x509.DNSName("pg1"), x509.IPAddress(ip_address("10.0.0.2")))
    request = _asks(_name("pg1"), _usage(SERVER), names)
    made = certificates.signed(_answers(request, good), moved, str(pki), 90, 30)
    assert made["host"] != good
    other = _asks(_name("pg1"), _usage(SERVER), _sans(*NAMES), key=_other())
    assert _sign(pki, other, good) != good


@pytest.mark.parametrize(
    ("address", "names"),
    [
        ("10.0.0.1", ["DNS:pg1", "IP:10.0.0.1"]),
        ("fd00:0::1", ["DNS:pg1", "IP:fd00::1"]),
        ("pg1.example.org", ["DNS:pg1", "DNS:pg1.example.org"]),
        ("pg1", ["DNS:pg1"]),
    ],
)
def test_a_server_is_called_what_the_inventory_calls_it(address: str, names: list[str]) -> None:
    server, client = certificates.wanted({"gate": "g", "agent": "a"}, "pg1", address)
    assert (server["names"], client["names"]) == (names, [])


def test_files_of_purposes_that_a_host_has_no_more_go() -> None:
    gone = certificates.gone({"client": "postgres"})
    assert "/etc/dbops/tls/host.key" in gone
    assert "/etc/dbops/tls/host.crt" in gone
    assert not [path for path in gone if "client" in path or "ca.crt" in path]


def test_a_users_certificate_is_copied_for_each_purpose() -> None:
    files = certificates.copies({"host": "mysql", "client": "mysql"}, "CERT", "KEY", "CA")
    keys = [file for file in files if file["path"].endswith(".key")]
    assert {(one["group"], one["mode"], one["secret"]) for one in keys} == {("mysql", "0640", True)}
    assert len(keys) == 2
    assert [file["content"] for file in files if file["path"].endswith(".crt")] == [
        "CERT",
        "CERT",
        "CA",
    ]


@pytest.mark.parametrize(
    ("listen", "purposes"),
    [
        ("127.0.0.1:9630", {}),
        ("localhost:9630", {}),
        ("[::1]:9630", {}),
        ("10.0.0.5:9630", {"exporter": "dbops"}),
        ("0.0.0.0:9630", {"exporter": "dbops"}),
    ],
)
def test_only_an_exporter_on_the_network_has_a_certificate(
    listen: str, purposes: dict[str, str]
) -> None:
    assert certificates.exporter(listen, "dbops") == purposes
