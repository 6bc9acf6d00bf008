"""Makes the small real files of `files/`: `python -m harvester_dagster.demo.make_files`.

Belongs here: every file that the sample source server serves, seeded (what cairo or a cipher writes differs in each
run all the same). Run by hand when a file is to change; the results are committed, so that serving needs none of these
libraries. Beside the development dependencies it needs `pdftocairo` (poppler-utils).
"""

import io
import math
import random
import subprocess
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from docx import Document
from docx.shared import Cm
from PIL import Image, ImageDraw
from pptx import Presentation
from pypdf import PdfReader, PdfWriter
from reportlab.lib.pagesizes import A0, A4, A5, landscape
from reportlab.lib.styles import getSampleStyleSheet
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import (
    Flowable,
    PageBreak,
    Paragraph,
    SimpleDocTemplate,
    Spacer,
    Table,
)

FILES = Path(__file__).with_name("files")
_DATE = (2024, 1, 1, 12, 0, 0)

# What the texts are about, so that a search finds them: (title, paragraphs).
Text = tuple[str, Sequence[str]]
NURSING: Text = (
    "Medicatieveiligheid",
    [
        "Medicatieveiligheid begint bij een volledig overzicht: naam, middel, dosering, tijdstip en toedieningsweg.",
        "Een fout wordt gemeld, ook als de patiënt er niets van merkt. Alleen zo leert een afdeling van bijna-fouten.",
        "Bij kwetsbare ouderen is polyfarmacie een risico: vijf of meer middelen vragen elk jaar om een beoordeling.",
    ],
)
CHEMISTRY: Text = (
    "Macro-meso-microdenken bij scheikunde",
    [
        "Leerlingen zien eigenschappen op macroniveau en zoeken de verklaring in structuren op meso- en microniveau.",
        "Brood rijst door een netwerk van gluten. Wie het netwerk begrijpt, kan voorspellen wat een ander meel doet.",
        "De didactiek vraagt om contexten die leerlingen kennen: crème, glas, textiel, deeg.",
    ],
)
ECONOMICS: Text = (
    "Changes in the labour market",
    [
        "When the supply of labour rises, the real wage falls and the number of hours worked goes up.",
        "A minimum wage above the equilibrium leaves some of those hours unsold: that is unemployment.",
        "Productivity shifts the demand for labour. A better machine can raise both the wage and employment.",
    ],
)
WATER: Text = (
    "Groundwater levels in dry summers",
    [
        "A piezometer is a pipe with a filter at the bottom. The level of the groundwater is read with a tape.",
        "In dry summers the groundwater on sandy soils falls by more than a metre; seepage decides its return.",
        "A time series model separates rain, evaporation and abstraction.",
    ],
)
STATISTICS: Text = (
    "The t-test explained",
    [
        "The t-test compares two means. It assumes independent observations and roughly normal residuals.",
        "A paired test uses the differences within pairs. It is stronger when pairs resemble each other.",
        "Report the effect size with its confidence interval, not the p-value alone.",
    ],
)
LITERATURE: Text = (
    "Bronnen zoeken en beoordelen",
    [
        "Een goede zoekvraag bevat een onderwerp, een groep en een context. Begin breed, verfijn daarna.",
        "Beoordeel een bron op auteur, actualiteit, doel en onderbouwing. Wikipedia is een begin, geen eindpunt.",
        "Noteer vanaf het begin waar u iets vond: een literatuurlijst achteraf kost dagen.",
    ],
)


def main() -> None:
    """Make every file of the demonstration anew, and print their sizes."""
    FILES.mkdir(exist_ok=True)
    for name, make in MAKERS.items():
        (FILES / name).write_bytes(make())
    for path in sorted(FILES.iterdir()):
        print(f"{path.stat().st_size:8} {path.name}")
    print(f"{sum(path.stat().st_size for path in FILES.iterdir()):8} together")


# --------------------------------------------------------------------------------------------------- PDF


def _story(text: Text, pages: int, words: int) -> Iterator[Flowable]:
    styles = getSampleStyleSheet()
    title, paragraphs = text
    rng = random.Random(title)
    yield Paragraph(title, styles["Title"])
    for page in range(1, pages + 1):
        if page > 1:
            yield PageBreak()
        yield Paragraph(f"{page}. {rng.choice(paragraphs).split('.')[0]}", styles["Heading2"])
        for _ in range(words):
            yield Paragraph(" ".join(rng.sample(list(paragraphs), len(paragraphs))), styles["BodyText"])
            yield Spacer(1, 8)
        rows = [[str(rng.randint(1, 99)) for _ in range(4)] for _ in range(4)]
        yield Table([["a", "b", "c", "d"], *rows])


