"""Values of JSON as pages show them to people: a text as it is, anything else as JSON, long ones where they differ.

Belongs here: these forms, a count and its word, for templates. Does not belong here: escaping, which the templates do.
"""

from typing import Any

import msgspec

_SAME = 40
"""Characters that are shown of what two long values begin with alike."""


def plain(value: Any) -> str:
    """A text as it is, anything else as JSON."""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def counted(number: int, one: str, many: str = "") -> str:
    """A number and what it counts: `1 result`, `2,000 results`."""
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"


def apart(before: Any, after: Any) -> tuple[str | None, str | None]:
    """Two values that differ, from shortly before where they do; None for what is not there."""
    if before is None or after is None:
        return (None if before is None else plain(before)), (None if after is None else plain(after))
    was, is_now = plain(before), plain(after)
    shorter = min(len(was), len(is_now))
    same = next((place for place in range(shorter) if was[place] != is_now[place]), shorter)
    if same <= 2 * _SAME:
        return was, is_now
    return f"… {was[same - _SAME :]}", f"… {is_now[same - _SAME :]}"
