"""The access enricher in Dagster: journals, decisions, updates, by `endpoint:mode`.

Belongs here: the assets of the endpoints that the configuration names, and how a run's figures are shown. Decisions
and updates are one op: one streaming pass. Does not belong here: any rule, any figure's meaning.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import dagster as dg

from assets import again, code, names, showing
from harvester_dagster.access.runs import endpoints, journal_store, run_rows
from harvester_dagster.access.runs.enricher import Enricher, refresh_journals
from harvester_dagster.access.runs.figures import RunReport
from harvester_dagster.access.runs.modes import MODES
from harvester_dagster.access.runs.run import enrich
from harvester_dagster.access.runs.run_rows import InProgress, StoppedBefore
from harvester_dagster.failures import OutsideError
from harvester_dagster.installation import Installation
from harvester_dagster.services.launcher import Unavailable

OWNER = "team:library"
_PATIENCE = timedelta(hours=6)
"""A run waits so long for another one of its endpoint: backfills start several at once."""
_SHOWN = 100


def partitions(named: Sequence[str]) -> dg.StaticPartitionsDefinition:
    """`endpoint:mode`, for every endpoint and mode."""
    return dg.StaticPartitionsDefinition([f"{name}:{mode}" for name in named for mode in MODES])


def access_assets(named: Sequence[str]) -> list[dg.AssetsDefinition]:
    """The three assets over these endpoints; none without an endpoint."""
    return [_journals(partitions(named)), _decisions_and_updates(partitions(named))] if named else []


def _journals(keys: dg.StaticPartitionsDefinition) -> dg.AssetsDefinition:
    @dg.asset(
        name=names.JOURNALS,
        partitions_def=keys,
        group_name=names.METASTORE_GROUP,
        owners=[OWNER],
        kinds={"solr", "postgres"},
        hooks={again.run_again},
        description="All journals from SFX with their holdings, embargoes and titles, swapped in at once. Read once "
        "per endpoint: a copy that is young enough serves every mode.",
        check_specs=[
            dg.AssetCheckSpec(
                names.JOURNALS_VALID,
                asset=names.JOURNALS,
                description="Every journal has holdings, and every holding can be read and has a first year. Red: it "
                "lists those that the library should mend (all of them: `harvester journals invalid`).",
            )
        ],
    )
    def journals(context: dg.AssetExecutionContext, harvester: dg.ResourceParam[Installation]) -> dg.MaterializeResult:
        with again.when_the_store_was_away(), _endpoint(harvester, context.partition_key) as job:
            read = refresh_journals(job, only_if_older=True)
            shelf = journal_store.load(job.pool, job.solr.name)
            bad = journal_store.invalid(job.pool, job.solr.name)
        figures: Mapping[str, Any] = read._asdict() if read else {"state": "a young copy serves"}
        return dg.MaterializeResult(
            metadata={**figures, "issns": len(shelf.by_issn), "read_at": str(shelf.read_at)},
            check_results=[
                dg.AssetCheckResult(
                    passed=not bad,
                    check_name=names.JOURNALS_VALID,
                    severity=dg.AssetCheckSeverity.WARN,
                    description=f"{len(bad):,} journals to mend" if bad else "nothing to mend",
                    metadata={
                        "invalid": len(bad),
                        "to mend": showing.table(
                            ["id", "title", "issns", "why"],
                            [
                                (each.id, each.title, ", ".join(each.issns), "; ".join(p.kind for p in each.problems))
                                for each in bad[:_SHOWN]
                            ],
                        ),
                    },
                )
            ],
        )

    return journals


def _decisions_and_updates(keys: dg.StaticPartitionsDefinition) -> dg.AssetsDefinition:
    @dg.multi_asset(
        name=names.ACCESS_OP,
        partitions_def=keys,
        group_name=names.METASTORE_GROUP,
        hooks={again.run_again},
        specs=[
            dg.AssetSpec(
                names.ACCESS_DECISIONS,
                deps=[names.JOURNALS],
                owners=[OWNER],
                kinds={"python", "postgres"},
                code_version=code.access_version(),
                description="Who may read each document of the mode, by which rule, and until when that holds.",
            ),
            dg.AssetSpec(
                names.ACCESS_UPDATES,
                deps=[names.ACCESS_DECISIONS],
                owners=[OWNER],
                kinds={"solr"},
                code_version=code.access_version(),
                description="What differed, written back to Solr: sent = applied + skipped + failed.",
            ),
        ],
        check_specs=[
            dg.AssetCheckSpec(
                names.UPDATES_APPLIED,
                asset=names.ACCESS_UPDATES,
                description="Everything that was sent was applied, or needed no update any more. Red: some failed, "
                "or moved twice and are left for the next run.",
            )
        ],
    )
    def access(context: dg.AssetExecutionContext, harvester: dg.ResourceParam[Installation]) -> Iterator[Any]:
        mode = context.partition_key.rpartition(":")[2]
        with again.when_the_store_was_away(), _endpoint(harvester, context.partition_key) as job:
            asked = context.run.tags.get(names.REQUEST_TAG)
            report = enrich(job, mode, patience=_PATIENCE.total_seconds(), request=int(asked) if asked else None)
        if report.state != "complete":
            raise dg.Failure(f"{report.state}; a later run goes on there", _figures(report), allow_retries=False)
        counts = report.counts
        yield dg.MaterializeResult(
            asset_key=names.ACCESS_DECISIONS,
            metadata={
                **_figures(report),
                "decided by": _table("rule", counts.rules),
                "bad data": _table("kind", counts.problems),
            },
        )
        left = counts.failed + counts.moved
        yield dg.MaterializeResult(
            asset_key=names.ACCESS_UPDATES,
            metadata={
                **{name: getattr(counts, name) for name in ("sent", "applied", "skipped", "failed", "conflicts")},
                "from what to what": _table("change", counts.changes),
                "writers": report.writers,
                "documents a batch": report.batch,
                "overloads": report.overloads,
            },
            check_results=[
                dg.AssetCheckResult(
                    passed=not left,
                    check_name=names.UPDATES_APPLIED,
                    description=f"{left:,} of {counts.sent:,} not applied" if left else "all applied",
                    metadata={"not applied": left},
                )
            ],
        )

    return access


@contextmanager
def _endpoint(harvester: Installation, key: str) -> Iterator[Enricher]:
    name = key.rpartition(":")[0]
    try:
        with endpoints.opened(harvester.config, name, harvester.pool, harvester.clock) as job:
            yield job
    except (OutsideError, InProgress, StoppedBefore, Unavailable) as error:
        run_rows.withdraw_request(harvester.pool, name, harvester.clock(), str(error))
        raise dg.Failure(str(error)) from error


def _figures(report: RunReport) -> dict[str, Any]:
    return {
        "documents": report.counts.processed,
        "unchanged": report.counts.unchanged,
        "documents_per_second": round(report.per_second, 1),
        "seconds": round(report.seconds, 3),
        "continues run": report.continues or 0,
    }


def _table(name: str, counts: Mapping[str, int]) -> Any:
    return showing.table([name, "documents"], sorted(counts.items(), key=lambda item: -item[1]))
