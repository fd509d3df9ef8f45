#!/usr/bin/python
"""Documentation of the action of the same name, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: dbops_variables
short_description: Refuse variables that no role knows or that it cannot take
description:
  - Fails when a variable that begins with the engine's name or with C(dbops_) is known neither to
    the engine's role nor to the shared one.
  - Fails when a variable of either is missing or of a wrong kind.
options:
  engine: {description: Name of the engine's role., type: str, required: true}
  roles: {description: Folder of the roles on the controller., type: path, required: true}
author: dbops
"""
