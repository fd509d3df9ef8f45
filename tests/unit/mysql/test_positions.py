"""Where a member's log ended, as that member says: it goes into a statement on another."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError

from plugins.filter.mysql import position

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("", ""),
        ("0-1-10,1-2-3", "0-1-10,1-2-3"),
        ("3e11fa47-71ca:1-5:9,\\n4e11:tag_a:1-3", "3e11fa47-71ca:1-5:9,4e11:tag_a:1-3"),
        ("3e11:1-5,\n4e11:1", "3e11:1-5,4e11:1"),
    ],
)
def test_lists_and_sets_of_transactions_are_taken(text: str, plain: str) -> None:
    assert position(text, "mysql1") == plain


@pytest.mark.parametrize(
    "text", ["0-1-1', 1); GRANT ALL ON *.* TO x; --", "0-1-1\\! id", "0-1-1'", "\\' OR 1", "a;b"]
)
def test_anything_else_is_refused_by_the_hosts_name(text: str) -> None:
    with pytest.raises(AnsibleFilterError, match="What mysql1 gives as its last transaction"):
        position(text, "mysql1")
