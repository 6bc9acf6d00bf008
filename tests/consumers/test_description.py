"""The API keeps to its own OpenAPI description, whatever it is asked (Schemathesis): no 500, no answer that is not
described.

The stream of promotions is left out, for it does not end: `test_waiting.py` reads it. That what fits the description is
accepted is not asked: it cannot say that a cursor must have been made here, nor that two parameters exclude each other.
"""

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

from harvester_dagster.releases import release
from harvester_dagster.sets import versions
from harvester_dagster.web.api.consumer_api import consumer_api
from tests.sets.conftest import OpenWorld, open_world, source

__all__ = ["open_world", "source"]


@pytest.fixture
def described(open_world: OpenWorld, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The description of an API that shows something."""
    monkeypatch.setenv("HARVESTER_TOKEN", "s3cret")
    world = open_world()
    world.source.put("a", "b", "c", files=("x",))
    world.night()
    version = release.prepare(world.installation)
    assert version
    versions.promote(world.installation, version)
    app = consumer_api(world.installation)
    yield schemathesis.openapi.from_asgi("/openapi.json", app)


schema = schemathesis.pytest.from_fixture("described").exclude(path="/changes/events/")


@schema.parametrize()
@settings(
    max_examples=min(settings.default.max_examples, 25),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.filter_too_much],
)
def test_it_answers_as_it_is_described(case: schemathesis.Case) -> None:
    if case.query.get("wait") in range(2, 61):
        case.query["wait"] = 1
    case.call_and_validate(headers={"Authorization": "Bearer s3cret"}, excluded_checks=[positive_data_acceptance])
