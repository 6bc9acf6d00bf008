"""What is configured: `harvester.toml`, validated as a whole at start.

Belongs here: the names, defaults and limits of every setting, and errors that name the key and the mend.
Does not belong here: reading secrets into the model (a secret is the *name* of an environment variable, asked
for with `secret()` at the moment of use), or anything that talks to the outside.
"""

import difflib
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from datetime import time, timedelta
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, available_timezones

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

DEFAULT_FILE = Path("harvester.toml")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
NOT_YET = ("webhook_secret_env", "webhook_addresses")
"""Keys of a part that is still to come: refused, because a key that does nothing deceives."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


class ConfigError(Exception):
    """The configuration cannot be used; the message names each key and how to mend it."""


def _duration(value: Any) -> Any:
    """`"90s"`, `"10m"`, `"6h"`, `"30d"` as a timedelta."""
    if isinstance(value, timedelta):
        return value
    found = re.fullmatch(r"(\d+)([smhd])", value) if isinstance(value, str) else None
    if not found:
        raise ValueError('write a number and a unit, such as "90s", "10m", "6h" or "30d"')
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


Duration = Annotated[timedelta, BeforeValidator(_duration)]
Url = Annotated[str, Field(pattern=r"^https?://\S+$")]
UrlOrEmpty = Annotated[str, Field(pattern=r"^(https?://\S+)?$")]


class Section(BaseModel):
    """A table of the file: unknown keys are errors, and nothing changes after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Store(Section):
    postgres_url_env: str = "HARVESTER_POSTGRES_URL"
    objects: Annotated[str, Field(pattern=r"^(folder|s3://[^/]+(/.*)?)$")] = "folder"
    s3_endpoint: UrlOrEmpty = ""
    retention_days: Annotated[int, Field(ge=1)] = 14
    retention_code_versions: Annotated[int, Field(ge=1)] = 3


class Network(Section):
    allow_hosts: tuple[str, ...] = ()
    per_host_per_second: Annotated[float, Field(gt=0)] = 4
    user_agent: str = "harvester_dagster (+contact)"


class Night(Section):
    cron: str = "0 1 * * *"
    release_quiet_period: Duration = timedelta(minutes=10)
    deadline: time = time(6, 0)
    max_concurrent_sets: Annotated[int, Field(ge=1)] = 4
    alert_after_rejected_nights: Annotated[int, Field(ge=1)] = 3
    alert_url_env: str = "HARVESTER_ALERT_URL"
    sentry_dsn_env: str = "SENTRY_DSN"


class SetSettings(Section):
    """What holds for one set: the source's settings with those of the set laid over them."""

    kind: str
    url: Url
    metadata_prefix: str = "lom"
    token_env: str = ""
    deletes: Literal["no", "transient", "persistent"] = "persistent"
    purge_after_days: Annotated[int, Field(ge=1)] = 30
    overlap: Duration = timedelta(hours=1)
    min_documents: Annotated[int, Field(ge=0)] = 50
    max_shrink: Annotated[float, Field(gt=0)] = 0.05
    check_urls: bool = True
    test_organizations: tuple[str, ...] = ()
    default_educational_level: str = ""


class Source(SetSettings):
    sets: Annotated[tuple[str, ...], Field(min_length=1)]
    set: dict[str, dict[str, Any]] = {}

    @field_validator("sets")
    @classmethod
    def _sets_are_keys(cls, sets: tuple[str, ...]) -> tuple[str, ...]:
        for name in sets:
            if name != "*" and (re.search(r"[,|\[\]\s]", name) or "..." in name):
                raise ValueError(f"{name!r} cannot be a partition key: no spaces, ',', '|', brackets or '...'")
        if "*" in sets and len(sets) > 1:
            raise ValueError('"*" (a repository without sets) stands alone')
        return sets

    @model_validator(mode="after")
    def _set_settings_are_settings(self) -> "Source":
        for name in self.set:
            if name not in self.sets:
                raise ValueError(f"set.{name}: not one of sets = {list(self.sets)}")
            self.for_set(name)
        return self

    def for_set(self, spec: str) -> SetSettings:
        own = self.set.get(spec, {})
        if fixed := {"kind", "sets", "set"} & own.keys():
            raise ValueError(f"set.{spec}.{min(fixed)}: holds for the whole source; write it there")
        return SetSettings.model_validate(self.model_dump(exclude={"sets", "set"}) | own)


class Tasks(Section):
    disabled: tuple[str, ...] = ()
    recent_years: Annotated[int, Field(ge=1)] = 4
    tika_url: UrlOrEmpty = ""
    youtube: bool = True
    youtube_api_key_env: str = "YOUTUBE_API_KEY"
    video_hosts: tuple[str, ...] = ("youtube.com", "youtu.be", "vimeo.com")
    recheck_days: Annotated[int, Field(ge=1)] = 30
    recheck_missing_days: Annotated[tuple[int, ...], Field(min_length=1)] = (1, 7, 30)
    dead_after_nights: Annotated[int, Field(ge=1)] = 3


