"""Pipes between two programs: nothing torn passes for whole, and nothing is left running."""

from __future__ import annotations

import signal
import threading
import time
from pathlib import Path

import pytest

from dbops import runner
from dbops.errors import CommandFailed, ConfigError
from dbops.runner import Command, Completed


def shell(script: str, **options: float) -> Command:
    return Command(("/bin/sh", "-c", script), timeout_seconds=options.get("timeout_seconds"))


def test_bytes_pass_unchanged_and_both_statuses_return(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    fed, eaten = runner.pipe(
        shell("head -c 3000000 /dev/zero; printf '\\377\\0\\n'; echo from >&2"),
        shell(f"cat > {kept}; echo out; echo to >&2; exit 4"),
    )
    assert (fed, eaten) == (Completed(0, "", "from\n"), Completed(4, "out\n", "to\n"))
    assert kept.read_bytes() == bytes(3_000_000) + b"\xff\x00\n"


def test_a_producer_that_fails_never_shows_its_end(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    fed, eaten = runner.pipe(shell("echo half; exit 3"), shell(f"cat >/dev/null; touch {whole}"))
    assert fed.status == 3
    assert eaten.ended
    assert not whole.exists()


@pytest.mark.parametrize("after", [0.0, 0.3])
def test_a_producer_that_is_killed_never_shows_its_end(tmp_path: Path, after: float) -> None:
    whole = tmp_path / "whole"
    fed, eaten = runner.pipe(
        shell(f"echo half; sleep {after}; kill -9 $$"), shell(f"cat >/dev/null; touch {whole}")
    )
    assert fed.status == -signal.SIGKILL
    assert eaten.ended
    assert not whole.exists()


def test_a_consumer_that_ends_first_breaks_the_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "_PIPE_GRACE_SECONDS", 60)
    began = time.monotonic()
    fed, eaten = runner.pipe(
        Command(("/bin/cat", "/dev/zero")), shell("head -c 10 | wc -c; exit 6")
    )
    assert fed.status in (1, -signal.SIGPIPE)
    assert (eaten.status, eaten.stdout, eaten.ended) == (6, "10\n", False)
    assert time.monotonic() - began < 30


@pytest.mark.parametrize("producer", ["exec cat /dev/zero", "cat /dev/zero; exit 3"])
def test_a_consumer_that_stops_reading_may_say_why(producer: str) -> None:
    with pytest.raises(CommandFailed, match="exit status 8: disk is full"):
        runner.check_pipe(
            shell(producer),
            shell("head -c 10 >/dev/null; exec <&-; sleep 1; echo disk is full >&2; exit 8"),
        )


def test_a_consumer_that_stops_reading_and_stays_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "_PIPE_GRACE_SECONDS", 0.3)
    fed, eaten = runner.pipe(shell("exec cat /dev/zero"), shell("exec <&-; sleep 60; true"))
    assert (fed.status, eaten.status) == (-signal.SIGPIPE, -signal.SIGKILL)
    assert not eaten.ended


def test_a_silent_producer_is_ended_after_its_consumer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "_PIPE_GRACE_SECONDS", 0.3)
    began = time.monotonic()
    fed, eaten = runner.pipe(shell("sleep 30 & sleep 30; true"), shell("exit 5"))
    assert (fed.status, eaten.status) == (-signal.SIGKILL, 5)
    assert time.monotonic() - began < 20


def test_the_first_to_fail_is_blamed() -> None:
    with pytest.raises(CommandFailed, match="exit status 7: source is gone"):
        runner.check_pipe(shell("echo source is gone >&2; exit 7"), Command(("/bin/cat",)))
    with pytest.raises(CommandFailed, match="exit status 8: disk is full"):
        runner.check_pipe(
            Command(("/bin/cat", "/dev/zero")), shell("echo disk is full >&2; exit 8")
        )


@pytest.mark.parametrize("slow", ["producer", "consumer"])
def test_time_limit_of_either_ends_both_groups(tmp_path: Path, slow: str) -> None:
    mark = tmp_path / "mark"
    hanging = f"(sleep 3; touch {mark}) & sleep 30; cat"
    began = time.monotonic()
    producer, consumer = shell(hanging, timeout_seconds=0.3), Command(("/bin/cat",))
    if slow == "consumer":
        producer, consumer = shell("echo a"), producer
    with pytest.raises(CommandFailed, match="no answer within"):
        runner.pipe(producer, consumer)
    assert time.monotonic() - began < 2.8
    time.sleep(3)
    assert not mark.exists()


def test_an_interrupt_ends_both_without_an_end_of_input(tmp_path: Path) -> None:
    whole = tmp_path / "whole"

    def interrupt(line: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        runner.pipe(
            shell("echo half; echo told >&2; sleep 30"),
            shell(f"cat > /dev/null; touch {whole}"),
            interrupt,
        )
    time.sleep(0.2)
    assert not whole.exists()
    assert not [t for t in threading.enumerate() if t.name.endswith(("(_let_end)", "(_let_break)"))]


def test_lines_of_both_are_told_and_masked() -> None:
    secret = runner.register_secret("canary-66zz")
    heard: list[str] = []
    runner.pipe(
        shell(f"echo stream; echo {secret} >&2"),
        shell("cat >/dev/null; echo b; echo c >&2"),
        heard.append,
    )
    assert sorted(heard) == ["********", "b", "c"]


def test_a_producer_is_given_its_own_input() -> None:
    text = "é\n" * 200_000
    fed, eaten = runner.pipe(Command(("/bin/cat",), stdin=text), Command(("/bin/cat",)))
    assert (fed.status, eaten.stdout) == (0, text)


def test_an_absent_program_leaves_nothing_running() -> None:
    with pytest.raises(ConfigError, match="not installed"):
        runner.pipe(Command(("/no/such/program",)), Command(("/bin/cat",)))
    with pytest.raises(ConfigError, match="not installed"):
        runner.pipe(Command(("/bin/cat",)), Command(("/no/such/program",)))


@pytest.mark.parametrize("said", ["yes", "yes >&2", "cat /dev/zero", "cat /dev/zero >&2"])
def test_what_a_consumer_says_is_bounded(said: str) -> None:
    consumer = Command(("/bin/sh", "-c", said), title="loading", output_bytes=100_000)
    with pytest.raises(CommandFailed, match=r"^loading wrote more than 100,000 bytes"):
        runner.pipe(shell("echo x"), consumer)


def test_what_a_producer_logs_is_bounded() -> None:
    producer = Command(("/bin/sh", "-c", "yes >&2"), title="streaming", output_bytes=100_000)
    with pytest.raises(CommandFailed, match=r"^streaming wrote more than 100,000 bytes"):
        runner.pipe(producer, shell("cat"), lambda line: None)


def test_a_streamed_command_is_bounded_too() -> None:
    command = Command(("/usr/bin/yes",), title="a tool", output_bytes=100_000)
    with pytest.raises(CommandFailed, match=r"^a tool wrote more than 100,000 bytes"):
        runner.check(command, lambda line: None)
