"""Power cuts, and kills of single processes, at random moments of nights under `harvester up`; the next night runs.

Nobody does anything but start `harvester up` again. What is published, and what the index shows, must equal an
undisturbed twin's; every night is closed, nothing waits, nothing is left running. `make soak` runs it: how often is in
CAMPAIGN_CUTS and CAMPAIGN_KILLS, the seed in CAMPAIGN_SEED.
"""

import os
import random
import subprocess
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, suppress
from pathlib import Path
from typing import Any

import dagster as dg
import psutil
import pytest
import requests

from harvester_dagster.catalog import CATALOG
from harvester_dagster.installation import utc_now
from harvester_dagster.store.objects import Folder
from tests.dagster.installed import FILE, KEYS, SETS, Ears, Source, Up, eventually, serving
from tests.sets.world import World, check, check_objects, opened_world

pytestmark = [pytest.mark.campaign, pytest.mark.timeout(0)]
CUTS = int(os.environ.get("CAMPAIGN_CUTS", "20"))
KILLS = int(os.environ.get("CAMPAIGN_KILLS", "100"))
KILLS_A_NIGHT = 4
A_NIGHT = 25.0
"""Seconds within which something is killed: a night takes about as long."""
DOCUMENTS = 60
GOING_ON = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
INSTALLED = (
    FILE.replace('platform = "edusources"', 'platform = "campaign"')
    .replace('cron = "* * * * *"', 'cron = "0 3 1 1 *"')
    .replace('[index]\nurl = "none"', '[index]\nurl = "OPENSEARCH"')
)
KINDS = (
    *("dagster-daemon", "dagster-webserver", "api grpc", "forkserver", "processes.workers", "services.keeper"),
    *("postgres:", "bin/postgres", "harvester up", "resource_tracker"),
)
Published = dict[str, Any]


class Twin:
    """Two installations over one source: one that is disturbed, and one that harvests in this process."""

    def __init__(self, up: Up, world: World, random: random.Random, index: str) -> None:
        self.up, self.world, self.random, self.index = up, world, random, index
        self.made = 0

    def change(self) -> None:
        """What a day brings: new and changed records of each set, and now and then a deleted one."""
        source = self.up.source
        self.made += 1
        for spec in SETS:
            source.fill(spec, DOCUMENTS + self.made, DOCUMENTS + self.made + 1)
            name = f"{spec}-{self.random.randrange(DOCUMENTS)}"
            source.put(name, spec=spec, title=f"Title {self.made} of {name}", files=("a", f"b{self.made}"))
            if self.random.random() < 0.3:
                source.delete(f"{spec}-{DOCUMENTS + self.random.randrange(self.made + 1)}", spec=spec)

    def kill(self, within: float) -> str:
        """Kill one of its processes within so many seconds; what it was. Every fourth is aimed at the release run,
        which builds the index and moves its alias."""
        if self.random.random() < 0.25 and (pid := self.releasing()):
            time.sleep(self.random.uniform(0, 3))
            with suppress(psutil.NoSuchProcess):
                psutil.Process(pid).kill()
                return "the release run"
        time.sleep(self.random.uniform(0, within))
        living = self.up.processes()
        if not living:
            return "nothing: all had ended with what supervises them"
        victim = self.random.choice(living)
        with suppress(psutil.NoSuchProcess):
            said = " ".join(victim.cmdline())
            victim.kill()
            return next((name for name in KINDS if name in said), said[:60])
        return "one that had ended"

    def left(self) -> str:
        """The processes that are there, with their parents."""
        found = []
        for process in self.up.processes():
            with suppress(psutil.Error):
                found.append(f"{process.pid} of {process.ppid()}, {process.status()}: {' '.join(process.cmdline())}")
        return "\n".join(found)

    def releasing(self) -> int | None:
        """The process of a release that is going on, waited for no longer than a night takes."""
        deadline = time.monotonic() + A_NIGHT
        going_on = dg.RunsFilter(job_name="release", statuses=[dg.DagsterRunStatus.STARTED])
        while time.monotonic() < deadline:
            try:
                for run in self.up.instance.get_runs(going_on):
                    return self.up.pid(run.run_id)
            except AssertionError:  # it has no process yet
                pass
            except Exception:  # the store was killed before
                return None
            time.sleep(0.2)
        return None

    def check(self) -> None:
        """One more night, and everything is as it should be."""
        self.change()
        last = self.up.night()
        for (night_id,) in self.up.rows("SELECT night_id FROM night WHERE ended_at IS NULL ORDER BY night_id"):
            self.up.wait_for_night(night_id)
        assert self.up.outcomes(last) == dict.fromkeys(KEYS, "success")
        eventually(lambda: not self.up.instance.get_runs(dg.RunsFilter(statuses=GOING_ON)), "the end of every run")
        self.world.at(utc_now())
        for key in KEYS:
            self.world.night(key, pass_time=False)
        expected = {key: _undated(self.world.outputs(key)) for key in KEYS}
        with a_world(self.up.store_url, self.up.source, self.up.home / "objects") as disturbed:
            generations = self.up.generations()
            found = {key: _undated(disturbed.outputs(key, generations[key])) for key in KEYS}
            wrong = {
                key: [name for name in expected[key] if found[key].get(name) != expected[key][name]] for key in KEYS
            }
            assert (wrong, {key: len(found[key]) for key in KEYS}) == (
                {key: [] for key in KEYS},
                {key: len(expected[key]) for key in KEYS},
            )
            check(disturbed)
            check_objects(disturbed)
        products = sum(body["entity"] == "products" for outputs in expected.values() for body in outputs.values())
        assert self.indexed() == products
        assert self.up.rows("SELECT FROM night WHERE ended_at IS NULL") == []
        assert self.up.rows("SELECT FROM attempt WHERE state IN ('open', 'fetched', 'staged')") == []

    def indexed(self) -> int:
        """Documents that the aliases of this installation show."""
        aliases = requests.get(f"{self.index}/_cat/aliases/campaign*?format=json", timeout=10).json()
        return sum(requests.get(f"{self.index}/{each['alias']}/_count", timeout=10).json()["count"] for each in aliases)


