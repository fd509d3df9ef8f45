"""Folders that plays manage, and accounts that put links in their place. Knows no engine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from tests.e2e.hosts import Site

_ASIDE = ".attack-aside"


@dataclass(frozen=True)
class Place:
    """A folder that a play gives to ``account`` on ``host``, or keeps for it."""

    host: str
    account: str
    path: str

    @property
    def decoy(self) -> str:
        """What the account would like to have: a closed folder of root's."""
        return f"/etc/attack-decoy{self.path.replace('/', '-')}"


@contextmanager
def planted(site: Site, places: Sequence[Place]) -> Iterator[list[Place]]:
    """Have each account put a link to a decoy in the place of its folder; undo that at the end.

    Yields the places where it could.
    """
    done = []
    for place in places:
        site.root(place.host, f"install -d -m 0700 {place.decoy}")
        line = f"mv {place.path} {place.path}{_ASIDE} && ln -s {place.decoy} {place.path}"
        if site.run(place.host, "sh", "-c", line, user=place.account).status == 0:
            done.append(place)
    try:
        yield done
    finally:
        for place in places:
            back = f"if [ -L {place.path} ]; then rm {place.path}; fi; cd /; "
            back += f"if [ -e {place.path}{_ASIDE} ]; then mv {place.path}{_ASIDE} {place.path}; fi"
            site.root(place.host, f"{back}; rm -rf {place.decoy}")


def decoys(site: Site, places: Sequence[Place]) -> list[str]:
    """Return owner, mode and content of each place's decoy."""
    look = "stat -c '%U:%G %a' {0}; ls -A {0}"
    return [site.root(place.host, look.format(place.decoy)) for place in places]
