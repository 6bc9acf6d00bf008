"""The enricher's commands: `enrich`, `access why`, `access stop`, `access what-if`, `journals refresh`, `journals
invalid`.

Belongs here: arguments, a progress bar, and how answers look on a terminal. Does not belong here: any answer.
`mount` puts the commands into the project's command line, which says how an installation is opened.
"""

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from harvester_dagster import shown_text
from harvester_dagster.access.decide.journals import Journal
from harvester_dagster.access.decide.rules import NAMES
from harvester_dagster.access.runs import access_why, endpoints, journal_store, run_rows
from harvester_dagster.access.runs.access_why import WhatIf, Why
from harvester_dagster.access.runs.enricher import Enricher, refresh_journals
from harvester_dagster.access.runs.figures import RunReport
from harvester_dagster.access.runs.modes import MODES
from harvester_dagster.access.runs.run import enrich
from harvester_dagster.cli.commands import Commands, Json
from harvester_dagster.installation import Installation
from harvester_dagster.publication import audit

Session = Callable[[], AbstractContextManager[Installation]]
"""Opens the installation, starting what it needs."""

Mode = Enum("Mode", {name: name for name in MODES})  # type: ignore[misc]
_Endpoint = Annotated[str | None, typer.Option("--endpoint", help="Which one, where several are configured.")]


def mount(app: Commands, session: Session) -> None:
    """Add the commands to the project's command line."""
    access_app = Commands("Who may read what, and why.")
    journals_app = Commands("The library's journals.")
    app.add_typer(access_app, name="access")
    app.add_typer(journals_app, name="journals")

    @app.command("enrich")
    def _enrich(
        mode: Annotated[Mode, typer.Argument(help="; ".join(f"{m.name}: {m.says}" for m in MODES.values()))],
        endpoint: _Endpoint = None,
        dry_run: Annotated[bool, typer.Option("--dry-run", help="Write nothing; say what would change.")] = False,
        allow_loss: Annotated[
            list[str] | None,
            typer.Option(metavar="FIELD", help="A field that Solr cannot give back and that may be lost; repeatable."),
        ] = None,
        as_json: Json = False,
    ) -> None:
        """Decide access for the documents of a mode, and write it back to Solr."""
        with _opened(session, endpoint) as job, _bar(as_json) as bar:
            asked: AbstractContextManager[dict[str, Any]] = nullcontext({})
            if not dry_run:
                asked = audit.asked(job.pool, "enrich", job.solr.name, job.clock, mode=str(mode.value))
            with asked as came:
                if not dry_run:
                    refresh_journals(job, only_if_older=True)
                report = enrich(
                    job,
                    str(mode.value),
                    dry_run=dry_run,
                    show=lambda seen: bar(_progress(seen)),
                    allow_loss=allow_loss or (),
                )
                came["state"] = report.state
        if as_json:
            _json(json.dumps(report.as_json(), indent=2))
        else:
            _say(summary(report, dry_run=dry_run))
        if report.state != "complete":
            raise typer.Exit(1)

    @access_app.command("why")
    def _why(
        identifier: Annotated[str, typer.Argument(metavar="ID", help="A Solr id or a cluster id.")],
        endpoint: _Endpoint = None,
        as_json: Json = False,
    ) -> None:
        """Explain one document: its journal, what each rule said and saw, the update that would be sent."""
        with _opened(session, endpoint) as job:
            found = access_why.why(job, identifier)
        if as_json:
            _json(json.dumps([access_why.as_json(each) for each in found], indent=2, ensure_ascii=False))
        else:
            _say("\n\n".join(map(_explained, found)) or f"no document has the id or cluster id {identifier!r}")
        if not found:
            raise typer.Exit(1)

    @access_app.command("stop")
    def _stop(endpoint: _Endpoint = None, as_json: Json = False) -> None:
        """Ask the run in progress to stop; the next one of its mode goes on there."""
        with session() as installation:
            name = endpoints.named(installation.config, endpoint or endpoints.only(installation.config))
            asked = run_rows.ask_to_stop(installation.pool, name, installation.clock())
        if as_json:
            _json(json.dumps({"endpoint": name, "asked": asked}))
        else:
            _say(f"{name}: the run was asked to stop" if asked else f"{name}: no run is in progress")

    @access_app.command("what-if")
    def _what_if(
        without: Annotated[list[str] | None, typer.Option(help=f"Leave a rule out: {', '.join(NAMES)}.")] = None,
        journals: Annotated[
            Path | None, typer.Option(help="A JSON array of journals as Solr has them; each replaces its ISSNs' own.")
        ] = None,
        date: Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Decide as on this day.")] = None,
        endpoint: _Endpoint = None,
        as_json: Json = False,
    ) -> None:
        """Decide again under another assumption, without writing: how many documents change, from what to what."""
        with _opened(session, endpoint) as job, _bar(as_json) as bar:
            found = access_why.what_if(
                job,
                left_out=without or (),
                journals=_journals_of(journals) if journals else None,
                day=date.date() if date else None,
                show=lambda seen: bar((seen.documents, seen.total, f"{seen.changed:,} would change")),
            )
        if as_json:
            plain = {**vars(found), "samples": [each._asdict() for each in found.samples]}
            _json(json.dumps(plain, indent=2, ensure_ascii=False))
        else:
            _say(_assumed(found))

    @journals_app.command("refresh")
    def _refresh(endpoint: _Endpoint = None, as_json: Json = False) -> None:
        """Read the library's journals from Solr now, however young the copy of them is."""
        with _opened(session, endpoint) as job:
            read = refresh_journals(job)
            assert read is not None
            audit.told(job.pool, "read journals", job.solr.name, job.clock(), journals=read.journals)
        if as_json:
            _json(json.dumps(read._asdict()))
        else:
            _say(f"{read.journals:,} journals read: {read.changed:,} changed or new, {read.vanished:,} vanished")

    @journals_app.command("invalid")
    def _invalid(endpoint: _Endpoint = None, as_json: Json = False) -> None:
        """List the journals that the library should mend, and why."""
        with _opened(session, endpoint) as job:
            refresh_journals(job, only_if_older=True)
            found = journal_store.invalid(job.pool, job.solr.name)
        if as_json:
            plain = [{**each._asdict(), "problems": [p._asdict() for p in each.problems]} for each in found]
            _json(json.dumps(plain, indent=2, ensure_ascii=False))
            return
        for journal in found:
            _say(f"{journal.id}  {', '.join(journal.issns) or 'no ISSN'}  {journal.title}")
            for problem in journal.problems:
                _say(f"    {problem.kind}{': ' if problem.seen else ''}{problem.seen}")
        _say(f"{len(found):,} journals to mend")


