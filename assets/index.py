"""The search index of the version that is about to be announced: `create_opensearch_index` and its check.

It comes after all sets and before `set_current_dataset_version`, which asks `search.swap` whether it may go on: the
check is red where the version has no verified index, and the night goes on either way.
"""

import dagster as dg

from assets import showing
from assets.partitions import OWNER
from harvester_dagster.catalog import Catalog
from harvester_dagster.installation import Installation
from harvester_dagster.search import swap
from harvester_dagster.search.build import IndexReport
from harvester_dagster.versions import release

NAME = "create_opensearch_index"
CHECK = "index_verified"
NIGHT_TAG = "harvest/night"


def index_asset(catalog: Catalog) -> dg.AssetsDefinition:
    """Unpartitioned; one index of each entity that has a mapping."""

    @dg.asset(
        name=NAME,
        deps=[[entity.name, "set"] for entity in catalog.entities],
        group_name="release",
        owners=[OWNER],
        kinds={"opensearch"},
        description="The index of the next version: cloned from the current one with what differs, or built anew; "
        "verified before anything points at it.",
        check_specs=[
            dg.AssetCheckSpec(
                CHECK,
                asset=NAME,
                description="Counts and checksums are those of the version, and the test queries answer. Red: the "
                "version is not announced, and the previous one goes on serving (unless `index.require` is false).",
            )
        ],
    )
    def create_opensearch_index(
        context: dg.AssetExecutionContext, harvester: dg.ResourceParam[Installation]
    ) -> dg.MaterializeResult:
        night = context.run.tags.get(NIGHT_TAG)
        version = release.prepare(
            harvester, run_id=context.run.run_id, night_id=int(night) if night else None, progress=context.log.info
        )
        report = swap.prepare(harvester, version, progress=context.log.info)
        if report is None:
            return _result("there is no version to index: no set has accepted anything yet", True, {}, harvester)
        said = {"ready": "verified", "none": report.reason, "failed": report.reason}[report.outcome]
        return _result(said, report.outcome != "failed", _metadata(report), harvester)

    return create_opensearch_index


def _result(said: str, passed: bool, metadata: showing.Metadata, harvester: Installation) -> dg.MaterializeResult[None]:
    required = harvester.config.index.require
    return dg.MaterializeResult(
        metadata={"state": said, **metadata},
        check_results=[
            dg.AssetCheckResult(
                passed=passed,
                check_name=CHECK,
                severity=dg.AssetCheckSeverity.ERROR if required else dg.AssetCheckSeverity.WARN,
                description=said,
                metadata=metadata,
            )
        ],
    )


def _metadata(report: IndexReport) -> showing.Metadata:
    """Numbers first: they plot."""
    made = report.entities
    metadata: showing.Metadata = {"version": report.version_id, "seconds": round(report.seconds, 3)}
    if not made:
        return metadata
    metadata |= {
        "documents": sum(one.documents for one in made),
        "documents added": sum(one.added for one in made),
        "documents changed": sum(one.changed for one in made),
        "documents removed": sum(one.removed for one in made),
        "documents left out": sum(one.rejected for one in made),
        "megabytes": round(sum(one.bytes for one in made) / 1e6, 3),
        "slowest bulk, seconds": round(max(one.slowest_bulk for one in made), 3),
    }
    metadata |= {f"hits: {query.name}": query.hits for one in made for query in one.queries}
    metadata["indices"] = showing.table(
        ["entity", "index", "clone or full", "documents", "seconds"],
        [(one.entity, one.name, one.how, one.documents, round(one.seconds, 2)) for one in made],
    )
    metadata["left out"] = showing.table(
        ["document", "reason"], [(left.srn, left.reason) for one in made for left in one.examples]
    )
    return metadata
