import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest
from PIL import Image
from reportlab.pdfgen.canvas import Canvas

from harvester_dagster.failures import PermanentError, TransientError
from harvester_dagster.store.database import Pool
from harvester_dagster.tasks import image_preview, pdf_preview, tika
from harvester_dagster.tasks.once_per_body import each, once
from harvester_dagster.tasks.task import Context, Item, Outcome, Task
from tests.tasks.content_site import NOW, Site, a_world, item, outcomes, with_tasks

ROOT = Path(__file__).parents[2]
COUNT = 60
TASKS = {task.name: task for task in (image_preview.TASK, pdf_preview.TASK, tika.TASK)}


def image(number: int) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (1200, 900), (number, 2, 3)).save(out, "PNG")
    return out.getvalue()


def pdf(number: int) -> bytes:
    out = io.BytesIO()
    canvas = Canvas(out)
    canvas.drawString(50, 700, f"Pagina van document {number}")
    canvas.showPage()
    canvas.save()
    return out.getvalue()


def work_until_killed(name: str, database: str, folder: str, urls: str, tika_url: str) -> None:
    """What the killed process does: a line for each outcome."""
    from harvester_dagster.store.database import open_pool

    with a_world(open_pool(database), Path(folder)) as world:
        for one, outcome in TASKS[name].run([item(url) for url in urls.split()], with_tasks(world, tika_url=tika_url)):
            print(one.srn, outcome.kind, flush=True)


@pytest.mark.parametrize(
    ("task", "body"),
    [(image_preview.TASK, image), (pdf_preview.TASK, pdf), (tika.TASK, pdf)],
    ids=lambda value: value.name if isinstance(value, Task) else "",
)
def test_killed_in_the_middle_nothing_stored_is_done_again(
    task: Task,
    body: Callable[[int], bytes],
    site: Site,
    world: Context,
    pool: Pool,
    tika_url: str,
) -> None:
    urls = [site.add(f"{number}", body(number)) for number in range(COUNT)]
    folder = Path(world.objects.scratch).parent
    code = "import sys; from tests.tasks.test_once_per_body import work_until_killed; work_until_killed(*sys.argv[1:])"
    arguments = [sys.executable, "-c", code, task.name, pool.conninfo, str(folder), " ".join(urls), tika_url]
    with subprocess.Popen(
        arguments, stdout=subprocess.PIPE, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}
    ) as run:
        assert run.stdout
        for _ in range(COUNT // 4):
            assert run.stdout.readline().endswith(b"success\n")
        children = psutil.Process(run.pid).children(recursive=True)
        assert children or task is tika.TASK
        run.send_signal(signal.SIGKILL)
    stored = noted(world)
    assert COUNT // 4 <= len(stored) < COUNT
    found = outcomes(task, [item(url) for url in urls], with_tasks(world, tika_url=tika_url))
    assert {outcome.kind for outcome in found.values()} == {"success"}
    assert len(noted(world)) == COUNT and stored.items() <= noted(world).items()
    assert ended(children), "the killed run left processes behind"


def noted(world: Context) -> dict[str, int]:
    """When each outcome was noted, by its key: what is done again is noted again."""
    keys = [one.key for one in world.objects.list() if one.key.endswith("/outcome.json")]
    return {key: world.objects.path(key).stat().st_mtime_ns for key in keys}


def test_a_note_that_a_power_cut_broke_says_nothing(site: Site, world: Context) -> None:
    one = item(site.add("a.png", image(1)))
    ((_, outcome),) = image_preview.TASK.run([one], world)
    (note,) = [found.key for found in world.objects.list() if found.key.endswith("/outcome.json")]
    whole = world.objects.get(note)
    for broken in (b"", whole[:-1], whole[: len(whole) // 2], bytes(len(whole))):
        world.objects.put(note, broken)
        ((_, again),) = image_preview.TASK.run([one], world)
        assert (again.kind, set(again.data or ())) == ("success", set(outcome.data or ()))
        assert len(world.objects.get(note)) > len(whole) // 2


def test_what_was_made_before_there_was_one_folder_a_body_is_found(site: Site, world: Context) -> None:
    url = site.add("a.png", image(1))
    body = world.bodies.get(url, '"v1"')
    digest, of_then = body.digest, replace(pdf_preview.TASK, version=1)
    made = Outcome("success", {"preview_small": f"previews/pdf_preview-1/{digest}/preview_small.jpg"})
    world.objects.put(f"previews/pdf_preview-1/{digest}/outcome.json", msgspec.json.encode(made))
    assert once(body, of_then, world, lambda _prefix: Outcome("empty")).data == made.data
    ((_, other),) = image_preview.TASK.run([item(url)], world)
    assert other.data != made.data, "what another task made is no answer"


def ended(processes: list[psutil.Process]) -> bool:
    _, alive = psutil.wait_procs(processes, timeout=10)
    return not alive


def raising(error: Exception) -> Callable[[Item], Outcome]:
    def work(one: Item) -> Outcome:
        if one.srn.endswith("bad"):
            raise error
        return Outcome("success")

    return work


@pytest.mark.parametrize(
    ("error", "kind", "due"),
    [
        (TransientError("status-503", "busy", retry_after=90), "retry", NOW + timedelta(seconds=90)),
        (TransientError("timeout", "too slow"), "retry", None),
        (PermanentError("too-large", "too large"), "failure", None),
        (KeyError("a mistake of ours"), "retry", None),
    ],
)
def test_what_is_raised_for_one_is_its_outcome_alone(error: Exception, kind: str, due: Any, world: Context) -> None:
    items = [item("https://x.org/good"), item("https://x.org/bad"), item("https://x.org/fine")]
    found = {one.srn.rpartition("/")[2]: outcome for one, outcome in each(items, world, raising(error), 2)}
    assert (found["bad"].kind, found["bad"].due_at) == (kind, due)
    assert found["bad"].reason
    assert found["good"].kind == found["fine"].kind == "success"


def test_nobody_who_stops_reading_waits_for_the_rest(world: Context) -> None:
    started = time.monotonic()
    for _ in each([item(f"https://x.org/{n}") for n in range(100)], world, lambda _: slow(), 2):
        break
    assert time.monotonic() - started < 1


def slow() -> Outcome:
    time.sleep(0.05)
    return Outcome("success")
