"""Outputs and the verdict of a set: `deactivate_invalid_products`, then `ENTITY/set` with `check_set_integrity`.

The sets of all entities are one op, never one without the other, so that products and files stay in step (measured:
with two ops a task that failed still let the other one materialize with a green check). A rejected candidate still
materializes: what the asset holds is the accepted generation, the fallback; the check is red and the night goes on.
"""

import shlex
from collections.abc import Iterator

import dagster as dg

from assets import again, code, doing, names, night_runs, showing
from assets.partitions import OWNER, SETS
from harvester_dagster.catalog import Catalog
from harvester_dagster.config import Config
from harvester_dagster.installation import Installation
from harvester_dagster.sets import steps
from harvester_dagster.sets.steps import SetOutcome


def outputs_asset(catalog: Catalog, config: Config) -> dg.AssetsDefinition:
    """Makes the outputs of what changed and validates them."""

    @dg.asset(
        name=names.DEACTIVATE_INVALID_PRODUCTS,
        partitions_def=SETS,
        deps=[task.name for task in catalog.tasks],
        group_name=names.OUTPUTS_GROUP,
        description="The outputs of what changed, made and validated against the published schema; an invalid product "
        "is not published, and its reasons are kept.",
        owners=[OWNER],
        kinds={"python", "postgres"},
        code_version=code.outputs_version(catalog, config),
        hooks={again.run_again},
    )
    def deactivate_invalid_products(
        context: dg.AssetExecutionContext, harvester: dg.ResourceParam[Installation]
    ) -> dg.MaterializeResult:
        started = harvester.clock()
        with again.when_the_store_was_away():
            made = steps.outputs(harvester, context.partition_key, run_id=context.run.run_id, progress=context.log.info)
        if made is None:
            return dg.MaterializeResult(metadata={"state": "no output is stale", "written": 0, "invalid": 0})
        return dg.MaterializeResult(
            metadata={
                "documents looked at": made.looked_at,
                "written": made.written,
                "ended": made.closed,
                "invalid": made.invalid,
                "seconds": round((harvester.clock() - started).total_seconds(), 3),
                "invalid products": showing.why_commands(srn for srn, _ in made.examples),
            }
        )

    return deactivate_invalid_products


def sets_asset(catalog: Catalog, config: Config) -> dg.AssetsDefinition:
    """`ENTITY/set` for every entity, each with its integrity check."""
    keys = {entity.name: dg.AssetKey(names.set_of(entity.name)) for entity in catalog.entities}

    @dg.multi_asset(
        name=names.SETS_OP,
        specs=[
            dg.AssetSpec(
                key,
                deps=[names.documents_of(name), names.DEACTIVATE_INVALID_PRODUCTS],
                description=f"The accepted {name} of a set: tonight's, or the historic ones where those were rejected.",
                group_name=names.accepted_group(name),
                owners=[OWNER],
                kinds={"postgres"},
                code_version=code.outputs_version(catalog, config),
            )
            for name, key in keys.items()
        ],
        check_specs=[
            dg.AssetCheckSpec(
                names.CHECK_SET_INTEGRITY,
                asset=key,
                partitions_def=SETS,
                blocking=False,
                description="What was harvested is not so much smaller than what was accepted before that the source "
                "must have lied. Red: the historic set took its place.",
            )
            for key in keys.values()
        ],
        partitions_def=SETS,
        hooks={again.run_again},
    )
    def sets(
        context: dg.AssetExecutionContext, harvester: dg.ResourceParam[Installation]
    ) -> Iterator[dg.MaterializeResult]:
        with again.when_the_store_was_away():
            outcome = steps.conclude(
                harvester, context.partition_key, run_id=context.run.run_id, progress=context.log.info
            )
            night_runs.set_ended(context.instance, context.run, harvester, "success")
            doing.harvest_ended(harvester, context.run_id, context.partition_key, outcome)
        for name, key in keys.items():
            yield dg.MaterializeResult(
                asset_key=key,
                metadata={
                    **_metadata(name, outcome),
                    **showing.page_of_set(harvester.config, context.partition_key),
                },
                check_results=[_check(context.partition_key, name, key, outcome)],
            )

    return sets


def _metadata(entity: str, outcome: SetOutcome) -> showing.Metadata:
    attempt = outcome.attempt
    metadata: showing.Metadata = {
        "documents": outcome.published.get(entity, 0),
        "generation": outcome.generation,
        "is_replaced": outcome.is_replaced,
    }
    if outcome.retired:
        metadata["state"] = "retired: published until it is withdrawn"
    if attempt:
        verdict = (attempt.verdict or {}).get(entity, {})
        metadata |= {
            "attempt": f"{attempt.attempt_id}: {attempt.mode}, {attempt.state}",
            "proposed": verdict.get("n", 0),
            "accepted before": verdict.get("h", 0),
            **{f"{name} in the candidate": n for name, n in (attempt.counts or {}).get(entity, {}).items()},
        }
    if outcome.reason:
        metadata["reason"] = outcome.reason
    return metadata


def _check(partition: str, entity: str, key: dg.AssetKey, outcome: SetOutcome) -> dg.AssetCheckResult:
    verdict = ((outcome.attempt.verdict if outcome.attempt else None) or {}).get(entity, {})
    fallback = f"the accepted generation {outcome.generation} stays in place: {outcome.reason}"
    return dg.AssetCheckResult(
        asset_key=key,
        check_name=names.CHECK_SET_INTEGRITY,
        passed=not outcome.is_replaced,
        severity=dg.AssetCheckSeverity.ERROR,
        description=fallback if outcome.is_replaced else verdict.get("reason", "nothing was proposed"),
        metadata={
            "tonight": verdict.get("n", 0),
            "accepted before": verdict.get("h", 0),
            **({"look": f"harvester accept {shlex.quote(partition)} --dry-run"} if outcome.is_replaced else {}),
        },
    )
