"""What a person overwrites is shown within seconds, as what is pushed is: by a generation and a version of its own."""

from datetime import timedelta

from harvester_dagster.releases.push_rounds import EVERY, PushRounds
from harvester_dagster.sets import generations, outputs, steps
from harvester_dagster.sets.attempts import Window
from harvester_dagster.sets.locked_set import lock_set
from tests.push.pushing import WITH_SECRET, current, post, push, released, rounds, states, titles
from tests.sets.conftest import OpenWorld
from tests.sets.world import KEY, World, check


def test_an_overwrite_is_shown_without_a_release_and_so_is_its_end(world: World, url: str) -> None:
    world.source.put("z", spec="two")
    world.night("src:two")
    shown = current(world)
    world.overwrite("a", {"title": "By hand"})
    first, *_ = rounds(world)
    assert first.attempt and (first.key, first.attempt.state) == (KEY, "accepted")
    assert titles(url) == {"a": "By hand", "b": "Title of b", "c": "Title of c"}
    assert current(world).keys() == shown.keys(), "what another set has accepted waits for its release"
    assert world.outputs() == world.rebuilt() and not world.rows("SELECT FROM dirty")
    world.overwrite("a", None)
    rounds(world)
    assert titles(url)["a"] == "Title of a"
    check(world)


def test_an_overwrite_whose_attempt_was_cut_is_made_anew(world: World, url: str) -> None:
    world.overwrite("a", {"title": "By hand"})
    with lock_set(world.installation, KEY) as locked:
        with locked.connection() as connection:
            attempt = generations.begin(connection, locked, Window("push", None, "to be cut"))
        outputs.produce(locked, attempt, only="overwritten")
    rounds(world)
    assert titles(url)["a"] == "By hand" and not world.rows("SELECT FROM dirty")
    check(world)


def test_an_overwrite_waits_for_what_its_set_waits_for(world: World, url: str) -> None:
    world.source.put("b", title="Harvested")
    steps.harvest(world.installation, KEY, run_id="run")
    world.overwrite("a", {"title": "By hand"})
    rounds(world)
    assert world.attempts()[-1] == ("delta", "fetched"), "a harvest that is open takes it along"
    steps.documents(world.installation, KEY, run_id="run")
    world.tasks(run_id="run")
    steps.conclude(world.installation, KEY, run_id="run")
    rounds(world)
    assert titles(url)["a"] == "Title of a" and not world.rows("SELECT FROM dirty")
    world.overwrite("c", {"title": "By hand too"})
    rounds(world)
    assert world.titles()["c"] == "By hand too" and titles(url)["c"] == "Title of c"
    released(world)
    assert titles(url) == {"a": "By hand", "b": "Harvested", "c": "By hand too"}
    check(world)


def test_an_overwrite_shows_nothing_else_that_is_stale_and_is_judged_once(open_world: OpenWorld) -> None:
    world = open_world(**WITH_SECRET, min_documents=0)
    world.source.put("a")
    world.source.put("b", files=())
    world.night()
    released(world)
    world.source.files = {"a/a": 404}
    world.tasks(again="all")
    world.change(
        "INSERT INTO dirty SELECT doc_id, set_id FROM document ON CONFLICT (doc_id) DO UPDATE SET done_in = NULL"
    )
    for _ in range(world.installation.config.tasks.dead_after_nights):
        world.forward()
        world.tasks(again="all")
    world.overwrite("b", {"title": "By hand"})
    rounds(world)
    assert world.titles()["b"] == "By hand" and len(world.outputs()) == 3
    world.overwrite("a", {"title": "By hand"})
    rounds(world)
    assert world.attempts()[-1] == ("push", "rejected"), "its one file is the last of the set"
    rounds(world)
    assert world.attempts().count(("push", "rejected")) == 1, "a release tries it again, with all else"
    assert world.titles()["a"] == "Title of a"


def test_an_overwrite_and_a_push_are_two_turns_whoever_works(world: World) -> None:
    world.overwrite("a", {"title": "By hand"})
    push(world, world.source.record("b", title="Pushed"))
    for _ in range(2):
        PushRounds(world.installation).round()
    assert world.titles()["a"] == "By hand" and states(world) == [("b", "waiting")]
    generation = world.state().accepted_gen
    world.forward(EVERY - timedelta(seconds=0.1))
    PushRounds(world.installation).round()
    assert world.state().accepted_gen == generation
    world.forward(timedelta(seconds=0.1))
    PushRounds(world.installation).round()
    assert world.state().accepted_gen == generation + 1 and states(world) == [("b", "taken")]


def test_no_version_follows_another_of_its_set_within_two_seconds(world: World, url: str) -> None:
    """The generation waited for the index, say, and the next one is there soon after its version."""
    post(url, world.source.record("a", title="One"))
    steps_of = PushRounds(world.installation)
    world.change("INSERT INTO release_hold (since, reason) VALUES (now(), 'a rollback')")
    steps_of.round()
    world.forward(EVERY)
    world.change("DELETE FROM release_hold")
    steps_of.round()
    assert titles(url)["a"] == "One"
    post(url, world.source.record("a", title="Two"))
    steps_of.round()
    assert world.titles()["a"] == "Two" and titles(url)["a"] == "One"
    world.forward(EVERY)
    steps_of.round()
    assert titles(url)["a"] == "Two"
