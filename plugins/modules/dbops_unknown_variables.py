#!/usr/bin/python
"""Documentation of the action of the same name, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: dbops_unknown_variables
short_description: Refuse misspelt variables of a role
description: Fails when a host's variable with the prefix is known to no entry point of the role.
options:
  prefix: {description: What the role's variables start with., type: str, required: true}
  specs: {description: The role's argument_specs.yml on the controller., type: path, required: true}
author: dbops
"""
