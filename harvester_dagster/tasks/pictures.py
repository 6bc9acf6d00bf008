"""Pictures and their thumbnails, made in processes that may die: what the three preview tasks share.

Belongs here: the sizes, decoding under limits, encoding, storing, and the limited processes (memory, processor
seconds, wall seconds) in which everything from outside is decoded. Does not belong here: where a picture comes from.
JPEG for all: at 1600 pixels 7 ms, where WebP took 60 to 200 ms for files a third smaller (a page of text, a scan).
What is transparent is laid on white.
"""

import math
import multiprocessing
import os
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import TimeoutError as FutureTimeout
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

from harvester_dagster.store import keys
from harvester_dagster.tasks.index_values import web_address
from harvester_dagster.tasks.published import PublishedField

if TYPE_CHECKING:
    from pebble import ProcessPool
    from PIL import Image

    from harvester_dagster.store.objects import Objects

T = TypeVar("T")

FULL_SIZE = (1600, 1600)
THUMBNAILS: Mapping[str, tuple[int, int]] = {"preview": (400, 300), "preview_small": (200, 150)}
SIZES = ("full_size", *THUMBNAILS)


def _published(data: Mapping[str, Any]) -> dict[str, str] | None:
    """The keys of all three sizes. What was fetched is not published: results that named it as the full size have the
    larger thumbnail there."""
    made = {size: data.get(size) for size in SIZES}
    if (place := keys.place(made["full_size"] or "")) and not place.maker:
        made["full_size"] = made["preview"]
    return {size: str(key) for size, key in made.items()} if all(made.values()) else None


def _indexed(previews: Mapping[str, str]) -> Mapping[str, str] | None:
    return previews if all(map(web_address, previews.values())) else None


PREVIEWS = PublishedField(
    "previews",
    {
        "description": "Addresses of pictures: in full (within 1600×1600), within 400×300, within 200×150. "
        "Absent where the installation has no public address.",
        "type": "object",
        "required": list(SIZES),
        "properties": {size: {"type": "string", "pattern": "^https?://"} for size in SIZES},
        "additionalProperties": False,
    },
    value=_published,
    optional=True,
    place="main",
    objects=True,
    index_form=_indexed,
)
"""Of the first task that has made any."""
MAX_PIXELS = 100_000_000
MEMORY_BYTES = 3 << 29
"""1.5 GiB of address space: 100 million pixels of RGBA and a copy fit, a bomb does not."""
SECONDS = 20
WORKERS = max(2, min(os.cpu_count() or 2, 8))
FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "ICO", "JPEG2000", "AVIF", "PPM", "PSD", "HEIF")
"""What Pillow may open: formats with a decoder of its own (of HEIC that of pillow-heif), none that calls another
program (EPS)."""
LEAST_SIDE = 4
"""Pixels; what is smaller counts visitors, or is a page without a size."""
WHITE = 250
"""From this value on, of 255, all channels of all pixels are that of an empty page. Light grey text is darker."""


class UnreadableError(Exception):
    """The input cannot be shown: broken, empty, too large, or not what it claims to be."""


class NothingToSeeError(UnreadableError):
    """It was decoded, and there is nothing in it: a white page, a picture of one pixel."""


class TooSlowError(Exception):
    """Decoding did not end in time."""


class Picture(NamedTuple):
    """A JPEG under the name of its size (`full_size`, `preview`, `preview_small`); width and height are in pixels."""

    name: str
    data: bytes
    width: int
    height: int


Limited = Callable[[Callable[[str], list[Picture]], Path], tuple[list[Picture], float]]
"""How pictures are made: `limited`."""


def limited(function: Callable[[str], T], path: Path, seconds: int = SECONDS) -> tuple[T, float]:
    """Call a function with the path in a limited process; its result, and the seconds it took there, without the wait
    for a free one.

    `seconds` are those of the processor and of the wall. A crash, a hang or a hunger for memory ends that process and
    this call only. Raises UnreadableError, TooSlowError, and what the function raises.
    """
    from pebble import ProcessExpired

    try:
        return _asked(function, path, seconds)
    except FutureTimeout:
        raise TooSlowError(f"decoding took longer than {seconds} s") from None
    except ProcessExpired as error:
        raise UnreadableError(f"the decoder died on it (exit code {error.exitcode})") from None
    except MemoryError:
        raise UnreadableError(f"decoding needs more than {MEMORY_BYTES >> 20} MiB") from None


def _asked(function: Callable[[str], T], path: Path, seconds: int) -> tuple[T, float]:
    """A worker that dies between two jobs breaks the whole pool (pebble 5.2): then there is a new one, once."""
    for last in (False, True):
        pool = _pool()
        try:
            result: tuple[T, float] = pool.schedule(
                _bounded, args=(function, str(path), seconds), timeout=seconds
            ).result()
            return result
        except RuntimeError:
            if last or pool.active:
                raise
            _replace(pool)
    raise AssertionError("unreachable")


