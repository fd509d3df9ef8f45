"""The wheelhouse: dbops and all it needs as wheels, for hosts without a package index.

Kept outside the checkout, named for the content it was made from, and made only when absent. Run as
``python -m dbops.control.wheelhouse --python 3.11``; prints JSON with ``archive`` and ``digest``.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import platform
import sys
import tarfile
import tempfile
import tomllib
from pathlib import Path

from dbops.errors import DbopsError
from dbops.runner import Command, check

CHECKOUT = Path(__file__).resolve().parents[2]
_INHERITED = ("PIP_", "SSL_CERT", "REQUESTS_CA", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")


def cache_dir() -> Path:
    """Return the folder that outlives checkouts: ``$DBOPS_CACHE_DIR`` or ``~/.cache/dbops``."""
    return Path(os.environ.get("DBOPS_CACHE_DIR") or Path.home() / ".cache" / "dbops")


def build(python: str) -> dict[str, str]:
    """Return the archive for Python ``python`` (major.minor) and its digest, making it if absent.

    Raises CommandFailed when pip cannot find a wheel for that Python.
    """
    project = CHECKOUT / "pyproject.toml"
    requirements = tomllib.loads(project.read_text())["project"]["dependencies"]
    digest = _digest([project, *_sources()], python)
    folder = cache_dir() / "wheelhouse"
    archive = folder / f"dbops-{python}-{digest}.tar"
    folder.mkdir(parents=True, exist_ok=True, mode=0o755)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one play asks for several hosts at once
        if not archive.exists():
            wheels = _dependencies(folder, python, requirements)
            with tempfile.TemporaryDirectory(dir=folder) as name:
                _pack(archive, [*wheels, _own_wheel(Path(name))])
            _forget_others(folder, python, archive)
    return {"archive": str(archive), "digest": digest}


def _sources() -> list[Path]:
    return sorted(
        path
        for path in (CHECKOUT / "dbops").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    )


def _digest(paths: list[Path], python: str) -> str:
    whole = hashlib.sha256(python.encode())
    for path in paths:
        whole.update(str(path.relative_to(CHECKOUT)).encode())
        whole.update(path.read_bytes() if path.exists() else b"")
    return whole.hexdigest()[:16]


def _pip(*argv: str) -> None:
    environment = {k: v for k, v in os.environ.items() if k.upper().startswith(_INHERITED)}
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")
    check(Command((*pip, *argv), title=f"pip {argv[0]}", env=environment, timeout_seconds=600))


def _dependencies(folder: Path, python: str, requirements: list[str]) -> list[Path]:
    key = hashlib.sha256("\n".join(sorted(requirements)).encode()).hexdigest()[:16]
    target = folder / f"wheels-{python}-{key}"
    if not target.exists():
        with tempfile.TemporaryDirectory(dir=folder) as name:
            machine = platform.machine()
            platforms = [
                word
                for tag in ("manylinux_2_28", "manylinux_2_17", "manylinux2014")
                for word in ("--platform", f"{tag}_{machine}")
            ]
            _pip(
                "download", "--only-binary=:all:", "--python-version", python, "--dest", name,
                *platforms, *requirements, "pip",
            )  # fmt: skip
            made = Path(name) / "wheels"
            made.mkdir()
            for wheel in Path(name).glob("*.whl"):
                wheel.rename(made / wheel.name)
            made.rename(target)
    return sorted(target.glob("*.whl"))


def _own_wheel(folder: Path) -> Path:
    _pip("wheel", "--no-deps", "--wheel-dir", str(folder), str(CHECKOUT))
    return next(folder.glob("dbops-*.whl"))


def _pack(archive: Path, wheels: list[Path]) -> None:
    partial = archive.with_suffix(f".{os.getpid()}")
    with tarfile.open(partial, "w") as tar:
        for wheel in wheels:
            tar.add(wheel, arcname=wheel.name)
    partial.rename(archive)


def _forget_others(folder: Path, python: str, keep: Path) -> None:
    made = sorted(folder.glob(f"dbops-{python}-*.tar"), key=lambda path: path.stat().st_mtime)
    for old in made[:-4]:
        if old != keep:
            old.unlink(missing_ok=True)


def main() -> int:
    """Entry point of ``python -m dbops.control.wheelhouse``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", required=True, help="Python of the hosts, as major.minor")
    try:
        print(json.dumps(build(parser.parse_args().python)))
    except DbopsError as error:
        print(f"wheelhouse: {error}", file=sys.stderr)
        return error.exit_status
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
