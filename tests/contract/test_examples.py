"""Every command in the documentation is one that dbops takes, with variables that a role has."""

from __future__ import annotations

import re
import shlex
from itertools import takewhile
from pathlib import Path

import click
import pytest
import yaml

from dbops import cli
from tests.contract.grid import ROOT

PAGES = sorted(
    path
    for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("roles/*/README.md"))
    if path.name != "CHANGELOG.md"
)
_BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`((?:\S*/)?dbops [^`]+)`")
_SHELL = {"|", ">", "&&", "||"}
_MEMBER = re.compile(r"[a-z]+\d+")


def commands(page: Path) -> list[str]:
    """Return the lines of a page that call dbops, as a shell would split them into words."""
    text = page.read_text(encoding="utf-8")
    lines = [
        line
        for block in _BLOCK.findall(text)
        for line in block.replace("\\\n", " ").splitlines()
        if re.match(r"(\S*/)?dbops ", line.strip())
    ]
    return lines + _INLINE.findall(text)


def parse(words: list[str]) -> click.Context:
    """Return the context of the command that ``words`` call, which is not run."""
    context = click.Context(cli.cli, info_name="dbops")
    command: click.Command = cli.cli
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        name, command, words = command.resolve_command(context, words)  # type: ignore[assignment]
        context = click.Context(command, context, info_name=name)
    if not isinstance(command, click.Group) and words:
        return command.make_context(context.info_name, words, context.parent)
    return context


def known_variables() -> set[str]:
    """Return the names of all variables that a role declares."""
    names = set[str]()
    for file in ROOT.glob("roles/*/meta/argument_specs.yml"):
        for entry in yaml.safe_load(file.read_text(encoding="utf-8"))["argument_specs"].values():
            names |= set(entry.get("options", {}))
    return names


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_of_a_page_is_understood(page: Path) -> None:
    variables = known_variables()
    for line in commands(page):
        try:
            words = shlex.split(line, comments=True)
            context = parse(list(takewhile(lambda word: word not in _SHELL, words))[1:])
        except click.ClickException as error:
            pytest.fail(f"{line}: {error.format_message()}")
        for given in context.params.get("extra_vars") or ():
            name = given.partition("=")[0]
            assert given.startswith("@") or name in variables, (line, name)
        if context.command.name == "play":
            limit = context.params.get("limit") or ""
            assert not _MEMBER.fullmatch(limit), f"{line}: a run must see every member"


def test_the_pages_do_show_commands() -> None:
    assert sum(len(commands(page)) for page in PAGES) > 100
