"""The release: after all sets, one consistent dataset version becomes current. Not partitioned; a run of its own."""

import dagster as dg

from assets import index, showing
from assets.partitions import OWNER
from harvester_dagster.catalog import Catalog
from harvester_dagster.installation import Installation
from harvester_dagster.versions import release, versions
from harvester_dagster.versions.release import SetStanding

NIGHT_TAG = "harvest/night"


class ReleaseConfig(dg.Config):
    """By hand, a release goes through although a rollback holds automatic ones, and ends that hold."""

    by_hand: bool = False


def release_asset(catalog: Catalog) -> dg.AssetsDefinition:
    """The last asset of a night."""

    @dg.asset(
        name="set_current_dataset_version",
        deps=[index.NAME, *([entity.name, "set"] for entity in catalog.entities)],
        group_name="release",
        owners=[OWNER],
        kinds={"postgres"},
        description="One generation of every set, products and files together, promoted in one statement, the search "
        "alias with it: from then on every answer comes from it.",
        check_specs=[
            dg.AssetCheckSpec(
                "all_sets_fresh",
                asset="set_current_dataset_version",
                description="Every set in the promoted version is of tonight. Red: it lists those on fallback, stale "
                "or missing (the state of a partitioned check at its asset is only that of the last partition).",
            )
        ],
    )
    def set_current_dataset_version(
        context: dg.AssetExecutionContext, config: ReleaseConfig, harvester: dg.ResourceParam[Installation]
    ) -> dg.MaterializeResult:
        started = harvester.clock()
        night = context.run.tags.get(NIGHT_TAG)
        try:
            released = release.release(
                harvester,
                by_hand=config.by_hand,
                run_id=context.run.run_id,
                night_id=int(night) if night else None,
                progress=context.log.info,
            )
        except versions.NotPromotable as error:
            raise dg.Failure(f"{error}; the version before it goes on serving", allow_retries=False) from error
        metadata: showing.Metadata = {
            "state": released.said,
            "version": released.version.version_id if released.version else 0,
            "sets": showing.table(["set", "generation"], released.generations),
            "seconds": round((harvester.clock() - started).total_seconds(), 3),
            **{f"cleaned up: {name}": n for name, n in released.cleaned._asdict().items()},
        }
        return dg.MaterializeResult(metadata=metadata, check_results=[_freshness(release.standings(harvester))])

    return set_current_dataset_version


def _freshness(standings: list[SetStanding]) -> dg.AssetCheckResult:
    behind = [row for row in standings if row.standing in ("on fallback", "stale", "missing")]
    said = f"{len(behind)} of {len(standings)} sets are not fresh" if behind else "every set is fresh"
    return dg.AssetCheckResult(
        passed=not behind,
        check_name="all_sets_fresh",
        severity=dg.AssetCheckSeverity.WARN,
        description=said,
        metadata={
            "behind": showing.table(
                ["set", "standing", "generation", "reason"],
                [(row.key, row.standing, row.generation, row.reason) for row in behind],
            )
        },
    )