def _reportlab(text: Text, pages: int, words: int = 4, size: tuple[float, float] = A4) -> bytes:
    out = io.BytesIO()
    document = SimpleDocTemplate(out, pagesize=size, title=text[0], author="Sample", invariant=1)
    document.build(list(_story(text, pages, words)))
    return out.getvalue()


def _drawn(size: tuple[float, float], draw: Callable[[Canvas], None], pages: int = 1) -> bytes:
    out = io.BytesIO()
    canvas = Canvas(out, pagesize=size, invariant=1, pageCompression=1)
    for _ in range(pages):
        draw(canvas)
        canvas.showPage()
    canvas.save()
    return out.getvalue()


def _poster() -> bytes:
    def draw(canvas: Canvas) -> None:
        width, height = A0
        canvas.linearGradient(0, 0, width, height, ("#003366", "#66aadd"))
        canvas.setFillColor("white")
        canvas.setFont("Helvetica-Bold", 160)
        canvas.drawString(150, height - 400, "Design of experiments")
        canvas.setFont("Helvetica", 60)
        for line, paragraph in enumerate(STATISTICS[1]):
            canvas.drawString(150, height - 700 - 120 * line, paragraph[:70])
        for step in range(0, 360, 10):
            canvas.circle(width / 2 + 600 * math.cos(step), height / 3 + 600 * math.sin(step), 40, fill=step % 20 // 10)

    return _drawn(A0, draw)


def _slides() -> bytes:
    rng = random.Random(7)

    def draw(canvas: Canvas) -> None:
        width, height = landscape(A5)
        canvas.setFillColor(rng.choice(["#2a4", "#24a", "#a42"]))
        canvas.rect(0, height - 60, width, 60, fill=1, stroke=0)
        canvas.setFillColor("white")
        canvas.setFont("Helvetica-Bold", 24)
        canvas.drawString(20, height - 40, "Designing experiments")
        canvas.setFillColor("black")
        canvas.setFont("Helvetica", 13)
        for line, paragraph in enumerate(STATISTICS[1]):
            canvas.drawString(30, height - 110 - 30 * line, f"- {paragraph[:75]}")

    return _as_cairo(_drawn(landscape(A5), draw, pages=8))


def _as_cairo(pdf: bytes) -> bytes:
    """Written anew by cairo (poppler's pdftocairo): another producer, other objects."""
    return subprocess.run(["pdftocairo", "-pdf", "-", "-"], input=pdf, capture_output=True, check=True).stdout


def _as_pypdf(pdf: bytes, version: str = "%PDF-1.7") -> PdfWriter:
    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(pdf)))
    writer.pdf_header = version
    writer.add_metadata({"/Producer": "pypdf", "/CreationDate": "D:20240101120000Z"})
    return writer


def _written(writer: PdfWriter) -> bytes:
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def _pdf_2() -> bytes:
    writer = _as_pypdf(_reportlab(LITERATURE, 6), "%PDF-2.0")
    writer.compress_identical_objects()
    return _written(writer)


def _attachment() -> bytes:
    writer = _as_pypdf(_reportlab(CHEMISTRY, 2))
    writer.add_attachment("bijlage.txt", b"Bijlage: een tabel met smeltpunten, alleen in dit ingesloten bestand.")
    writer.add_attachment("werkblad.docx", _docx(CHEMISTRY))
    return _written(writer)


def _encrypted() -> bytes:
    writer = _as_pypdf(_reportlab(LITERATURE, 1))
    writer.encrypt("secret", algorithm="RC4-128")
    return _written(writer)


def _broken() -> bytes:
    whole = _reportlab(LITERATURE, 3)
    return whole[: len(whole) // 2]


def _old_pdf() -> bytes:
    """PDF 1.1 by hand, as producers of the nineties wrote it: nothing compressed."""
    lines = ["Syllabus bestuursrecht (1996)", "Het besluit is een schriftelijke beslissing van een bestuursorgaan,"]
    lines += ["inhoudende een publiekrechtelijke rechtshandeling. (art. 1:3 Awb)"]
    shown = " ".join(f"({line.replace('(', '[').replace(')', ']')}) Tj 0 -24 Td" for line in lines)
    stream = f"BT /F1 14 Tf 60 760 Td {shown} ET"
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R /Resources << /Font << /F1 5 0 R >>>> >>",
        f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Times-Roman >>",
        "<< /Producer (Typewriter 1.1) /Title (Syllabus bestuursrecht) >>",
    ]
    out, offsets = "%PDF-1.1\n", []
    for number, body in enumerate(objects, 1):
        offsets.append(len(out))
        out += f"{number} 0 obj\n{body}\nendobj\n"
    table = "".join(f"{offset:010} 00000 n \n" for offset in offsets)
    count = len(objects) + 1
    out += f"xref\n0 {count}\n0000000000 65535 f \n{table}"
    start = out.index("xref\n")
    out += f"trailer\n<< /Size {count} /Root 1 0 R /Info 6 0 R >>\nstartxref\n{start}\n%%EOF\n"
    return out.encode("latin-1")


