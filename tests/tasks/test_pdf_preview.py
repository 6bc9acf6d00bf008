import io
import zlib
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NoReturn

import pytest
from PIL import Image
from pypdf import PdfReader, PdfWriter
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen.canvas import Canvas

from harvester_dagster.tasks import pdf_preview, pictures
from harvester_dagster.tasks.pdf_preview import TASK
from harvester_dagster.tasks.task import Context, Task
from tests.tasks.content_site import Site, checked, item, outcomes, retried, subject

A4 = (595.0, 842.0)


def drawn(draw: Callable[[Canvas], None], size: tuple[float, float] = A4, pages: int = 1) -> bytes:
    out = io.BytesIO()
    canvas = Canvas(out, pagesize=size)
    for _ in range(pages):
        draw(canvas)
        canvas.showPage()
    canvas.save()
    return out.getvalue()


def text_pdf(pages: int = 1, size: tuple[float, float] = A4) -> bytes:
    return drawn(lambda canvas: canvas.drawString(50, size[1] - 80, "Zorg en onderwijs"), size, pages)


def scan_pdf() -> bytes:
    page = ImageReader(Image.effect_mandelbrot((600, 850), (-2, -1, 1, 1), 40).convert("RGB"))
    return drawn(lambda canvas: canvas.drawImage(page, 0, 0, *A4))


def encrypted(password: str) -> bytes:
    writer = PdfWriter(PdfReader(io.BytesIO(text_pdf())))
    writer.encrypt(password, "owner")
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def without_pages() -> bytes:
    out = io.BytesIO()
    PdfWriter().write(out)
    return out.getvalue()


def image_pdf(width: int, height: int, filter_name: str, data: bytes) -> bytes:
    """One page with one image that claims to be so large, however little data there is."""
    content = b"q 595 0 0 842 0 0 cm /I Do Q"
    image = (
        f"<</Type/XObject/Subtype/Image/Width {width}/Height {height}/ColorSpace/DeviceRGB/BitsPerComponent 8"
        f"/Filter/{filter_name}/Length {len(data)}>>stream\n"
    ).encode() + data
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]/Resources<</XObject<</I 5 0 R>>>>/Contents 4 0 R>>",
        b"<</Length %d>>stream\n%s\nendstream" % (len(content), content),
        image + b"\nendstream",
    ]
    body, offsets = b"%PDF-1.4\n", []
    for number, one in enumerate(objects, 1):
        offsets.append(len(body))
        body += b"%d 0 obj\n%s\nendobj\n" % (number, one)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    return body + (
        b"xref\n0 %d\n0000000000 65535 f \n%strailer<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF"
        % (len(objects) + 1, table, len(objects) + 1, len(body))
    )


def picture(world: Context, key: str) -> Image.Image:
    return Image.open(world.objects.path(key))


@pytest.mark.parametrize("made", [text_pdf, scan_pdf, lambda: text_pdf(3), lambda: encrypted("")])
def test_the_first_page_in_three_sizes_with_its_aspect(made: Callable[[], bytes], site: Site, world: Context) -> None:
    found = outcomes(TASK, [item(site.add("a.pdf", made()))], world)["a.pdf"]
    assert found.kind == "success", found.reason
    assert found.data
    sizes = {name: picture(world, found.data[name]).size for name in ("full_size", "preview", "preview_small")}
    assert sizes["full_size"][1] == 1600
    assert sizes["full_size"][0] in (1130, 1131, 1132)
    assert sizes["preview"] == (212, 300)
    assert sizes["preview_small"] == (106, 150)
    assert found.data["seconds"] > 0
    assert picture(world, found.data["full_size"]).format == "JPEG"


def test_the_page_size_does_not_matter(site: Site, world: Context) -> None:
    found = outcomes(TASK, [item(site.add("a.pdf", text_pdf(size=(14400.0 * 2, 14400.0 * 2))))], world)["a.pdf"]
    assert found.kind == "success", found.reason
    assert found.data
    assert max(picture(world, found.data["full_size"]).size) == 1600


def test_what_cannot_be_shown_says_why_and_leaves_the_others_alone(site: Site, world: Context) -> None:
    names = {
        "encrypted.pdf": (encrypted("secret"), "the PDF is encrypted"),
        "empty.pdf": (b"", "the file is empty"),
        "page.pdf": (b"<html><body>Not found</body></html>", "not a PDF: the content is text/html"),
        "noise.pdf": (b"\x01\x02" * 500, "not a PDF: it has no PDF header"),
        "cut.pdf": (text_pdf(20)[:1500], "broken PDF: no trailer, it is cut off or damaged"),
        "blank.pdf": (without_pages(), "the PDF has no pages"),
    }
    items = [item(site.add(name, body)) for name, (body, _) in names.items()]
    found = outcomes(TASK, [*items, item(site.add("fine.pdf", text_pdf()))], world)
    assert found["fine.pdf"].kind == "success"
    for name, (_, reason) in names.items():
        assert (found[name].kind, found[name].reason) == ("failure", reason)


def rendering(limited: pictures.Limited) -> Task:
    """The task with another way to make pictures."""
    return replace(TASK, run=partial(pdf_preview.run, limited=limited))


def test_an_image_bomb_ends_within_limits(site: Site, world: Context) -> None:
    """Ten gigabytes of picture claimed by half a megabyte: poppler reads on until its time is over."""
    squeezed = zlib.compress(b"\0" * (1 << 29), 9)
    bomb = site.add("bomb.pdf", image_pdf(60_000, 60_000, "FlateDecode", squeezed))
    items = [item(bomb, previous=retried(2)), item(site.add("fine.pdf", text_pdf()))]
    found = outcomes(rendering(partial(pictures.limited, seconds=3)), items, world)
    assert found["fine.pdf"].kind == "success"
    assert found["bomb.pdf"].kind == "failure"
    assert "took longer" in found["bomb.pdf"].reason


