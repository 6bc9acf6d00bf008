"""What is configured: `harvester.toml`, validated as a whole at start.

Belongs here: the names, defaults and limits of every setting, and errors that name the key and the mend.
Does not belong here: reading secrets into the model (a secret is the *name* of an environment variable, asked
for with `secret()` at the moment of use), or anything that talks to the outside.
"""

import difflib
import os
import re
import tomllib
from collections.abc import Callable, Mapping
from datetime import datetime, time, timedelta
from functools import cached_property
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, available_timezones

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    field_validator,
    model_validator,
)

from harvester_dagster.config_mistakes import ConfigError, Mistake, Unfit, mistakes, refused, unfit, unknown

DEFAULT_FILE = Path("harvester.toml")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_HOST = re.compile(r"\w([\w.-]*[\w.])?|\[?[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*\]?")
_MOST_DAYS = 36_500


def _duration(value: Any) -> Any:
    """`"90s"`, `"10m"`, `"6h"`, `"30d"` as a timedelta."""
    if isinstance(value, timedelta):
        return value
    found = re.fullmatch(r"(\d{1,9})([smhd])", value, re.ASCII) if isinstance(value, str) else None
    length = timedelta(**{_UNITS[found[2]]: int(found[1])}) if found else None
    if length is None or length.days > _MOST_DAYS:
        raise unfit(value, "a number and a unit", 'write one such as "90s", "10m", "6h" or "30d"')
    return length


def _clock(value: Any) -> Any:
    """`"06:00"` as a time of the day."""
    if isinstance(value, time) and value.tzinfo is None:
        return value
    if isinstance(value, str) and re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", value, re.ASCII):
        return time.fromisoformat(value)
    raise unfit(value, "a time of the day, in the installation's time zone", 'write one such as "06:00"')


def _size(value: Any) -> Any:
    """`"500MB"`, `"50GB"` as a number of bytes; a thousand kB are an MB."""
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    found = re.fullmatch(r"([1-9]\d{0,8})(kB|MB|GB|TB)", value, re.ASCII) if isinstance(value, str) else None
    if not found:
        raise unfit(value, "a number and a unit", 'write one such as "500MB" or "50GB"')
    return int(found[1]) * 1000 ** (1 + ("kB", "MB", "GB", "TB").index(found[2]))


def _cron(value: str) -> str:
    """As Dagster takes it: five fields, or a name such as `@daily`; a moment that comes."""
    from croniter import CroniterBadDateError, croniter

    try:
        if croniter.is_valid(value) and len(croniter.expand(value)[0]) == 5:
            croniter(value, datetime(2024, 1, 1)).get_next()
            return value
    except CroniterBadDateError:  # the 30th of February
        pass
    raise unfit(value, "times as cron writes them: minute, hour, day, month, weekday", 'write one such as "0 1 * * *"')


def _url(value: str) -> str:
    """Raises Unfit for what no client could call."""
    example = 'write one such as "https://host.example.org/path"'
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        raise unfit(_bare(value), "a web address with a host (and a port up to 65535)", example) from None
    if parts.scheme not in ("http", "https") or re.search(r"[\s\x00-\x1f]", value):
        raise unfit(_bare(value), "a web address", example)
    if not _HOST.fullmatch(parts.hostname or "") or port == 0:
        raise unfit(_bare(value), "a web address with a host (and a port up to 65535)", example)
    return value


def _bare(url: str) -> str:
    """Without what may be a password."""
    return re.sub(r"//.*@", "//***@", url)


def _without_credentials(url: str) -> str:
    if "@" in urlsplit(url).netloc:
        raise unfit(_bare(url), "an address without a name or a password", "name an environment variable for them")
    return url


def _base(url: str) -> str:
    """What a path can be added to."""
    if "?" in url or "#" in url:
        raise unfit(_bare(url), "an address that a path can be added to", "leave out what comes after ? or #")
    return url.rstrip("/")


def _page(template: str) -> str:
    """An address with a place for a document."""
    plain = re.sub(r"\{(srn|external_id|entity)\}", "x", template)
    if not re.search(r"\{(srn|external_id)\}", template) or re.search("[{}]", plain):
        example = (
            'write one such as "https://portal.example.org/materials/{srn}"; {external_id}, {entity} are known too'
        )
        raise unfit(_bare(template), "an address with {srn} or {external_id} in it", example)
    _url(plain)
    return template


def _host(value: str) -> str:
    host, port = value, "1"
    if found := re.fullmatch(r"(\[[^\]]+\]|[^:\[\]]+):(\d+)", value, re.ASCII):
        host, port = found.groups()
    if not _HOST.fullmatch(host) or not 0 < int(port[:6]) <= 65535:
        raise unfit(
            _bare(value), "a host, or host:port, without http:// and path", 'write one such as "localhost:8080"'
        )
    return value


