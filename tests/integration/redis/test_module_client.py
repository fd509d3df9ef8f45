"""The client of the redis role's modules against a real server."""

from __future__ import annotations

import threading

import pytest

from plugins.module_utils.redis_server.client import Client, RedisError
from tests.integration.redis.conftest import Launch
from tests.integration.redis.server import wait


def test_a_server_that_loads_its_data_is_waited_for(launch: Launch) -> None:
    server = launch(key_load_delay="2000", loading_process_events_interval_bytes="1024")
    server.run(("DEBUG", "POPULATE", 1000, "key", 100))
    loading = threading.Thread(target=server.run, args=(("DEBUG", "RELOAD"),))
    loading.start()
    client = Client(str(server.socket))
    wait(lambda: client.info("persistence")["loading"] == "1", "it loads")
    with pytest.raises(RedisError, match="LOADING"):
        client.call("REPLICAOF", "NO", "ONE")
    with pytest.raises(RedisError, match=r"still loading its data \([\d.]+ %\)"):
        client.wait_loaded(0)
    client.wait_loaded(30)
    assert client.call("REPLICAOF", "NO", "ONE") == "OK"
    loading.join()
    client.close()
