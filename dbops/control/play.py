"""Run one playbook through ansible-runner, in a private directory that is removed afterwards."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dbops.errors import CommandFailed, ConfigError, DbopsError, Unreachable
from dbops.runner import reason

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,40}")
_COUNTED = {
    "runner_on_ok": "ok",
    "runner_on_failed": "failed",
    "runner_on_unreachable": "unreachable",
    "runner_on_skipped": "skipped",
}


@dataclass(frozen=True)
class Request:
    """What ``dbops play`` was asked for. ``extra_vars`` are ``@file`` or ``name=value``."""

    verb: str
    inventory: Path
    project_dir: Path
    limit: str | None = None
    check: bool = False
    diff: bool = False
    extra_vars: tuple[str, ...] = ()
    keep_artifacts: Path | None = None


@dataclass
class Outcome:
    """How a run ended: counts for each host, and the first failure in one sentence."""

    hosts: dict[str, dict[str, int]] = field(default_factory=dict)
    error: str = ""
    unreachable: bool = False


def project(start: Path) -> Path:
    """Return ``start`` or the nearest directory above it that holds the playbooks and roles."""
    for directory in (start.resolve(), *start.resolve().parents):
        if (directory / "playbooks").is_dir() and (directory / "roles").is_dir():
            return directory
    raise ConfigError(f"No playbooks at {start} or above it: give --project-dir.")


def playbook(project_dir: Path, verb: str) -> Path:
    """Return the playbook of ``verb``; ConfigError lists those that there are."""
    path = project_dir / "playbooks" / f"{verb}.yml"
    if not _NAME.fullmatch(verb) or not path.is_file():
        folder = project_dir / "playbooks"
        known = ", ".join(sorted(file.stem for file in folder.glob("*.yml")))
        raise ConfigError(f"No playbook {verb!r}: there are {known or 'none'}.")
    return path


def run(request: Request, tell: Callable[[str], None]) -> Outcome:
    """Run the playbook and return its counts; ``tell`` hears of each play and finished task.

    Raises Unreachable or CommandFailed with one sentence that names the host and the task, and
    KeyboardInterrupt when it was cancelled.
    """
    try:
        import ansible_runner
    except ImportError:
        raise ConfigError(
            "ansible-runner is not installed here: pip install 'dbops[control]' on the controller."
        ) from None
    path = playbook(request.project_dir, request.verb)
    if not request.inventory.exists():
        raise ConfigError(f"No inventory at {request.inventory}.")
    private = Path(tempfile.mkdtemp(prefix="dbops-play-"))
    listener = _Listener(tell)
    before, mask = Path.cwd(), os.umask(0o077)
    try:
        done = ansible_runner.run(
            private_data_dir=str(private),
            project_dir=str(request.project_dir),
            playbook=str(path),
            inventory=str(request.inventory.resolve()),
            limit=request.limit,
            cmdline=_arguments(request),
            envvars=_environment(request.project_dir),
            event_handler=listener.hear,
            suppress_env_files=True,
            quiet=True,
        )
        listener.finish()
        listener.outcome.hosts = dict(sorted(listener.outcome.hosts.items()))
        output = "" if done.stdout is None else done.stdout.read()
    finally:
        os.umask(mask)
        os.chdir(before)
        _put_away(private, request.keep_artifacts)
    if done.status == "canceled":
        raise KeyboardInterrupt
    if done.rc != 0:
        raise listener.failure(request.verb, output)
    if not listener.outcome.hosts:
        raise ConfigError(
            f"Playbook {request.verb!r} met no host: see that {request.inventory} has the group "
            "that it plays on ('dbops', and 'mirrors' for mirror) and that --limit leaves some of "
            "it."
        )
    return listener.outcome


def _arguments(request: Request) -> str:
    words = ["--check"] * request.check + ["--diff"] * request.diff
    for extra in request.extra_vars:
        words += ["-e", _extra(extra)]
    return shlex.join(words)


def _extra(text: str) -> str:
    if text.startswith("@"):
        file = Path(text[1:]).expanduser()
        if not file.is_file():
            raise ConfigError(f"-e {text!r}: there is no such file.")
        return f"@{file.resolve()}"
    name, equals, _ = text.partition("=")
    if not equals or not name.isidentifier():
        raise ConfigError(f"-e {text!r} is neither @FILE nor NAME=VALUE.")
    if name.endswith(("_password", "_key")):
        raise ConfigError(
            f"-e {name}=… would show the secret to everybody on this host: put it into a file "
            "and give -e @FILE."
        )
    return text


def _environment(project_dir: Path) -> dict[str, str]:
    bin_dir = str(Path(sys.executable).parent)
    environment = {
        "PATH": os.pathsep.join([bin_dir, os.environ.get("PATH", "/usr/bin:/bin")]),
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_HOST_KEY_CHECKING": "1",  # ansible-runner turns it off unless told otherwise
        "ANSIBLE_RETRY_FILES_ENABLED": "0",
    }
    config = project_dir / "ansible.cfg"
    if config.is_file():
        environment["ANSIBLE_CONFIG"] = str(config)
    # ansible-runner adds its own to this variable, and a variable hides the path in ansible.cfg.
    callbacks = [os.environ.get("ANSIBLE_CALLBACK_PLUGINS"), str(project_dir / "plugins/callback")]
    environment["ANSIBLE_CALLBACK_PLUGINS"] = os.pathsep.join(filter(None, callbacks))
    return environment


def _put_away(private: Path, keep: Path | None) -> None:
    artifacts = private / "artifacts"
    try:
        if keep is not None and artifacts.is_dir():
            keep.mkdir(mode=0o700, parents=True, exist_ok=True)
            for file in artifacts.rglob("*"):
                file.chmod(0o700 if file.is_dir() else 0o600)  # Ansible's cache ignores the umask
            for run_directory in artifacts.iterdir():
                shutil.move(str(run_directory), keep / run_directory.name)
    except OSError as error:
        raise ConfigError(f"The artifacts cannot be kept in {keep}: {error.strerror}.") from None
    finally:
        shutil.rmtree(private, ignore_errors=True)


class _Listener:
    """Turns ansible-runner's events into one line for each finished task, and counts."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self.outcome = Outcome()
        self._tell = tell
        self._task = ""
        self._counts: dict[str, int] = {}

    def hear(self, event: dict[str, Any]) -> bool:
        """Take note of one event; nothing of it is kept by ansible-runner afterwards."""
        kind = event.get("event", "")
        about = event.get("event_data") or {}
        if kind == "playbook_on_play_start":
            self.finish()
            self._tell(f"PLAY {about.get('name') or about.get('pattern')}")
        elif kind in {"playbook_on_task_start", "playbook_on_handler_task_start"}:
            self.finish()
            self._task = str(about.get("task") or about.get("name") or "")
            if role := about.get("role"):
                self._task = f"{role} : {self._task}"
        elif kind in _COUNTED:
            self._count(kind, about)
        elif kind == "runner_on_file_diff":
            self._show(about, str(event.get("stdout") or ""))
        elif kind == "playbook_on_stats":
            self._stats(about)
        return False

    def _count(self, kind: str, about: dict[str, Any]) -> None:
        result = about.get("res") or {}
        word = _COUNTED[kind]
        if word == "ok" and result.get("changed"):
            word = "changed"
        if word == "failed" and about.get("ignore_errors"):
            word = "ignored"
        self._counts[word] = self._counts.get(word, 0) + 1
        if word in {"failed", "unreachable"} and not self.outcome.error:
            self.outcome.unreachable = word == "unreachable"
            self.outcome.error = _sentence(
                str(about.get("host", "?")), str(about.get("task", self._task)), word, result
            )

    def _show(self, about: dict[str, Any], shown: str) -> None:
        """Tell of a difference as Ansible shows it, which leaves out what ``no_log`` hides."""
        lines = shown.strip().splitlines()  # the runner's terminal ends them with CR LF
        if lines:
            self._tell("\n".join([f"  {self._task}: {about.get('host', '?')}", *lines]))

    def finish(self) -> None:
        """Tell how the task that has just ended went."""
        if self._task:
            counts = ", ".join(f"{word} {count}" for word, count in self._counts.items())
            self._tell(f"  {self._task}: {counts or 'no host'}")
        self._task, self._counts = "", {}

    def _stats(self, about: dict[str, Any]) -> None:
        names = {"ok": "ok", "changed": "changed", "failures": "failed", "dark": "unreachable"}
        for source, word in names.items():
            for host, count in (about.get(source) or {}).items():
                self.outcome.hosts.setdefault(host, dict.fromkeys(names.values(), 0))[word] = count

    def failure(self, verb: str, output: str) -> DbopsError:
        """Return the error that says why the run failed."""
        if self.outcome.unreachable:
            return Unreachable(self.outcome.error)
        return CommandFailed(self.outcome.error or f"Playbook {verb!r} failed: {_last(output)}")


