"""What a set's night harvests: raw pages from the source, then products and files extracted and compared.

`harvest` is an asset of its own, so that documents can be extracted again without asking the source. The documents
of all entities are one op: one pass over the stored pages. Dagster's pages:
https://docs.dagster.io/guides/build/assets/defining-assets and https://docs.dagster.io/guides/test/asset-checks
"""

from collections.abc import Iterator
from enum import Enum

import dagster as dg

from assets import again, code, names, night_runs, showing
from assets.partitions import OWNER, SETS
from harvester_dagster.catalog import Catalog
from harvester_dagster.config import Config
from harvester_dagster.installation import Installation
from harvester_dagster.sets import sets, steps
from harvester_dagster.sets.attempts import Attempt


class Ask(Enum):
    """What a run asks its source for: what is due (`auto`), everything (`full`), everything compared anew (`reset`)."""

    auto = "auto"
    full = "full"
    reset = "reset"


class HarvestConfig(dg.Config):
    """`full` ignores the watermark; `reset` also ignores hashes: everything is extracted and compared anew."""

    ask: Ask = Ask.auto


@dg.asset(
    name=names.HARVEST,
    partitions_def=SETS,
    group_name=names.HARVEST_GROUP,
    kinds={"python", "http"},
    owners=[OWNER],
    hooks={again.run_again},
    description="The raw pages of a set, as its source sent them: a delta since the last harvest where that can be, "
    "else everything. A source that fails makes its set fall back; it fails nothing else.",
    check_specs=[
        dg.AssetCheckSpec(
            names.SOURCE_ANSWERED,
            asset=names.HARVEST,
            partitions_def=SETS,
            description="The source gave a whole answer. If not, the set keeps its accepted state tonight.",
        )
    ],
)
def harvest(
    context: dg.AssetExecutionContext, config: HarvestConfig, harvester: dg.ResourceParam[Installation]
) -> dg.MaterializeResult:
    """Ask the source and store its pages; a source that fails leaves its check red and fails no run."""
    with again.when_the_store_was_away():
        sets.synchronise(harvester.pool, harvester.config, harvester.clock())
        attempt = steps.harvest(
            harvester,
            context.partition_key,
            asked=None if config.ask is Ask.auto else config.ask.value,
            run_id=context.run.run_id,
            night_id=night_runs.night_of(context.instance, context.run, harvester),
            progress=context.log.info,
        )
        notes = steps.list_notes(harvester, attempt) if attempt else []
    if attempt is None:
        return dg.MaterializeResult(
            metadata={"state": "retired: gone from the configuration, nothing is asked"},
            check_results=[
                dg.AssetCheckResult(passed=True, check_name=names.SOURCE_ANSWERED, metadata={"retired": True})
            ],
        )
    answered = attempt.state != "failed"
    return dg.MaterializeResult(
        metadata={
            **_metadata(attempt, notes),
            **showing.page_of_set(harvester.config, context.partition_key),
        },
        check_results=[
            dg.AssetCheckResult(
                passed=answered,
                check_name=names.SOURCE_ANSWERED,
                description="whole answer" if answered else attempt.reason,
            )
        ],
    )


def _metadata(attempt: Attempt, notes: list[str]) -> showing.Metadata:
    ended = attempt.fetched_at or attempt.ended_at
    return {
        "mode": f"{attempt.mode} ({attempt.why})",
        "since": attempt.since.isoformat() if attempt.since else "the beginning",
        "pages": attempt.pages,
        "seconds": round((ended - attempt.started_at).total_seconds(), 3) if ended else 0.0,
        "attempt": attempt.attempt_id,
        "state": attempt.state,
        **({"reason": attempt.reason} if attempt.reason else {}),
        **({"notes": "; ".join(notes)} if notes else {}),
    }


def documents_asset(catalog: Catalog, config: Config) -> dg.AssetsDefinition:
    """`ENTITY/documents` for every entity of the catalog, by one op."""
    version = code.documents_version(catalog, config)
    specs = [
        dg.AssetSpec(
            names.documents_of(entity.name),
            deps=[names.HARVEST],
            description=f"{entity.description}: extracted, and compared by hash with what was accepted.",
            group_name=entity.name,
            owners=[OWNER],
            kinds={"python", "postgres"},
            code_version=version,
            skippable=True,
        )
        for entity in catalog.entities
    ]

    @dg.multi_asset(name=names.DOCUMENTS_OP, specs=specs, partitions_def=SETS, can_subset=True, hooks={again.run_again})
    def documents(
        context: dg.AssetExecutionContext, harvester: dg.ResourceParam[Installation]
    ) -> Iterator[dg.MaterializeResult]:
        started = harvester.clock()
        with again.when_the_store_was_away():
            attempt = steps.documents(
                harvester, context.partition_key, run_id=context.run.run_id, progress=context.log.info
            )
        seconds = (harvester.clock() - started).total_seconds()
        for key in sorted(context.selected_asset_keys):
            yield dg.MaterializeResult(asset_key=key, metadata=_document_metadata(key.path[0], attempt, seconds))

    return documents


def _document_metadata(entity: str, attempt: Attempt | None, seconds: float) -> showing.Metadata:
    if attempt is None or attempt.state in ("open", "failed"):
        return {"state": "nothing new to extract: the accepted state stands"}
    row = dict((attempt.counts or {}).get(entity, {}))
    return {
        **row,
        "records": attempt.records,
        "seconds": round(seconds, 3),
        "records per second": round(attempt.records / seconds, 1) if seconds else 0.0,
    }
