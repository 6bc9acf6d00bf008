"""The task `pdf_preview`: a picture of a PDF's first page, and its thumbnails.

Belongs here: rendering by poppler (through pdf2image) at the size needed, once, and how poppler's complaints read to
a person. The page is never rendered larger than it is kept: a page of 14,400 points costs what a letter does.
Does not belong here: limits and encoding (`pictures.py`); the PDF itself is a body and kept as such.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING

from harvester_dagster.tasks import access_policy, pictures
from harvester_dagster.tasks.once_per_body import body_of, each, gave_up, known_bodies, once
from harvester_dagster.tasks.task import Context, Item, Outcome, Subject, Task

if TYPE_CHECKING:
    from harvester_dagster.outside.bodies import Body, Known

_COMPLAINTS = {
    "Incorrect password": "the PDF is encrypted",
    "May not be a PDF file": "not a PDF: it has no PDF header",
    "Document stream is empty": "the file is empty",
    "Couldn't find trailer dictionary": "broken PDF: no trailer, it is cut off or damaged",
    "Couldn't read xref table": "broken PDF: no cross-reference table",
    "Couldn't read page catalog": "broken PDF: no page catalog",
    "Wrong page range": "the PDF has no pages",
}


def first_page(path: str) -> list[pictures.Picture]:
    """The first page, longest side 1600 pixels, and its thumbnails; runs in a limited process. Raises
    UnreadableError and its NothingToSeeError, TooSlowError."""
    from pdf2image import convert_from_path
    from pdf2image.exceptions import (
        PDFInfoNotInstalledError,
        PDFPageCountError,
        PDFPopplerTimeoutError,
        PDFSyntaxError,
    )

    _ask_version_once()
    try:
        pages = convert_from_path(
            path, first_page=1, last_page=1, size=max(pictures.FULL_SIZE), timeout=pictures.SECONDS - 5
        )
    except PDFInfoNotInstalledError:
        raise RuntimeError("poppler is not installed: apt-get install poppler-utils") from None
    except PDFPopplerTimeoutError:
        raise pictures.TooSlowError(f"rendering took longer than {pictures.SECONDS - 5} s") from None
    except (PDFPageCountError, PDFSyntaxError) as error:
        raise pictures.UnreadableError(_in_words(str(error))) from None
    except (OSError, ValueError) as error:
        raise pictures.UnreadableError(f"poppler rendered nothing that can be read: {error}"[:200]) from None
    if not pages:
        raise pictures.UnreadableError("poppler rendered nothing: broken first page, or it needs too much memory")
    page = pages[0]
    pictures.seen(page, "first page", min(page.size))  # poppler leaves white what it cannot decode, without a word
    return [pictures.encoded("full_size", page), *pictures.thumbnails(page)]


@cache
def _ask_version_once() -> None:
    """pdf2image 1.17 starts poppler for its version before every page: 12 of 100 ms. Only in a limited process."""
    from pdf2image import pdf2image

    if hasattr(pdf2image, "_get_poppler_version"):
        pdf2image._get_poppler_version = cache(pdf2image._get_poppler_version)


def _in_words(complaint: str) -> str:
    for sign, words in _COMPLAINTS.items():
        if sign in complaint:
            return words
    lines = [line for line in complaint.splitlines() if line.strip()]
    return f"poppler cannot read it: {lines[-1] if lines else 'no reason given'}"[:200]


def _condition(subject: Subject, context: Context) -> str | None:
    return access_policy.content_refused(subject, context) or access_policy.not_pdf(subject.properties)


def _preview(item: Item, context: Context, known: "Known", limited: pictures.Limited) -> Outcome:
    body = body_of(item, context, known)
    try:
        return once(body, TASK, context, lambda prefix: _render(body, prefix, context, limited))
    except pictures.TooSlowError as error:
        return gave_up(item, str(error))


def _render(body: "Body", prefix: str, context: Context, limited: pictures.Limited) -> Outcome:
    if body.media_type and body.media_type != "application/pdf":
        return Outcome("failure", reason=f"not a PDF: the content is {body.media_type}")
    try:
        made, seconds = limited(first_page, body.path)
    except pictures.NothingToSeeError as error:
        return Outcome("empty", reason=str(error))
    except pictures.UnreadableError as error:
        return Outcome("failure", reason=str(error))
    keys = pictures.store(made, prefix, context.objects)
    size = {"width": made[0].width, "height": made[0].height}
    return Outcome("success", {**keys, **size, "seconds": seconds})


def run(
    items: Sequence[Item], context: Context, limited: pictures.Limited = pictures.limited
) -> Iterator[tuple[Item, Outcome]]:
    """Make the picture of each PDF, once per content."""
    known = known_bodies(items, context)
    yield from each(items, context, lambda item: _preview(item, context, known, limited), threads=8)


TASK = Task(
    name="pdf_preview",
    entity="files",
    version=2,
    reads=("$.hash", *access_policy.ANALYSIS_READS, *access_policy.MIME_READS[1:], *access_policy.FETCH_READS),
    run=run,
    condition=_condition,
    after=("check_url",),
    summary="A picture of a PDF's first page, with two thumbnails.",
    publishes=(pictures.PREVIEWS,),
    picture="preview_small",
)
