"""From the start of a restored server until it is proven: note, start, wait, open, verify, note."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from dbops import files, handles
from dbops.errors import (
    CommandFailed,
    ConfigError,
    DbopsError,
    Refused,
    Unreachable,
    VerificationFailed,
)
from dbops.restore.inplace import D, DataDir, InPlace, Wait
from dbops.runner import Action, OnLine, Plan, watched
from dbops.targets import Target

NOTE = "restore.json"
_STARTING_SECONDS = 20.0
_ASKING_SECONDS = 0.2


def steps(target: Target, engine: InPlace[D], way: D, former: Path | None, kept: str) -> Plan:
    """Return the steps from the filled data directory to the proof that it is served."""
    note = target.state_dir / NOTE
    write = partial(_note, note, engine, way, former)
    title, _ = engine.sound
    return (
        Action(f"note in {note} that this restore is not proven", partial(write, proven=False)),
        *engine.start(way, kept),
        *_waiting(engine, kept),
        *_opening(engine, kept),
        Action(title, partial(_verify, engine, way, kept)),
        Action(f"note in {note} that this restore is proven", partial(write, proven=True)),
    )


def _note(path: Path, engine: InPlace[D], way: D, former: Path | None, *, proven: bool) -> None:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    about = {"backup_id": way.backup_id, "set_aside": str(former) if former else None}
    if engine.position is not None:
        about["position"] = engine.position(way)
    about["verified_at"] = now if proven else None
    files.write(path, json.dumps(about) + "\n", shared=True)


def _waiting(engine: InPlace[D], kept: str) -> Plan:
    if engine.wait is None:
        return ()
    title = f"{engine.wait.title} (at most {engine.wait.limit_seconds:.0f} s)"
    return (watched(title, partial(_until_open, engine.wait, engine.data, kept)),)


def _until_open(wait: Wait, data: DataDir, kept: str, tell: OnLine) -> None:
    """Return when the server is open; fail with its own last words when it ends."""
    began, seen, told = time.monotonic(), False, ""
    while (waited := time.monotonic() - began) < wait.limit_seconds:
        now = _state(wait, kept)
        if now is None:
            return
        if now != told:
            tell(now)
            told = now
        alive = _alive(data)
        seen = seen or alive
        if not alive and (seen or waited > _STARTING_SECONDS):
            words = wait.last_words() or "it left no message"
            raise VerificationFailed(f"The restored server ended: {words}; {kept}.")
        time.sleep(_ASKING_SECONDS)
    raise VerificationFailed(
        f"The restored server was not open within {wait.limit_seconds:.0f} s ({told}); {kept}."
    )


def _state(wait: Wait, kept: str) -> str | None:
    try:
        return wait.state()
    except (Unreachable, CommandFailed):
        return "the server is starting"
    except VerificationFailed as error:
        raise VerificationFailed(f"{str(error).rstrip('.')}; {kept}.") from None


def _alive(data: DataDir) -> bool:
    try:
        return data.serving() is not None
    except Refused:  # It is not known: its state will tell.
        return True


def _opening(engine: InPlace[D], kept: str) -> Plan:
    if engine.opened is None:
        return ()
    title, work = engine.opened
    return (Action(title, partial(_held, engine, work, "cannot be opened", kept)),)


def _verify(engine: InPlace[D], way: D, kept: str) -> None:
    _, sound = engine.sound
    _held(engine, partial(sound, way), "is not sound", kept)


def _held(engine: InPlace[D], work: Callable[[], None], failing: str, kept: str) -> None:
    """Do what the restored server must allow, and say where the former data are if it does not."""
    try:
        work()
    except Exception as error:
        words = _sentence(engine, error)
        if words is None:
            raise
        raise VerificationFailed(f"The restored server {failing}: {words}; {kept}.") from None


def _sentence(engine: InPlace[D], error: Exception) -> str | None:
    words = str(error) if isinstance(error, DbopsError) else engine.explain(error)
    return words.rstrip(".") if words is not None else None


def require_sound(target: Target, engine: InPlace[D]) -> None:
    """Raise Refused unless the server is sound now and what it replaced is no longer needed.

    A primary must have been verified by the restore that made it; a replica must receive.
    """
    _, sound = engine.sound
    try:
        receives = engine.receives()
        if receives is None:
            sound(None)
        elif not receives:
            raise VerificationFailed("it is a replica that receives nothing")
    except ConfigError:
        raise
    except Exception as error:
        words = _sentence(engine, error)
        if words is None:
            raise
        raise Refused(f"The server is not up and sound, so nothing is removed: {words}.") from None
    if receives is None:
        _require_verified(target.state_dir / NOTE)


def _require_verified(note: Path) -> None:
    try:
        said = json.loads(handles.read_own(note))
    except (OSError, ValueError):
        said = None
    if not isinstance(said, dict) or not said.get("verified_at"):
        raise Refused(
            "The last restore on this host was not verified to its end, so what it set aside "
            "is kept: restore again first."
        )
