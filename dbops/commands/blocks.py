"""Generated blocks inside pages that people write, and the one of a role's variables.

A block stands between ``<!-- dbops docs NAME -->`` and ``<!-- end -->``; ``dbops docs all`` renews
every one of a checkout.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from dbops.errors import ConfigError

BEGIN, END = "<!-- dbops docs {} -->", "<!-- end -->"


def renew(path: Path, name: str, text: str) -> str:
    """Return what ``path`` holds with its block ``name`` replaced by ``text``."""
    before = path.read_text(encoding="utf-8")
    begin = BEGIN.format(name)
    head, mark, rest = before.partition(begin)
    _, end, tail = rest.partition(END)
    if not mark or not end:
        raise ConfigError(f"{path} has no block {begin} … {END}.")
    return f"{head}{begin}\n{text}{END}{tail}"


def role_reference(checkout: Path, name: str) -> str:
    """Return the variables of each entry point of a role as Markdown tables.

    A variable is explained at the first entry point that takes it; later ones name it.
    """
    import yaml  # comes with Ansible; database hosts have neither

    path = checkout / "roles" / name / "meta" / "argument_specs.yml"
    if not path.is_file():
        raise ConfigError(f"{path} does not exist: give --project-dir.")
    specs = yaml.safe_load(path.read_text(encoding="utf-8"))["argument_specs"]
    lines: list[str] = []
    explained: set[str] = set()
    for entry, spec in specs.items():
        lines += ["", f"### {entry}", "", f"{spec['short_description']}.", ""]
        options: dict[str, dict[str, Any]] = spec.get("options") or {}
        new = [option for option in options if option not in explained]
        if new:
            lines += ["| variable | type | default | meaning |", "|---|---|---|---|"]
            lines += [_variable(option, options[option]) for option in new]
        known = [f"`{option}`" for option in options if option in explained]
        if known:
            lines += ["", f"Also takes, as above: {', '.join(known)}."]
        explained.update(options)
    return "\n".join(lines) + "\n\n"


def _variable(name: str, option: dict[str, Any]) -> str:
    if option.get("required"):
        default = "**required**"
    elif "default" not in option:
        default = "none"
    else:
        value = option["default"]
        shown = str(value).lower() if isinstance(value, bool) else json.dumps(value)
        text = value if isinstance(value, str) and value else shown
        default = f"`{text}`".replace("|", "\\|")
    kind = str(option["type"])
    kind += f" of {option['elements']}" if "elements" in option else ""
    meaning = " ".join(str(option["description"]).split()).replace("|", "\\|")
    meaning = re.sub(r"\b[CMO]\(([^)]*)\)", r"`\1`", meaning)
    if "choices" in option:
        meaning += f" One of {', '.join(f'`{choice}`' for choice in option['choices'])}."
    secret = " Secret." if option.get("no_log") else ""
    return f"| `{name}` | {kind} | {default} | {meaning}{secret} |"
