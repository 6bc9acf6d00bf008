"""The jobs: a set's night, a release, access in one endpoint and mode, and what an operator does by hand.

Belongs here: which assets a run makes together, and the ops that are no asset. The job that runs a set selects no
release asset: a partitioned run on `*` would promote inside every set's run. Dagster's pages:
https://docs.dagster.io/guides/build/jobs/asset-jobs and https://docs.dagster.io/guides/build/ops
"""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import dagster as dg

from assets import again, doing, names, night_runs
from assets import release as release_assets
from harvester_dagster.catalog import Catalog
from harvester_dagster.installation import Installation
from harvester_dagster.publication import audit
from harvester_dagster.releases import asking_anew, release
from harvester_dagster.sets import failed_results, reconcile, sets, steps, versions
from harvester_dagster.sets.enrich import Portion
from harvester_dagster.sets.pushed import Taken
from harvester_dagster.sets.task_reports import TaskReport
from harvester_dagster.store.locks import Busy
from harvester_dagster.tasks.task import Task

AssetJob = Any
"""What `define_asset_job` returns: Dagster exports no name for it."""


def set_job(catalog: Catalog) -> AssetJob:
    """Everything of one set, from harvest to verdict, in one run."""
    selection = dg.AssetSelection.assets(
        names.HARVEST,
        *(names.documents_of(entity.name) for entity in catalog.entities),
        *(task.name for task in catalog.tasks),
        names.DEACTIVATE_INVALID_PRODUCTS,
        *(names.set_of(entity.name) for entity in catalog.entities),
    )
    return dg.define_asset_job(
        names.HARVEST_SET_JOB,
        selection,
        executor_def=dg.in_process_executor,
        hooks={night_runs.set_run_failed},
        description="One set's night: harvest, compare, enrich, judge. A run of it can be repeated at any time.",
    )


VOCABULARIES = dg.define_asset_job(
    names.HARVEST_VOCABULARIES_JOB,
    dg.AssetSelection.assets(names.VOCABULARIES),
    executor_def=dg.in_process_executor,
    description="Harvest the vocabularies that are configured beside those that ship.",
)
RELEASE = dg.define_asset_job(
    names.RELEASE_JOB,
    dg.AssetSelection.assets(names.CREATE_OPENSEARCH_INDEX, names.SET_CURRENT_DATASET_VERSION),
    executor_def=dg.in_process_executor,
    hooks={night_runs.release_failed},
    description="Promote what the sets have accepted, as one dataset version.",
)


def access_job() -> AssetJob:
    """Its partitions are those of its assets (`assets/access.py`)."""
    return dg.define_asset_job(
        names.DECIDE_ACCESS_JOB,
        selection=[names.JOURNALS, names.ACCESS_DECISIONS, names.ACCESS_UPDATES],
        executor_def=dg.in_process_executor,
        description="Decide who may read what in one endpoint and mode, and write it back.",
    )


class AcceptConfig(dg.Config):
    """Which set, by its key `source:set`; which attempt of it was looked at (0: the one that waits), and the digest of
    the figures that were shown of it. `look`: stage it again to be looked at, and accept nothing."""

    source_set: str
    attempt: int = 0
    seen: str = ""
    look: bool = False


@dg.op(
    name=names.ACCEPT_CANDIDATE_OP,
    description="Take a set's newest rejected candidate after all; its checks turn green.",
)
def accept_candidate(
    context: dg.OpExecutionContext, config: AcceptConfig, harvester: dg.ResourceParam[Installation]
) -> None:
    """Accept, and report a passing check for the partition that was red. Raises NothingToAccept, CandidateMoved."""
    key, attempt = config.source_set, config.attempt or None
    if config.look:
        _, figures = steps.look(harvester, key, context.log.info)
        context.log.info("%s: it proposes %s", key, figures)
        return
    with doing.by_run(harvester, context.run_id, "accept", key):
        outcome = steps.accept(harvester, key, context.log.info, attempt_id=attempt, seen=config.seen)
    report_accepted(context.instance, harvester, key, context.run_id)
    context.log.info("%s: generation %s accepted by hand", key, outcome.generation)


