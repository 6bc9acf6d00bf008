"""The document tasks, one row each, in the order in which a person reads the night.

A new task is a file with a `TASK`, a row here, a test. Each becomes a partitioned asset of its name.
"""

from harvester_dagster.tasks import (
    check_url,
    image_preview,
    lookup_consortium_translations,
    lookup_study_vocabulary_parents,
    normalize_disciplines,
    normalize_publisher_year,
    pdf_preview,
    tika,
    video_preview,
    youtube_api,
)
from harvester_dagster.tasks.task import Task

TASKS: tuple[Task, ...] = (
    check_url.TASK,
    tika.TASK,
    pdf_preview.TASK,
    image_preview.TASK,
    youtube_api.TASK,
    video_preview.TASK,
    lookup_study_vocabulary_parents.TASK,
    normalize_disciplines.TASK,
    normalize_publisher_year.TASK,
    lookup_consortium_translations.TASK,
)
