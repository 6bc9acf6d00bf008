"""`harvester index …` and the asset: what people see of it."""

import json
from contextlib import nullcontext
from typing import Any

import dagster as dg
import pytest
from typer.testing import CliRunner

from assets import index as asset
from assets import names
from harvester_dagster.catalog import CATALOG
from harvester_dagster.cli.index import index_app
from harvester_dagster.demo.searches import search
from harvester_dagster.releases import release
from harvester_dagster.search import build
from harvester_dagster.sets import versions
from tests.search.conftest import OpenWorld
from tests.search.world import World, product


def _release(world: World) -> None:
    version = world.prepare()
    build.bring_up(world.installation, version)
    release.publish(world.installation, version)


def _accept(world: World, count: int = 5) -> None:
    world.accept({f"p{n}": product(f"p{n}", f"Boeken over {n}") for n in range(count)})


def _materialized(world: World) -> dg.ExecuteInProcessResult:
    return dg.materialize(
        [asset.index_asset(CATALOG, world.installation.config)],
        resources={"harvester": dg.ResourceDefinition.hardcoded_resource(world.installation)},
        instance=dg.DagsterInstance.ephemeral(),
    )


def _numbers(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    (event,) = result.asset_materializations_for_node(names.CREATE_OPENSEARCH_INDEX)
    return {name: entry.value for name, entry in event.metadata.items()}


def test_the_asset_tells_in_numbers_what_it_did(world: World) -> None:
    _accept(world, 10)
    result = _materialized(world)
    (check,) = result.get_asset_check_evaluations()
    assert (check.passed, check.check_name) == (True, "index_verified")
    numbers = _numbers(result)
    assert (numbers["documents"], numbers["documents added"], numbers["documents left out"]) == (10, 10, 0)
    assert numbers["hits: active"] == 10
    assert numbers["megabytes"] > 0
    release.publish(world.installation, _version(world, numbers["version"]))
    world.accept({"p1": product("p1", "Anders"), "p2": None})
    numbers = _numbers(_materialized(world))
    assert (numbers["documents changed"], numbers["documents removed"], numbers["documents"]) == (1, 1, 9)


def _version(world: World, version_id: int) -> versions.Version:
    with world.installation.pool.connection() as connection:
        return versions.by_id(connection, version_id)


def test_its_check_is_red_when_the_server_is_away_and_the_run_goes_on(open_world: OpenWorld) -> None:
    with open_world(url="http://127.0.0.1:1") as world:
        _accept(world)
        result = _materialized(world)
        (check,) = result.get_asset_check_evaluations()
        assert (result.success, check.passed, check.severity) == (True, False, dg.AssetCheckSeverity.ERROR)
        assert "no connection" in str(check.description)


def test_without_any_version_there_is_nothing_to_index(world: World) -> None:
    result = _materialized(world)
    assert "no version" in str(_numbers(result)["state"])


def _run(world: World, *arguments: str) -> Any:
    return CliRunner().invoke(index_app(lambda: nullcontext(world.installation)), list(arguments))


def test_status_says_which_index_holds_what(world: World) -> None:
    assert "none yet" in _run(world, "status").output
    _accept(world)
    _release(world)
    world.accept({"p1": product("p1", "Anders")})
    _release(world)
    told = json.loads(_run(world, "status", "--json").output)
    assert told["behind"] == ""
    assert [(row["version_id"], row["state"], row["documents"]) for row in told["indices"]] == [
        (2, "current", 5),
        (1, "kept", 5),
    ]
    assert f"{world.alias}--main-2" in _run(world, "status").output


def test_verify_finds_what_somebody_changed_and_rebuild_mends_it(world: World) -> None:
    _accept(world)
    _release(world)
    assert _run(world, "verify").exit_code == 0
    world.client.delete(index=f"{world.alias}--main-1", id="a:one:p1", refresh=True)
    broken = _run(world, "verify")
    assert (broken.exit_code, "4 in the index, 5 expected" in broken.output) == (1, True)
    assert _run(world, "rebuild").exit_code == 0
    assert world.aliased() == {f"{world.alias}--main-1-r2"}
    assert _run(world, "verify").exit_code == 0


@pytest.mark.parametrize("command", ["rebuild", "verify"])
def test_before_the_first_version_they_say_what_to_do(world: World, command: str) -> None:
    told = _run(world, command)
    assert (told.exit_code, "`harvester" in told.output) == (1, True)


def test_a_server_that_is_away_is_told_as_a_sentence(open_world: OpenWorld) -> None:
    with open_world(url="http://127.0.0.1:1") as world:
        assert "no connection" in _run(world, "status").output
        assert _run(world, "verify").exit_code == 1


def test_a_search_forgives_a_typo(world: World) -> None:
    _accept(world)
    _release(world)
    assert [found.hits for found in search(world.installation, "boeken", "boekne", "zzzz")] == [5, 5, 0]
