"""The hidden replica's modules: what is part of the server is as declared, anything else is not."""

from __future__ import annotations

from typing import Any

import pytest

from dbops.engines.redis import tampering

_BUILT_IN = "module:name=vectorset,ver=1,api=1,filters=0,usedby=[],using=[],options=[]"


class Answering:
    """A connection that tells of these modules."""

    def __init__(self, *lines: str) -> None:
        self.lines = lines

    def ask(self, *command: str) -> bytes:
        assert command == ("INFO", "modules")
        return "\r\n".join(("# Modules", *self.lines, "")).encode()


@pytest.mark.parametrize("lines", [(), (_BUILT_IN,)])
def test_a_server_as_it_comes_is_as_declared(lines: tuple[str, ...]) -> None:
    connection: Any = Answering(*lines)
    assert list(tampering._modules(connection)) == []


def test_every_other_module_is_named() -> None:
    evil = "module:name=evil,ver=1,api=1,filters=0,usedby=[],using=[],options=[]"
    connection: Any = Answering(evil, _BUILT_IN, evil.replace("evil", "worse"))
    assert list(tampering._modules(connection)) == ["the modules evil, worse are loaded"]
