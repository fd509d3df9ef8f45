"""Passwords and certificates are changed while clients write; the former ones serve until told."""

from __future__ import annotations

import pytest
from redis import RedisError

from tests.e2e.redis.hosts import Load, Site


def _certificate(site: Site, host: str) -> str:
    line = (
        "echo | openssl s_client -connect $(hostname -i | cut -d' ' -f1):6379 "
        "-cert /etc/dbops/tls/client.crt -key /etc/dbops/tls/client.key 2>/dev/null "
        "| openssl x509 -noout -serial"
    )
    return site.root(host, line, ok=False)


def test_rotation_drops_no_client_and_the_former_passwords_end_with_secure_yml(load: Load) -> None:
    site = load.site
    primary = site.primary()
    former = site.application().password_file.read_text().strip()
    shown = _certificate(site, primary)
    with load.running():
        load.more(50)
        site.run_play("rotate")
        load.more(50)
        assert site.application().password_file.read_text().strip() != former
        site.wait_whole()
        assert _certificate(site, primary) != shown
        for host in site.hosts:
            failed = [check for check in site.checks(host) if not check["ok"]]
            assert not [check for check in failed if "answer" in check["name"]], failed
        site.run_play("secure")
        load.more(50)
    load.nothing_lost()
    assert load.uninterrupted(), "a client was dropped"
    held = site.secrets / "former"
    held.touch(mode=0o600)
    held.write_text(former)
    application = site.application()
    with pytest.raises(RedisError):
        type(application)(
            application.sentinels, application.cluster, application.user, held,
            application.certificate, application.key, application.ca_file,
        ).connect().ping()  # fmt: skip
    held.unlink()
    site.wait_whole()
    site.converged()
