"""Run plans. The only module that starts a process, and the only one that masks secrets.

Programs of their own may start others, too: ARCHITECTURE.md lists them.

A *plan* is a list of steps made by an engine's ``plan_*`` function; making one changes nothing.
A step is either a :class:`Command` (an argument vector, never a shell line) or an
:class:`Action` (a named Python callable, for a rename or a wait). ``--dry-run`` prints the plan.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pwd
import queue
import re
import select
import shlex
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from dbops.errors import CommandFailed, ConfigError

_MASK = "********"
_ERROR = re.compile(r"\b(error|fatal|panic)\b(:|\]|\s+\d)", re.IGNORECASE)
_PIPE_BYTES = 1 << 20
_PIPE_GRACE_SECONDS = 5.0
_PIECE = 1 << 16
_TEXT = {"text": True, "encoding": "utf-8", "errors": "replace"}
_secrets: set[str] = set()

OnLine = Callable[[str], None]
"""Told of one line that a command wrote, without its newline and with secrets masked."""


def register_secret(value: str) -> str:
    """Remember ``value`` so that :func:`mask` hides it from now on; return it unchanged."""
    if value:
        _secrets.add(value)
    return value


def mask(text: str) -> str:
    """Return ``text`` with every registered secret replaced by asterisks."""
    for secret in sorted(_secrets, key=len, reverse=True):
        text = text.replace(secret, _MASK)
    return text


@dataclass(frozen=True)
class Command:
    """One process to run.

    ``user`` drops privileges to that account when dbops runs as root. ``env`` is added to a
    minimal environment (``PATH``, ``LANG=C.UTF-8``, ``HOME`` of the account). Secrets must not
    be in ``argv``: pass files, ``env`` or ``stdin``. With ``output_bytes``, :func:`capture` and
    :func:`pipe` end a command that writes more than that on an output which dbops reads.
    """

    argv: tuple[str, ...]
    title: str = ""
    user: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    stdin: str | None = None
    timeout_seconds: float | None = None
    ok_statuses: tuple[int, ...] = (0,)
    output_bytes: int | None = None

    def describe(self) -> str:
        """Return the command as a line that a person can read and paste, secrets masked."""
        line = mask(shlex.join(self.argv))
        return f"[as {self.user}] {line}" if self.user else line


@dataclass(frozen=True)
class Action:
    """One step done in Python, such as a rename; ``title`` says exactly what it does.

    ``watched`` is the same step for one that takes long and can say how far it is.
    """

    title: str
    do: Callable[[], None]
    watched: Callable[[OnLine], None] | None = None

    def describe(self) -> str:
        """Return what the step does, in words."""
        return mask(self.title)


Step = Command | Action
Plan = Sequence[Step]


def watched(title: str, do: Callable[[OnLine], None]) -> Action:
    """Return a step that takes long and tells how it goes on."""
    return Action(title, lambda: do(lambda line: None), watched=do)


@dataclass(frozen=True)
class Completed:
    """What a finished command left: its exit status and both outputs as text.

    ``ended`` says that dbops killed it because the other end of its pipe had failed.
    """

    status: int
    stdout: str
    stderr: str
    ended: bool = False


def _environment(command: Command) -> dict[str, str]:
    home = pwd.getpwnam(command.user).pw_dir if command.user else os.environ.get("HOME", "/")
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return {"PATH": path, "LANG": "C.UTF-8", "HOME": home, **command.env}


def _identity(command: Command) -> tuple[int, int, list[int]] | None:
    if command.user is None:
        return None
    try:
        account = pwd.getpwnam(command.user)
    except KeyError:
        raise ConfigError(
            f"The account {command.user!r} does not exist on this host: provision the host first."
        ) from None
    if os.geteuid() == account.pw_uid:
        return None
    if os.geteuid() != 0:
        raise ConfigError(
            f"This step runs as {command.user!r}: run dbops as root or as {command.user!r}."
        )
    groups = os.getgrouplist(command.user, account.pw_gid)
    return account.pw_uid, account.pw_gid, groups


def capture(command: Command, on_line: OnLine | None = None) -> Completed:
    """Run one command to its end and return what it said, whatever its exit status.

    ``on_line`` is told of each line as it is written, on either output, secrets masked. The command
    and its children are ended when this call is interrupted or the time limit is passed.
    Raises ConfigError when the program is absent, CommandFailed when it exceeds its time limit.
    """
    process = _start(command)
    try:
        if on_line is None and command.output_bytes is None:
            stdout, stderr = process.communicate(command.stdin, command.timeout_seconds)
        elif on_line is None:
            stdout, stderr = _bounded(process, command)
        else:
            stdout, stderr = _stream(process, command, on_line)
    except subprocess.TimeoutExpired:
        _end(process)
        raise CommandFailed(
            f"{command.argv[0]} gave no answer within {command.timeout_seconds:.0f} s "
            "and was ended."
        ) from None
    except BaseException:
        _end(process)
        raise
    return Completed(process.returncode, stdout, stderr)


def _start(command: Command) -> subprocess.Popen[str]:
    stdin = subprocess.DEVNULL if command.stdin is None else subprocess.PIPE
    process: subprocess.Popen[str] = _spawn(
        command, stdin, subprocess.PIPE, subprocess.PIPE, **_TEXT
    )
    return process


def _spawn(command: Command, stdin: Any, stdout: Any, stderr: Any, **more: Any) -> Any:
    identity = _identity(command)
    user, group, groups = identity or (None, None, None)
    try:
        return subprocess.Popen(
            list(command.argv),
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            cwd="/",
            env=_environment(command),
            umask=0o077,
            user=user,
            group=group,
            extra_groups=groups,
            start_new_session=True,
            **more,
        )
    except FileNotFoundError:
        raise ConfigError(
            f"The program {command.argv[0]!r} is not installed on this host: run provision first."
        ) from None
    except OSError as error:
        raise ConfigError(
            f"The program {command.argv[0]!r} cannot be started: {error.strerror}."
        ) from None


def _end(process: subprocess.Popen[str]) -> None:
    """Kill the whole process group: a child left behind would hold the pipes and its locks."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(5)