def _say(text: str) -> None:
    typer.echo(shown_text.lines(text))


def _json(text: str) -> None:
    typer.echo(shown_text.json_text(text))


@contextmanager
def _opened(session: Session, endpoint: str | None) -> Iterator[Enricher]:
    with session() as installation:
        config = installation.config
        name = endpoints.only(config) if endpoint is None else endpoint
        with endpoints.opened(config, name, installation.pool, installation.clock) as job:
            yield job


@contextmanager
def _bar(quiet: bool) -> Iterator[Callable[[tuple[int, int, str]], None]]:
    """A progress bar on a terminal; nothing elsewhere."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console, disable=quiet or not sys.stderr.isatty()) as progress:
        task = progress.add_task("", total=None)
        yield lambda seen: progress.update(task, completed=seen[0], total=seen[1] or None, description=seen[2])


def _journals_of(path: Path) -> dict[str, Journal]:
    try:
        return access_why.read_journals(path.read_bytes(), str(path))
    except OSError as error:
        raise access_why.BadJournals(f"{path} cannot be read: {error}", "name a file with JSON in it") from None


def _progress(report: RunReport) -> tuple[int, int, str]:
    counts = report.counts
    done = counts.already + counts.processed
    return done, counts.total, f"{report.per_second:,.0f}/s, {counts.applied:,} updated, batches of {report.batch:,}"


def summary(report: RunReport, dry_run: bool = False) -> str:
    """What a person wants to know of a run."""
    counts = report.counts
    lines = [
        f"{report.endpoint} {report.mode}: {report.state}: {counts.processed:,} documents in {report.seconds:.1f} s "
        f"({report.per_second:,.0f}/s)" + (f"; {report.reason}" if report.reason else "")
    ]
    if dry_run:
        lines.append(f"  would change {sum(counts.changes.values()):,}, as they are {counts.unchanged:,}")
    else:
        lines.append(
            f"  sent {counts.sent:,} = applied {counts.applied:,} + skipped {counts.skipped:,} "
            f"+ failed {counts.failed:,}; as they were {counts.unchanged:,}"
        )
    lines += _table("from what to what", counts.changes) + _table("decided by", counts.rules)
    return "\n".join(lines + _table("bad data", counts.problems))


def _table(title: str, counts: Mapping[str, int]) -> list[str]:
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    return [f"  {title}:", *(f"    {count:>10,}  {what}" for what, count in ordered)] if ordered else []


def _explained(found: Why) -> str:
    document, case, decision = found.document, found.case, found.decision
    journal, year = case.journal, case.published or "-"
    holds = f", until {decision.valid_until}" if decision.valid_until else ""
    lines = [
        f"{document.id}  (cluster {', '.join(document.cluster_id_ss) or '-'})  {' / '.join(document.title_ts)}",
        f"  format {document.format or '-'}, sources {', '.join(document.source_ss) or '-'}, year {year}",
        f"  journal: {_journal(journal)}" if journal else "  journal: none of its ISSNs is known to SFX",
        f"  access {', '.join(decision.access) or 'none'}, info {decision.info}, by {decision.rule}{holds}",
    ]
    for step in found.steps:
        saw = ", ".join(f"{name}={_plain(value)}" for name, value in step.saw.items())
        lines.append(f"    {step.outcome:<12} {step.rule.name:<20} {saw}")
    lines += [f"  bad data: {problem.kind}: {problem.seen}" for problem in case.problems]
    lines.append(f"  update: {json.dumps(found.update)}" if found.update else "  update: none, Solr says so already")
    return "\n".join(lines)


def _journal(journal: Any) -> str:
    held = ", ".join(map(str, journal.ranges)) or "no holdings"
    return (
        f"{journal.title or journal.id} ({', '.join(journal.issns)}): {held}; embargo {journal.embargo_years} years"
        + ("; open access" if journal.open_access else "")
    )


def _plain(value: Any) -> str:
    return ", ".join(map(str, value)) or "-" if isinstance(value, tuple | list) else str(value)


def _assumed(found: WhatIf) -> str:
    lines = [f"{found.changed:,} of {found.documents:,} documents would change"]
    lines += _table("from what to what", found.changes)
    lines += [f"    {each.id}  {each.before} -> {each.after}  {each.title[:60]}" for each in found.samples]
    return "\n".join(lines)
