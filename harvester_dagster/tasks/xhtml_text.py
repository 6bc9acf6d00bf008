"""Readable text from the XHTML that Tika makes of a document, and the language it is in.

Belongs here: what is left out because nobody wrote it to be read (headers, footers, navigation, annotations, page
numbers, names of embedded files), how lines are joined, and the guess of the language.
Does not belong here: the call to Tika.
"""

import re
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lxml.etree import _Element

_LEFT_OUT_CLASSES = frozenset({"header", "footer", "annotation", "embedded", "package-entry", "slide-master-content"})
_LEFT_OUT_TAGS = frozenset({"head", "script", "style", "nav", "noscript", "template", "object", "iframe", "select"})
_INLINE = frozenset(
    [
        "a",
        "abbr",
        "acronym",
        "b",
        "bdi",
        "bdo",
        "big",
        "cite",
        "code",
        "del",
        "dfn",
        "em",
        "font",
        "i",
        "img",
        "ins",
        "kbd",
        "mark",
        "q",
        "s",
        "samp",
        "small",
        "span",
        "strike",
        "strong",
        "sub",
        "sup",
        "tt",
        "u",
        "var",
        "wbr",
    ]
)
_LISTS = frozenset({"ul", "ol", "table", "dl", "menu"})
_NAVIGATION = 0.75
"""Share of a web page's list that is link text, from which on it is navigation."""
_UNSEEN = (("\u00ad", ""), ("\ufeff", ""), ("\u200b", " "))
"""Soft hyphen, byte order mark, zero-width space. `str.translate` took five times as long as these replacements."""
_DIGITS = re.compile(r"\d+")
_FEW_PAGES = 3
_SAMPLE = 300
_SURE = 0.5
"""Below this probability it is a guess: one Dutch word comes as Afrikaans with 0.26, a sentence as Dutch with 0.98."""


def text_of(xhtml: str, *, web_page: bool = False) -> str:
    """The document's text: a line for each block, white space collapsed. Running heads and page numbers of paged
    documents are left out."""
    body = _body(xhtml)
    if body is None:
        return ""
    pages = [list(_lines(page, web_page)) for page in body.iterchildren() if _class(page) == "page"]
    if pages:
        return "\n".join(line for page in _without_running_heads(pages) for line in page)
    return "\n".join(_lines(body, web_page))


def language_of(text: str) -> str:
    """`nl`, `en`, or `unk` for any other language and for what is too short to tell; judged by its beginning and its
    middle."""
    middle = len(text) // 2
    sample = text if len(text) <= 2 * _SAMPLE else f"{text[:_SAMPLE]} {text[middle : middle + _SAMPLE]}"
    language, probability = _identifier().classify(sample)
    return language if language in ("nl", "en") and probability >= _SURE else "unk"


def _identifier() -> Any:
    """Loading takes 0.8 s: once, by who comes first. It only reads then, so all threads may ask at once."""
    with _loading:
        return _loaded()


_loading = threading.Lock()


@cache
def _loaded() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


def _body(xhtml: str) -> "_Element | None":
    from lxml import etree

    if not xhtml.strip():
        return None
    parser = etree.XMLParser(
        recover=True, resolve_entities=False, no_network=True, load_dtd=False, remove_comments=True
    )
    try:
        root = etree.fromstring(xhtml.encode("utf-8", "replace"), parser)
    except etree.XMLSyntaxError:
        return None
    if root is None:
        return None
    beside = next((one for one in root if _tag(one) == "body"), None)  # not through the head: it has most elements
    return beside if beside is not None else next((one for one in root.iter() if _tag(one) == "body"), None)


def _lines(block: "_Element", web_page: bool) -> Iterator[str]:
    text = "".join(_pieces(block, web_page))
    for unseen, seen in _UNSEEN:
        text = text.replace(unseen, seen)
    for line in text.split("\0"):
        if words := line.split():
            yield " ".join(words)


def _pieces(top: "_Element", web_page: bool) -> Iterator[str]:
    """Text in the order of the document, blocks parted by NUL (which XML cannot hold). A stack, not recursion: a
    hostile document nests deeper than Python calls."""
    waiting: list[_Element | str] = [top]
    while waiting:
        one = waiting.pop()
        if isinstance(one, str):
            yield one
            continue
        tag, left_out, mark = _kind(one.tag)
        if left_out or _left_out(one, tag, web_page):
            continue
        yield mark
        if one.text:
            yield one.text
        waiting.append(mark)
        for child in reversed(one):
            if child.tail:
                waiting.append(child.tail)
            waiting.append(child)


@lru_cache(1000)
def _kind(tag: object) -> tuple[str, bool, str]:
    """The bare name, whether all such elements are left out (comments too), and what parts it from its neighbours."""
    name = tag.rpartition("}")[2].lower() if isinstance(tag, str) else ""
    return name, not name or name in _LEFT_OUT_TAGS, "" if name in _INLINE else "\0"


def _left_out(one: "_Element", tag: str, web_page: bool) -> bool:
    classes = one.get("class")
    if classes and not _LEFT_OUT_CLASSES.isdisjoint(classes.split()):
        return True
    return web_page and tag in _LISTS and _is_navigation(one)


def _is_navigation(block: "_Element") -> bool:
    """A list of links. Tika flattens nav, header and footer of a web page; what was in them is known by its links."""
    links = [one for one in block.iter() if _tag(one) == "a"]
    if len(links) < 2:
        return False
    return _length(links) >= _NAVIGATION * _length([block]) > 0


def _length(elements: Sequence["_Element"]) -> int:
    return sum(len("".join(text.split())) for one in elements for text in one.itertext() if isinstance(text, str))


def _without_running_heads(pages: Sequence[list[str]]) -> Iterator[list[str]]:
    """Drop a first or last line that at least half of the pages have too, whatever number is in it."""
    if len(pages) < _FEW_PAGES:  # and no work for it: most files have few
        yield from pages
        return
    heads = _repeated([page[0] for page in pages if page], len(pages))
    feet = _repeated([page[-1] for page in pages if page], len(pages))
    for page in pages:
        start = 1 if page and _shape(page[0]) in heads else 0
        end = len(page) - 1 if len(page) > start and _shape(page[-1]) in feet else len(page)
        yield page[start:end]


def _repeated(lines: Sequence[str], pages: int) -> frozenset[str]:
    counts = Counter(map(_shape, lines))
    return frozenset(shape for shape, count in counts.items() if count >= max(_FEW_PAGES, pages / 2))


def _shape(line: str) -> str:
    return _DIGITS.sub("#", line).casefold()


def _tag(one: "_Element") -> str:
    return _kind(one.tag)[0]


def _class(one: "_Element") -> str:
    return one.get("class") or ""
