"""One figure of a benchmark: what every module of `benchmarks/` yields, and whether it reaches its target.

Belongs here: the words of the table. Does not belong here: measuring, and how the table is shown.
"""

import operator
import re
from collections.abc import Callable
from typing import NamedTuple

_PART = re.compile(r"(≥|≤|<|>)\s*([\d.,]*\d)\s*([^\s,]*)")
_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "≥": operator.ge,
    "≤": operator.le,
    "<": operator.lt,
    ">": operator.gt,
}


class Row(NamedTuple):
    """A figure, its ceiling measured in the same run, and what is to be reached.

    A target is one or more of `≥ 5,000/s`, `< 1 s`, `≤ 800 MB` (of the value, in its unit) and `≥ 0.75` (of the
    ratio), by commas; what stands in brackets explains.
    """

    name: str
    value: float
    unit: str
    ceiling: float
    ratio: float
    target: str


def is_met(row: Row) -> bool | None:
    """None: it has no target."""
    parts = _PART.findall(re.sub(r"\(.*?\)", "", row.target))
    if not parts:
        return None
    return all(
        _COMPARE[sign](row.value if unit else row.ratio, float(number.replace(",", ""))) for sign, number, unit in parts
    )