def test_a_missing_file_is_a_failure_and_an_unreachable_one_comes_back(site: Site, world: Context) -> None:
    gone, closed = item(f"{site.url}/gone.pdf"), item("http://127.0.0.1:9/closed.pdf")
    found = outcomes(TASK, [gone, closed], world)
    assert found["gone.pdf"].kind == "failure"
    assert "404" in found["gone.pdf"].reason
    assert found["closed.pdf"].kind == "retry"


def test_an_unchanged_body_under_a_new_validator_renders_nothing(site: Site, world: Context) -> None:
    url = site.add("a.pdf", text_pdf())
    broken = site.add("b.pdf", text_pdf(9)[:900])
    first = outcomes(TASK, [item(url), item(broken)], world)
    once_only = rendering(lambda *_: pytest.fail("rendered again"))
    newer = checked('"v2"')
    assert outcomes(once_only, [item(url, check=newer), item(broken, check=newer)], world) == first
    assert site.asked["/a.pdf"] == 2


def test_the_pdf_itself_is_kept(site: Site, world: Context) -> None:
    url = site.add("a.pdf", text_pdf())
    outcomes(TASK, [item(url)], world)
    assert world.bodies.get(url, '"v1"').path.read_bytes() == site.files["/a.pdf"][1]
    assert site.asked["/a.pdf"] == 1


def test_a_full_disk_is_no_fault_of_the_document(site: Site, world: Context) -> None:
    url = site.add("a.pdf", text_pdf())
    world.bodies.get(url, '"v1"')
    derived = Path(world.objects.scratch).parent / "derived"
    derived.write_text("a file where a folder is needed")
    found = outcomes(TASK, [item(url)], world)["a.pdf"]
    assert found.kind == "retry"
    derived.unlink()
    assert outcomes(TASK, [item(url)], world)["a.pdf"].kind == "success"


def test_a_page_that_takes_too_long_is_tried_in_three_runs(site: Site, world: Context) -> None:
    def too_slow(*_: object) -> NoReturn:
        raise pictures.TooSlowError("decoding took longer than 30 s")

    url = site.add("a.pdf", text_pdf())
    kinds = [outcomes(rendering(too_slow), [item(url, previous=retried(n))], world)["a.pdf"].kind for n in (1, 2)]
    assert kinds == ["retry", "failure"]


def test_when_it_applies(world: Context) -> None:
    def why_not(**properties: object) -> str | None:
        return TASK.condition(subject("https://x.org/a", **properties), world)

    assert why_not(mime_type="application/pdf") is None
    assert why_not(mime_type="image/png") == "not a PDF: image/png"
    assert why_not(mime_type="application/pdf", access_rights="ClosedAccess")
    assert why_not(mime_type="application/pdf", check=checked()._replace(kind="empty", reason="404 Not Found"))


def test_a_file_name_of_poppler_is_no_option(tmp_path: Path) -> None:
    path = tmp_path / "-scale-to 9999.pdf"
    path.write_bytes(text_pdf())
    assert [made.name for made in pdf_preview.first_page(str(path))] == ["full_size", "preview", "preview_small"]


def jbig2(data: bytes) -> bytes:
    """A page with nothing but an image whose data no decoder of JBIG2 knows."""
    image = (
        b"<</Type/XObject/Subtype/Image/Width 300/Height 200/ColorSpace/DeviceGray/BitsPerComponent 1"
        b"/Filter/JBIG2Decode/Length %d>>stream\n%b\nendstream" % (len(data), data)
    )
    content = b"q 300 0 0 200 0 0 cm /I Do Q"
    return written_pdf(b"[0 0 300 200]", content, b"/Resources<</XObject<</I 5 0 R>>>>", image)


def written_pdf(box: bytes, content: bytes, resources: bytes = b"", *more: bytes) -> bytes:
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox%b/Contents 4 0 R%b>>" % (box, resources),
        b"<</Length %d>>stream\n%b\nendstream" % (len(content), content),
        *more,
    ]
    return (
        b"%PDF-1.4\n"
        + b"".join(b"%d 0 obj %b endobj\n" % one for one in enumerate(objects, 1))
        + (b"trailer<</Root 1 0 R/Size %d>>" % (len(objects) + 1))
    )


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (lambda: jbig2(b"no JBIG2 at all" * 20), "blank"),
        (lambda: written_pdf(b"[0 0 0.2 600]", b"0 0 1 600 re f"), "pixels"),
        (lambda: drawn(lambda _canvas: None), "blank"),
        (lambda: text_pdf(size=(14400.0, 1.0)), "pixels"),
        (lambda: text_pdf(size=(0.01, 0.01)), "blank"),
    ],
)
def test_a_page_on_which_nothing_is_seen_is_empty(
    body: Callable[[], bytes], said: str, site: Site, world: Context
) -> None:
    found = outcomes(TASK, [item(site.add("a.pdf", body(), "application/pdf"))], world)["a.pdf"]
    assert (found.kind, found.data) == ("empty", None), found.reason
    assert said in found.reason


def one_grey_line(canvas: Canvas) -> None:
    canvas.setFillGray(0.8)
    canvas.drawString(50, 700, "Zorg en onderwijs")


@pytest.mark.parametrize("draw", [one_grey_line, lambda canvas: canvas.rect(0, 0, *A4, fill=1)])
def test_a_black_page_and_one_with_a_grey_line_are_pictures(
    draw: Callable[[Canvas], None], site: Site, world: Context
) -> None:
    found = outcomes(TASK, [item(site.add("a.pdf", drawn(draw), "application/pdf"))], world)["a.pdf"]
    assert found.kind == "success", found.reason
