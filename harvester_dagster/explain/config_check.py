"""Whether a configuration that is well-formed runs tonight: what only registries, the environment and addresses tell.

Belongs here: mistakes of names that nothing has (kinds, formats, tasks, mappings), of hosts that may not be called, of
variables that are not set. Does not belong here: the form of a value (`config.py`), asking a server (`online.py`).
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from harvester_dagster import config as configuration
from harvester_dagster.catalog import CATALOG, Catalog
from harvester_dagster.config import LOOPBACK, Config, Email, Section, Source, Web
from harvester_dagster.config_mistakes import Mistake, refused, shown, unknown
from harvester_dagster.failures import RefusedError
from harvester_dagster.outside import http, origins
from harvester_dagster.outside.addresses import plain, port_of, why_not_public_host
from harvester_dagster.search import mapping
from harvester_dagster.search.mapping import BadMapping


def load(path: Path, catalog: Catalog = CATALOG, environment: Mapping[str, str] | None = None) -> Config:
    """The configuration in a file that this code can run. Raises ConfigError, one line a mistake.

    `environment`: also every variable that the file names must be set there.
    """
    config = configuration.load(path)
    found = list(unrunnable(config, catalog))
    if environment is not None:
        found += [*unset(config, environment), *_unheard(config, environment), *_shared(config.web, environment)]
    if found:
        raise refused(str(path), found)
    return config


def unrunnable(config: Config, catalog: Catalog) -> Iterator[Mistake]:
    """What cannot work on any machine with this code and these packages."""
    for name, source in config.sources.items():
        yield from (mistake.below("sources", name) for mistake in _source(source, catalog))
    tasks = [task.name for task in catalog.tasks]
    yield from (unknown("tasks.disabled", "task", name, tasks) for name in config.tasks.disabled if name not in tasks)
    if config.index.url != "none":
        try:
            mapping.check(catalog, config.index)
        except BadMapping as error:
            yield Mistake("index.mapping", error.sentence, error.mend)
    yield from _not_allowed(config)
    yield from _own(config)
    yield from _open_password(config.alerts.email)


def _source(source: Source, catalog: Catalog) -> Iterator[Mistake]:
    kind = catalog.kinds.get(source.kind)
    if kind is None:
        yield unknown("kind", "kind", source.kind, catalog.kinds)
        return
    written = source.model_dump(include={"metadata_prefix", "format"})
    for below, own in {"": {}, **{f"set.{name}.": own for name, own in source.set.items()}}.items():
        laid = written | own
        key = "format" if laid["format"] else "metadata_prefix"
        if kind.formats and (not below or own.keys() & written.keys()) and laid[key] not in kind.formats:
            yield unknown(below + key, "format with a mapping", laid[key], kind.formats)


def _not_allowed(config: Config) -> Iterator[Mistake]:
    """Hosts that the way out refuses. Solr, Tika and OpenSearch are the installation's own and need no leave."""
    for key, url in _called(config):
        yield from _refused(config, key, url, os.environ)


def _refused(config: Config, key: str, url: str, environment: Mapping[str, str]) -> Iterator[Mistake]:
    for origin in origins.of_urls([(key, url)]):
        reason = why_not_public_host(origin.host)
        if reason is None or str(origin) in origins.opened(config, environment):
            continue
        if own := origins.own_service(origin, config, environment):
            yield Mistake(key, f"{origin} is not called: {own} of this installation listens there", "name its server")
            continue
        ports = {parts[0] for entry in config.network.allow_hosts if (parts := port_of(entry))}
        entry = str(origin) if origin.host in ports else origin.host
        yield Mistake(
            key, f"{origin} is not called: its address is {reason}", f"add {shown(entry)} to network.allow_hosts"
        )


def _own(config: Config) -> Iterator[Mistake]:
    for entry in config.network.allow_hosts:
        if (found := port_of(entry)) and (what := origins.own_service(origins.Origin(entry, *found), config)):
            wrong = f"{entry} is where {what} of this installation listens: nothing in metadata may lead there"
            yield Mistake("network.allow_hosts", wrong, "remove it")


def _open_password(email: Email) -> Iterator[Mistake]:
    if email.host and email.username_env and email.security == "none" and not origins.is_here(email.host):
        wrong = f"the password would go to {email.host} for everybody on the way to read"
        yield Mistake("alerts.email.security", wrong, 'write "starttls" or "tls"')


def notes(config: Config) -> list[str]:
    """What is right and may not mean what it was meant to."""
    return [*_ports_not_opened(config), *_without_links(config), *_without_way_to_dagster(config)]