class Running:
    """A process that runs beside dbops until :meth:`end`; its output goes to a log file."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    @property
    def pid(self) -> int:
        """The process id, which is also that of its group."""
        return self._process.pid

    def alive(self) -> bool:
        """Tell whether it still runs."""
        return self._process.poll() is None

    def end(self, seconds: float) -> int:
        """Ask it to end, kill its group after ``seconds``, and return its exit status."""
        self._process.terminate()
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
            return self._process.wait(5)


def start(command: Command, log: Path) -> Running:
    """Start a server that has no daemon mode of its own; both its outputs go to ``log``, mode 0600.

    No link is followed to ``log``. The caller ends it. Raises ConfigError when the program is
    absent or the log cannot be written.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
    try:
        with os.fdopen(os.open(log, flags, 0o600), "wb") as output:
            return Running(_spawn(command, subprocess.DEVNULL, output, output))
    except OSError as error:
        raise ConfigError(f"{log} cannot be written: {error.strerror}.") from None


def _bounded(process: subprocess.Popen[str], command: Command) -> tuple[str, str]:
    """Return both outputs; CommandFailed as soon as one is longer than the command allows."""
    limit = command.output_bytes or 0
    _feed(process, command)
    kept: tuple[list[str], list[str]] = ([], [])
    too_much = threading.Event()

    def read(output: IO[str], pieces: list[str]) -> None:
        size = 0
        with contextlib.suppress(ValueError, OSError):
            while piece := output.read(_PIECE):
                size += len(piece)
                if size > limit:
                    too_much.set()
                    _end(process)
                    return
                pieces.append(piece)

    readers = [
        threading.Thread(target=read, args=pair, daemon=True)
        for pair in zip((process.stdout, process.stderr), kept, strict=True)
    ]
    for reader in readers:
        reader.start()
    limit_seconds = command.timeout_seconds
    deadline = None if limit_seconds is None else time.monotonic() + limit_seconds
    process.wait(limit_seconds)
    for reader in readers:
        reader.join(_left(deadline))
        if reader.is_alive():
            raise subprocess.TimeoutExpired(command.argv[0], limit_seconds or 0.0)
    if too_much.is_set():
        raise _too_much(command)
    return "".join(kept[0]), "".join(kept[1])


def _too_much(command: Command) -> CommandFailed:
    name, limit = command.title or command.argv[0], command.output_bytes or 0
    return CommandFailed(f"{name} wrote more than {limit:,} bytes and was ended.")


