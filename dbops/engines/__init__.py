"""The engines, by name. Adding one is a package here and its name in ``NAMES``."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from dbops.errors import ConfigError

if TYPE_CHECKING:
    from dbops.contract import Engine

NAMES = ("postgresql", "redis", "mysql")


def get(name: str) -> Engine:
    """Return the engine called ``name``, importing its package only now."""
    if name not in NAMES:
        raise ConfigError(f"Unknown engine {name!r}: the engines are {', '.join(NAMES)}.")
    engine: Engine = import_module(f"dbops.engines.{name}").ENGINE
    return engine
