"""Which values the search team's client takes from an index, and what becomes of others: its models refuse a whole page
of hits for one wrong value.

Belongs here: single values, as pure functions that never raise; the client is built on pydantic, so pydantic answers.
Does not belong here: which field holds what (`documents/indexed_product.py`, the tasks' own rows).
"""

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from pydantic import HttpUrl, TypeAdapter, ValidationError

_ADDRESS = TypeAdapter(HttpUrl)
_DURATION = TypeAdapter(timedelta)
_ORIGIN = re.compile(r"https?://[a-z0-9.-]+/")
_SURELY_SHORT = 500
"""Characters, of four bytes at most."""
_DOI = re.compile(
    r"\s*(?:https?://(?:dx\.|www\.)?doi\.org/|info:doi/|urn:doi:|doi:)?\s*(10\..+?)\s*", re.IGNORECASE | re.DOTALL
)


def web_address(value: str | None) -> str | None:
    """An absolute URL of http or https with a host, at most 2,083 bytes; None for anything else."""
    if value and len(value) < _SURELY_SHORT and (origin := _ORIGIN.match(value)):
        return value if _is_address(origin[0]) else None
    return value if value and _is_address.__wrapped__(value) else None


@lru_cache(maxsize=10_000)  # what follows an origin is never wrong, and few origins are those of many files
def _is_address(value: str) -> bool:
    try:
        _ADDRESS.validate_python(value)
    except ValidationError:
        return False
    return True


@lru_cache(maxsize=1_000)
def moment(value: str | None) -> str | None:
    """A time with its zone in UTC, to the second; None for anything else."""
    try:
        read = datetime.fromisoformat(value or "")
        return read.astimezone(UTC).isoformat(timespec="seconds")[:19] + "Z" if read.tzinfo else None
    except (ValueError, OverflowError):
        return None


def duration(value: str | float | None) -> str | None:
    """A duration as ISO 8601 or `HH:MM:SS` has it; a number of seconds as the former; None for anything else."""
    written = f"PT{value}S" if isinstance(value, (int, float)) else value
    try:
        return written if written and _DURATION.validate_python(written) is not None else None
    except ValidationError:
        return None


def email(value: str | None) -> str | None:
    """An address that could be written to, by its form alone; no domain that is reserved (`.local`, `.test`)."""
    if not value:
        return None
    from email_validator import EmailNotValidError, validate_email

    try:
        validate_email(value, check_deliverability=False)
    except EmailNotValidError:
        return None
    return value


def doi(value: str | None) -> str | None:
    """A DOI bare: `10.…`, whatever resolver or scheme it is written with; None for what is none."""
    found = _DOI.fullmatch(value or "")
    return found[1] if found else None


def first_name(organization: Any) -> str | None:
    """One string for an organization: its name, else its slug, its ROR, its id at the source."""
    if isinstance(organization, str):
        return organization or None
    if isinstance(organization, dict):
        for field in ("name", "slug", "ror", "external_id"):
            if value := organization.get(field):
                return str(value)
    return None