def _scan() -> bytes:
    """Pages as pictures, a little askew and noisy; no text in it."""
    rng = random.Random(3)
    pages = []
    for _ in range(3):
        page = Image.new("L", (620, 877), 245)
        draw = ImageDraw.Draw(page)
        for line in range(40):
            x = 60
            while x < 540:
                width = rng.randint(10, 60)
                draw.rectangle((x, 70 + 18 * line, x + width, 78 + 18 * line), fill=rng.randint(20, 80))
                x += width + 8
        pages.append(page.rotate(rng.uniform(-1.5, 1.5), fillcolor=245))
    out = io.BytesIO()
    pages[0].save(
        out, "PDF", save_all=True, append_images=pages[1:], resolution=75, quality=40, creationDate=None, modDate=None
    )
    return out.getvalue()


# ------------------------------------------------------------------------------------------------ Office


def _docx(text: Text) -> bytes:
    document = Document()
    document.core_properties.title = text[0]
    document.add_heading(text[0], 0)
    for number, paragraph in enumerate(text[1], 1):
        document.add_heading(f"Exercise {number}", 1)
        document.add_paragraph(paragraph)
    table = document.add_table(rows=2, cols=2)
    table.cell(0, 0).text = "Week"
    table.cell(0, 1).text = "Task"
    document.add_picture(io.BytesIO(_encoded(_photo(160, 120), "JPEG", quality=60)), width=Cm(5))
    out = io.BytesIO()
    document.save(out)
    return _timeless(out.getvalue())


def _pptx(text: Text) -> bytes:
    presentation = Presentation()
    cover = presentation.slides.add_slide(presentation.slide_layouts[0])
    cover.shapes.title.text = text[0]
    for number, paragraph in enumerate(text[1], 1):
        slide = presentation.slides.add_slide(presentation.slide_layouts[1])
        slide.shapes.title.text = f"{text[0]} ({number})"
        slide.placeholders[1].text = paragraph
    out = io.BytesIO()
    presentation.save(out)
    return _timeless(out.getvalue())


