"""As Ansible's own lookup ``template``, without a copy of every variable for each file.

That copy takes longer than all else that Ansible does for a small file.
"""

from __future__ import annotations

from typing import Any

from ansible.plugins.lookup import template

DOCUMENTATION = template.DOCUMENTATION  # Ansible reads the options from it


class _Shared(dict[str, Any]):
    """Variables that a template reads and does not change: their copy shares all values."""

    def __deepcopy__(self, memo: dict[int, Any]) -> dict[str, Any]:
        return dict(self)


class LookupModule(template.LookupModule):
    """Renders files."""

    def run(self, terms: Any, variables: Any = None, **options: Any) -> Any:
        """Return the text of each file of ``terms``; raises what the own lookup does."""
        return super().run(terms, _Shared(variables or {}), **options)
