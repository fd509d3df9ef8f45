"""What a client on the network meets: TLS with a verified name, and named accounts."""

from __future__ import annotations

import re
import socket
import ssl
from pathlib import Path
from typing import Any

import pymysql
import pytest

LAB = Path(__file__).resolve().parents[3] / ".lab" / "molecule-mysql"
testinfra_hosts = ["ansible://mysql_members"]


@pytest.fixture
def address(host) -> str:
    """Return where a member listens."""
    text = (LAB / "inventory" / "zz_addresses.yml").read_text()
    found = re.search(rf"{host.check_output('hostname')}:\s+ansible_host: ([\d.]+)", text)
    assert found
    return found[1]


def _connect(address: str, **words: Any) -> None:
    context = ssl.create_default_context(cafile=LAB / "secrets" / "pki" / "ca.crt")
    settings: dict[str, Any] = {
        "host": address,
        "user": "flights_writer",
        "password": (LAB / "secrets" / "mysql_flights_writer").read_text().strip(),
        "database": "flights",
        "ssl": context,
        "connect_timeout": 5,
    }
    pymysql.connect(**{**settings, **words}).close()


def test_the_application_gets_in(address: str) -> None:
    _connect(address)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ({"ssl": None, "ssl_disabled": True}, "secure transport|Access denied"),
        ({"password": "wrong"}, "Access denied"),
        ({"user": "nobody"}, "Access denied"),
        ({"user": "root", "password": ""}, "Access denied|not allowed"),
        ({"database": "mysql"}, "Access denied"),
        ({"user": "dbops_replication"}, "Access denied|not allowed"),
        ({"user": "dbops_backup"}, "Access denied|not allowed"),
    ],
)
def test_others_do_not(address: str, words: dict[str, Any], reason: str) -> None:
    with pytest.raises(pymysql.Error, match=reason):
        _connect(address, **words)


def test_metrics_are_for_this_host_alone(host, address: str) -> None:
    assert host.socket("tcp://127.0.0.1:9630").is_listening
    with pytest.raises(OSError, match="refused"):
        socket.create_connection((address, 9630), timeout=5)