def report_pushed(instance: dg.DagsterInstance, harvester: Installation, found: Taken) -> None:
    """A materialization of each entity's set, for what was pushed and accepted."""
    attempt = found.attempt
    if attempt is None or attempt.generation is None:
        return
    for entity in harvester.catalog.entities:
        counts = (attempt.counts or {}).get(entity.name, {})
        told = {name: dg.MetadataValue.int(count) for name, count in counts.items()}
        told |= {"generation": dg.MetadataValue.int(attempt.generation), "pushed": dg.MetadataValue.int(found.settled)}
        instance.report_runless_asset_event(
            dg.AssetMaterialization(
                names.set_of(entity.name), description=attempt.why, metadata=told, partition=found.key
            )
        )


def report_accepted(instance: dg.DagsterInstance, harvester: Installation, key: str, run_id: str) -> None:
    """A passing evaluation for the partition that was red, in the log of a run that did nothing else. As an event
    without a run Dagster's store takes one for each partition, and no second one."""
    for entity in harvester.catalog.entities:
        evaluation = dg.AssetCheckEvaluation(
            asset_key=dg.AssetKey(names.set_of(entity.name)),
            check_name=names.CHECK_SET_INTEGRITY,
            passed=True,
            description="accepted by hand",
            partition=key,
        )
        kind = dg.DagsterEventType.ASSET_CHECK_EVALUATION.value
        event = dg.DagsterEvent(kind, names.ACCEPT_JOB, event_specific_data=evaluation)
        instance.report_dagster_event(event, run_id=run_id)


@dg.job(
    name=names.ACCEPT_JOB,
    executor_def=dg.in_process_executor,
    description="Accept a rejected candidate by hand (see `harvester accept`).",
)
def accept() -> None:
    """One step: `accept_candidate`."""
    accept_candidate()


class ReconcileConfig(dg.Config):
    """Which set, by its key `source:set`, and why now."""

    source_set: str
    why: str = "asked for"


@dg.op(
    name=names.RECONCILE_SET_OP,
    description="A set beside its source's whole list of identifiers: what deltas had missed, fetched or ended.",
)
def reconcile_with_source(
    context: dg.OpExecutionContext, config: ReconcileConfig, harvester: dg.ResourceParam[Installation]
) -> None:
    """Raises NothingToReconcile, SourceError. A candidate that is rejected waits, and fails nothing."""
    with again.when_the_store_was_away():
        report, outcome = reconcile.reconcile(
            harvester, config.source_set, context.log.info, run_id=context.run_id, why=config.why
        )
    context.add_output_metadata({**report._asdict(), "missed": report.missed, "found": str(report)})
    if outcome.is_replaced:
        context.log.warning("%s: rejected: %s", config.source_set, outcome.reason)


@dg.job(
    name=names.RECONCILE_JOB,
    executor_def=dg.in_process_executor,
    hooks={again.run_again},
    description="Make a set what its source lists (see `harvester set reconcile`). A run can be repeated at any time.",
)
def reconcile_set() -> None:
    """One step: `reconcile_with_source`."""
    reconcile_with_source()


RETRIED_AT_ONCE = Portion(60, 200)
LET_GO_SECONDS = 2.0
"""Between two portions of a set: whoever waits for it has it then."""


class RetryConfig(dg.Config):
    """Which task, and the sets whose results of it are due."""

    task: str
    sets: list[str]


@dg.op(
    name=names.RETRY_RESULTS_OP,
    description="Make the results of a task that are due anew, in some sets; what is found is published by a release.",
)
def retry_results(
    context: dg.OpExecutionContext, config: RetryConfig, harvester: dg.ResourceParam[Installation]
) -> None:
    """Set by set, those first that nobody works on; of each a portion at a time, so that a night or a push that waits
    for the set has it. Raises UnknownTask, and Busy for the sets that could not be had."""
    task = failed_results.task_named(harvester, config.task)
    by_run = doing.by_run(harvester, context.run_id, "retry task", config.task, is_repeated=True)
    with again.when_the_store_was_away(), by_run:
        made, busy = _retried(context, harvester, task, config.sets)
        context.add_output_metadata(dict(made))
        if busy:
            raise next(iter(busy.values()))
        now = harvester.clock()
        audit.told_of_run(harvester.pool, "retry task", config.task, now, context.run_id, "done", results=dict(made))


