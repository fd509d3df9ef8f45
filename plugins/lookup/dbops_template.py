"""As Ansible's own lookup ``template``, without a copy of every variable for each file.

That copy takes longer than all else that Ansible does for a small file.
"""

from __future__ import annotations

from typing import Any

from ansible.plugins.lookup import template

DOCUMENTATION = r"""
name: dbops_template
short_description: renders files of a role
description:
  - Renders files from the folder C(templates), with the options of C(ansible.builtin.template).
options:
  _terms: {description: Names of the files., required: true}
  template_vars: {description: Variables beside the host's own., type: dict, default: {}}
  trim_blocks: {description: Whether the line break after a block goes., type: bool, default: true}
  variable_start_string: {description: What an expression begins with., type: str, default: "{{"}
  variable_end_string: {description: What an expression ends with., type: str, default: "}}"}
  comment_start_string: {description: What a comment begins with., type: str, default: "{#"}
  comment_end_string: {description: What a comment ends with., type: str, default: "#}"}
author: dbops
"""


class _Shared(dict[str, Any]):
    """Variables that a template reads and does not change: their copy shares all values."""

    def __deepcopy__(self, memo: dict[int, Any]) -> dict[str, Any]:
        return dict(self)


class LookupModule(template.LookupModule):
    """Renders files."""

    def run(self, terms: Any, variables: Any = None, **options: Any) -> Any:
        """Return the text of each file of ``terms``; raises what the own lookup does."""
        return super().run(terms, _Shared(variables or {}), **options)
