"""Text from outside, as it is shown: it stays text on a terminal, in a page's log, in Markdown.

A title, an id or a server's message may hold what a terminal obeys (escapes), what turns text around, and lines of its
own that look like ours. Whatever shows such text passes it through here.

Belongs here: these forms. Does not belong here: HTML, which the templates escape; JSON, which has its own form.
"""

import re

_NOT_SHOWN = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
"""Controls, what turns the direction of writing, what ends a line, halves of characters."""
_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+\-.!|~>:/@])")


def lines(text: str) -> str:
    """The text with its own line breaks; what is not to be shown stands there as it is written in Python: `\\x1b`."""
    return "\n".join(map(one_line, text.split("\n")))


def one_line(text: str) -> str:
    """As `lines`, in one line: a line break is shown too."""
    return _NOT_SHOWN.sub(lambda found: ascii(found[0])[1:-1], text)


def json_text(text: str) -> str:
    """JSON or a TOML text that says the same, and has nothing that a terminal obeys."""
    return _NOT_SHOWN.sub(lambda found: found[0] if found[0] == "\n" else f"\\u{ord(found[0]):04x}", text)


def markdown(text: str) -> str:
    """As `one_line`, for Markdown: nothing in it is a link, an image, HTML or emphasis."""
    escaped = _MARKDOWN.sub(r"\\\1", one_line(text).replace("&", "&amp;"))
    return escaped.replace("<", "&lt;")
