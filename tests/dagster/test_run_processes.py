"""What a run's process leaves: Dagster starts it by multiprocessing, which waits for the children of a process."""

import multiprocessing
from pathlib import Path

from PIL import Image

from harvester_dagster.tasks import pictures


def make_thumbnails(path: str) -> None:
    pictures.limited(pictures.pictures_of_file, Path(path))


def test_a_run_that_made_previews_ends(tmp_path: Path) -> None:
    file = tmp_path / "picture.png"
    Image.new("RGB", (300, 200), "red").save(file)
    run = multiprocessing.get_context("spawn").Process(target=make_thumbnails, args=(str(file),))
    run.start()
    run.join(60)
    ended = run.exitcode
    run.kill()
    assert ended == 0
