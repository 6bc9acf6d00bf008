"""The release: after all sets, one consistent dataset version becomes current. Not partitioned; a run of its own."""

from contextlib import nullcontext

import dagster as dg

from assets import again, code, doing, names, night_runs, showing
from assets.partitions import OWNER
from harvester_dagster.catalog import Catalog
from harvester_dagster.installation import Installation
from harvester_dagster.releases import release, standings
from harvester_dagster.releases.standings import SetStanding
from harvester_dagster.search.search_side import search_side
from harvester_dagster.sets import versions


class ReleaseConfig(dg.Config):
    """By hand, a release goes through although a rollback holds automatic ones, and ends that hold. `hold_seen`: only
    the one that somebody has seen, by when it began; empty: they have seen none."""

    by_hand: bool = False
    hold_seen: str | None = None


def release_asset(catalog: Catalog) -> dg.AssetsDefinition:
    """The last asset of a night."""

    @dg.asset(
        name=names.SET_CURRENT_DATASET_VERSION,
        deps=[names.CREATE_OPENSEARCH_INDEX, *(names.set_of(entity.name) for entity in catalog.entities)],
        group_name=names.RELEASE_GROUP,
        owners=[OWNER],
        kinds={"postgres"},
        code_version=code.release_version(),
        hooks={again.run_again},
        description="One generation of every set, products and files together, promoted in one statement, the search "
        "alias with it: from then on every answer comes from it.",
        check_specs=[
            dg.AssetCheckSpec(
                names.ALL_SETS_FRESH,
                asset=names.SET_CURRENT_DATASET_VERSION,
                description="Every set in the promoted version is of tonight. Red: it lists those on fallback, stale "
                "or missing (the state of a partitioned check at its asset is only that of the last partition).",
            ),
            dg.AssetCheckSpec(
                names.SEARCH_FOLLOWS,
                asset=names.SET_CURRENT_DATASET_VERSION,
                description="Searches show the current version, or there is no index. Red: why they do not, and what "
                "to do.",
            ),
        ],
    )
    def set_current_dataset_version(
        context: dg.AssetExecutionContext, config: ReleaseConfig, harvester: dg.ResourceParam[Installation]
    ) -> dg.MaterializeResult:
        started = harvester.clock()
        run_id, is_asked_for = context.run.run_id, context.run.tags.get(names.ORIGIN_TAG) == names.PAGE
        with again.when_the_store_was_away():
            night_id = night_runs.night_of(context.instance, context.run, harvester)
            try:
                by_run = doing.by_run(harvester, run_id, "release", "", is_repeated=True)
                with by_run if is_asked_for else nullcontext():
                    released = release.release(
                        harvester,
                        by_hand=config.by_hand,
                        hold_seen=config.hold_seen,
                        run_id=run_id,
                        night_id=night_id,
                        progress=context.log.info,
                    )
            except versions.NotPromotable as error:
                report_search(context.instance, harvester)  # a step that fails records no check of its own
                raise dg.Failure(f"{error}; the version before it goes on serving", allow_retries=False) from error
            checks = [_freshness(standings.standings(harvester)), _following(harvester)]
            if night_id is not None:
                release.end_night(harvester, night_id)
        context.log.info(released.said)
        metadata: showing.Metadata = {
            "state": released.said,
            "version": released.version.version_id if released.version else 0,
            "sets": showing.table(["set", "generation"], released.generations),
            "seconds": round((harvester.clock() - started).total_seconds(), 3),
            **{f"cleaned up: {name}": n for name, n in released.cleaned._asdict().items()},
        }
        return dg.MaterializeResult(metadata=metadata, check_results=checks)

    return set_current_dataset_version


def report_search(instance: dg.DagsterInstance, harvester: Installation) -> None:
    """The check of the search side, beside any step: after a release that failed, after mending."""
    found = _following(harvester)
    instance.report_runless_asset_event(
        dg.AssetCheckEvaluation(
            asset_key=dg.AssetKey(names.SET_CURRENT_DATASET_VERSION),
            check_name=names.SEARCH_FOLLOWS,
            passed=found.passed,
            severity=found.severity,
            description=found.description,
        )
    )


def _following(harvester: Installation) -> dg.AssetCheckResult:
    side = search_side(harvester)
    if side is None:
        said = "this installation has no search index"
    elif side.state == "follows":
        said = f"searches show version {side.version_id}"
    elif side.state == "behind":
        said = f"searches do not show version {side.version_id} yet: {side.reason}"
    else:
        said = f"version {side.version_id} is not announced: {side.reason}"
    mend = side.mend if side else ""
    return dg.AssetCheckResult(
        passed=side is None or side.state == "follows",
        check_name=names.SEARCH_FOLLOWS,
        severity=dg.AssetCheckSeverity.ERROR if harvester.config.index.require else dg.AssetCheckSeverity.WARN,
        description=f"{said}; {mend}" if mend else said,
    )


def _freshness(standings: list[SetStanding]) -> dg.AssetCheckResult:
    behind = [row for row in standings if row.standing in ("on fallback", "stale", "missing")]
    said = f"{len(behind)} of {len(standings)} sets are not fresh" if behind else "every set is fresh"
    return dg.AssetCheckResult(
        passed=not behind,
        check_name=names.ALL_SETS_FRESH,
        severity=dg.AssetCheckSeverity.WARN,
        description=said,
        metadata={
            "behind": showing.table(
                ["set", "standing", "generation", "reason"],
                [(row.key, row.standing, row.generation, row.reason) for row in behind],
            )
        },
    )
