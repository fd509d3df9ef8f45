"""Load once what every task needs, before Ansible forks its first process.

Ansible forks a process for each task on each host. What the parent has loaded, its children have;
what it has not, each of them loads again: all filters and tests, the libraries behind them, Jinja's
lexer, connection plugins. Tasks do the same with and without this plugin.
"""

from __future__ import annotations

import gc
import os
from typing import Any

from ansible.plugins import loader
from ansible.plugins.callback import CallbackBase
from ansible.template import Templar, trust_as_template
from ansible.utils.display import Display

DOCUMENTATION = r"""
name: dbops_preload
type: aggregate
short_description: loads plugins before the first fork
description:
  - Loads in the parent what each of Ansible's processes would load again. Prints nothing.
author:
  - dbops
"""

# Whoever names one filter or test loads all of them.
_PLUGINS = {
    "filter_loader": ["ansible.builtin.bool"],
    "test_loader": ["ansible.builtin.defined"],
    "lookup_loader": ["ansible.builtin.file", "ansible.builtin.template"],
    "connection_loader": ["ansible.builtin.ssh", "ansible.builtin.local"],
    "shell_loader": ["ansible.builtin.sh"],
    "become_loader": ["ansible.builtin.sudo"],
    "action_loader": [
        "ansible.builtin.assert",
        "ansible.builtin.command",
        "ansible.builtin.copy",
        "ansible.builtin.debug",
        "ansible.builtin.gather_facts",
        "ansible.builtin.normal",
        "ansible.builtin.set_fact",
        "ansible.builtin.validate_argument_spec",
        "dbops_variables",
    ],
}
_EXPRESSION = "{{ [1] | map('string') | select('defined') | list }}"


class CallbackModule(CallbackBase):
    """Loads when a playbook starts, and only then."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "dbops_preload"

    def v2_playbook_on_start(self, playbook: Any) -> None:
        """Load; whatever does not load here is loaded by who needs it, and fails there."""
        for kind, names in _PLUGINS.items():
            for name in names:
                _try(lambda kind=kind, name=name: getattr(loader, kind).get(name, class_only=True))
        _try(lambda: Templar().template(trust_as_template(_EXPRESSION)))
        # A child's garbage collection writes to each object, so the kernel would copy all of them.
        os.register_at_fork(after_in_child=gc.freeze)


def _try(load: Any) -> None:
    try:
        load()
    except Exception as error:  # of Ansible's, of a plugin's, of a library's
        Display().vvv(f"dbops_preload: {error}")
