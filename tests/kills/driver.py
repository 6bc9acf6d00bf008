"""A process that runs a set's night again and again, each time killed at another event, then once more to its end.

Run by `test_kills.py` with the night's story as JSON; prints one JSON line a kill. The kills of a story are shared
among several such processes. Forks from one process that has
imported everything and opened nothing. An event is whatever the world can see of a night: a commit that wrote
something, a call to the outside, an object written or deleted. Killed before each of them and after the last one:
between two events nothing lasts, so "after" one is "before" the next. It belongs to the tests: the code knows nothing
of it.
"""

import json
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg

from harvester_dagster import canonical
from harvester_dagster.catalog import Catalog
from harvester_dagster.installation import Limits
from harvester_dagster.outside.http import Outside
from harvester_dagster.releases import release, retention
from harvester_dagster.releases.push_rounds import QUIET, PushRounds
from harvester_dagster.sets import steps, versions
from harvester_dagster.store.objects import Folder
from harvester_dagster.tasks import check_url, once_per_body
from harvester_dagster.tasks.task import Context, Item, Outcome, Task
from tests.databases import copied
from tests.sets.world import KEY, World, catalog, check, opened_world

Story = dict[str, Any]
A_PAGE_A_BUNDLE = Limits(page_bundle_bytes=1)
"""So that a harvest is killed with some of its pages stored."""
OUTSIDE = ("get", "post", "put", "probe", "download")


def read(items: Sequence[Item], context: Context) -> Iterator[tuple[Item, Outcome]]:
    def length(item: Item) -> Outcome:
        return Outcome("success", {"length": once_per_body.body_of(item, context).length})

    return once_per_body.each(items, context, length, threads=2)


def tasks() -> Catalog:
    """One task that looks outside, and one that fetches and keeps what it fetched."""
    reading = Task("read", "files", 1, ("$.url", "check_url.validator", "check_url.status"), read, after=("check_url",))
    return catalog(check_url.TASK, reading)


class Events:
    """Counts the events of this process; ends it, as a power cut would, before number `fatal` (from 1)."""

    def __init__(self, fatal: int | None) -> None:
        self.fatal, self.seen = fatal, list[str]()
        self._lock = threading.Lock()

    def happen(self, what: str) -> None:
        with self._lock:
            self.seen.append(what)
            if len(self.seen) == self.fatal:
                os.kill(os.getpid(), signal.SIGKILL)

    def watch(self) -> None:
        commit = psycopg.Connection.commit

        def committed(connection: psycopg.Connection[Any]) -> None:
            if connection.info.transaction_status == psycopg.pq.TransactionStatus.INTRANS:
                with connection.cursor() as cursor:
                    wrote = cursor.execute("SELECT pg_current_xact_id_if_assigned() IS NOT NULL").fetchone()
                if wrote == (True,):
                    self.happen("commit")
            commit(connection)

        psycopg.Connection.commit = committed  # type: ignore[assignment, method-assign]
        for name in OUTSIDE:
            self._wrap(Outside, name)
        for name in ("put", "delete"):
            self._wrap(Folder, name)

    def _wrap(self, owner: type, name: str) -> None:
        real: Callable[..., Any] = getattr(owner, name)

        def wrapped(*arguments: Any, **options: Any) -> Any:
            self.happen(f"{owner.__name__}.{name}")
            return real(*arguments, **options)

        setattr(owner, name, wrapped)


@contextmanager
def opened(database: str, story: Story) -> Iterator[World]:
    source: Any = SimpleNamespace(url=story["source"], now=datetime.fromisoformat(story["now"]))
    with opened_world(database, source, catalog=tasks(), limits=A_PAGE_A_BUNDLE, **story["settings"]) as world:
        world.at(datetime.fromisoformat(story["now"]))
        yield world


