"""The task `image_preview`: thumbnails of an image file; the image itself is the full size.

Belongs here: when it applies, and what its derivative says. Does not belong here: decoding (`pictures.py`, in
limited processes).
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from harvester_dagster.tasks import access_policy, pictures
from harvester_dagster.tasks.content_work import body_of, each, gave_up, known_bodies, once
from harvester_dagster.tasks.task import Context, Item, Outcome, Subject, Task

if TYPE_CHECKING:
    from harvester_dagster.outside.bodies import Body, Known


def _condition(subject: Subject, context: Context) -> str | None:
    return access_policy.content_refused(subject, context) or access_policy.not_image(subject)


def _preview(item: Item, context: Context, known: "Known") -> Outcome:
    body = body_of(item, context, known)
    try:
        return once(body, FOLDER, context, lambda prefix: _shrink(body, prefix, context))
    except pictures.TooSlowError as error:
        return gave_up(item, str(error))


def _shrink(body: "Body", prefix: str, context: Context) -> Outcome:
    try:
        made, seconds = pictures.limited(pictures.thumbnails_of_file, body.path)
    except pictures.UnreadableError as error:
        return Outcome("failure", reason=str(error))
    keys = pictures.store(made, prefix, context.objects)
    return Outcome("success", {"full_size": body.key, **keys, "seconds": seconds})


def run(items: Sequence[Item], context: Context) -> Iterator[tuple[Item, Outcome]]:
    known = known_bodies(items, context)
    yield from each(items, context, lambda item: _preview(item, context, known), threads=8)


TASK = Task(
    name="image_preview",
    entity="files",
    version=1,
    reads=(
        "$.hash",
        *access_policy.ANALYSIS_READS,
        *access_policy.MIME_READS[1:],
        *access_policy.FETCH_READS,
        "check_url.content_type",
    ),
    run=run,
    condition=_condition,
    after=("check_url",),
    summary="Two thumbnails of an image file.",
)
FOLDER = f"previews/{TASK.name}-{TASK.version}"
