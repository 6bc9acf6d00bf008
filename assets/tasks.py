"""An asset for each row of the task table, between a set's documents and its verdict.

Tasks that go through the documents in one pass are one op. Dagster's page:
https://docs.dagster.io/guides/build/assets/defining-assets
"""

from collections.abc import Iterator, Sequence
from enum import Enum

import dagster as dg

from assets import again, code, names, showing
from assets.partitions import OWNER, SETS
from harvester_dagster.catalog import Catalog
from harvester_dagster.explain.thumbnails import addresses
from harvester_dagster.installation import Installation
from harvester_dagster.sets import steps
from harvester_dagster.sets.task_reports import TaskReport
from harvester_dagster.tasks.task import Task


class Again(Enum):
    """Which stored results are made anew beside what is pending."""

    nothing = ""
    failed = "failed"
    expired = "expired"
    all = "all"


class TaskConfig(dg.Config):
    """Which results to make anew beside what is pending."""

    again: Again = Again.nothing


def task_assets(catalog: Catalog) -> list[dg.AssetsDefinition]:
    """An asset for each task, an op for each pass."""
    return [_pass_assets(tasks) for tasks in catalog.passes]


def op_of(catalog: Catalog, task: str) -> str:
    """The op that runs a task, which takes its configuration."""
    return next(_op_name(tasks) for tasks in catalog.passes if task in [row.name for row in tasks])


def _op_name(tasks: Sequence[Task]) -> str:
    return tasks[0].name if len(tasks) == 1 else names.normalize_op(tasks[0].entity)


def _pass_assets(tasks: Sequence[Task]) -> dg.AssetsDefinition:
    specs = [
        dg.AssetSpec(
            task.name,
            deps=_deps(task),
            group_name=task.entity,
            description=task.summary,
            owners=[OWNER],
            kinds={"python"},
            code_version=str(task.version),
            metadata=code.reference(task.run, "what the task does"),
            skippable=len(tasks) > 1,
        )
        for task in tasks
    ]

    @dg.multi_asset(
        name=_op_name(tasks),
        specs=specs,
        partitions_def=SETS,
        can_subset=len(tasks) > 1,
        hooks={again.run_again},
    )
    def run(
        context: dg.AssetExecutionContext, config: TaskConfig, harvester: dg.ResourceParam[Installation]
    ) -> Iterator[dg.MaterializeResult]:
        chosen = [task for task in tasks if dg.AssetKey(task.name) in context.selected_asset_keys]
        with again.when_the_store_was_away():
            reports = steps.tasks(
                harvester,
                context.partition_key,
                chosen,
                run_id=context.run.run_id,
                again=config.again.value,
                progress=context.log.info,
            )
        for report in reports:
            yield dg.MaterializeResult(asset_key=report.task, metadata=_metadata(report, harvester))

    return run


def _deps(task: Task) -> list[dg.AssetKey]:
    """The tasks whose results it reads, else its documents; and the vocabularies, where it looks into them."""
    before = [dg.AssetKey([name]) for name in task.after] or [dg.AssetKey(names.documents_of(task.entity))]
    return [*before, *([dg.AssetKey([names.VOCABULARIES])] if task.uses_vocabularies else [])]


def _metadata(report: TaskReport, harvester: Installation) -> showing.Metadata:
    pictures = addresses(report.pictures, harvester.config)
    metadata: showing.Metadata = {
        **({"waits": report.waits} if report.waits else {}),
        **({"pictures": showing.pictures(pictures)} if pictures else {}),
        "documents looked at": report.looked_at,
        "not applicable": report.not_applicable,
        "results that stood": report.reused,
        **{kind: report.outcomes.get(kind, 0) for kind in ("success", "empty", "failure", "retry")},
        "seconds": round(report.seconds, 3),
        "per second": round(report.done / report.seconds, 1) if report.seconds else 0.0,
    }
    if report.why_not:
        metadata["why not"] = showing.table(
            ["reason", "documents"], sorted(report.why_not.items(), key=lambda row: -row[1])[:10]
        )
    if report.examples:
        # Why it failed tells of what the document holds: Dagster keeps what it is told for good.
        metadata["failed"] = showing.table(
            ["document", "outcome"], [(example.srn, example.kind) for example in report.examples]
        )
        metadata["explain"] = showing.why_commands(example.srn for example in report.examples)
    return metadata
