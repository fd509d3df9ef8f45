"""The sandbox of units: closed by default, opened by name, and in an order that systemd obeys."""

from __future__ import annotations

import pytest

from plugins.filter.units import sandbox


def test_everything_is_closed_and_only_the_given_folders_are_writable() -> None:
    lines = sandbox(["/var/lib/a", "/run/b"]).splitlines()

    assert "ProtectSystem=strict" in lines
    assert "NoNewPrivileges=yes" in lines
    assert "CapabilityBoundingSet=" in lines
    assert lines[-1] == "ReadWritePaths=/var/lib/a /run/b"


def test_without_folders_nothing_is_writable() -> None:
    assert "ReadWritePaths" not in sandbox([])


def test_what_is_opened_replaces_what_is_closed_and_none_leaves_it_out() -> None:
    lines = sandbox([], ProtectSystem="full", NoExecPaths=None, ExecPaths=None).splitlines()

    assert "ProtectSystem=full" in lines
    assert "ProtectSystem=strict" not in lines
    assert not [line for line in lines if "ExecPaths" in line]


def test_a_group_of_system_calls_is_given_back_after_it_was_taken() -> None:
    lines = sandbox([], SystemCallFilter="@system-service ~@privileged @chown").splitlines()

    assert [line for line in lines if line.startswith("SystemCallFilter")] == [
        "SystemCallFilter=@system-service",
        "SystemCallFilter=~@privileged",
        "SystemCallFilter=@chown",
    ]


def test_a_folder_that_systemd_would_pass_over_is_refused() -> None:
    with pytest.raises(ValueError, match="'var/lib/a' is no absolute path"):
        sandbox(["var/lib/a"])
