"""Where whoever has signed in goes then: a path of the same application, and never somebody else's page."""

from urllib.parse import urlsplit

LONGEST = 2_000
"""Characters."""


def own_path(text: str) -> str:
    """A path of one's own, with its query; for all else, and where one signs in, `/`."""
    plain = text.isprintable() and text.startswith("/") and "\\" not in text and len(text) <= LONGEST
    try:
        parts = urlsplit(text)
    except ValueError:
        return "/"
    is_login = f"{parts.path}/".startswith("/login/")
    return text if plain and not (is_login or parts.scheme or parts.netloc or text.startswith("//")) else "/"
