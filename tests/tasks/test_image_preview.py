import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pillow_heif
import pytest
from PIL import Image, ImageDraw

from harvester_dagster.tasks import image_preview, pictures
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


def heic() -> bytes:
    pillow_heif.register_heif_opener()
    return saved(two_halves(), "HEIF", quality=95)


def photoshop(size: tuple[int, int] = (800, 600)) -> bytes:
    """A PSD with no layers: its header, three empty sections, and the merged picture without compression."""
    header = b"8BPS" + struct.pack(">H6xHIIHH", 1, 3, size[1], size[0], 8, 3)
    planes = b"".join(plane.tobytes() for plane in two_halves(size).split())
    return header + struct.pack(">III", 0, 0, 0) + struct.pack(">H", 0) + planes


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
    "HEIC": heic,
    "PSD": photoshop,
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_keeps_its_colours_and_aspect(form: str, site: Site, world: Context) -> None:
    url = site.add("a.img", FORMS[form]())
    found = outcomes(TASK, [item(url)], world)["a.img"]
    assert found.kind == "success", found.reason
    assert found.data
    shown = {name: Image.open(world.objects.path(found.data[name])) for name in pictures.SIZES}
    assert {name: one.size for name, one in shown.items()} == {
        **{"full_size": (800, 600), "preview": (400, 300), "preview_small": (200, 150)},
    }
    assert near(shown["preview"].getpixel((200, 50)), RED)
    assert near(shown["preview"].getpixel((200, 250)), BLUE)
    assert near(shown["full_size"].getpixel((400, 100)), RED)
    assert all(one.format == "JPEG" for one in shown.values())


def test_the_full_size_is_bounded_and_has_nothing_of_the_file_but_its_pixels(site: Site, world: Context) -> None:
    exif = Image.Exif()
    exif[0x010E] = "who took it"
    body = saved(two_halves((3200, 1000)), "JPEG", exif=exif, comment=b"<script>alert(1)</script>", quality=95)
    found = outcomes(TASK, [item(site.add("a.jpg", body))], world)["a.jpg"]
    assert found.data and "bodies/" not in str(found.data)
    made = world.objects.get(found.data["full_size"])
    assert Image.open(io.BytesIO(made)).size == (1600, 500)
    assert b"script" not in made and b"took" not in made


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


@pytest.mark.service
@pytest.mark.parametrize("hang", ["import time; time.sleep(60)", "while True: pass"])
def test_a_decoder_that_hangs_is_ended(hang: str) -> None:
    with pytest.raises(pictures.TooSlowError):
        pictures.limited(exec, code(hang), seconds=1)
    assert pictures.limited(exec, FINE)[0] is None


def test_when_it_applies(world: Context) -> None:
    def why_not(**properties: object) -> str | None:
        return TASK.condition(subject("https://x.org/a", **properties), world)

    assert why_not(mime_type="image/png") is None
    assert why_not(mime_type="image/png", check=checked(content_type="text/html")) == "not an image: text/html"
    assert why_not(mime_type="application/x-photoshop") is None
    assert TASK.condition(subject("https://x.org/a.heic"), world) is None
    assert why_not(mime_type="image/svg+xml") == "not applicable to SVG"
    assert why_not(mime_type="image/png", access_rights=None) == "analysis not allowed: access rights are not given"


def test_one_body_behind_two_urls_is_decoded_once(site: Site, world: Context) -> None:
    body = FORMS["PNG"]()
    first = outcomes(TASK, [item(site.add("a.png", body))], world)["a.png"]
    once_only = replace(TASK, run=partial(image_preview.run, limited=lambda *_: pytest.fail("decoded again")))
    assert outcomes(once_only, [item(site.add("b.png", body))], world)["b.png"] == first


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (lambda: saved(Image.new("RGB", (320, 200), "white"), "PNG"), "the picture is blank"),
        (lambda: saved(Image.new("L", (320, 200), 253), "JPEG"), "the picture is blank"),
        (lambda: saved(Image.new("RGBA", (320, 200), (0, 0, 0, 0)), "PNG"), "the picture is blank"),
        (lambda: saved(Image.new("RGB", (1, 1), "red"), "GIF"), "1 × 1 pixels"),
        (lambda: saved(Image.new("RGB", (3, 2), "red"), "PNG"), "3 × 2 pixels"),
    ],
)
def test_a_picture_with_nothing_in_it_is_empty(
    body: Callable[[], bytes], said: str, site: Site, world: Context
) -> None:
    found = outcomes(TASK, [item(site.add("a.img", body()))], world)["a.img"]
    assert found.kind == "empty" and said in found.reason and not found.data


@pytest.mark.parametrize("colour", ["black", "teal"])
def test_a_picture_of_one_colour_is_a_picture(colour: str, site: Site, world: Context) -> None:
    body = saved(Image.new("RGB", (320, 200), colour), "PNG")
    assert outcomes(TASK, [item(site.add("a.img", body))], world)["a.img"].kind == "success"


def test_a_picture_of_a_telephone_is_upright(site: Site, world: Context) -> None:
    pillow_heif.register_heif_opener()
    exif = Image.Exif()
    exif[0x0112] = 6
    body = saved(two_halves((600, 800)).transpose(Image.Transpose.ROTATE_90), "HEIF", exif=exif.tobytes())
    found = outcomes(TASK, [item(site.add("a.heic", body, "image/heic"))], world)["a.heic"]
    assert found.data, found.reason
    shown = Image.open(world.objects.path(found.data["full_size"]))
    assert shown.size == (600, 800)
    assert near(shown.getpixel((300, 100)), RED)