def _sentence(host: str, task: str, word: str, result: dict[str, Any]) -> str:
    said = " ".join(str(result.get("msg") or "").split())
    if not said or said == "non-zero return code":
        said = reason(str(result.get("stderr") or "")) or said
    if word == "unreachable":
        if "IDENTIFICATION HAS CHANGED" in said or "differs from the key" in said:
            return (
                f"{host}: its host key has changed: see whether the host was made anew, "
                "then mend known_hosts."
            )
        if "Host key verification failed" in said:
            return f"{host}: its host key is not known or has changed: mend known_hosts."
        said = said.removeprefix("Task failed: ")
        return f"{host} is unreachable: {_shorten(said)}"
    failed = [
        one for one in result.get("results") or [] if isinstance(one, dict) and one.get("failed")
    ]
    if failed and failed[0].get("msg"):
        said = " ".join(str(failed[0]["msg"]).split())
    return f"Task {task!r} failed on {host}: {_shorten(said)}"


def _shorten(text: str, most: int = 800) -> str:
    text = text or "it gave no reason"
    return (text if len(text) <= most else text[:most] + "…").rstrip(".") + "."


def _last(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if "ERROR" in line]
    line = errors[0] if errors else lines[-1] if lines else ""
    return _shorten(line.removeprefix("[ERROR]: ").removeprefix("ERROR! "))
