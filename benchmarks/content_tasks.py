"""How fast previews and full texts are made, each beside its ceiling, measured in the same run.

A ceiling is the same work with nothing around it: poppler and Pillow in as many processes, a bare PUT by as many
clients. Ours takes turns with it, round by round, and the best round of each counts: other work on the machine hits
both. Ours includes storing the pictures; bodies were fetched before (in a night, another task has done so).
`python -m benchmarks.content_tasks`
"""

import dataclasses
import io
import multiprocessing
import os
import random
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from PIL import Image
from reportlab.lib.pagesizes import A4
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen.canvas import Canvas

from benchmarks.rows import Row
from harvester_dagster.config import SetSettings, parse
from harvester_dagster.outside.bodies import Bodies
from harvester_dagster.outside.http import Outside
from harvester_dagster.services import launcher
from harvester_dagster.store.database import Pool, migrate, open_pool
from harvester_dagster.store.objects import Folder
from harvester_dagster.tasks import image_preview, pdf_preview, tika
from harvester_dagster.tasks.pictures import WORKERS
from harvester_dagster.tasks.task import Context, Item, Result, Subject, Task
from harvester_dagster.vocabularies.trees import Vocabularies

ROUNDS = 4
NOW = datetime(2026, 1, 1, tzinfo=UTC)
WORDS = ["zorg", "onderwijs", "verpleegkunde", "praktijk", "student", "wond", "patiënt", "kennis", "methode"]


def measure() -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        site = stack.enter_context(_site())
        world, pool = stack.enter_context(_world(Path(folder)))
        bare = stack.enter_context(ProcessPoolExecutor(WORKERS, multiprocessing.get_context("forkserver")))
        yield _row(
            "PDF preview, mixed corpus", pdf_preview.TASK, site, world, pool, pdf_corpus(),
            lambda paths: list(bare.map(_bare_pdf, map(str, paths))), "≥ 0.77 (≤ 1.3 × the time)",
        )  # fmt: skip
        yield _row(
            "PDF preview, text", pdf_preview.TASK, site, world, pool, [_text_pdf(pages) for pages in [1, 2, 5, 20] * 6],
            lambda paths: list(bare.map(_bare_pdf, map(str, paths))), "≥ 15/s",
        )  # fmt: skip
        yield _row(
            "image preview, JPEG 1600×1200", image_preview.TASK, site, world, pool, photographs(100),
            lambda paths: list(bare.map(_bare_image, map(str, paths))), "≥ 0.8, ≥ 80/s",
        )  # fmt: skip
        address = world.config.tasks.tika_url
        with _clients(address) as put:
            yield _row(
                "tika, small PDFs", tika.TASK, site, world, pool, [_text_pdf(1) for _ in range(150)],
                lambda paths: list(put(paths)), "≥ 0.8, ≥ 150/s", warm_up=4,
            )  # fmt: skip


def _row(
    name: str,
    task: Task,
    site: "Site",
    world: Context,
    pool: Pool,
    files: Sequence[bytes],
    ceiling: Callable[[Sequence[Path]], object],
    target: str,
    warm_up: int = 1,
) -> Row:
    """`warm_up`: rounds that do not count, for they start processes and warm the server."""
    items = [_item(site.add(body)) for body in files]
    paths = [world.bodies.get(str(item.subject.properties["url"]), '"1"').path for item in items]
    ours: list[float] = []
    bare: list[float] = []
    for number in range(warm_up + ROUNDS):
        turns = [(ours, partial(_run, task, items, _with_bodies_only(world, pool))), (bare, partial(ceiling, paths))]
        for seconds, turn in turns if number % 2 else reversed(turns):  # a server that warms up favours the second
            took = _timed(turn)
            if number >= warm_up:
                seconds.append(took)
    value, best = len(files) / min(ours), len(files) / min(bare)
    return Row(name, round(value, 1), "files/s", round(best, 1), round(value / best, 2), target)


def _with_bodies_only(world: Context, pool: Pool) -> Context:
    """The same world, with nothing made of its bodies yet: in a folder of its own. After deleting what the last round
    made, ext4 would look for a minute, at each new file, past all that were just deleted; no night does that."""
    assert isinstance(world.objects, Folder)
    folder = Path(tempfile.mkdtemp(dir=world.objects.root.parent))
    shutil.copytree(world.objects.root / "bodies", folder / "bodies", copy_function=os.link)
    objects = Folder(folder)
    return dataclasses.replace(world, objects=objects, bodies=Bodies(pool, objects, world.outside, lambda: NOW))


def _run(task: Task, items: Sequence[Item], world: Context) -> None:
    kinds = {outcome.kind for _, outcome in task.run(items, world)}
    assert kinds == {"success"}, kinds


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _bare_pdf(path: str) -> int:
    command = ["pdftoppm", "-r", "200", "-f", "1", "-l", "1", "-scale-to", "1600", path]
    page = Image.open(io.BytesIO(subprocess.run(command, capture_output=True, check=True).stdout))
    return sum(len(_jpeg(page, size)) for size in (None, (400, 300), (200, 150)))


def _bare_image(path: str) -> int:
    with Image.open(path) as image:
        return sum(len(_jpeg(image, size)) for size in (None, (400, 300), (200, 150)))


