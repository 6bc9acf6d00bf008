"""The vocabularies beside those that ship: SKOS harvested over HTTP, on a schedule of its own."""

import dagster as dg

from assets import again, code, names, showing
from assets.partitions import OWNER
from harvester_dagster.installation import Installation
from harvester_dagster.vocabularies.refresh import Refresh


@dg.asset(
    name=names.VOCABULARIES,
    group_name=names.VOCABULARIES_GROUP,
    owners=[OWNER],
    kinds={"http", "skos"},
    hooks={again.run_again},
    code_version=code.vocabularies_version(),
    description="Value trees and study vocabularies: what ships, and what was harvested beside it. One that shrinks, "
    "breaks or cannot be had leaves the state before it in use.",
    check_specs=[
        dg.AssetCheckSpec(
            names.VOCABULARIES_TAKEN_OVER,
            asset=names.VOCABULARIES,
            description="Every configured vocabulary was taken over or is unchanged. Red: what was there stays in use.",
        )
    ],
)
def vocabularies(context: dg.AssetExecutionContext, harvester: dg.ResourceParam[Installation]) -> dg.MaterializeResult:
    """Harvest every configured vocabulary; a bad one turns the check red and leaves what there was in use."""
    refresh = Refresh(harvester.pool, harvester.objects, harvester.outside, harvester.clock())
    with again.when_the_store_was_away():
        done = refresh.harvest(harvester.config.vocabularies.skos)
    bad = [row for row in done if row.state in ("refused", "failed")]
    return dg.MaterializeResult(
        metadata={
            "harvested": len(done),
            "terms": sum(row.terms for row in done),
            "vocabularies": showing.table(
                ["name", "state", "terms", "reason"], [(row.name, row.state, row.terms, row.reason) for row in done]
            ),
            "broken trees": showing.table(
                ["vocabulary", "value", "problem", "detail"],
                [(row.name, one.value, one.problem, one.detail) for row in done for one in row.findings],
            ),
        },
        check_results=[
            dg.AssetCheckResult(
                passed=not bad,
                check_name=names.VOCABULARIES_TAKEN_OVER,
                severity=dg.AssetCheckSeverity.WARN,
                description="; ".join(f"{row.name}: {row.reason}" for row in bad) or "all are in use as they were sent",
            )
        ],
    )