def _stream(process: subprocess.Popen[str], command: Command, on_line: OnLine) -> tuple[str, str]:
    _feed(process, command)
    outputs = [(process.stdout, command), (process.stderr, command)]
    stdout, stderr = _gather([process], outputs, command, on_line)
    return stdout, stderr


def _feed(process: subprocess.Popen[str], command: Command) -> None:
    """Write what the command reads, beside whatever reads what it writes."""
    stdin = process.stdin
    if stdin is None:
        return

    def write() -> None:
        with contextlib.suppress(OSError), stdin:
            stdin.write(command.stdin or "")

    threading.Thread(target=write, daemon=True).start()


def _gather(
    processes: Sequence[subprocess.Popen[str]],
    outputs: Sequence[tuple[IO[str] | None, Command]],
    command: Command,
    on_line: OnLine,
) -> list[str]:
    """Return all that is written to ``outputs``, once they are closed and the processes ended.

    Each is given with the command that writes it; CommandFailed for more than that one allows.
    """
    lines: queue.SimpleQueue[tuple[int, str | CommandFailed | None]] = queue.SimpleQueue()
    kept: list[list[str]] = [[] for _ in outputs]

    def read(number: int, output: IO[str], writer: Command) -> None:
        size, most = 0, writer.output_bytes
        with contextlib.suppress(ValueError, OSError):
            # A line may be without end, too.
            while line := output.readline(-1 if most is None else most + 1 - size):
                size += len(line)
                if most is not None and size > most:
                    lines.put((number, _too_much(writer)))
                    return
                lines.put((number, line))
        lines.put((number, None))

    for number, (output, writer) in enumerate(outputs):
        assert output is not None
        threading.Thread(target=read, args=(number, output, writer), daemon=True).start()
    limit = command.timeout_seconds
    deadline = None if limit is None else time.monotonic() + limit
    open_outputs = len(outputs)
    while open_outputs:
        try:
            number, line = lines.get(timeout=_left(deadline))
        except queue.Empty:
            raise subprocess.TimeoutExpired(command.argv[0], limit or 0.0) from None
        if isinstance(line, CommandFailed):
            raise line
        if line is None:
            open_outputs -= 1
        else:
            kept[number].append(line)
            on_line(mask(line.rstrip("\n")))
    for process in processes:
        process.wait(_left(deadline))
    return ["".join(lines) for lines in kept]


def _left(deadline: float | None) -> float | None:
    return None if deadline is None else max(0.0, deadline - time.monotonic())


def pipe(
    producer: Command, consumer: Command, on_line: OnLine | None = None
) -> tuple[Completed, Completed]:
    """Let ``producer`` write straight into ``consumer``; return what both left, good or not.

    The bytes go through one pipe of the system, not through Python. The consumer meets the end of
    its input only once the producer has ended with a good status, and is killed otherwise: it never
    takes half a stream for a whole one. When it ends first, the producer meets a broken pipe and
    has a few seconds to end. ``on_line`` is told of each line that either writes, but for the
    stream itself, secrets masked. Both and their children are ended when this call is interrupted
    or the shorter time limit is passed. Raises ConfigError and CommandFailed as :func:`capture`.
    """
    feeding, eating, sink = _start_both(producer, consumer)
    ended: list[bool] = []
    threading.Thread(target=_let_end, args=(feeding, producer, eating, sink, ended)).start()
    threading.Thread(target=_let_break, args=(feeding, eating)).start()
    limited = [c for c in (producer, consumer) if c.timeout_seconds is not None]
    strict = min(limited, key=lambda c: c.timeout_seconds or 0.0, default=producer)
    outputs = ((feeding.stderr, producer), (eating.stdout, consumer), (eating.stderr, consumer))
    try:
        _feed(feeding, producer)
        said = _gather((feeding, eating), outputs, strict, on_line or (lambda line: None))
    except subprocess.TimeoutExpired:
        raise CommandFailed(
            f"{strict.argv[0]} gave no answer within {strict.timeout_seconds:.0f} s and was ended."
        ) from None
    finally:
        # The consumer first: the end of the producer must not look like the end of its input.
        for process in (eating, feeding):
            if process.returncode is None:
                _end(process)
    fed = Completed(feeding.returncode, "", said[0])
    return fed, Completed(eating.returncode, said[1], said[2], ended=bool(ended))


