"""The packages that were made, kept outside the checkout under the digest of how they are made."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from lab.artefacts import mongodb
from lab.machine import CACHE, say, turn

MAKERS: dict[str, Callable[[Path, Path], None]] = {"mongodb": mongodb.make}


def folder(engine: str) -> Path:
    """Return the folder of the engine's packages, which are made and tried when they are not there.

    OutOfReach when a registry that they come from cannot be asked; LabError when what was made does
    not work. Nothing of it is kept then.
    """
    target = CACHE / "artefacts" / f"{engine}-{_recipe(engine)}"
    with turn(f"artefacts-{engine}"):
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            _make(engine, target)
    return target


def _make(engine: str, target: Path) -> None:
    with tempfile.TemporaryDirectory(dir=target.parent) as name:
        work, made = Path(name) / "work", Path(name) / "made"
        work.mkdir()
        made.mkdir(mode=0o755)
        MAKERS[engine](work, made)
        for former in target.parent.glob(f"{engine}-*"):
            say(f"forgetting {former.name}, which was made otherwise")
            shutil.rmtree(former)
        made.rename(target)


def _recipe(engine: str) -> str:
    here = Path(__file__).parent
    whole = hashlib.sha256()
    for name in (f"{engine}.py", "deb.py", "registries.py"):
        whole.update((here / name).read_bytes())
    return whole.hexdigest()[:12]