def a_world(url: str, source: Source, objects: Path) -> AbstractContextManager[World]:
    """The store at `url` in this process, with the settings of `FILE`."""
    disabled = ["tika", "pdf_preview", "image_preview", "video_preview", "youtube_api"]
    settings = {"min_documents": 5, "deletes": "no"}
    return opened_world(url, source, CATALOG, {"disabled": disabled}, objects=Folder(objects), **settings)


def _undated(outputs: Published) -> Published:
    """What was harvested when differs between twins."""
    return {
        name: {field: value for field, value in body.items() if not field.endswith("_at")}
        for name, body in outputs.items()
    }


@pytest.fixture
def twin(tmp_path: Path, migrated: str, opensearch_url: str, database: str) -> Iterator[Twin]:
    chance = random.Random(int(os.environ.get("CAMPAIGN_SEED", "1")))
    with ExitStack() as stack:
        source, ears = Source(), Ears()
        stack.enter_context(serving(source))
        stack.enter_context(serving(ears))
        for spec in SETS:
            source.fill(spec, 0, DOCUMENTS)
        home = tmp_path / "up"
        home.mkdir()
        up = Up(home, source, ears, INSTALLED.replace("OPENSEARCH", opensearch_url))
        world = stack.enter_context(a_world(database, source, tmp_path / "objects"))
        up.start()
        stack.callback(up.stop)
        yield Twin(up, world, chance, opensearch_url)


def test_after_each_power_cut_the_next_night_runs(twin: Twin) -> None:
    twin.check()
    for number in range(CUTS):
        twin.change()
        twin.up.night()
        moment = twin.random.uniform(0, A_NIGHT)
        time.sleep(moment)
        begun = time.monotonic()
        killed = twin.up.cut()
        assert eventually(lambda: not twin.up.processes(), "the end of every process", seconds=60) is True
        twin.up.start()
        twin.check()
        seconds = time.monotonic() - begun
        print(f"cut {number + 1}: {killed} processes at {moment:.1f} s; all is well {seconds:.0f} s later", flush=True)


def test_after_kills_of_single_processes_the_night_goes_on(twin: Twin) -> None:
    twin.check()
    for killed in range(0, KILLS, KILLS_A_NIGHT):
        twin.change()
        twin.up.night()
        victims = []
        for _ in range(KILLS_A_NIGHT):
            victims.append(twin.kill(within=A_NIGHT / KILLS_A_NIGHT))
        begun = time.monotonic()
        with suppress(subprocess.TimeoutExpired):  # what was killed a moment ago is still there
            twin.up.process.wait(1)
        if twin.up.process.poll() is not None:
            twin.up.let_go()
            eventually(
                lambda: not twin.up.processes(), f"the end of what was started, after {victims}", twin.left, seconds=120
            )
            twin.up.start()
        twin.check()
        seconds = time.monotonic() - begun
        print(f"kills {killed + KILLS_A_NIGHT}: {', '.join(victims)}; all is well {seconds:.0f} s later", flush=True)
