"""Which private and loopback origins an installation opens, by `network.allow_hosts`.

An entry `host:port` opens that port for whoever asks, URLs in metadata too. An entry `host` opens only the origins that
the configuration names there. Neither opens a port where the installation itself listens: a file's URL must not reach
its search server or its pages.

Belongs here: the meaning of an entry. Does not belong here: the guard itself (`connections.py`), what an entry may look
like (`config.py`).
"""

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from ipaddress import IPv6Address, ip_address
from typing import NamedTuple
from urllib.parse import urlsplit

from harvester_dagster.config import Config
from harvester_dagster.outside.addresses import Resolve, plain, port_of, system_addresses

OWN_PORTS = "HARVESTER_OWN_PORTS"
"""The variable by which `harvester up` tells its processes on which ports it listens, separated by commas."""
_TIKA = "HARVESTER_TIKA_URL"
_DAGSTER_PORT = 3000


class Origin(NamedTuple):
    """A host, as it is compared, and a port of it; `what` names it for people."""

    what: str
    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def opened(config: Config, environment: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """The origins, as `host:port`, that may be called although they are not public."""
    hosts = [plain(entry) for entry in config.network.allow_hosts if port_of(entry) is None]
    found = [each for each in named(config, environment) if each.host in hosts]
    for entry in config.network.allow_hosts:
        if parts := port_of(entry):
            found.append(Origin(entry, *parts))
    return tuple(dict.fromkeys(str(each) for each in found if own_service(each, config, environment) is None))


def opener(config: Config, environment: Mapping[str, str] = os.environ) -> Callable[[], tuple[str, ...]]:
    """`opened`, for each call: read anew only when a variable that it reads has another value than at the last one."""
    variables = [*_told_by(config).values(), config.store.postgres_url_env, OWN_PORTS, _TIKA]
    made: dict[tuple[str | None, ...], tuple[str, ...]] = {}

    def now() -> tuple[str, ...]:
        key = tuple(environment.get(variable) for variable in variables)
        if key not in made:
            made.clear()
            made[key] = opened(config, environment)
        return made[key]

    return now


def for_url(entries: Collection[str], url: str) -> tuple[str, ...]:
    """The entries with a port, and the origin of a URL that a person named, where its host is an entry."""
    hosts = [plain(entry) for entry in entries if port_of(entry) is None]
    found = [str(each) for each in of_urls([("", url)]) if each.host in hosts]
    return (*(entry for entry in entries if port_of(entry)), *found)


def named(config: Config, environment: Mapping[str, str] = os.environ) -> Iterator[Origin]:
    """What the configuration itself calls by a URL: sources, vocabularies, DOI resolvers, and who is told by day and
    night."""
    urls = [(f"set {key}", settings.url) for key, settings in config.sets.items()]
    urls += [(f"source {name}", source.url) for name, source in config.sources.items()]
    urls += [(f"vocabulary {skos.name}", skos.url) for skos in config.vocabularies.skos]
    urls += [(f"DOI resolver of {name}", endpoint.doi_resolver_url) for name, endpoint in config.metastore.items()]
    urls.append(("login", config.web.login.issuer))
    urls += [(key, environment.get(variable, "")) for key, variable in _told_by(config).items()]
    return of_urls(urls)


def _told_by(config: Config) -> dict[str, str]:
    """The variables that hold addresses of who is told by day and night, by their keys."""
    night = config.night
    return {f"night.{key}": getattr(night, key) for key in type(night).model_fields if key.endswith("_url_env")}


def own_service(
    origin: Origin, config: Config, environment: Mapping[str, str] = os.environ, resolve: Resolve = system_addresses
) -> str | None:
    """Which of the installation's own services listens there; None: none. A name is looked up only where its port is
    one of theirs."""
    for each in _own(config, environment):
        if each.port == origin.port and (each.host == origin.host or _are_here(each.host, origin, resolve)):
            return each.what
    return None


def _own(config: Config, environment: Mapping[str, str]) -> Iterator[Origin]:
    """Where the installation itself listens, by its configuration and by what `harvester up` was told."""
    urls = [("the search server", config.index.url), ("Tika", config.tasks.tika_url or environment.get(_TIKA, ""))]
    urls += [(f"Solr {name}", endpoint.url) for name, endpoint in config.metastore.items()]
    urls += [
        ("PostgreSQL", environment.get(config.store.postgres_url_env, "")),
        ("the objects", config.store.s3_endpoint),
    ]
    yield from of_urls(urls)
    yield Origin("the pages", plain(config.web.host), config.web.port)
    here = "127.0.0.1"
    yield Origin("Dagster's pages", here, _DAGSTER_PORT)
    for port in filter(str.isdigit, environment.get(OWN_PORTS, "").split(",")):
        yield Origin("the pages or Dagster's pages", here, int(port))


def _are_here(host: str, origin: Origin, resolve: Resolve) -> bool:
    """Whether a host of ours and that of an origin are this machine."""
    return is_here(host) and (is_here(origin.host) or any(map(_is_ours, _addresses(origin, resolve))))


def _addresses(origin: Origin, resolve: Resolve) -> list[str]:
    try:
        return list(resolve(origin.host, origin.port))
    except (OSError, UnicodeError):
        return []


def _is_ours(address: str) -> bool:
    """Whether an address is one of this machine's."""
    import psutil  # rarely asked for

    own = (found.address for every in psutil.net_if_addrs().values() for found in every)
    return is_here(address) or _unmapped(address) in own


def _unmapped(address: str) -> str:
    try:
        found = ip_address(address)
    except ValueError:
        return address
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return str(mapped or found)


def of_urls(urls: Iterable[tuple[str, str]]) -> Iterator[Origin]:
    """Where URLs lead, each given with what names it for people; none for what is no URL of a host and port."""
    usual = {"http": 80, "https": 443, "postgresql": 5432, "postgres": 5432}
    for what, url in urls:
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port or usual.get(parts.scheme)
        except ValueError:
            continue
        if host and port:
            yield Origin(what, plain(host), port)


def is_here(host: str) -> bool:
    """Whether a host is this machine, by its name or address alone."""
    try:
        address = ip_address(_unmapped(host))
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
    return address.is_loopback or address.is_unspecified