def night(world: World, story: Story, run_id: str) -> None:
    """From harvest to promoted version; by hand where the story says so, or what was pushed."""
    if story.get("push"):
        take_pushes(world)
        return
    if story.get("accept"):
        if any(state == "rejected" for _, state in world.attempts()):
            steps.accept(world.installation, KEY)
    else:
        world.night(run_id=run_id, pass_time=False)
    version = release.prepare(world.installation, run_id=run_id)
    if version:
        versions.promote(world.installation, version)
    retention.clean_up(world.installation)


def take_pushes(world: World) -> None:
    """Rounds as long as there is anything to do: for overwrites, for pushes, and for slower tasks, which follow."""
    for _ in range(3):
        said: list[str] = []
        worker = PushRounds(world.installation, progress=said.append)
        while worker.round():
            pass
        world.forward(2 * QUIET)
        assert not [line for line in said if "mistake" in line], said


def end(world: World) -> dict[str, Any]:
    """What must be the same whatever happened on the way."""
    check(world)
    with world.installation.pool.connection() as connection:
        current = versions.current(connection)
    state = world.state()
    return {
        "generation": state.accepted_gen,
        "watermark": state.watermark.isoformat() if state.watermark else None,
        "current": sorted(current.generations.items()) if current else None,
        "outputs": canonical.digest(canonical.encode(world.outputs())).hex(),
        "as rebuilt": world.outputs() == world.rebuilt(),
        "documents": world.one("SELECT count(*) FROM document"),
        "revisions": world.rows(
            "SELECT external_id, from_gen, to_gen FROM revision JOIN document USING (doc_id) ORDER BY 1, 2"
        ),
        "results": world.rows("SELECT task, kind, count(*), max(attempts) FROM result GROUP BY 1, 2 ORDER BY 1, 2"),
        "waiting": world.one("SELECT count(*) FROM dirty") + world.one("SELECT count(*) FROM stale_use"),
        "pushes": world.rows("SELECT external_id, state FROM push ORDER BY push_id"),
        "open": [attempt for attempt in world.attempts() if attempt[1] in ("open", "fetched", "staged")],
    }


def forked(work: Callable[[], Any]) -> Any:
    """What the work returns, done in a child process; "killed" when it was."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        status = 1
        try:
            with os.fdopen(writer, "w") as answer:
                json.dump(work(), answer)
            status = 0
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
            raise
        finally:
            os._exit(status)
    os.close(writer)
    with os.fdopen(reader) as answer:
        said = answer.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL, status
        return "killed"
    return json.loads(said) if os.WEXITSTATUS(status) == 0 else f"failed with {os.WEXITSTATUS(status)}"


def mine(events: Sequence[str], story: Story) -> range:
    """The events before which this process kills, from 1; one more is the end."""
    return range(1 + story["part"], len(events) + 2, story["parts"])


def main(story: Story) -> None:
    home = Path(story["home"])

    def one(url: str, folder: str, fatal: int | None) -> dict[str, Any]:
        os.environ["HARVESTER_HOME"] = str(home / folder)
        if not (home / folder).exists() and Path(story["before"]).exists():
            shutil.copytree(story["before"], home / folder)
        events = Events(fatal)
        with opened(url, story) as world:
            events.watch()
            night(world, story, run_id=f"run {fatal}")
            seen = list(events.seen)
            if fatal:  # the end, or threads that met fewer events than in the undisturbed night
                os.kill(os.getpid(), signal.SIGKILL)
            return {"events": seen, **end(world)}

    with copied(story["admin"], story["template"]) as url:
        undisturbed = forked(partial(one, url, "undisturbed", None))
    print(json.dumps(undisturbed), flush=True)
    for fatal in mine(undisturbed["events"], story):
        with copied(story["admin"], story["template"]) as url:
            folder = str(fatal)
            killed = forked(partial(one, url, folder, fatal))
            ended = forked(partial(one, url, folder, None))
        print(json.dumps({"at": fatal, "killed": killed, "ended": ended}), flush=True)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
