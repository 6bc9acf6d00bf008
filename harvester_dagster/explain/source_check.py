"""Asking a server what it offers: what it says, and the block of configuration that harvests it.

Belongs here: the question, for the command and for the page, and the bounds of one that a page asks. Does not belong
here: what a protocol asks (`sources/`), writing the block into a file.
"""

from collections.abc import Mapping
from typing import NamedTuple

from pydantic import ValidationError

from harvester_dagster import shown_text
from harvester_dagster.config import Config, SetSettings, Source, home
from harvester_dagster.config_mistakes import ConfigError
from harvester_dagster.failures import HarvesterError
from harvester_dagster.outside import origins
from harvester_dagster.outside.http import Budget, Outside
from harvester_dagster.sources.kind import Kind

MOST_REQUESTS = 60
"""That a page has made for one check."""
MOST_SECONDS = 90.0
MOST_BYTES = 4 * 2**20
"""Of one answer."""
_MOST_LINES, _LONGEST_LINE = 200, 1_000


class UnknownKind(HarvesterError):
    """There is no such kind of source; the mend lists those that there are."""


class Offer(NamedTuple):
    """What a server says of itself, line by line, and the block for `harvester.toml`."""

    said: list[str]
    block: str


def settings_of(kinds: Mapping[str, Kind], kind: str, url: str) -> SetSettings:
    """Of what somebody typed. Raises UnknownKind, and ConfigError for what is no web address."""
    if kind not in kinds:
        raise UnknownKind(f"there is no kind {kind!r}", f"there are: {', '.join(kinds)}")
    try:
        return SetSettings(kind=kind, url=url)
    except ValidationError:
        raise ConfigError(f"{url!r} is no web address", "write one such as https://example.org/oai") from None


def ask(kinds: Mapping[str, Kind], settings: SetSettings, outside: Outside) -> Offer:
    """Ask a server who it is and what it offers. Raises SourceError, OutsideError."""
    lines = [shown_text.one_line(line) for line in kinds[settings.kind].check(settings, outside)]
    end = lines.index("")
    said = [line if len(line) <= _LONGEST_LINE else f"{line[:_LONGEST_LINE]} …" for line in lines[:end][:_MOST_LINES]]
    return Offer(said, "\n".join(lines[end + 1 :]) + "\n")


def ask_typed(config: Config, kinds: Mapping[str, Kind], settings: SetSettings) -> Offer:
    """As `ask`, of an address that somebody typed into a page: bounded, and public ones only."""
    with _bounded(config, ()) as outside:
        return ask(kinds, settings, outside)


def ask_configured(config: Config, kinds: Mapping[str, Kind], source: Source) -> Offer:
    """As `ask`, of a source that is configured, and bounded: it may be called wherever the configuration says so."""
    own = source.for_set(source.sets[0])
    settings = own.model_copy(update={"url": kinds[own.kind].checked_at(own.url, source.sets[0])})
    with _bounded(config, origins.opened(config)) as outside:
        return ask(kinds, settings, outside)


def _bounded(config: Config, allow_hosts: tuple[str, ...]) -> Outside:
    return Outside(
        allow_hosts=allow_hosts,
        per_host_per_second=config.network.per_host_per_second,
        user_agent=config.network.user_agent,
        pace_folder=home() / "pace",
        budget=Budget(MOST_REQUESTS, MOST_SECONDS, MOST_BYTES),
    )