def _mail_address(value: str) -> str:
    """Alone, without a name beside it; nothing in it may begin a line of its own in a mail's head."""
    if not re.fullmatch(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{1,64}@[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?", value):
        raise unfit(value[:100], "a mail address alone", 'write one such as "harvester@example.org"')
    return value


def _mail_host(value: str) -> str:
    if not _HOST.fullmatch(value):
        raise unfit(value, "the name of a mail server, without a port", 'write one such as "smtp.example.org"')
    return value


def _network(value: str) -> str:
    try:
        return str(ip_network(value))
    except ValueError:
        raise unfit(value, "an address or a network", 'write one such as "192.0.2.10" or "192.0.2.0/24"') from None


def _share(value: float) -> float:
    if not 0 < value < 1:
        raise unfit(value, "a share above 0 and below 1", "0.05 is 5 %")
    return value


def _bucket(value: str) -> str:
    if value != "folder" and not re.fullmatch(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/.*)?", value):
        raise unfit(value, '"folder" or "s3://bucket/prefix"')
    return value


def _variable(value: str) -> str:
    """What is no name may be the secret itself, so it is not told."""
    if value and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", value):
        raise Unfit(Mistake("", "expected the name of an environment variable", "the secret itself stands in that"))
    return value


def _needed(value: str) -> str:
    if not value:
        raise unfit(value, "the name of an environment variable", "the secret itself stands in that")
    return value


def _named(pattern: str, expected: str) -> AfterValidator:
    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise unfit(value, expected)
        return value

    return AfterValidator(check)


def _empty_or(check: Callable[[str], str], *others: str) -> AfterValidator:
    return AfterValidator(lambda value: value if value in ("", *others) else check(value))


def _as_written(duration: timedelta) -> str:
    return f"{round(duration.total_seconds())}s"


Duration = Annotated[timedelta, BeforeValidator(_duration), PlainSerializer(_as_written, when_used="json")]
Size = Annotated[int, BeforeValidator(_size)]
Clock = Annotated[
    time, BeforeValidator(_clock), PlainSerializer(lambda at: at.strftime("%H:%M"), return_type=str, when_used="json")
]
Cron = Annotated[str, AfterValidator(_cron)]
Url = Annotated[str, AfterValidator(_url), AfterValidator(_without_credentials)]
UrlOrEmpty = Annotated[str, _empty_or(lambda url: _without_credentials(_url(url)))]
BaseOrEmpty = Annotated[str, _empty_or(lambda url: _base(_without_credentials(_url(url))))]
PageOrEmpty = Annotated[str, _empty_or(_page)]
"""Without a slash at its end."""
Share = Annotated[float, Field(strict=True), AfterValidator(_share)]
Flag = Annotated[bool, Field(strict=True)]
Count = Annotated[int, Field(strict=True, ge=1)]
Variable = Annotated[str, AfterValidator(_variable)]
"""The name of an environment variable; the secret is in that."""
Days = Annotated[int, Field(strict=True, ge=1, le=_MOST_DAYS)]
MailAddress = Annotated[str, AfterValidator(_mail_address)]


def _named_tables(tables: dict[str, Any]) -> dict[str, Any]:
    for name in tables:
        if not _NAME.fullmatch(name):
            raise Unfit(Mistake(name, "cannot be a name", "letters, digits, '_', '.' and '-' only, the first no sign"))
    return tables


class Section(BaseModel):
    """A table of the file: unknown keys are errors, and nothing changes after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Store(Section):
    """Where rows and objects are, and how long what nobody needs any more is kept."""

    postgres_url_env: Variable = "HARVESTER_POSTGRES_URL"
    objects: Annotated[str, AfterValidator(_bucket)] = "folder"
    s3_endpoint: UrlOrEmpty = ""
    objects_public_url: BaseOrEmpty = ""
    retention_days: Days = 14
    history_days: Days = 400
    retention_code_versions: Count = 3
    takedown_key_env: Variable = ""
    """The key by which what was purged is known again; empty: a file of the state folder."""


class Network(Section):
    """Whom this installation may call, and how politely."""

    allow_hosts: tuple[Annotated[str, AfterValidator(_host)], ...] = ()
    per_host_per_second: Annotated[float, Field(strict=True, gt=0)] = 4
    user_agent: str = "harvester_dagster (+contact)"


class NightSettings(Section):
    """When a night begins and must end, how much is done at once, and who is told."""

    automation: bool = True
    cron: Cron = "0 1 * * *"
    release_quiet_period: Duration = timedelta(minutes=10)
    deadline: Clock = time(6, 0)
    max_concurrent_sets: Count = 4
    alert_after_rejected_nights: Count = 3
    alert_url_env: Variable = "HARVESTER_ALERT_URL"
    heartbeat_url_env: Variable = "HARVESTER_HEARTBEAT_URL"
    sentry_dsn_env: Variable = "SENTRY_DSN"

    @property
    def sets_of_one_source(self) -> int:
        """How many sets of one source are asked for at once, by whatever run or command."""
        return max(1, self.max_concurrent_sets // 2)


class SetSettings(Section):
    """What holds for one set: the source's settings with those of the set laid over them."""

    kind: str
    url: Url
    metadata_prefix: str = "lom"
    """What the server calls the format that is asked for."""
    format: str = ""
    """Which mapping reads it; empty: the one of that prefix's name."""
    token_env: Variable = ""
    deletes: Literal["no", "transient", "persistent"] = "persistent"
    purge_after_days: Days = 30
    overlap: Duration = timedelta(hours=1)
    reconcile_after_days: Days = 30
    min_documents: Annotated[int, Field(strict=True, ge=0)] = 50
    max_shrink: Share = 0.05
    list_size: Literal["exact", "estimate"] = "exact"
    max_list_pages: Count = 1_000_000
    max_list_bytes: Size = 50_000_000_000
    max_list_hours: Annotated[float, Field(strict=True, gt=0)] = 8
    empty_metadata: Literal["unreadable", "deleted"] = "unreadable"
    check_urls: Flag = True
    test_organizations: tuple[str, ...] = ()
    default_educational_level: str = ""
    webhook_secret_env: Variable = ""
    """Whoever knows the secret in it may push records; empty: only a token of the scope `push` may."""
    webhook_addresses: tuple[Annotated[str, AfterValidator(_network)], ...] = ()
    """From where records may be pushed: addresses, or networks as 192.0.2.0/24; empty: from anywhere."""


class Source(SetSettings):
    """One source: its settings, its sets, and what differs for one of them."""

    sets: Annotated[tuple[str, ...], Field(min_length=1)]
    set: dict[str, dict[str, Any]] = {}

    @field_validator("sets")
    @classmethod
    def _sets_are_keys(cls, sets: tuple[str, ...]) -> tuple[str, ...]:
        for name in sets:
            if name != "*" and (not name or re.search(r"[,|\[\]\s]", name) or "..." in name):
                raise unfit(name, "a set that can be part of a key", "no spaces, ',', '|', brackets or '...'")
        if "*" in sets and len(sets) > 1:
            raise unfit(list(sets), '"*" (a repository without sets) alone')
        if twice := [name for name in dict.fromkeys(sets) if sets.count(name) > 1]:
            raise unfit(list(sets), f"each set once; twice: {', '.join(twice)}")
        return sets

    @model_validator(mode="after")
    def _set_settings_are_settings(self) -> "Source":
        for name, own in self.set.items():
            if name not in self.sets:
                raise Unfit(unknown(f"set.{name}", "set", name, self.sets))
            if fixed := {"kind", "sets", "set"} & own.keys():
                raise Unfit(Mistake(f"set.{name}.{min(fixed)}", "holds for the whole source", "write it there"))
            try:
                self.for_set(name)
            except ValidationError as error:
                found = mistakes(error, SetSettings)
                raise Unfit(*(mistake.below("set", name) for mistake in found)) from None
        return self

    def for_set(self, spec: str) -> SetSettings:
        """The settings of one of its sets: the source's, with the set's own laid over them."""
        return SetSettings.model_validate(self.model_dump(exclude={"sets", "set"}) | self.set.get(spec, {}))


class Tasks(Section):
    """Which document tasks run, and how often what they found is looked at again."""

    disabled: tuple[str, ...] = ()
    recent_years: Annotated[int, Field(strict=True, ge=1, le=1000)] = 4
    tika_url: UrlOrEmpty = ""
    youtube: Flag = True
    youtube_api_key_env: Variable = "YOUTUBE_API_KEY"
    video_hosts: tuple[str, ...] = ("youtube.com", "youtu.be", "vimeo.com")
    recheck_days: Days = 30
    recheck_missing_days: Annotated[tuple[Days, ...], Field(min_length=1)] = (1, 7, 30)
    dead_after_nights: Count = 3


class Index(Section):
    """The search index: where, with which rights, in which form."""

    url: Annotated[str, _empty_or(_url, "none")] = ""
    auth: Literal["none", "basic", "aws"] = "none"
    username_env: Variable = "OPENSEARCH_USERNAME"
    password_env: Variable = "OPENSEARCH_PASSWORD"  # the variable's name, as everywhere here
    aws_region: str = "eu-central-1"
    shards: Count = 1
    replicas: Annotated[int, Field(strict=True, ge=0)] = 0
    nl_decompound_word_list: str = ""
    mapping: str = "default"
    require: Flag = True


class Output(Section):
    """What consumers see of a document beyond what its source says."""

    author_emails: Flag = False
    copyright_from_main_file: Flag = True


class Skos(Section):
    """One vocabulary that is harvested beside those that ship."""

    name: str
    url: Url


class VocabularySettings(Section):
    """Which vocabularies are harvested, and when."""

    skos: tuple[Skos, ...] = ()
    cron: Cron = "0 0 * * 0"


class Metastore(Section):
    """One endpoint of the access enricher: a Solr collection, how it is read and written, and when."""

    url: UrlOrEmpty = ""
    collection: str = "metastore"
    username_env: Variable = ""
    password_env: Variable = ""
    max_writers: Count = 4
    page_size: Annotated[int, Field(strict=True, ge=1, le=100_000)] = 5000
    journals_max_age: Duration = timedelta(hours=6)
    allow_loss: tuple[str, ...] = ()
    schedules: dict[Literal["full", "partial", "sfx", "no_access", "changed"], Cron] = {
        "partial": "0 2 * * *",
        "sfx": "0 3 * * 0",
    }
    doi_resolver_url: UrlOrEmpty = ""
    doi_resolver_email: str = ""


LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
"""This machine's names for itself."""
SCOPES = ("read-raw", "push", "overwrite", "takedown", "operate")
"""What a token can allow: to read raw records; to push documents; to overwrite what is shown of one; to take one down;
to start, stop and decide what an operator does."""


Scope = Literal["read-raw", "push", "overwrite", "takedown", "operate"]


class NamedToken(Section):
    """A token that somebody holds: its secret is in an environment variable, its scopes say what it allows."""

    token_env: Annotated[Variable, AfterValidator(_needed)]
    scopes: Annotated[tuple[Scope, ...], Field(min_length=1)]


class Login(Section):
    """People who sign in at a provider of OpenID Connect; without an issuer nobody does. `scopes`: what each value of
    the claim allows."""

    issuer: UrlOrEmpty = ""
    client_id: str = ""
    client_secret_env: Variable = ""
    claim: str = "groups"
    scopes: dict[str, tuple[Scope, ...]] = {}

    @model_validator(mode="after")
    def _somebody_may_something(self) -> "Login":
        wanted: dict[str, Any] = {"client_id": self.client_id, "claim": self.claim, "scopes": self.scopes}
        if missing := [key for key, value in wanted.items() if self.issuer and not value]:
            raise Unfit(*(Mistake(key, "is missing beside issuer", "write it there") for key in missing))
        parts = urlsplit(self.issuer)
        if parts.scheme == "http" and parts.hostname not in LOOPBACK:
            raise Unfit(Mistake("issuer", "what it says could be changed on the way", "write an address with https://"))
        return self


class Web(Section):
    """Where the pages and the API listen, and who may act."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(strict=True, ge=0, le=65535)] = 3001
    public_url: BaseOrEmpty = ""
    dagster_url: BaseOrEmpty = ""
    page_url: PageOrEmpty = ""
    token_env: Variable = "HARVESTER_TOKEN"
    secret_env: Variable = ""
    cors_origins: tuple[str, ...] = ()
    trusted_proxies: tuple[str, ...] = ()
    tokens: dict[str, NamedToken] = {}
    login: Login = Login()

    @model_validator(mode="after")
    def _a_login_comes_back(self) -> "Web":
        if self.login.issuer and not self.public_url:
            raise Unfit(Mistake("public_url", "is missing beside login", "write where browsers reach these pages"))
        parts = urlsplit(self.public_url)
        if self.login.issuer and parts.scheme == "http" and parts.hostname not in LOOPBACK:
            raise Unfit(Mistake("public_url", "a session could be read on the way", "write an address with https://"))
        return self

    @field_validator("tokens")
    @classmethod
    def _names_are_names(cls, tokens: dict[str, NamedToken]) -> dict[str, NamedToken]:
        return _named_tables(tokens)


class Email(Section):
    """The mail that tells in the morning what needs a hand; without a host none is sent."""

    host: Annotated[str, _empty_or(_mail_host)] = ""
    port: Annotated[int, Field(strict=True, ge=1, le=65535)] = 587
    security: Literal["starttls", "tls", "none"] = "starttls"
    username_env: Variable = ""
    password_env: Variable = ""
    sender: Annotated[str, _empty_or(_mail_address)] = ""
    to: tuple[MailAddress, ...] = ()

    @model_validator(mode="after")
    def _somebody_writes_to_somebody(self) -> "Email":
        wanted: dict[str, Any] = {"sender": self.sender, "to": self.to} if self.host else {}
        if missing := [key for key, value in wanted.items() if not value]:
            raise Unfit(*(Mistake(key, "is missing beside host", "write who is named there") for key in missing))
        if bool(self.username_env) != bool(self.password_env):
            absent = "password_env" if self.username_env else "username_env"
            raise Unfit(Mistake(absent, "is missing: signing in takes a name and a password", "name both, or neither"))
        return self


class AlertSettings(Section):
    """Who is told beside those that `[night]` names."""

    email: Email = Email()


class Config(Section):
    """The whole of `harvester.toml`. Sets are known everywhere by their key `source:set`."""

    platform: Annotated[
        str, _named(r"[a-z][a-z0-9_]*", "a name of small letters, digits and _ (a - would end it in names of indices)")
    ] = "edusources"
    dataset: Annotated[
        str, _named(r"[a-z][a-z0-9_]*(-[a-z0-9_]+)*", "a name of small letters, digits, _ and single - inside")
    ] = "main"
    production: Flag = False
    timezone: str = "Europe/Amsterdam"
    store: Store = Store()
    network: Network = Network()
    night: NightSettings = NightSettings()
    alerts: AlertSettings = AlertSettings()
    sources: dict[str, Source] = {}
    tasks: Tasks = Tasks()
    index: Index = Index()
    output: Output = Output()
    vocabularies: VocabularySettings = VocabularySettings()
    metastore: dict[str, Metastore] = {}
    web: Web = Web()

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, name: str) -> str:
        if name not in available_timezones():
            close = difflib.get_close_matches(name, available_timezones(), 1)
            mend = f'did you mean "{close[0]}"?' if close else 'write one such as "Europe/Amsterdam"'
            raise unfit(name, "a time zone", mend)
        return name

    @field_validator("sources", "metastore")
    @classmethod
    def _names_are_keys(cls, tables: dict[str, Any]) -> dict[str, Any]:
        return _named_tables(tables)

    @field_validator("metastore")
    @classmethod
    def _schedules_have_names_of_their_own(cls, tables: dict[str, Any]) -> dict[str, Any]:
        taken: dict[str, str] = {}
        for name in tables:
            other = taken.setdefault(re.sub(r"[.-]", "_", name), name)
            if other != name:
                raise Unfit(Mistake(name, f"clashes with {other}: '-', '.' and '_' count as one", "rename one of them"))
        return tables

    @property
    def zone(self) -> ZoneInfo:
        """The zone of the night's times."""
        return ZoneInfo(self.timezone)

    @cached_property
    def sets(self) -> Mapping[str, SetSettings]:
        """Every configured set by its key, in the order of the file."""
        return {
            set_key(name, spec): source.for_set(spec) for name, source in self.sources.items() for spec in source.sets
        }


def takes_pushes(config: Config) -> bool:
    """Whether anybody may push records: as far as the environment says, too."""
    by_token = bool(secret(config.web.token_env)) or any("push" in token.scopes for token in config.web.tokens.values())
    return by_token or any(settings.webhook_secret_env for settings in config.sets.values())


def set_key(source: str, spec: str) -> str:
    """`source:set`; a repository without sets (`"*"`) is `source:all`."""
    return f"{source}:{'all' if spec == '*' else spec}"


def source_of(key: str) -> str:
    """The name of a set's source."""
    return key.partition(":")[0]


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
            f"{path}: there is no such file",
            "write one (harvester.example.toml lists every key) or name yours in HARVESTER_CONFIG",
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}", "name a file in HARVESTER_CONFIG") from None
    return parse(raw, str(path))


def parse(raw: Mapping[str, Any], name: str = "configuration") -> Config:
    """Validate a decoded file. Raises ConfigError."""
    try:
        return Config.model_validate(raw)
    except ValidationError as error:
        raise refused(name, mistakes(error, Config)) from None


def secret(variable: str) -> str | None:
    """The value of a secret, by the name of its environment variable; None when unset or not named."""
    return os.environ.get(variable) or None if variable else None


def home() -> Path:
    """The state folder: `HARVESTER_HOME`, else `.harvester` here."""
    return Path(os.environ.get("HARVESTER_HOME", ".harvester")).absolute()
