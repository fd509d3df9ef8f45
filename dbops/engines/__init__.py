"""The engines, by name. Adding one is a package here and its name in ``NAMES``."""

from __future__ import annotations

from importlib import import_module
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

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


class Later:
    """A package whose functions are named now and imported when called.

    ``Later("package").module.function`` is such a function. So an engine's record costs no import,
    and a command loads only the modules that it runs.
    """

    def __init__(self, path: str) -> None:
        self._path = path

    def __getattr__(self, name: str) -> Later:
        if name.startswith("_"):
            raise AttributeError(name)
        return Later(f"{self._path}.{name}")

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """Import the module, then call its function."""
        return self.resolve()(*arguments, **named)

    def __repr__(self) -> str:
        return f"Later({self._path!r})"

    def resolve(self) -> Any:
        """Return the function itself; ImportError or AttributeError when there is none."""
        return resolve_name(self._path)
