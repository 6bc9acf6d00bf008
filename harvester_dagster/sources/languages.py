"""Languages as repositories write them: codes of ISO 639, with a region, in words, as the end of an address.

Belongs here: one table. Does not belong here: finding out the language of a text (`tasks/xhtml_text.py`).
"""

import re
from functools import lru_cache

LONGEST = 200
"""Characters of what may be the name of a language."""

# ISO 639-2, both the bibliographic and the terminological code, for the languages that European repositories hold.
# Source: https://www.loc.gov/standards/iso639-2/php/code_list.php
_CODES = {
    "ara": "ar", "bul": "bg", "cat": "ca", "ces": "cs", "cze": "cs", "chi": "zh", "zho": "zh", "dan": "da",
    "deu": "de", "ger": "de", "dut": "nl", "nld": "nl", "ell": "el", "gre": "el", "eng": "en", "est": "et",
    "eus": "eu", "baq": "eu", "fin": "fi", "fra": "fr", "fre": "fr", "fry": "fy", "gle": "ga", "glg": "gl",
    "heb": "he", "hrv": "hr", "hun": "hu", "ice": "is", "isl": "is", "ind": "id", "ita": "it", "jpn": "ja",
    "kor": "ko", "lat": "la", "lav": "lv", "lit": "lt", "ltz": "lb", "mlt": "mt", "nno": "nn", "nob": "nb",
    "nor": "no", "pap": "pap", "pol": "pl", "por": "pt", "ron": "ro", "rum": "ro", "rus": "ru", "slk": "sk",
    "slo": "sk", "slv": "sl", "spa": "es", "srp": "sr", "swe": "sv", "tur": "tr", "ukr": "uk",
}  # fmt: skip
_NAMES = {
    name: code
    for code, names in {
        "nl": "dutch nederlands flemish vlaams",
        "en": "english engels",
        "de": "german duits deutsch",
        "fr": "french frans français",
        "es": "spanish spaans español",
        "it": "italian italiaans italiano",
        "pt": "portuguese portugees português",
        "fy": "frisian fries frysk",
        "la": "latin latijn",
        "ar": "arabic arabisch",
        "tr": "turkish turks",
        "pl": "polish pools",
        "ru": "russian russisch",
        "zh": "chinese chinees",
        "ja": "japanese japans",
        "sv": "swedish zweeds",
        "da": "danish deens",
        "no": "norwegian noors",
    }.items()
    for name in names.split()
}
_NONE = frozenset(("und", "mul", "zxx", "x-none", "none", "unknown", "n/a", "-"))


def code(written: str | None) -> str | None:
    """`nl` for `nl`, `nld`, `dut`, `nl-NL`, `Dutch`, `Nederlands` and `…/languages/nl_NL`, of several the first; what
    is unknown stays as it was written; null for what says that there is none."""
    return _code(written) if written and len(written) < LONGEST else written or None


@lru_cache(maxsize=1_000)
def _code(written: str) -> str | None:
    if written.lower() in _NONE:
        return None
    first = re.split(r"[;,|]", written)[0].strip()
    low = first.rpartition("/")[2].lower()
    short = re.split(r"[-_]", low)[0]
    if low in _NONE or short in _NONE:
        return None
    if len(short) == 2 and short.isalpha():
        return short
    return _CODES.get(short) or _NAMES.get(low) or written
