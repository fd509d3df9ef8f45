"""What a client on the network meets: TLS 1.2 or newer, SCRAM, and rules that name who may in."""

from __future__ import annotations

import re
import socket
import ssl
import struct
from pathlib import Path

import psycopg
import pytest

LAB = Path(__file__).resolve().parents[3] / ".lab" / "molecule-postgresql"
testinfra_hosts = ["ansible://postgresql_members"]
PORT = 5432
_SSL_REQUEST = struct.pack("!ii", 8, 80877103)


@pytest.fixture
def address(host) -> str:
    """Return where a member listens."""
    return host.backend.host if _is_address(host.backend.host) else _address(host.backend.host)


def _is_address(text: str) -> bool:
    return re.fullmatch(r"[\d.]+", text) is not None


def _address(name: str) -> str:
    text = (LAB / "inventory" / "zz_addresses.yml").read_text()
    found = re.search(rf"{name}:\s+ansible_host: ([\d.]+)", text)
    assert found, f"{name} is not in the lab"
    return found[1]


def _context(oldest: ssl.TLSVersion, newest: ssl.TLSVersion) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=LAB / "secrets" / "pki" / "ca.crt")
    context.set_ciphers("ALL:@SECLEVEL=0")  # or this side alone would refuse the old versions
    context.minimum_version, context.maximum_version = oldest, newest
    return context


def _handshake(address: str, context: ssl.SSLContext, name: str) -> str:
    with socket.create_connection((address, PORT), timeout=5) as plain:
        plain.sendall(_SSL_REQUEST)
        assert plain.recv(1) == b"S", "the server offers no TLS"
        with context.wrap_socket(plain, server_hostname=name) as secured:
            return str(secured.version())


def _connect(address: str, **words: str) -> None:
    settings = {
        "host": address,
        "port": str(PORT),
        "dbname": "flights",
        "user": "flights_writer",
        "password": (LAB / "secrets" / "flights_writer").read_text().strip(),
        "sslmode": "verify-full",
        "sslrootcert": str(LAB / "secrets" / "pki" / "ca.crt"),
        "connect_timeout": "5",
    }
    psycopg.connect(psycopg.conninfo.make_conninfo(**{**settings, **words})).close()


def test_the_certificate_names_the_host_and_the_handshake_is_modern(host, address: str) -> None:
    name = host.check_output("hostname")
    newest = _context(ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.MAXIMUM_SUPPORTED)
    assert _handshake(address, newest, name) == "TLSv1.3"
    middle = _context(ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2)
    assert _handshake(address, middle, name) == "TLSv1.2"
    with pytest.raises(ssl.SSLCertVerificationError):
        _handshake(address, newest, "another.host")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tls_1_1_is_refused_by_the_server(address: str) -> None:
    old = _context(ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_1)
    with pytest.raises(ssl.SSLError, match=r"PROTOCOL_VERSION|VERSION_TOO_LOW|alert"):
        _handshake(address, old, "pg1")


def test_the_application_gets_in(address: str) -> None:
    _connect(address)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ({"sslmode": "disable"}, "no encryption"),
        ({"password": "wrong"}, "password authentication failed"),
        ({"user": "nobody"}, "no pg_hba.conf entry"),
        ({"user": "postgres"}, "no pg_hba.conf entry"),
        ({"dbname": "postgres"}, "no pg_hba.conf entry"),
        ({"user": "dbops_replication"}, "no pg_hba.conf entry"),
        ({"user": "dbops_monitor"}, "no pg_hba.conf entry"),
    ],
)
def test_others_do_not(address: str, words: dict[str, str], reason: str) -> None:
    with pytest.raises(psycopg.OperationalError, match=reason):
        _connect(address, **words)


def test_metrics_are_for_this_host_alone(host, address: str) -> None:
    assert host.socket("tcp://127.0.0.1:9630").is_listening
    with pytest.raises(OSError, match="refused"):
        socket.create_connection((address, 9630), timeout=5)
    page = host.check_output(
        "python3 -c 'import urllib.request as u;"
        'print(u.urlopen("http://127.0.0.1:9630/metrics").read().decode())\''
    )
    assert re.search(r"^dbops_up\{[^}]*\} 1\.0$", page, re.M)
