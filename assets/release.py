"""The release: after all sets, one consistent dataset version becomes current. Not partitioned; a run of its own."""

import dagster as dg

from assets import showing
from assets.partitions import OWNER
from harvester_dagster.harvesting import sets
from harvester_dagster.installation import Installation
from harvester_dagster.versions import release, retention, versions

NIGHT_TAG = "harvest/night"


class ReleaseConfig(dg.Config):
    """By hand, a release goes through although a rollback holds automatic ones, and ends that hold."""

    by_hand: bool = False


@dg.asset(
    name="set_current_dataset_version",
    deps=[["products", "set"], ["files", "set"]],
    group_name="release",
    owners=[OWNER],
    kinds={"postgres"},
    description="One generation of every set, products and files together, promoted in one statement: from then on "
    "every answer comes from it.",
    check_specs=[
        dg.AssetCheckSpec(
            "all_sets_fresh",
            asset="set_current_dataset_version",
            description="Every set in the promoted version is of tonight. Red: it lists those on fallback, stale or "
            "missing (the state of a partitioned check at its asset is only that of the last partition).",
        )
    ],
)
def set_current_dataset_version(
    context: dg.AssetExecutionContext, config: ReleaseConfig, harvester: dg.ResourceParam[Installation]
) -> dg.MaterializeResult:
    started = harvester.clock()
    with harvester.pool.connection() as connection:
        held = versions.hold(connection)
        if held and config.by_hand:
            versions.end_hold(connection)
            held = None
    metadata: showing.Metadata = {}
    if held:
        metadata["state"] = f"held: {held}; `harvester release` goes on"
    else:
        night = context.run.tags.get(NIGHT_TAG)
        version = release.prepare(
            harvester, run_id=context.run_id, night_id=int(night) if night else None, progress=context.log.info
        )
        if version:
            versions.promote(harvester, version)
            metadata["promoted"] = f"version {version.version_id}"
        else:
            metadata["state"] = "no set has moved: the current version stays"
        metadata |= {f"cleaned up: {name}": n for name, n in retention.clean_up(harvester)._asdict().items()}
    standings = release.standings(harvester)
    behind = [row for row in standings if row.standing in ("on fallback", "stale", "missing")]
    with harvester.pool.connection() as connection:
        current = versions.current(connection)
        names = {state.set_id: state.key for state in sets.all_sets(connection)}
    metadata |= {
        "version": current.version_id if current else 0,
        "sets": showing.table(
            ["set", "generation"],
            [(names[set_id], gen) for set_id, gen in (current.generations if current else {}).items()],
        ),
        "seconds": round((harvester.clock() - started).total_seconds(), 3),
    }
    return dg.MaterializeResult(
        metadata=metadata,
        check_results=[
            dg.AssetCheckResult(
                passed=not behind,
                check_name="all_sets_fresh",
                severity=dg.AssetCheckSeverity.WARN,
                description="every set is fresh"
                if not behind
                else f"{len(behind)} of {len(standings)} sets are not fresh",
                metadata={
                    "behind": showing.table(
                        ["set", "standing", "generation", "reason"],
                        [(row.key, row.standing, row.generation, row.reason) for row in behind],
                    )
                },
            )
        ],
    )
