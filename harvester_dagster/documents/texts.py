"""The searchable texts of a product and its files, by language, and what autocompletion and "did you mean" feed on.

Belongs here: cutting, folding and filing of texts. Does not belong here: extraction of text from files (a task), and
how the index analyses it (`product_mapping.py`).
"""

import re
import unicodedata
from collections.abc import Iterable
from typing import Any, NamedTuple

LANGUAGES = ("nl", "en")
UNKNOWN = "unk"
KINDS = ("titles", "subtitles", "descriptions", "contents", "transcriptions")

LONG_TEXT = 1_000_000
"""Characters from which on a full text is cut to its first words."""
LONG_TEXT_WORDS = 10_000
SUGGEST_WORDS = 1_000

_NOT_LETTERS = re.compile("[^A-Za-z\n]+")
_UNDECOMPOSED = {
    **{"ß": "ss", "ẞ": "SS", "æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE", "ø": "o", "Ø": "O", "đ": "d", "Đ": "D"},
    **{"ð": "d", "Ð": "D", "þ": "th", "Þ": "TH", "ł": "l", "Ł": "L", "ħ": "h", "Ħ": "H", "ŧ": "t", "Ŧ": "T"},
}
"""Latin letters that Unicode does not decompose; the others lose their marks by NFKD."""
_UNDECOMPOSED_LETTER = re.compile(f"[{''.join(_UNDECOMPOSED)}]")  # 1 KB: 4 µs; str.translate took 87


class Text(NamedTuple):
    """One text of a document, before it is filed."""

    kind: str
    language: str | None
    text: str
    document: str
    provider: str | None
    by_machine: bool = False


def by_language(texts: Iterable[Text]) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """The texts filed by language and kind: `{nl, en, unk} → {titles, …} → texts`, with every list present."""
    filed: dict[str, dict[str, list[dict[str, Any]]]] = {
        language: {kind: [] for kind in KINDS} for language in (*LANGUAGES, UNKNOWN)
    }
    for kind, language, text, document, provider, by_machine in texts:
        filed[language_of(language)][kind].append(
            {"text": text, "document": document, "provider": provider, "by_machine": by_machine}
        )
    return filed


def language_of(language: str | None) -> str:
    """`nl`, `en`, or `unk` for any other and for none; `nl-NL` and `EN` count as Dutch and English."""
    if language in LANGUAGES:
        return language
    main = (language or "").replace("_", "-").partition("-")[0].strip().lower()
    return main if main in LANGUAGES else UNKNOWN


def shortened(text: str) -> str:
    """A text, trimmed; one of a million characters or more as its first 10,000 words, and still less than a million
    characters."""
    if len(text) < LONG_TEXT:
        return text.strip()
    return " ".join(text.split(maxsplit=LONG_TEXT_WORDS)[:LONG_TEXT_WORDS])[: LONG_TEXT - 1]


def completions(title: str | None, text: str | None) -> list[str]:
    """The words of the title and the first words of the text: ASCII-folded, letters only, each once."""
    words = (title or "").split()
    if text:
        words += text.split(maxsplit=SUGGEST_WORDS)[:SUGGEST_WORDS]
    lines = "\n".join(words)  # all at once: word by word took twice the time; the line ends keep them apart
    if not lines.isascii():
        lines = _UNDECOMPOSED_LETTER.sub(lambda letter: _UNDECOMPOSED[letter[0]], lines)
        lines = unicodedata.normalize("NFKD", lines)
    return list(dict.fromkeys(_NOT_LETTERS.sub("", lines).split()))