def _retried(
    context: dg.OpExecutionContext, harvester: Installation, task: Task, keys: Sequence[str]
) -> tuple[Counter[str], dict[str, Busy]]:
    """How many outcomes there were of each kind, and the sets that could not be had."""
    made, waiting = Counter[str](), list(keys)
    busy: dict[str, Busy] = {}
    for patience in (1, 600):
        for key in list(waiting):
            try:
                for report in _portions(context, harvester, key, task, patience):
                    made.update(report.outcomes)
                    context.log.info("%s: %s", key, dict(report.outcomes) or "nothing was due")
                waiting.remove(key)
                busy.pop(key, None)
            except Busy as error:
                busy[key] = error
    return made, busy


def _portions(
    context: dg.OpExecutionContext, harvester: Installation, key: str, task: Task, patience: float
) -> Iterator[TaskReport]:
    """What is due of a set, until nothing is left."""
    while True:
        (report,) = steps.tasks(
            harvester,
            key,
            [task],
            run_id=context.run_id,
            portion=RETRIED_AT_ONCE,
            patience=patience,
            progress=context.log.info,
        )
        yield report
        if not report.is_cut:
            return
        time.sleep(LET_GO_SECONDS)


@dg.job(
    name=names.RETRY_JOB,
    executor_def=dg.in_process_executor,
    hooks={again.run_again},
    description="Make due results of a task anew (see `harvester tasks retry`). A run can be repeated at any time.",
)
def retry() -> None:
    """One step: `retry_results`."""
    retry_results()


class RollbackConfig(dg.Config):
    """0: the version that was current before. `instead_of`: the one that was current when somebody looked at what
    going back would do; another one stays."""

    version: int = 0
    instead_of: int | None = None


@dg.op(
    name=names.ROLL_BACK_OP,
    description="Make an earlier version current again; automatic releases are held until one by hand.",
)
def roll_back(
    context: dg.OpExecutionContext, config: RollbackConfig, harvester: dg.ResourceParam[Installation]
) -> None:
    """Bring the earlier version's index up, then move the pointer and the aliases. Raises Superseded, NotPromotable."""
    with harvester.pool.connection() as connection:
        earlier = versions.by_id(connection, config.version) if config.version else versions.before_current(connection)
    with doing.by_run(harvester, context.run_id, "rollback", str(earlier.version_id)):
        release.roll_back(harvester, earlier, instead_of=config.instead_of, progress=context.log.info)
    context.log.info("version %s is current; automatic releases are held", earlier.version_id)


@dg.job(
    name=names.ROLLBACK_JOB, executor_def=dg.in_process_executor, description="Go back to an earlier dataset version."
)
def rollback() -> None:
    """One step: `roll_back`."""
    roll_back()


@dg.op(
    name=names.MEND_OP,
    description="Move aliases to the current version; close the night whose release did not come to its end.",
)
def mend_what_was_cut(context: dg.OpExecutionContext, harvester: dg.ResourceParam[Installation]) -> None:
    """Finish what a killed run has begun; done twice it does nothing."""
    with again.when_the_store_was_away():
        if behind := release.catch_up(harvester, context.log.info):
            context.log.warning("the index is behind: %s", behind)
        release_assets.report_search(context.instance, harvester)
        sets.synchronise(harvester.pool, harvester.config, harvester.clock())
        night_id = night_runs.release_begins(context.instance, context.run, harvester)
        if night_id is not None:
            failed = night_runs.failed_release(context.instance, harvester, night_id)
            release.end_night(harvester, night_id, failed_run=failed)
            context.log.info("night %s is closed", night_id)
        for asked in asking_anew.ask_due(harvester, context.log.info):  # last: a source may be slow to answer
            then = "" if asked.is_over else "; it is asked for again"
            context.log.info("%s: asked for anew: %s%s", asked.wish.srn, asked.did or "it did not come", then)


@dg.job(
    name=names.MEND_JOB,
    executor_def=dg.in_process_executor,
    hooks={again.run_again},
    description="What a killed run left: an alias behind the version, a night that nobody closed; records whose purge "
    "was undone. Sensors ask for it.",
)
def mend() -> None:
    """One step: `mend_what_was_cut`."""
    mend_what_was_cut()