def _without_links(config: Config) -> list[str]:
    wanted = config.alerts.email.host and not config.web.public_url
    return ["alerts.email: mails have no links, for web.public_url is not set"] if wanted else []


def _without_way_to_dagster(config: Config) -> list[str]:
    host = urlsplit(config.web.public_url).hostname
    wanted = host and host not in LOOPBACK and not config.web.dagster_url
    return ["web.dagster_url: pages link the Dagster UI where it listens on this machine"] if wanted else []


def _ports_not_opened(config: Config) -> list[str]:
    """An entry without a port opened every port of its host once."""
    named = list(origins.named(config))
    return [
        f"network.allow_hosts: {shown(entry)} opens only what this file itself names there "
        f"({', '.join(sorted({str(each) for each in named if each.host == plain(entry)})) or 'nothing'}); "
        f"for URLs in metadata write the port too: {shown(f'{entry}:PORT')}"
        for entry in config.network.allow_hosts
        if port_of(entry) is None
    ]


def _called(config: Config) -> Iterator[tuple[str, str]]:
    for name, source in config.sources.items():
        yield f"sources.{name}.url", source.url
        yield from ((f"sources.{name}.set.{key}.url", own["url"]) for key, own in source.set.items() if "url" in own)
    yield from ((f"vocabularies.skos.{place}.url", skos.url) for place, skos in enumerate(config.vocabularies.skos))
    yield from ((f"metastore.{name}.doi_resolver_url", one.doi_resolver_url) for name, one in config.metastore.items())
    yield "web.login.issuer", config.web.login.issuer


def unset(config: Config, environment: Mapping[str, str]) -> Iterator[Mistake]:
    """Variables that the file names itself, and those without which a chosen way of signing in cannot work."""
    wanted = dict(_variables(config, ""))
    if config.index.auth == "basic":
        wanted |= {"index.username_env": config.index.username_env, "index.password_env": config.index.password_env}
    for key, variable in wanted.items():
        if not environment.get(variable):
            # Written in small letters it may be the secret itself.
            named = f"the variable {variable}" if variable.isupper() else "the variable that it names"
            yield Mistake(key, f"{named} is not set in the environment", "set it, or leave the key out")


def _unheard(config: Config, environment: Mapping[str, str]) -> Iterator[Mistake]:
    """Where people are told of trouble: an address that is never called would be noticed by nobody."""
    named = {"alert_url_env": config.night.alert_url_env, "heartbeat_url_env": config.night.heartbeat_url_env}
    for key, url in ((f"night.{key}", environment.get(variable)) for key, variable in named.items()):
        if not url:
            continue
        try:
            http.check_url_form(url)
        except RefusedError:
            yield Mistake(key, "the variable that it names holds no web address", "write https://… into it")
        else:
            yield from _refused(config, key, url, environment)


def _shared(web: Web, environment: Mapping[str, str]) -> Iterator[Mistake]:
    """Of two tokens with one secret nobody could say who has acted."""
    holders: dict[str, str] = {}
    named = {"token_env": web.token_env} | {
        f"tokens.{name}.token_env": one.token_env for name, one in web.tokens.items()
    }
    for key, variable in named.items():
        if secret := environment.get(variable):
            other = holders.setdefault(secret, key)
            if other != key:
                yield Mistake(f"web.{key}", f"its secret is that of web.{other}", "give each token a secret of its own")


def _variables(section: Section, prefix: str) -> Iterator[tuple[str, str]]:
    for name, field in type(section).model_fields.items():
        if name not in section.model_fields_set:
            continue
        value = getattr(section, name)
        if name.endswith("_env") and value and value != field.default:
            yield f"{prefix}{name}", value
        for key, inner in _tables(name, value):
            if isinstance(inner, Section):
                yield from _variables(inner, f"{prefix}{key}.")
    if isinstance(section, Source):
        yield from _of_sets(section, prefix)


def _of_sets(source: Source, prefix: str) -> Iterator[tuple[str, str]]:
    for name, own in source.set.items():
        yield from (
            (f"{prefix}set.{name}.{key}", value) for key, value in own.items() if key.endswith("_env") and value
        )


def _tables(name: str, value: Any) -> Iterable[tuple[str, Any]]:
    """The tables below a key: one, or one a name."""
    if isinstance(value, dict):
        return [(f"{name}.{key}", inner) for key, inner in value.items()]
    return [(name, value)]
