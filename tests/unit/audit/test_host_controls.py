"""The controls of every host: what is open, foreign or shared is found."""

from __future__ import annotations

import os
import re
import ssl
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dbops import runner
from dbops.audit import host_controls
from dbops.audit.host_controls import Host
from dbops.audit.rules import Finding
from tests.conftest import WriteTarget

Answers = dict[str, str]


@pytest.fixture
def host(write_target: WriteTarget, tmp_path: Path) -> Host:
    """Return a host whose files stand in ``tmp_path``."""
    (tmp_path / "etc/dbops/tls").mkdir(parents=True)
    return Host(write_target(), "demo.service", tmp_path / "etc", (tmp_path / "managed",))


def answering(monkeypatch: pytest.MonkeyPatch, answers: Answers) -> None:
    """Let programs say what ``answers`` has under their first two words."""

    def capture(command: runner.Command, on_line: Any = None) -> runner.Completed:
        return runner.Completed(0, answers[" ".join(command.argv[:2])], "")

    monkeypatch.setattr(runner, "capture", capture)


def exposure(**levels: float) -> str:
    lines = [f"→ Overall exposure level for {n}.service: {v} OK" for n, v in levels.items()]
    return "\n".join(lines)


def judged(monkeypatch: pytest.MonkeyPatch, host: Host, **levels: float) -> Finding:
    answering(
        monkeypatch,
        {
            "systemctl list-unit-files": "dbops-a.service static\ndbops-b@.service static\n",
            "systemd-analyze security": exposure(
                **{k.replace("_", "-"): levels[k] for k in levels}
            ).replace("dbops-b.", "dbops-b@x."),
        },
    )
    return host_controls.units(host)


def test_units_that_are_closed_pass(monkeypatch: pytest.MonkeyPatch, host: Host) -> None:
    assert judged(monkeypatch, host, dbops_a=1.4, dbops_b=2.5, demo=3.0).status == "pass"


def test_a_drill_may_be_more_open_and_not_without_a_limit(
    monkeypatch: pytest.MonkeyPatch, host: Host
) -> None:
    for level, status in ((3.4, "pass"), (3.6, "fail")):
        answers = {
            "systemctl list-unit-files": "dbops-drill-a.service static\n",
            "systemd-analyze security": exposure(**{"dbops-drill-a": level, "demo": 1.0}),
        }
        answering(monkeypatch, answers)
        assert host_controls.units(host).status == status


@pytest.mark.parametrize("level", ["dbops_a", "dbops_b", "demo"])
def test_an_open_unit_is_named(monkeypatch: pytest.MonkeyPatch, host: Host, level: str) -> None:
    found = judged(monkeypatch, host, **{"dbops_a": 1.0, "dbops_b": 1.0, "demo": 1.0, level: 8.5})

    assert found.status == "fail"
    assert "is open to 8.5 of 10" in found.detail


def test_a_unit_that_nothing_is_said_of_has_failed(
    monkeypatch: pytest.MonkeyPatch, host: Host
) -> None:
    found = judged(monkeypatch, host, dbops_a=1.0, demo=1.0)

    assert (found.status, found.detail) == ("fail", "dbops-b@x.service cannot be judged")


def test_a_folder_in_other_hands_is_named(host: Host, tmp_path: Path) -> None:
    (tmp_path / "managed").mkdir()
    tmp_path.chmod(0o755)
    good = replace(host, folders=(Path("/usr/bin"),), target=host.target)
    assert (
        host_controls.parents(
            replace(good, target=host.target.model_copy(update={"state_dir": Path("/usr/lib/x")}))
        ).status
        == "pass"
    )

    tmp_path.chmod(0o777)
    found = host_controls.parents(host)
    assert found.status == "fail"
    assert str(tmp_path) in found.detail


def pair(host: Host, name: str, usages: bytes, mode: int = 0o640) -> None:
    """Make a key and what stands in for its certificate, with so many usages."""
    place = host.etc / "dbops/tls"
    (place / f"{name}.key").write_text(f"key of {name}")
    (place / f"{name}.key").chmod(mode)
    extension = bytes.fromhex("0603551d25") + b"".join(
        bytes.fromhex("06082b060105050703") + bytes([usage]) for usage in usages
    )
    (place / f"{name}.crt").write_text(ssl.DER_cert_to_PEM_cert(extension))


@pytest.mark.skipif(os.geteuid() != 0, reason="keys belong to root")
def test_keys_with_one_reader_and_one_usage_pass(host: Host) -> None:
    pair(host, "host", b"\1")
    pair(host, "client", b"\2")

    assert host_controls.keys(host).status == "pass"


@pytest.mark.skipif(os.geteuid() != 0, reason="keys belong to root")
def test_a_certificate_for_two_usages_and_an_open_key_are_named(host: Host) -> None:
    pair(host, "host", b"\1\2")
    pair(host, "client", b"\2", mode=0o644)
    found = host_controls.keys(host)

    assert found.status == "fail"
    assert "host.crt may be used in 2 ways" in found.detail
    assert "client.key has owner 0 and mode 0644" in found.detail


def test_a_certificate_of_the_users_own_is_not_judged(host: Host) -> None:
    for name in ("host", "client"):
        pair(host, name, b"\1\2")
        (host.etc / f"dbops/tls/{name}.key").write_text("the same")

    assert host_controls.keys(host).status == "not applicable"


def test_every_control_is_documented() -> None:
    page = Path(__file__).parents[3] / "docs/reference/controls.md"
    documented = dict(re.findall(r"^\| (HO-\d\d) \| ([^|]+?) \|", page.read_text(), re.MULTILINE))

    assert documented == {rule.control_id: rule.title for rule in host_controls.RULES}
