"""A password is changed and used, as loud as it gets, and is seen nowhere.

``tests/e2e/<engine>/test_secrets.py`` does the same with every secret, a rotation and a restore.
"""

from __future__ import annotations

import secrets
from pathlib import Path

from tests.e2e import spying
from tests.e2e.same.site import Site


def _secrets(site: Site) -> set[str]:
    """Return what the inventory keeps in files of its own, with a line of the authority's key."""
    words = {path.read_text().strip() for path in site.secrets.iterdir() if path.is_file()}
    words |= {(site.secrets / "pki" / "ca.key").read_text().splitlines()[1]}
    return {word for word in words if len(word) > 7 and "\n" not in word}


def test_a_password_that_is_changed_and_used_is_seen_nowhere(whole: Site, tmp_path: Path) -> None:
    words = _secrets(whole)
    file = next(whole.secrets.glob("*flights_writer"))
    file.write_text(f"canary{secrets.token_hex(16)}\n")
    words |= _secrets(whole)
    said: list[str] = []
    with spying.watching(tmp_path) as lines:
        said.append(whole.run_play("secure", "-vvv", "--diff").output)
        done = whole.take("full")
        said += [done.stdout, done.stderr]
        said += [whole.dbops(host, "check", ok=False).said for host in whole.hosts]
    assert len(words) > 5
    for text in said:
        assert spying.lines_with(text, words) == []
        assert "PRIVATE KEY" not in text
    seen = lines.read_text(errors="replace")
    assert "ansible-playbook" in seen, "the sampler saw nothing"
    assert spying.lines_with(seen, words) == []
    for host in whole.hosts:
        files, logs = spying.on_host(whole, host, words)
        assert {line.split()[0] for line in files} <= whole.held, (host, files)
        assert logs == [], host
