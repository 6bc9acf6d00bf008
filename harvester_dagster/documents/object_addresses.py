"""Where consumers fetch what tasks stored of a document: the address of an object, from its key.

Either the store's own public base (`[store] objects_public_url`), or the route that serves pictures below
`[web] public_url`, which is told the document as well: it serves what a published output names, and looks that up by
the document. Does not belong here: serving (`web/picture_pages.py`), the layout of keys (`store/keys.py`).
"""

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote, urlsplit

from harvester_dagster.config import Config

ROUTE = "/pictures/"
"""The path of the route below `[web] public_url`; the object's key follows."""
OF = "of"
"""The parameter of the route that names the document."""

Address = Callable[[str, str], str]
"""Of an object's key and the SRN of the document that names it, to its absolute URL."""


def addressing(config: Config) -> Address | None:
    """How objects are addressed in this installation; None: they have no public address."""
    if base := config.store.objects_public_url:
        return lambda key, _srn: f"{base}/{key}"
    if base := config.web.public_url:
        return of_route(base)
    return None


def of_route(base: str) -> Address:
    """Addresses at the route that serves pictures, below a base."""
    return lambda key, srn: f"{base}{ROUTE}{key}?{OF}={quote(srn, safe=':')}"


def made_with(config: Config) -> list[str]:
    """The settings that addresses are made from: another answer makes outputs anew."""
    return [config.store.objects_public_url or config.web.public_url]


def addressed(value: Mapping[str, str], srn: str, address: Address) -> dict[str, str]:
    """Names of objects by whatever they are called, as their addresses."""
    return {name: address(key, srn) for name, key in value.items()}


def names(value: Any, key: str) -> bool:
    """Whether a published value names the object: by an address of whatever base, or by the bare key, as outputs did
    that were made when there were no addresses."""
    if not isinstance(value, Mapping):
        return False
    return any(isinstance(one, str) and f"/{urlsplit(one).path}".endswith(f"/{key}") for one in value.values())
