"""A controller on Debian 13: its Python has an ansible-core that Debian 12's is too old for.

One host of a lab is the controller. It gets a copy of this checkout and what ``make`` sets up, and
plays on the others, which are Redis's.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab import fleet
from lab.fleet import CHECKOUT, Lab
from lab.machine import podman, podman_argv
from tests.e2e.hosts import Play
from tests.e2e.redis.hosts import Site

HOST = "controller"
# How this machine reaches packages holds for its controller, too.
_MACHINE = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pip.conf")
_GIVEN = ("PIP_INDEX_URL", "PIP_CERT", "PIP_DEFAULT_TIMEOUT")
_PLAYBOOK = ".venv/bin/ansible-playbook"


@dataclass(frozen=True)
class Controller:
    """The lab's host that plays on the other ones."""

    site: Site

    def run(self, line: str, **environment: str) -> Play:
        """Run a shell line in the copy of the checkout."""
        words = [f"{key}={value}" for key, value in environment.items()]
        done = subprocess.run(
            [*podman_argv(), "exec", self.site.lab.container(HOST), "env", "-C", str(CHECKOUT),
             *words, "sh", "-ec", line],
            text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            check=False,
        )  # fmt: skip
        return Play(done.returncode, done.stdout)

    def play(self, verb: str, *extra: str) -> Play:
        """Run a playbook to its end, which must be good and without anything deprecated."""
        words = self.site.argv(verb, *extra)[1:]
        play = self.run(shlex.join([_PLAYBOOK, *words]), ANSIBLE_NOCOLOR="1")
        assert play.status == 0, f"{verb}.yml failed:\n{play.last_lines}"
        assert not play.deprecated, f"{verb}.yml:\n{play.deprecated}"
        return play


@pytest.fixture(scope="module")
def controller(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Controller]:
    """Return the controller of bare hosts, set up as CONTRIBUTING.md says."""
    lab = Lab(f"{os.environ.get('DBOPS_LAB', 'test')}-newest", "trixie", ("redis",), (HOST,))
    fleet.up(lab)
    found = Controller(Site(lab))
    _copy(lab, tmp_path_factory.mktemp("copy") / "checkout.tar")
    given = {name: os.environ[name] for name in _GIVEN if name in os.environ}
    made = found.run("lab/bootstrap.sh", DEBIAN_FRONTEND="noninteractive", **given)
    assert made.status == 0, made.last_lines
    yield found
    fleet.down(lab)


def _copy(lab: Lab, archive: Path) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=CHECKOUT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    with tarfile.open(archive, "w") as tar:
        for name in filter(None, listed.stdout.split("\0")):
            if (CHECKOUT / name).exists():
                tar.add(CHECKOUT / name, str(CHECKOUT / name))
        tar.add(lab.state, str(lab.state))
        for name in _MACHINE:
            if Path(name).exists():
                tar.add(Path(name).resolve(), name)
    podman("cp", str(archive), f"{lab.container(HOST)}:/root/checkout.tar")
    fleet.inside(lab, HOST, "tar", "-C", "/", "-xf", "/root/checkout.tar")


def test_it_has_a_newer_ansible_than_debian_12_can(controller: Controller) -> None:
    said = controller.run(f"{_PLAYBOOK} --version").output
    found = re.search(r"\[core (\d+)\.(\d+)", said)
    assert found, said
    assert (int(found[1]), int(found[2])) >= (2, 20), said


def test_bare_hosts_converge_and_a_second_run_changes_nothing(controller: Controller) -> None:
    assert set(controller.play("site").changed) == set(controller.site.hosts)
    again = controller.play("site")
    assert not again.changes
    assert controller.play("site", "--check", "--diff").changed == {}


def test_what_it_made_is_restored_and_proven(controller: Controller) -> None:
    site = controller.site
    secrets = f"{site.lab.container(HOST)}:{site.secrets}"
    podman("cp", secrets, str(site.lab.state))  # the client that loads the data is not there
    site.load()
    site.take("full")
    controller.play("restore", "-e", f"dbops_confirm={site.cluster}")
    done = site.dbops(site.drill, "drill", "run", "--json").json()
    assert done["proven"] is True