def _start_both(
    producer: Command, consumer: Command
) -> tuple[subprocess.Popen[str], subprocess.Popen[str], int]:
    source, sink = os.pipe()
    with contextlib.suppress(OSError):
        fcntl.fcntl(sink, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    given = subprocess.DEVNULL if producer.stdin is None else subprocess.PIPE
    try:
        eating = _spawn(consumer, source, subprocess.PIPE, subprocess.PIPE, **_TEXT)
        try:
            feeding = _spawn(producer, given, sink, subprocess.PIPE, **_TEXT)
        except BaseException:
            _end(eating)
            raise
    except BaseException:
        os.close(sink)
        raise
    finally:
        os.close(source)
    return feeding, eating, sink


def _let_end(
    feeding: subprocess.Popen[str],
    producer: Command,
    eating: subprocess.Popen[str],
    sink: int,
    ended: list[bool],
) -> None:
    """Close the last writing end when all was written, kill the consumer when it was not.

    A consumer that reads no more has failed first, and is given time to say why.
    """
    if feeding.wait() not in producer.ok_statuses and eating.poll() is None:
        if not _unread(sink):
            ended.append(True)
            _end(eating)
        else:
            with contextlib.suppress(subprocess.TimeoutExpired):
                eating.wait(_PIPE_GRACE_SECONDS)
            _end(eating)
    os.close(sink)


def _unread(sink: int) -> bool:
    """Tell whether nobody reads the other end of a pipe any more."""
    ear = select.poll()
    ear.register(sink, 0)
    return any(event & select.POLLERR for _, event in ear.poll(0))


def _let_break(feeding: subprocess.Popen[str], eating: subprocess.Popen[str]) -> None:
    """End a producer that does not notice that nobody reads any more."""
    eating.wait()
    try:
        feeding.wait(_PIPE_GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        _end(feeding)


def check_pipe(
    producer: Command, consumer: Command, on_line: OnLine | None = None
) -> tuple[Completed, Completed]:
    """Run :func:`pipe`; raise CommandFailed with the words of the one that failed first."""
    fed, eaten = pipe(producer, consumer, on_line)
    if eaten.status not in consumer.ok_statuses and not eaten.ended:
        raise CommandFailed(explain(consumer, eaten))
    if fed.status not in producer.ok_statuses:
        raise CommandFailed(explain(producer, fed))
    return fed, eaten


def check(command: Command, on_line: OnLine | None = None) -> Completed:
    """Run one command and return what it said; raise CommandFailed unless its status is a good one.

    ``on_line`` is told of each line as it is written, as for :func:`capture`.
    """
    done = capture(command, on_line)
    if done.status not in command.ok_statuses:
        raise CommandFailed(explain(command, done))
    return done


def explain(command: Command, done: Completed) -> str:
    """Return one line about a failed command: its name, exit status and the reason it gave."""
    said = mask(reason(done.stderr or done.stdout)) or "it wrote nothing"
    return f"{command.title or command.argv[0]} failed with exit status {done.status}: {said}"


def reason(text: str) -> str:
    """Return the line of ``text`` that says why a command failed.

    It is the first of dbops itself, else the first that is marked as an error: what comes after
    tells how the command cleaned up. Without one it is the last; empty for no text.
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    marked = [line for line in lines if _ERROR.search(line)]
    own = [line for line in lines if line.startswith("dbops: ")]
    return next(iter([*own, *marked, *lines[-1:]]), "")


def run(
    plan: Plan,
    on_step: Callable[[Step], None] = lambda step: None,
    on_line: OnLine | None = None,
) -> None:
    """Carry out ``plan`` step by step; the first failure ends it with CommandFailed.

    ``on_step`` is told of each step before it starts and ``on_line`` of each line that a command
    writes, for progress.
    """
    for step in plan:
        on_step(step)
        if isinstance(step, Command):
            check(step, on_line)
        elif step.watched is not None and on_line is not None:
            step.watched(on_line)
        else:
            step.do()


def describe(plan: Plan) -> Iterable[str]:
    """Yield one line for each step of ``plan``, for ``--dry-run``."""
    for step in plan:
        yield step.describe()
