"""What a play run through ansible-runner must not lose: host keys are checked, records are ours."""

from __future__ import annotations

from pathlib import Path

import pytest

from dbops.control import play


def test_host_keys_are_checked_though_the_runner_would_not(tmp_path: Path) -> None:
    assert play._environment(tmp_path)["ANSIBLE_HOST_KEY_CHECKING"] == "1"


def test_the_project_s_callbacks_and_the_user_s_are_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = str(tmp_path / "plugins" / "callback")
    monkeypatch.delenv("ANSIBLE_CALLBACK_PLUGINS", raising=False)
    assert play._environment(tmp_path)["ANSIBLE_CALLBACK_PLUGINS"] == own
    monkeypatch.setenv("ANSIBLE_CALLBACK_PLUGINS", "/theirs")
    assert play._environment(tmp_path)["ANSIBLE_CALLBACK_PLUGINS"] == f"/theirs:{own}"


def test_kept_artifacts_are_for_their_owner_alone(tmp_path: Path) -> None:
    private, keep = tmp_path / "private", tmp_path / "kept"
    record = private / "artifacts" / "run" / "fact_cache" / "db1"
    record.parent.mkdir(parents=True)
    record.write_text("{}")
    record.chmod(0o644)
    keep.mkdir(mode=0o755)
    play._put_away(private, keep)
    assert not private.exists()
    kept = [keep / "run", keep / "run" / "fact_cache", keep / "run" / "fact_cache" / "db1"]
    assert [path.stat().st_mode & 0o777 for path in kept] == [0o700, 0o700, 0o600]
