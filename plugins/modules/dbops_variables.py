#!/usr/bin/python
"""Documentation of the action of the same name, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: dbops_variables
short_description: Refuse variables that a role does not know or cannot take
description:
  - Fails when a host's variable with the prefix is known to no entry point of the role.
  - Fails when a variable of the named entry points is missing or of a wrong kind.
options:
  prefix: {description: What the role's variables start with., type: str, required: true}
  specs: {description: The role's argument_specs.yml on the controller., type: path, required: true}
  entries:
    description: The entry points whose options are validated.
    type: list
    elements: str
    required: true
  inner:
    description: The specs of the role that this one includes, of which all is optional here.
    type: path
    required: true
author: dbops
"""
