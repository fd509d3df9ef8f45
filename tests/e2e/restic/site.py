"""What hosts have in common whose repository is restic's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from lab import faults
from tests.e2e.same import site as same


class Site(same.Site):
    """The hosts of an engine whose backups are in a restic repository."""

    @property
    def home(self) -> str:
        """The folder of everything that the repository host keeps of the cluster."""
        return f"/var/lib/dbops-repository/{self.cluster}"

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """Let the timer of log backups begin none, and the one that runs come to its end."""
        logs = f"dbops-backup-{self.cluster}@log"
        ended = f"while systemctl is-active {logs}.service | grep -q activating; do sleep 0.2; done"
        self.root(self.repository, f"systemctl stop {logs}.timer; {ended}")
        try:
            yield
        finally:
            self.root(self.repository, f"systemctl start {logs}.timer")

    @contextmanager
    def small_repository(self) -> Iterator[str]:
        """Have the backups on a small disk while the block runs; gives their folder."""
        folder = f"{self.home}/restic"
        used = int(self.root(self.repository, f"du -sm {folder} | cut -f1"))
        with self.quiet(), faults.small_disk(self.lab, self.repository, folder, used + 8):
            yield folder

    @contextmanager
    def flipped(self) -> Iterator[str]:
        """Flip one bit of the newest pack of some size while the block runs; gives its name.

        The largest may be that of a backup which has expired and is not swept yet.
        """
        packs = f"find {self.home}/restic/data -type f -size +200k -printf '%T@ %p\\n'"
        file = self.root(self.repository, f"{packs} | sort -n | tail -1").split()[-1]
        with same.bit_flipped(self, self.repository, file):
            yield file.rsplit("/", 1)[1][:8]
