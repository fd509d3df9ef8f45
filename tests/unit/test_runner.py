"""Plans: what is run, what is hidden, what a failure says. Only here do unit tests run programs."""

from __future__ import annotations

import getpass
import os
import time
from pathlib import Path

import pytest

from dbops import runner
from dbops.errors import CommandFailed, ConfigError
from dbops.runner import Action, Command, Step


def shell(script: str, **options: float) -> Command:
    return Command(("/bin/sh", "-c", script), timeout_seconds=options.get("timeout_seconds"))


def test_capture_returns_both_outputs_and_status() -> None:
    done = runner.capture(shell("echo out; echo err >&2; exit 3"))
    assert (done.status, done.stdout, done.stderr) == (3, "out\n", "err\n")


def test_lines_are_told_as_they_come_and_masked() -> None:
    secret = runner.register_secret("canary-77aa")
    heard: list[str] = []
    done = runner.check(shell(f"echo one; echo {secret} >&2"), heard.append)
    assert sorted(heard) == ["********", "one"]
    assert done.stdout == "one\n"
    assert secret in done.stderr


def test_stdin_reaches_a_streamed_command() -> None:
    heard: list[str] = []
    runner.check(Command(("/bin/cat",), stdin="a\nb\n"), heard.append)
    assert heard == ["a", "b"]


@pytest.mark.parametrize("streamed", [False, True])
def test_time_limit_ends_the_whole_group(streamed: bool) -> None:
    began = time.monotonic()
    with pytest.raises(CommandFailed, match="no answer within"):
        runner.capture(
            shell("sleep 30 & sleep 30; true", timeout_seconds=0.2),
            (lambda line: None) if streamed else None,
        )
    assert time.monotonic() - began < 5


def test_failure_is_one_line_with_the_last_words() -> None:
    secret = runner.register_secret("canary-88bb")
    with pytest.raises(CommandFailed) as caught:
        runner.check(shell(f"echo first >&2; echo 'bad {secret}' >&2; exit 9"))
    assert str(caught.value) == "/bin/sh failed with exit status 9: bad ********"


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("", ""),
        ("one\n two \n\n", "two"),
        ('x: error: "y" is not empty\nx: removing "z"', 'x: error: "y" is not empty'),
        ("restic: Fatal: no room\nx: 2 errors", "restic: Fatal: no room"),
        ("ERROR 1064 (42000) at line 3: near ''\ndbops: half a dump", "dbops: half a dump"),
        ("without errors so far\nthe last", "the last"),
    ],
)
def test_the_reason_is_the_error_and_not_what_comes_after(said: str, why: str) -> None:
    assert runner.reason(said) == why


def test_absent_program_and_account() -> None:
    with pytest.raises(ConfigError, match="not installed"):
        runner.capture(Command(("/no/such/program",)))
    with pytest.raises(ConfigError, match="does not exist"):
        runner.capture(Command(("/bin/true",), user="no-such-account"))


def test_environment_is_minimal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANARY", "1")
    out = runner.check(Command(("/usr/bin/env",), env={"GIVEN": "2"})).stdout
    assert "CANARY" not in out
    assert "GIVEN=2" in out


def test_own_account_needs_no_change() -> None:
    assert runner.capture(Command(("/bin/true",), user=getpass.getuser())).status == 0


def test_a_plan_stops_at_the_first_failure() -> None:
    done: list[str] = []
    plan: list[Step] = [
        Action("first", lambda: done.append("first")),
        Command(("/bin/false",), title="second"),
        Action("third", lambda: done.append("third")),
    ]
    told: list[str] = []
    with pytest.raises(CommandFailed, match="second failed with exit status 1"):
        runner.run(plan, lambda step: told.append(step.title))
    assert done == ["first"]
    assert told == ["first", "second"]


def test_description_can_be_pasted_and_hides_secrets() -> None:
    secret = runner.register_secret("canary-99cc")
    plan: list[Step] = [
        Command(("tool", "a b", secret), user="postgres"),
        Action("rename", lambda: None),
    ]
    assert list(runner.describe(plan)) == ["[as postgres] tool 'a b' ********", "rename"]


def test_hostile_arguments_are_taken_literally() -> None:
    hostile = ["a;touch x", "$(id)", "-rf", '"', "'", "a\nb", "é"]
    for text in hostile:
        assert runner.check(Command(("/usr/bin/printf", "%s", text))).stdout == text


def test_a_server_runs_beside_us_until_it_is_ended(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    script = "trap 'echo bye; exit 3' TERM; echo hello; while :; do sleep 0.05; done"
    running = runner.start(Command(("/bin/sh", "-c", script)), log)
    while "hello" not in log.read_text():
        time.sleep(0.01)
    assert running.alive()
    assert os.getpgid(running.pid) == running.pid
    assert running.end(5) == 3
    assert not running.alive()
    assert log.read_text() == "hello\nbye\n"
    assert log.stat().st_mode & 0o777 == 0o600


def test_a_server_that_does_not_end_is_killed_with_its_children(tmp_path: Path) -> None:
    script = "trap '' TERM; sleep 60 & echo $!; wait; while :; do sleep 1; done"
    running = runner.start(Command(("/bin/sh", "-c", script)), tmp_path / "log")
    while not (tmp_path / "log").read_text().strip():
        time.sleep(0.01)
    child = int((tmp_path / "log").read_text())
    assert running.end(0.1) == -9
    deadline = time.monotonic() + 5
    while Path(f"/proc/{child}/status").exists():
        if "State:\tZ" in Path(f"/proc/{child}/status").read_text():
            break
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_log_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "log").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="cannot be written"):
        runner.start(Command(("/bin/true",)), tmp_path / "log")
    assert not (tmp_path / "elsewhere").exists()
