"""The task table: what a row names is there, and stands where it is run in time."""

from importlib import import_module
from pathlib import Path

import pytest

from harvester_dagster import tasks
from harvester_dagster.catalog import CATALOG
from harvester_dagster.tasks.table import TASKS
from harvester_dagster.tasks.task import Task

FILES = sorted(path.stem for path in Path(str(tasks.__file__)).parent.glob("[!_]*.py"))


def _is(module: str) -> bool:
    return isinstance(getattr(import_module(f"harvester_dagster.tasks.{module}"), "TASK", None), Task)


def test_each_file_with_a_task_has_one_row_and_its_name() -> None:
    assert sorted(row.name for row in TASKS) == [name for name in FILES if _is(name)]


@pytest.mark.parametrize("row", TASKS, ids=lambda row: row.name)
def test_what_a_row_names_is_there_and_above_it(row: Task) -> None:
    assert row.entity in [entity.name for entity in CATALOG.entities]
    above = [other.name for other in TASKS[: TASKS.index(row)] if other.entity == row.entity]
    assert set(row.after) <= set(above), "tasks run from the top of the table to its end"
    read = {path.partition(".")[0] for path in row.reads}
    assert read <= {"$", *row.after}, "`$.…` or `TASK.…` of a task in `after`: nothing else makes a result stale"
