"""The search index of the version that is about to be announced: `create_opensearch_index` and its check.

Comes after all sets and before `set_current_dataset_version`, which may not go on without it (`releases/release.py`);
the check is red where the version has no verified index, and the night goes on either way.
"""

import dagster as dg

from assets import again, code, names, night_runs, showing
from assets.partitions import OWNER
from harvester_dagster.catalog import Catalog
from harvester_dagster.config import Config
from harvester_dagster.installation import Installation
from harvester_dagster.releases import release
from harvester_dagster.search.build import IndexReport
from harvester_dagster.sets import sets


def index_asset(catalog: Catalog, config: Config) -> dg.AssetsDefinition:
    """Unpartitioned; one index of each entity that has a mapping."""

    @dg.asset(
        name=names.CREATE_OPENSEARCH_INDEX,
        deps=[names.set_of(entity.name) for entity in catalog.entities],
        group_name=names.RELEASE_GROUP,
        owners=[OWNER],
        kinds={"opensearch"},
        code_version=code.index_version(catalog, config),
        hooks={again.run_again},
        description="The index of the next version: cloned from the current one with what differs, or built anew; "
        "verified before anything points at it.",
        check_specs=[
            dg.AssetCheckSpec(
                names.INDEX_VERIFIED,
                asset=names.CREATE_OPENSEARCH_INDEX,
                description="Counts and checksums are those of the version, and the test queries answer. Red: the "
                "version is not announced, and the previous one goes on serving (unless `index.require` is false).",
            )
        ],
    )
    def create_opensearch_index(
        context: dg.AssetExecutionContext, harvester: dg.ResourceParam[Installation]
    ) -> dg.MaterializeResult:
        with again.when_the_store_was_away():
            sets.synchronise(harvester.pool, harvester.config, harvester.clock())
            night_id = night_runs.release_begins(context.instance, context.run, harvester)
            version = release.prepare(
                harvester, run_id=context.run.run_id, night_id=night_id, progress=context.log.info
            )
            report = release.bring_up_index(harvester, version, progress=context.log.info)
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
                check_name=names.INDEX_VERIFIED,
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
    metadata["left out"] = showing.why_commands(left.srn for one in made for left in one.examples)
    return metadata
