"""An account that needs the certificate of one host, on a real server."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pymysql
import pytest

from plugins.filter import certificates
from plugins.filter.mysql import accounts
from plugins.module_utils.mysql_access.converge import converge
from plugins.modules import host_keys
from tests.integration import ports
from tests.integration.mysql import machine

_PASSWORD = "a password of thirty-two letters"


def _hosts_keys(tls: Path) -> None:
    """Make what two hosts hold, by the module and the filter of the role."""
    for host in ("mysql1", "mysql2"):
        wanted = certificates.wanted({"host": "m", "client": "m"}, host, "127.0.0.1")
        keys: list[dict[str, Any]] = [{**key, "group": None} for key in wanted]
        folder = tls / host
        folder.mkdir()
        given = {"folder": str(folder), "keys": keys, "reissue": False}
        answers = host_keys.run(given, host_keys.Change(False))
        for name, text in certificates.signed(answers, wanted, str(tls), 1, 0).items():
            (folder / f"{name}.crt").write_text(text)


def _asked(port: int, tls: Path, name: str) -> int:
    context = ssl.create_default_context(cafile=str(tls / "ca.crt"))
    context.load_cert_chain(tls / f"{name}.crt", tls / f"{name}.key")
    with (
        pymysql.connect(
            host="127.0.0.1", port=port, user="dbops_replication", password=_PASSWORD, ssl=context
        ) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute("SELECT 42")
        return int(cursor.fetchall()[0][0])


@pytest.mark.usefixtures("programs")
def test_a_password_goes_with_the_certificate_of_its_host(folder: Path) -> None:
    tls, port = folder / "tls", ports.free()
    machine.certificates(tls)
    _hosts_keys(tls)
    more = [f"ssl-ca = {tls}/ca.crt", f"ssl-cert = {tls}/server.crt", f"ssl-key = {tls}/server.key"]
    more.append("plugin-load-add = auth_ed25519")
    member = machine.Member(folder / "m", port=port, more="\n".join(more)).install().start()
    try:
        (user,) = accounts({"mysql1": "127.0.0.1"}, "dbops_replication", _PASSWORD)
        parameters = {
            "exact": False, "superusers": ["root@localhost"], "drop_undeclared": False,
            "users": [{**user, "locked": False}], "roles": [], "databases": [], "grants": [],
        }  # fmt: skip
        assert converge(str(member.socket), parameters, False)["changed"]
        assert not converge(str(member.socket), parameters, False)["changed"]
        assert _asked(port, tls, "mysql1/client") == 42
        with pytest.raises(pymysql.err.OperationalError, match="Access denied"):
            _asked(port, tls, "mysql2/client")
        with pytest.raises((pymysql.err.OperationalError, OSError)):
            _asked(port, tls, "mysql1/host")
    finally:
        member.stop()