def _zip(members: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in members.items():
            stored = zipfile.ZIP_STORED if name == "mimetype" else zipfile.ZIP_DEFLATED
            archive.writestr(zipfile.ZipInfo(name, _DATE), content, stored)
    return out.getvalue()


def _timeless(archive: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        return _zip({name: opened.read(name) for name in opened.namelist()})


def _epub() -> bytes:
    title, paragraphs = LITERATURE
    body = "".join(f"<p>{paragraph}</p>" for paragraph in paragraphs)
    return _zip(
        {
            "mimetype": b"application/epub+zip",
            "META-INF/container.xml": b"""<?xml version="1.0"?>
<container version="1.0" xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>
<rootfile full-path="book.opf" media-type="application/oebps-package+xml"/></rootfiles></container>""",
            "book.opf": f"""<?xml version="1.0"?>
<package xmlns="http://www.idpf.org/2007/opf" version="3.0" unique-identifier="id">
<metadata xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:identifier id="id">sample</dc:identifier>
<dc:title>{title}</dc:title><dc:language>nl</dc:language></metadata>
<manifest><item id="one" href="one.xhtml" media-type="application/xhtml+xml"/></manifest>
<spine><itemref idref="one"/></spine></package>""".encode(),
            "one.xhtml": f"""<html xmlns="http://www.w3.org/1999/xhtml"><head><title>{title}</title></head>
<body><h1>{title}</h1>{body}</body></html>""".encode(),
        }
    )


# ------------------------------------------------------------------------------------------------ images


def _photo(width: int, height: int) -> Image.Image:
    """A landscape with a sun: gradients, as photographs have; compresses well."""
    sky = Image.linear_gradient("L").resize((width, height))
    bands = sky.point(lambda v: 90 + v // 3), sky.point(lambda v: 140 + v // 4), sky.point(lambda v: 255 - v // 2)
    picture = Image.merge("RGB", bands)
    draw = ImageDraw.Draw(picture)
    draw.ellipse((width * 0.7, height * 0.1, width * 0.85, height * 0.1 + width * 0.15), fill="#ffe680")
    for ridge in range(3):
        base = height * (0.6 + 0.12 * ridge)
        line = [(x, base + height * 0.06 * math.sin(x / width * (9 + 4 * ridge) + ridge)) for x in range(width + 1)]
        draw.polygon([*line, (width, height), (0, height)], fill=["#4a7", "#385", "#263"][ridge])
    return picture


def _encoded(picture: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


def _rotated() -> bytes:
    """Stored on its side; EXIF orientation 6 says how to hold it."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return _encoded(_photo(1200, 900).transpose(Image.Transpose.ROTATE_90), "JPEG", quality=75, exif=exif)


def _sixteen_bit() -> bytes:
    ramp = Image.linear_gradient("L").resize((320, 240)).convert("I").point(lambda v: v * 257)
    return _encoded(ramp.convert("I;16"), "PNG")


def _animated() -> bytes:
    frames = []
    for step in range(6):
        frame = Image.new("P", (240, 160), 0)
        frame.putpalette([255, 255, 255, 30, 90, 160, 220, 60, 40])
        draw = ImageDraw.Draw(frame)
        draw.ellipse((20 + 30 * step, 50, 70 + 30 * step, 100), fill=1 + step % 2)
        frames.append(frame)
    return _encoded(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=200, loop=0)


def _alpha() -> bytes:
    picture = Image.new("RGBA", (400, 300), (0, 0, 0, 0))
    ImageDraw.Draw(picture).rounded_rectangle((40, 40, 360, 260), 40, fill=(200, 40, 80, 180))
    return _encoded(picture, "PNG", optimize=True)


def _svg() -> bytes:
    return (
        b'<svg xmlns="http://www.w3.org/2000/svg" width="200" height="120">'
        b'<rect width="200" height="120" fill="#eef"/><text x="20" y="70">Ondersteund gesprek</text></svg>'
    )


def _html() -> bytes:
    title, paragraphs = CHEMISTRY
    body = "".join(f"<p>{paragraph}</p>" for paragraph in paragraphs)
    return f"""<!doctype html><html lang="nl"><head><meta charset="utf-8"><title>{title}</title></head>
<body><nav><a href="#inhoud">Naar de inhoud</a> Menu Zoeken Inloggen</nav>
<main id="inhoud"><h1>{title}</h1>{body}<img src="photo.jpg" alt="Een landschap met zon"></main>
<footer>Dit is een voorbeeldpagina.</footer></body></html>
""".encode()


MAKERS: dict[str, Callable[[], bytes]] = {
    "nursing-nl.pdf": lambda: _reportlab(NURSING, 5),
    "workbook.pdf": lambda: _as_cairo(_reportlab(NURSING, 12)),
    "chemistry-nl.pdf": lambda: _reportlab(CHEMISTRY, 3),
    "labour-market.pdf": lambda: _as_cairo(_reportlab(ECONOMICS, 2)),
    "groundwater.pdf": lambda: _written(_as_pypdf(_reportlab(WATER, 4))),
    "statistics.pdf": lambda: _reportlab(STATISTICS, 1, size=A5),
    "syllabus.pdf": lambda: _reportlab(STATISTICS, 20),
    "literature.pdf": _pdf_2,
    "handout.pdf": lambda: _reportlab(STATISTICS, 1, words=1),
    "slides.pdf": _slides,
    "poster.pdf": _poster,
    "scan.pdf": _scan,
    "attachment.pdf": _attachment,
    "encrypted.pdf": _encrypted,
    "broken.pdf": _broken,
    "old-pdf.pdf": _old_pdf,
    "exercises.docx": lambda: _docx(ECONOMICS),
    "nursing.pptx": lambda: _pptx(NURSING),
    "course.zip": lambda: _zip({"lees-mij.txt": b"Lees dit eerst.\n", "les/tekst.html": _html()}),
    "course.epub": _epub,
    "photo.jpg": lambda: _encoded(_photo(1600, 1200), "JPEG", quality=70),
    "picture.jpg": lambda: _encoded(_photo(640, 360), "JPEG", quality=80, progressive=True),
    "photo-rotated.jpg": _rotated,
    "cmyk.jpg": lambda: _encoded(_photo(800, 600).convert("CMYK"), "JPEG", quality=70),
    "sixteen-bit.png": _sixteen_bit,
    "alpha.png": _alpha,
    "pictograms.gif": _animated,
    "picture.webp": lambda: _encoded(_photo(1024, 768), "WEBP", quality=70),
    "plate.tiff": lambda: _encoded(_photo(600, 800).quantize(32), "TIFF", compression="tiff_lzw", dpi=(300, 300)),
    "diagram.svg": _svg,
    "lesson.html": _html,
    "notes.txt": lambda: b"Notities bij de les over ritme en muziek.\nTweede regel.\n",
    "clip.mp4": lambda: b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom" + b"\x00\x00\x00\x08free",
}


if __name__ == "__main__":
    main()