class Index(Section):
    url: Annotated[str, Field(pattern=r"^(none|https?://\S+)?$")] = ""
    auth: Literal["none", "basic", "aws"] = "none"
    username_env: str = "OPENSEARCH_USERNAME"
    password_env: str = "OPENSEARCH_PASSWORD"  # the variable's name, as everywhere here
    aws_region: str = "eu-central-1"
    shards: Annotated[int, Field(ge=1)] = 1
    replicas: Annotated[int, Field(ge=0)] = 0
    nl_decompound_word_list: str = ""
    mapping: str = "default"
    require: bool = True


class Output(Section):
    author_emails: bool = False
    copyright_from_main_file: bool = True


class Skos(Section):
    name: str
    url: Url


class Vocabularies(Section):
    skos: tuple[Skos, ...] = ()
    cron: str = "0 0 * * 0"


class Metastore(Section):
    url: UrlOrEmpty = ""
    collection: str = "metastore"
    username_env: str = ""
    password_env: str = ""
    max_writers: Annotated[int, Field(ge=1)] = 4
    page_size: Annotated[int, Field(ge=1, le=100_000)] = 5000
    journals_max_age: Duration = timedelta(hours=6)
    schedules: dict[Literal["full", "partial", "sfx", "no_access", "changed"], str] = {
        "partial": "0 2 * * *",
        "sfx": "0 3 * * 0",
    }
    doi_resolver_url: UrlOrEmpty = ""
    doi_resolver_email: str = ""


class Web(Section):
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 3001
    token_env: str = "HARVESTER_TOKEN"
    trusted_proxies: tuple[str, ...] = ()


class Config(Section):
    """The whole of `harvester.toml`. Sets are known everywhere by their key `source:set`."""

    platform: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]*$")] = "edusources"
    dataset: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]*$")] = "main"
    production: bool = False
    timezone: str = "Europe/Amsterdam"
    store: Store = Store()
    network: Network = Network()
    night: Night = Night()
    sources: dict[str, Source] = {}
    tasks: Tasks = Tasks()
    index: Index = Index()
    output: Output = Output()
    vocabularies: Vocabularies = Vocabularies()
    metastore: dict[str, Metastore] = {}
    web: Web = Web()

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, name: str) -> str:
        if name not in available_timezones():
            raise ValueError(f"{name!r} is no time zone; write one such as Europe/Amsterdam")
        return name

    @field_validator("sources", "metastore")
    @classmethod
    def _names_are_keys(cls, tables: dict[str, Any]) -> dict[str, Any]:
        for name in tables:
            if not _NAME.fullmatch(name):
                raise ValueError(f"{name!r} cannot be a name: letters, digits, '_', '.', '-' only (no ':')")
        return tables

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.timezone)

    @cached_property
    def sets(self) -> Mapping[str, SetSettings]:
        """Every configured set by its key, in the order of the file."""
        return {
            set_key(name, spec): source.for_set(spec) for name, source in self.sources.items() for spec in source.sets
        }


def set_key(source: str, spec: str) -> str:
    """`source:set`; a repository without sets (`"*"`) is `source:all`."""
    return f"{source}:{'all' if spec == '*' else spec}"


def set_spec(key: str, config: Config) -> str:
    """The set as its source knows it: what comes after the source's name, or `"*"`."""
    source, _, spec = key.partition(":")
    return "*" if source in config.sources and config.sources[source].sets == ("*",) else spec


def load(path: Path | None = None) -> Config:
    """Read and validate the file (default: `HARVESTER_CONFIG`, else `harvester.toml` here).

    Raises ConfigError with one line per wrong key.
    """
    path = path or Path(os.environ.get("HARVESTER_CONFIG", DEFAULT_FILE))
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(
            f"{path}: there is no such file; copy harvester.toml from the repository and name it in HARVESTER_CONFIG"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from None
    return parse(raw, str(path))


def parse(raw: Mapping[str, Any], name: str = "configuration") -> Config:
    """Validate a decoded file. Raises ConfigError."""
    try:
        return Config.model_validate(raw)
    except ValidationError as error:
        raise ConfigError("\n".join(f"{name}: {line}" for line in _lines(error))) from None


def _lines(error: ValidationError) -> Iterator[str]:
    for problem in error.errors():
        key = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            if problem["loc"][-1] in NOT_YET:
                yield f"{key}: does nothing yet; remove it"
                continue
            close = difflib.get_close_matches(str(problem["loc"][-1]), _known_keys(), 1)
            hint = f"did you mean {close[0]!r}?" if close else "remove it"
            yield f"{key}: there is no such key; {hint}"
        elif problem["type"] == "missing":
            yield f"{key}: is missing; add it"
        else:
            message = problem["msg"].removeprefix("Value error, ")
            yield f"{key}: {message} (found {problem['input']!r:.80})"


def _known_keys() -> list[str]:
    models: list[type[BaseModel]] = [Config, *Section.__subclasses__(), Source]
    return sorted({name for model in models for name in model.model_fields})


def secret(variable: str) -> str | None:
    """The value of a secret, by the name of its environment variable; None when unset or not named."""
    return os.environ.get(variable) or None if variable else None


def home() -> Path:
    """The state folder: `HARVESTER_HOME`, else `.harvester` here."""
    return Path(os.environ.get("HARVESTER_HOME", ".harvester")).absolute()
