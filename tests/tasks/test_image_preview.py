import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from harvester_dagster.tasks import pictures
from harvester_dagster.tasks.image_preview import TASK
from harvester_dagster.tasks.task import Context
from tests.tasks.content_site import Site, checked, item, outcomes, subject

RED, BLUE = (220, 20, 20), (20, 20, 220)


def two_halves(size: tuple[int, int] = (800, 600)) -> Image.Image:
    """Red on top, blue below."""
    image = Image.new("RGB", size, RED)
    ImageDraw.Draw(image).rectangle((0, size[1] // 2, size[0], size[1]), fill=BLUE)
    return image


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def turned() -> bytes:
    """Lying on its side, with the EXIF note that says so: upright it is 600 wide, 800 high, red on top."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return saved(two_halves((600, 800)).transpose(Image.Transpose.ROTATE_90), "JPEG", exif=exif)


def animated() -> bytes:
    return saved(two_halves(), "GIF", save_all=True, append_images=[Image.new("RGB", (800, 600), "white")])


def transparent() -> bytes:
    image = two_halves().convert("RGBA")
    image.putalpha(Image.new("L", image.size, 255))
    ImageDraw.Draw(image).rectangle((600, 0, 800, 600), fill=(0, 0, 0, 0))
    return saved(image, "PNG")


def sixteen_bit() -> bytes:
    grey = Image.new("I;16", (800, 600), 1000)
    grey.paste(60_000, (0, 0, 800, 300))
    return saved(grey, "PNG")


def two_pages() -> bytes:
    return saved(two_halves(), "TIFF", save_all=True, append_images=[Image.new("RGB", (10, 10))])


def near(seen: object, wanted: tuple[int, int, int]) -> bool:
    return isinstance(seen, tuple) and all(abs(a - b) < 40 for a, b in zip(seen, wanted, strict=True))


FORMS: dict[str, Callable[[], bytes]] = {
    "JPEG": lambda: saved(two_halves(), "JPEG"),
    "progressive": lambda: saved(two_halves(), "JPEG", progressive=True),
    "CMYK": lambda: saved(two_halves().convert("CMYK"), "JPEG"),
    "PNG": lambda: saved(two_halves(), "PNG"),
    "palette": lambda: saved(two_halves().quantize(8), "PNG"),
    "GIF": animated,
    "WebP": lambda: saved(two_halves(), "WEBP"),
    "TIFF": two_pages,
    "BMP": lambda: saved(two_halves(), "BMP"),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_keeps_its_colours_and_aspect(form: str, site: Site, world: Context) -> None:
    url = site.add("a.img", FORMS[form]())
    found = outcomes(TASK, [item(url)], world)["a.img"]
    assert found.kind == "success", found.reason
    assert found.data
    shown = {name: Image.open(world.objects.path(found.data[name])) for name in ("preview", "preview_small")}
    assert {name: one.size for name, one in shown.items()} == {"preview": (400, 300), "preview_small": (200, 150)}
    assert near(shown["preview"].getpixel((200, 50)), RED)
    assert near(shown["preview"].getpixel((200, 250)), BLUE)
    assert world.objects.get(found.data["full_size"]) == site.files["/a.img"][1]


def thumbnail(body: bytes, site: Site, world: Context) -> Image.Image:
    found = outcomes(TASK, [item(site.add("a.img", body))], world)["a.img"]
    assert found.kind == "success", found.reason
    assert found.data
    return Image.open(world.objects.path(found.data["preview"]))


def test_exif_orientation_is_followed(site: Site, world: Context) -> None:
    shown = thumbnail(turned(), site, world)
    assert shown.size == (225, 300)
    assert near(shown.getpixel((100, 30)), RED)
    assert near(shown.getpixel((100, 270)), BLUE)


def test_what_is_transparent_is_white(site: Site, world: Context) -> None:
    shown = thumbnail(transparent(), site, world)
    assert near(shown.getpixel((380, 150)), (255, 255, 255))
    assert near(shown.getpixel((50, 50)), RED)


def test_sixteen_bits_are_not_clipped(site: Site, world: Context) -> None:
    shown = thumbnail(sixteen_bit(), site, world).convert("L")
    assert shown.getpixel((200, 50)) == pytest.approx(255, abs=5)
    assert shown.getpixel((200, 250)) == pytest.approx(0, abs=5)


def test_a_small_image_is_not_enlarged(site: Site, world: Context) -> None:
    assert thumbnail(saved(two_halves((40, 30)), "PNG"), site, world).size == (40, 30)


def test_a_line_of_an_image_stays_one(site: Site, world: Context) -> None:
    assert thumbnail(saved(Image.new("RGB", (4000, 1)), "PNG"), site, world).size == (400, 1)


def bomb(width: int, height: int) -> bytes:
    """A PNG of some bytes that claims to be so large."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    data = zlib.compress(b"\0" * 1_000_000)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def test_what_cannot_be_shown_says_why_and_leaves_the_others_alone(site: Site, world: Context) -> None:
    hostile = {
        "bomb.png": (bomb(60_000, 60_000), "more than 100 million pixels"),
        "large.png": (bomb(12_000, 10_000), "more than 100 million pixels"),
        "page.png": (b"<html>not here</html>", "not an image that can be read"),
        "empty.png": (b"", "not an image that can be read"),
        "script.eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image that can be read"),
        "cut.png": (FORMS["PNG"]()[:300], "broken image"),
        "cut.jpg": (FORMS["JPEG"]()[:900], "broken image"),
    }
    items = [item(site.add(name, body)) for name, (body, _) in hostile.items()]
    found = outcomes(TASK, [*items, item(site.add("fine.png", FORMS["PNG"]()))], world)
    assert found["fine.png"].kind == "success"
    for name, (_, reason) in hostile.items():
        assert found[name].kind == "failure", name
        assert reason in found[name].reason


def code(*lines: str) -> Path:
    """What `exec` is given in the place of a file's name: a decoder that does this."""
    return Path("\n".join(lines))


FINE = code("1 + 1")


def test_a_decoder_that_dies_or_hungers_takes_nothing_with_it() -> None:
    with pytest.raises(pictures.UnreadableError, match="died"):
        pictures.limited(exec, code("import os", "os.kill(os.getpid(), 9)"))
    with pytest.raises(pictures.UnreadableError, match="MiB"):
        pictures.limited(exec, code(f"bytearray({pictures.MEMORY_BYTES})"))
    assert pictures.limited(exec, FINE)[0] is None


@pytest.mark.parametrize("hang", ["import time; time.sleep(60)", "while True: pass"])
def test_a_decoder_that_hangs_is_ended(hang: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "SECONDS", 1)
    with pytest.raises(pictures.TooSlowError):
        pictures.limited(exec, code(hang))
    assert pictures.limited(exec, FINE)[0] is None


def test_when_it_applies(world: Context) -> None:
    def why_not(**properties: object) -> str | None:
        return TASK.condition(subject("https://x.org/a", **properties), world)

    assert why_not(mime_type="image/png") is None
    assert why_not(mime_type="image/png", check=checked(content_type="text/html")) == "not an image: text/html"
    assert why_not(mime_type="image/svg+xml") == "not applicable to SVG"
    assert why_not(mime_type="image/png", access_rights=None) == "analysis not allowed: access rights are not given"


def test_one_body_behind_two_urls_is_decoded_once(site: Site, world: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    body = FORMS["PNG"]()
    first = outcomes(TASK, [item(site.add("a.png", body))], world)["a.png"]
    monkeypatch.setattr(pictures, "limited", lambda *_: pytest.fail("decoded again"))
    assert outcomes(TASK, [item(site.add("b.png", body))], world)["b.png"] == first
