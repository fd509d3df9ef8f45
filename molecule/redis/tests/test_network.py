"""What a client on the network meets: TLS 1.2 or newer, certificates on both sides, a password."""

from __future__ import annotations

import re
import socket
import ssl
from pathlib import Path

import pytest

LAB = Path(__file__).resolve().parents[3] / ".lab" / "molecule-redis"
testinfra_hosts = ["ansible://redis_members"]
PORTS = (6379, 26379)


@pytest.fixture
def address(host) -> str:
    """Return where a member listens."""
    name = host.backend.host
    text = (LAB / "inventory" / "zz_addresses.yml").read_text()
    found = re.search(rf"{name}:\s+ansible_host: ([\d.]+)", text)
    return found[1] if found else name


def _context(newest: ssl.TLSVersion, certificate: bool = True) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=LAB / "secrets" / "pki" / "ca.crt")
    context.set_ciphers("ALL:@SECLEVEL=0")  # or this side alone would refuse the old versions
    context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1_1, newest
    if certificate:
        clients = LAB / "secrets" / "clients"
        context.load_cert_chain(clients / "flights.crt", clients / "flights.key")
    return context


def _ask(address: str, port: int, context: ssl.SSLContext, *lines: str) -> list[str]:
    with (
        socket.create_connection((address, port), timeout=5) as plain,
        context.wrap_socket(plain, server_hostname=address) as secured,
    ):
        answers = []
        for line in lines:
            secured.sendall(f"{line}\r\n".encode())
            answers.append(secured.recv(4096).decode())
        return answers


def _login(name: str) -> str:
    return f"AUTH {name} {(LAB / 'secrets' / f'redis_{name}').read_text().strip()}"


@pytest.mark.parametrize("port", PORTS)
def test_a_client_without_a_certificate_is_refused(address: str, port: int) -> None:
    context = _context(ssl.TLSVersion.TLSv1_2, certificate=False)
    with pytest.raises((ssl.SSLError, ConnectionError)):
        _ask(address, port, context, "PING")


@pytest.mark.parametrize("port", PORTS)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tls_1_1_is_refused(address: str, port: int) -> None:
    with pytest.raises((ssl.SSLError, ConnectionError)):
        _ask(address, port, _context(ssl.TLSVersion.TLSv1_1), "PING")


@pytest.mark.parametrize("port", PORTS)
def test_nobody_does_anything_without_a_password(address: str, port: int) -> None:
    newest = _context(ssl.TLSVersion.MAXIMUM_SUPPORTED)
    assert _ask(address, port, newest, "PING")[0].startswith("-NOAUTH")
    assert _ask(address, port, newest, "AUTH flights_writer wrong")[0].startswith("-WRONGPASS")


def test_the_application_gets_in_and_does_no_harm(address: str) -> None:
    newest = _context(ssl.TLSVersion.MAXIMUM_SUPPORTED)
    lines = (
        _login("flights_writer"),
        "HGETALL flights:nothing",
        "FLUSHALL",
        "CONFIG GET *",
        "GET x",
    )
    answers = _ask(address, 6379, newest, *lines)
    assert answers[0] == "+OK\r\n"
    assert answers[1] == "*0\r\n"
    assert all(answer.startswith("-NOPERM") for answer in answers[2:])


def test_the_application_may_ask_a_sentinel_who_is_primary(address: str) -> None:
    newest = _context(ssl.TLSVersion.MAXIMUM_SUPPORTED)
    query = "SENTINEL GET-MASTER-ADDR-BY-NAME flights-store"
    answers = _ask(address, 26379, newest, _login("flights_writer"), query,
                   "SENTINEL REMOVE flights-store")  # fmt: skip
    assert "6379" in answers[1]
    assert answers[2].startswith("-NOPERM")


def test_there_is_no_plain_port(host) -> None:
    listening = host.check_output("ss -Hltn").splitlines()
    ports = {line.split()[3].rpartition(":")[2] for line in listening}
    assert ports <= {"22", "6379", "26379", "9630"}


def test_metrics_are_for_this_host_alone(host, address: str) -> None:
    assert host.socket("tcp://127.0.0.1:9630").is_listening
    with pytest.raises(OSError, match="refused"):
        socket.create_connection((address, 9630), timeout=5)