def _jpeg(image: Image.Image, size: tuple[int, int] | None) -> bytes:
    if size:
        image.thumbnail(size)  # drafts a JPEG
    out = io.BytesIO()
    image.save(out, "JPEG", quality=80)
    return out.getvalue()


@contextmanager
def _clients(address: str) -> Iterator[Callable[[Sequence[Path]], Iterator[int]]]:
    """As many clients as the task has, each a plain session that asks for the same and drops the answer."""
    import requests

    own = threading.local()

    def put(path: Path) -> int:
        if not hasattr(own, "session"):
            own.session = requests.Session()
        with path.open("rb") as body:
            answer = own.session.put(f"{address}/rmeta/xml", data=body, headers=tika.HEADERS, timeout=60)
        answer.raise_for_status()
        return len(answer.content)

    with ThreadPoolExecutor(tika.CLIENTS) as threads:
        yield lambda paths: threads.map(put, paths)


def pdf_corpus() -> list[bytes]:
    """Text of 1 to 200 pages, drawings, scans in colour, grey and black and white."""
    made = [_text_pdf(pages) for pages in (1, 1, 2, 3, 5, 8, 12, 20, 40, 80, 120, 200)]
    made += [_drawing_pdf() for _ in range(6)]
    for mode in ("RGB", "L", "1"):
        made += [_scan_pdf(mode, pages) for pages in (1, 1, 2, 4)]
    return made


def photographs(count: int) -> list[bytes]:
    """One photograph-like picture at its usual size, each file a different one by a few pixels."""
    picture = _photograph((1600, 1200))
    made = []
    for number in range(count):
        picture.putpixel((number, 0), (255, 0, 0))
        out = io.BytesIO()
        picture.save(out, "JPEG", quality=88)
        made.append(out.getvalue())
    return made


def _photograph(size: tuple[int, int]) -> Image.Image:
    """Large soft shapes with fine noise: what JPEG and its decoders are made for."""
    chance = random.Random(1)
    small = Image.frombytes("RGB", (40, 30), chance.randbytes(40 * 30 * 3))
    noise = Image.effect_noise(size, 12).convert("RGB")
    return Image.blend(small.resize(size, Image.Resampling.BICUBIC), noise, 0.15)


_chance = random.Random(2)


def _text_pdf(pages: int) -> bytes:
    def draw(canvas: Canvas) -> None:
        for line in range(48):
            canvas.drawString(50, 800 - line * 15, " ".join(_chance.choices(WORDS, k=10)))

    return _pdf(draw, pages)


def _drawing_pdf() -> bytes:
    def draw(canvas: Canvas) -> None:
        for _ in range(400):
            canvas.setFillColorRGB(_chance.random(), _chance.random(), _chance.random())
            canvas.circle(_chance.random() * 595, _chance.random() * 842, _chance.random() * 40, fill=1)

    return _pdf(draw, 1)


def _scan_pdf(mode: str, pages: int) -> bytes:
    scan = _photograph((1240, 1754))
    scan.putpixel((_chance.randrange(1240), _chance.randrange(1754)), (0, 0, 0))
    if mode == "1":
        out = io.BytesIO()
        scan.convert("1").save(
            out, "PDF", resolution=150, save_all=True, append_images=[scan.convert("1")] * (pages - 1)
        )
        return out.getvalue()
    packed = io.BytesIO()
    scan.convert(mode).save(packed, "JPEG", quality=75)
    return _pdf(lambda canvas: canvas.drawImage(ImageReader(io.BytesIO(packed.getvalue())), 0, 0, *A4), pages)


def _pdf(draw: Callable[[Canvas], object], pages: int) -> bytes:
    out = io.BytesIO()
    canvas = Canvas(out, pagesize=A4, pageCompression=1)
    for _ in range(pages):
        draw(canvas)
        canvas.showPage()
    canvas.save()
    return out.getvalue()


class Site:
    """Serves what it was given, by number."""

    def __init__(self) -> None:
        self.files: list[bytes] = []
        self.url = ""

    def add(self, body: bytes) -> str:
        self.files.append(body)
        return f"{self.url}/{len(self.files) - 1}"


@contextmanager
def _site() -> Iterator[Site]:
    site = Site()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = site.files[int(self.path[1:])]
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        site.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield site
        server.shutdown()


@contextmanager
def _world(folder: Path) -> Iterator[tuple[Context, Pool]]:
    with (
        launcher.postgres(folder / "services") as url,
        launcher.tika(folder / "services") as tika_url,
        Outside(allow_hosts=("127.0.0.1",), per_host_per_second=0) as outside,
    ):
        migrate(url)
        objects = Folder(folder / "objects")
        with open_pool(url, max_size=12) as pool:
            context = Context(
                key="bench:all",
                config=parse({"tasks": {"tika_url": tika_url}}),
                settings=SetSettings(kind="oai-pmh", url="http://127.0.0.1/"),
                now=NOW,
                outside=outside,
                objects=objects,
                bodies=Bodies(pool, objects, outside, lambda: NOW),
                vocabularies=Vocabularies(()),
            )
            yield context, pool


def _item(url: str) -> Item:
    checked = Result("success", {"validator": '"1"', "status": 200}, "", None, 1, NOW)
    return Item(url.encode(), Subject({"url": url}, {"check_url": checked}), None, url)


if __name__ == "__main__":
    for row in measure():
        print(*row, sep="\t", flush=True)
