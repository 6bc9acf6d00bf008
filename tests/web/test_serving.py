"""Where the pages listen, and what is said where they cannot."""

import socket

import pytest
import requests

from harvester_dagster.web import serving
from harvester_dagster.web.serving import NotServed
from tests.sets.conftest import OpenWorld, open_world, source
from tests.web.test_login import NoRuns

__all__ = ["open_world", "source"]


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_its_address_can_be_opened(open_world: OpenWorld, host: str) -> None:
    world = open_world(installed={"web": {"host": host, "port": 0}})
    with serving.served(world.installation, NoRuns()) as url:
        assert requests.get(f"{url}/health", timeout=10).status_code == 200


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
def test_an_address_that_is_none_of_this_machine_is_said_so(open_world: OpenWorld, host: str) -> None:
    world = open_world(installed={"web": {"host": host, "port": 0}})
    said = rf"port 0 of {host} cannot be listened at: .*set \[web\] host and port"
    with pytest.raises(NotServed, match=said), serving.served(world.installation, NoRuns()):
        pass


def test_a_port_that_is_taken_is_said_so(open_world: OpenWorld) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        world = open_world(installed={"web": {"port": taken.getsockname()[1]}})
        with pytest.raises(NotServed, match="Address already in use"), serving.served(world.installation, NoRuns()):
            pass
