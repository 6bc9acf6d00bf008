"""The document tasks, one row each, in the order in which a person reads the night.

A new task is a file with a `TASK`, a row here, a test. Each becomes a partitioned asset of its name.
"""

from harvester_dagster.tasks import (
    lookup_consortium_translations,
    lookup_study_vocabulary_parents,
    normalize_disciplines,
    normalize_publisher_year,
)
from harvester_dagster.tasks.task import Task

TASKS: tuple[Task, ...] = (
    lookup_study_vocabulary_parents.TASK,
    normalize_disciplines.TASK,
    normalize_publisher_year.TASK,
    lookup_consortium_translations.TASK,
)
