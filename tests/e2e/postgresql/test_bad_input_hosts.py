"""Hosts that cannot be reached or trusted, and addresses that are none."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from pathlib import Path

import pytest

from tests.e2e.postgresql.hosts import Site
from tests.e2e.refusals import last, on_controller, refused

pytestmark = pytest.mark.usefixtures("nothing_changes")


@pytest.fixture
def inventory(site: Site, tmp_path: Path) -> Path:
    """Return a copy of the lab's inventory that a test may spoil."""
    folder = tmp_path / "inventory"
    shutil.copytree(site.inventory, folder, symlinks=True)
    return folder


def _spoil(inventory: Path, host: str, address: str) -> None:
    file = inventory / "zzz_spoiled.yml"
    file.write_text(json.dumps({"all": {"hosts": {host: {"ansible_host": address}}}}))


def test_an_unreachable_host(site: Site, inventory: Path) -> None:
    _spoil(inventory, "pg2", site.lab.address("pg2").rsplit(".", 1)[0] + ".250")
    done = on_controller(site, "play", "monitor", "-i", str(inventory))
    refused(last(done), 4, "pg2", "unreachable")
    done = on_controller(site, "fleet", "status", "-i", str(inventory), "--timeout", "4")
    assert done.status == 4, done.stderr
    assert "pg2: " in done.stderr
    assert "Traceback" not in done.stderr
    assert "primary" in done.stdout, "the others were not asked"


def test_a_changed_host_key(site: Site, inventory: Path) -> None:
    known = (site.lab.state / "known_hosts").read_text().splitlines()
    keys = [line.split(" ", 1) for line in known]
    pg2 = site.lab.address("pg2")
    strange = next(key for address, key in keys if address != pg2)
    file = inventory.parent / "known_hosts"
    file.write_text(
        "".join(f"{address} {strange if address == pg2 else key}\n" for address, key in keys)
    )
    addresses = inventory / "zz_addresses.yml"
    addresses.write_text(
        addresses.read_text().replace(str(site.lab.state / "known_hosts"), str(file))
    )
    assert str(file) in addresses.read_text()
    # An open connection of an earlier play would be used again, without another look at the key.
    with tempfile.TemporaryDirectory() as sockets:
        own = {"ANSIBLE_SSH_CONTROL_PATH_DIR": sockets}
        done = on_controller(site, "play", "monitor", "-i", str(inventory), **own)
    refused(last(done), 4, "pg2", "host key")
    done = on_controller(site, "fleet", "status", "-i", str(inventory))
    assert done.status == 4, done.stderr
    assert re.search("pg2: .*key", done.stderr), done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("address", ["-oProxyCommand=touch${IFS}/tmp/pwned", "a;touch /tmp/pwned"])
def test_a_hostile_address(site: Site, inventory: Path, address: str) -> None:
    pwned = Path("/tmp/pwned")
    _spoil(inventory, "pg2", address)
    done = on_controller(site, "fleet", "status", "-i", str(inventory), "--limit", "pg2")
    assert done.status in (2, 4), done.stderr
    assert "Traceback" not in done.stderr
    done = on_controller(site, "play", "monitor", "-i", str(inventory))
    assert done.status in (2, 4), done.stderr
    assert "Traceback" not in done.stderr
    assert not pwned.exists()