def pictures_of_file(path: str) -> list[Picture]:
    """All three sizes of an image file, encoded anew; runs in a limited process. Raises UnreadableError, and its
    NothingToSeeError."""
    import warnings

    import pillow_heif
    from PIL import Image, UnidentifiedImageError

    pillow_heif.register_heif_opener(thumbnails=False)
    Image.MAX_IMAGE_PIXELS = MAX_PIXELS
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=FORMATS) as image:
                whole = _upright(image)
                seen(whole, "picture", max(whole.size))
                return [encoded("full_size", whole), *thumbnails(whole)]
    except UnidentifiedImageError:
        raise UnreadableError("not an image that can be read") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise UnreadableError(f"more than {MAX_PIXELS // 1_000_000} million pixels") from None
    except (OSError, ValueError, SyntaxError, EOFError, KeyError, IndexError, TypeError, OverflowError) as error:
        raise UnreadableError(f"broken image: {str(error) or type(error).__name__}"[:200]) from None


def seen(image: "Image.Image", what: str, side: int) -> None:
    """Raises NothingToSeeError for an image that is white throughout, or whose side is too short. One that is black, or
    has any colour or line in it, is a picture."""
    if side < LEAST_SIDE:
        raise NothingToSeeError(f"nothing to see: the {what} is {image.width} × {image.height} pixels")
    extremes = _on_white(image).getextrema()
    channels = extremes if isinstance(extremes[0], tuple) else (extremes,)
    if all(low >= WHITE for low, _ in cast(tuple[tuple[int, int], ...], channels)):
        raise NothingToSeeError(f"nothing to see: the {what} is blank")


def thumbnails(image: "Image.Image") -> list[Picture]:
    """Both thumbnails, aspect kept, never enlarged; the smaller one is made from the larger."""
    pictures = []
    for name, size in THUMBNAILS.items():
        image.thumbnail(size, reducing_gap=1.0)  # 1 ms; with Pillow's own gap of 2.0 it takes 6, and looks the same
        pictures.append(encoded(name, image))
    return pictures


def encoded(name: str, image: "Image.Image") -> Picture:
    """An image as a JPEG under that name, with nothing but its pixels; what is transparent becomes white."""
    import io

    flat = _on_white(image)
    flat.info = {}  # a comment would be written again
    out = io.BytesIO()
    flat.save(out, "JPEG", quality=80)
    return Picture(name, out.getvalue(), *flat.size)


def store(pictures: list[Picture], prefix: str, objects: "Objects") -> dict[str, str]:
    """Store each; returns the object keys by size name, as a file's previews name them."""
    keys = {}
    for picture in pictures:
        keys[picture.name] = f"{prefix}{picture.name}.jpg"
        objects.put(keys[picture.name], picture.data)
    return keys


def _upright(image: "Image.Image") -> "Image.Image":
    """The first frame (of a PSD what all layers give), turned as EXIF says, at no more pixels than needed where the
    decoder can do that (JPEG)."""
    from PIL import ImageOps

    image.draft("RGB", _needed(image))
    image.load()
    if image.mode.startswith(("I", "F")):
        image = _eight_bit(image)
    if image.mode in ("P", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
    image.thumbnail(FULL_SIZE, reducing_gap=1.0)
    return ImageOps.exif_transpose(image)


def _needed(image: "Image.Image") -> tuple[int, int]:
    """The full size; it is square, so that the picture's orientation does not matter."""
    scale = min(FULL_SIZE[0] / image.width, FULL_SIZE[1] / image.height, 1)
    return math.ceil(image.width * scale), math.ceil(image.height * scale)


def _eight_bit(image: "Image.Image") -> "Image.Image":
    """16-bit and floating-point greys, stretched to what they use: a plain conversion clips them to white."""
    low, high = cast(tuple[float, float], image.getextrema())
    scale = 255 / (high - low) if high > low else 0.0
    return image.point(lambda value: value * scale - low * scale).convert("L")


def _on_white(image: "Image.Image") -> "Image.Image":
    from PIL import Image

    if image.mode in ("RGB", "L"):
        return image
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La"):
        image = image.convert("RGBA")
        white = Image.new("RGB", image.size, "white")
        white.paste(image, mask=image.getchannel("A"))
        return white
    return image.convert("RGB")


def _bounded(function: Callable[[str], T], path: str, seconds: int) -> tuple[T, float]:
    """Give this job its processor seconds; a child of it (poppler) inherits the bound, should it outlive us."""
    import resource
    import time

    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(time.process_time()) + seconds + 1, hard))
    started = time.perf_counter()
    return function(path), round(time.perf_counter() - started, 3)


def _limit_memory() -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


_changing = threading.Lock()
_pools: list["ProcessPool"] = []


def _pool() -> "ProcessPool":
    """One pool a process, started at first use, kept: two idle workers of 40 MB."""
    with _changing:
        if not _pools:
            _pools.append(_started())
        return _pools[0]


def _replace(broken: "ProcessPool") -> None:
    with _changing:
        if broken in _pools:
            _pools.remove(broken)
            broken.stop()  # type: ignore[no-untyped-call]


def _started() -> "ProcessPool":
    from multiprocessing.util import Finalize

    from pebble import ProcessPool

    kind: Any = multiprocessing.get_context("forkserver")
    kind.set_forkserver_preload([__name__, "PIL.Image", "PIL.JpegImagePlugin", "pdf2image", "pillow_heif"])
    pool = ProcessPool(max_workers=WORKERS, max_tasks=1000, initializer=_limit_memory, context=kind)
    # Not atexit: a process of multiprocessing, as Dagster's runs are, joins its children before that, for ever.
    Finalize(None, _end, (pool,), exitpriority=10)
    return pool


def _end(pool: "ProcessPool") -> None:
    pool.stop()  # type: ignore[no-untyped-call]
    pool.join()
