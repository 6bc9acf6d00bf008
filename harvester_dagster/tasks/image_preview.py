"""The task `image_preview`: an image file in three sizes, encoded anew.

Belongs here: when it applies, and what its derivative says. Does not belong here: decoding (`pictures.py`, in
limited processes).
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from harvester_dagster.tasks import access_policy, pictures
from harvester_dagster.tasks.once_per_body import body_of, each, gave_up, known_bodies, once
from harvester_dagster.tasks.task import Context, Item, Outcome, Subject, Task

if TYPE_CHECKING:
    from harvester_dagster.outside.bodies import Body, Known


def _condition(subject: Subject, context: Context) -> str | None:
    return access_policy.content_refused(subject, context) or access_policy.not_image(subject)


def _preview(item: Item, context: Context, known: "Known", limited: pictures.Limited) -> Outcome:
    body = body_of(item, context, known)
    try:
        return once(body, TASK, context, lambda prefix: _shrink(body, prefix, context, limited))
    except pictures.TooSlowError as error:
        return gave_up(item, str(error))


def _shrink(body: "Body", prefix: str, context: Context, limited: pictures.Limited) -> Outcome:
    try:
        made, seconds = limited(pictures.pictures_of_file, body.path)
    except pictures.NothingToSeeError as error:
        return Outcome("empty", reason=str(error))
    except pictures.UnreadableError as error:
        return Outcome("failure", reason=str(error))
    keys = pictures.store(made, prefix, context.objects)
    return Outcome("success", {**keys, "seconds": seconds})


def run(
    items: Sequence[Item], context: Context, limited: pictures.Limited = pictures.limited
) -> Iterator[tuple[Item, Outcome]]:
    """Make the pictures of each image, once per content."""
    known = known_bodies(items, context)
    yield from each(items, context, lambda item: _preview(item, context, known, limited), threads=8)


TASK = Task(
    name="image_preview",
    entity="files",
    version=3,
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
    summary="An image file, no larger than 1600 pixels, with two thumbnails.",
    publishes=(pictures.PREVIEWS,),
    picture="preview_small",
)
