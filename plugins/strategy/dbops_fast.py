"""Strategy ``dbops_fast``: as ``linear``, with tasks carried out by mitogen where it is installed.

One variable switches it on: ``ANSIBLE_STRATEGY=dbops_fast``. mitogen keeps one Python process for
each account on each host instead of starting one for each task.
"""

from __future__ import annotations

from ansible.errors import AnsibleOptionsError

try:
    # mitogen's own place for it: the class must exist once only, under this name.
    from ansible_mitogen.plugins.strategy.mitogen_linear import StrategyModule
except ImportError as error:
    raise AnsibleOptionsError(
        "The strategy dbops_fast needs mitogen on the controller: pip install 'dbops[fast]', or "
        "run without ANSIBLE_STRATEGY."
    ) from error

DOCUMENTATION = r"""
name: dbops_fast
short_description: linear, with tasks carried out by mitogen
description:
  - Runs the same tasks in the same order as C(ansible.builtin.linear), in Python processes on the
    hosts that are kept for the whole run.
author:
  - dbops
"""

__all__ = ["StrategyModule"]
