"""From a push to what consumers see: one generation, one version with this set only, judged, and never undone."""

from tests.push.pushing import current, post, rounds, states, titles
from tests.sets.world import World, check, check_objects


def test_a_record_pushed_is_shown_by_a_version_with_its_set_only(world: World, url: str) -> None:
    before, shown = world.state(), current(world)
    answer = post(url, world.source.record("a", title="Another", files=("x",)))
    assert (answer.status_code, answer.json()) == (200, {"srn": "src:one:a", "stored": True})
    assert titles(url)["a"] == "Title of a" and states(world) == [("a", "waiting")]
    first, *_ = rounds(world)
    assert first.attempt and (first.attempt.mode, first.attempt.state) == ("push", "accepted")
    assert titles(url)["a"] == "Another" and states(world) == [("a", "taken")]
    assert current(world).keys() == shown.keys()
    after = world.state()
    assert (after.watermark, after.mapping_version) == (before.watermark, before.mapping_version)
    assert world.outputs() == world.rebuilt()
    check(world)
    check_objects(world)
