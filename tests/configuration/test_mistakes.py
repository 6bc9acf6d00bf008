"""A mistake in the configuration: its key, what was expected and the mend, without the validator's words."""

import pathlib
import re
import tomllib
import typing
from collections.abc import Iterator
from datetime import date
from datetime import time as clock
from typing import Any

import dagster as dg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harvester_dagster.config import Config, Section, SetSettings, load, parse
from harvester_dagster.config_mistakes import ConfigError

TOKEN = '[web.tokens.a]\ntoken_env = "A_TOKEN"\nscopes = ["push"]\n'
SOURCE = '[sources.a]\nkind = "oai-pmh"\nurl = "https://example.org/oai"\nsets = ["one", "two"]\n'
SKOS = '{ name = "n", url = "https://example.org" },'
JARGON = re.compile(
    r"(?i)input|should|string|pattern|value error|pydantic|nonetype|instance|\bdict|\btuple|regex|\[type|literal|"
    r"integer|boolean|timedelta|validat|another kind of value"
)
"""Words of the validator and of Python; the last: a kind of its findings for which nobody has written a sentence."""
Path = tuple[str | int, ...]


def said(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(tomllib.loads(text), "harvester.toml")
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "key", "expected", "mend"),
    [
        ('platform = "edu-sources"', "platform", "small letters, digits and _", ""),
        ('dataset = "a--b"', "dataset", "single -", ""),
        ('timezone = "Europe/Amsterdm"', "timezone", "a time zone", 'did you mean "Europe/Amsterdam"?'),
        ('timezome = "UTC"', "timezome", "no such key", 'did you mean "timezone"?'),
        ('[night]\ncron = "0 25 * * *"', "night.cron", "as cron writes them", '"0 1 * * *"'),
        ('[night]\ncron = "0 1 * *"', "night.cron", "as cron writes them", '"0 1 * * *"'),
        ('[night]\ncron = "0 0 1 * * *"', "night.cron", "as cron writes them", '"0 1 * * *"'),
        ('[night]\ncron = "0 1 15W * *"', "night.cron", "as cron writes them", '"0 1 * * *"'),
        ('[night]\ncron = "R 1 * * *"', "night.cron", "as cron writes them", '"0 1 * * *"'),
        ('[night]\ncron = "0 0 30 2 *"', "night.cron", "as cron writes them", '"0 1 * * *"'),
        ('[vocabularies]\ncron = "weekly"', "vocabularies.cron", "as cron writes them", '"0 1 * * *"'),
        ('[metastore.m.schedules]\nfull = "at night"', "metastore.m.schedules.full", "as cron writes them", ""),
        ('[metastore.m.schedules]\nfully = "0 1 * * *"', "metastore.m.schedules.fully", '"full", "partial"', ""),
        ('[night]\ndeadline = "6 o\'clock"', "night.deadline", "a time of the day", '"06:00"'),
        ('[night]\ndeadline = "25:00"', "night.deadline", "a time of the day", '"06:00"'),
        ("[night]\ndeadline = 6", "night.deadline", "a time of the day", '"06:00"'),
        ("[night]\nrelease_quiet_period = 10", "night.release_quiet_period", "a number and a unit", '"10m"'),
        ('[night]\nrelease_quiet_period = "99999d"', "night.release_quiet_period", "a number and a unit", ""),
        ("[night]\nmax_concurrent_sets = 0", "night.max_concurrent_sets", "1 or more", "the default is 4"),
        ("[store]\nretention_days = 1000000000", "store.retention_days", "36500 or less", "the default is 14"),
        (SOURCE + 'max_list_bytes = "50"', "sources.a.max_list_bytes", "a number and a unit", '"50GB"'),
        (SOURCE + 'max_list_bytes = "0GB"', "sources.a.max_list_bytes", "a number and a unit", '"50GB"'),
        (SOURCE + "max_list_pages = 0", "sources.a.max_list_pages", "1 or more", "the default is 1000000"),
        (SOURCE + "max_list_hours = 0", "sources.a.max_list_hours", "more than 0", "the default is 8"),
        (SOURCE + 'list_size = "guess"', "sources.a.list_size", '"exact" or "estimate"', 'the default is "exact"'),
        (SOURCE + 'empty_metadata = "gone"', "sources.a.empty_metadata", '"unreadable" or "deleted"', ""),
        ('[store]\nobjects = "s3:bucket"', "store.objects", '"s3://bucket/prefix"', ""),
        ('[index]\nurl = "search.example.org"', "index.url", "a web address", "write one such as"),
        ('[index]\nurl = "https://search.example.org:92000"', "index.url", "with a host", "write one such as"),
        ('[index]\nauth = "digest"', "index.auth", '"none", "basic" or "aws"', 'the default is "none"'),
        ('[tasks]\ntika_url = "http://"', "tasks.tika_url", "with a host", "write one such as"),
        ('[tasks]\ndisabled = "tika"', "tasks.disabled", "a list in brackets", ""),
        ('[tasks]\nrecheck_missing_days = [1, "x"]', "tasks.recheck_missing_days.1", "a whole number", ""),
        (
            '[network]\nallow_hosts = ["http://localhost:80"]',
            "network.allow_hosts.0",
            "a host, or host:port",
            "localhost:8080",
        ),
        ('[web]\ntoken_env = "the secret!"', "web.token_env", "the name of an environment variable", ""),
        (TOKEN.replace("push", "publish"), "web.tokens.a.scopes.0", '"overwrite", "takedown" or "operate"', ""),
        (TOKEN.replace('"push"', ""), "web.tokens.a.scopes", "a list of 1 or more", ""),
        (TOKEN.replace("A_TOKEN", ""), "web.tokens.a.token_env", "the name of an environment variable", ""),
        (TOKEN.replace("A_TOKEN", "open-sesame"), "web.tokens.a.token_env", "the name of an environment variable", ""),
        (TOKEN.replace("tokens.a", 'tokens."a b"'), "web.tokens.a b", "cannot be a name", "letters, digits"),
        (
            '[web]\npage_url = "https://a.org/{id}"',
            "web.page_url",
            "{srn} or {external_id}",
            "write one such as",
        ),
        ('[web]\nhost = "0.0.0.0:80"', "web.host", "without a port", '"127.0.0.1"'),
        ('[web]\nhost = "http://localhost"', "web.host", "a host or an address", ""),
        ('[web]\ntrusted_proxies = ["proxy"]', "web.trusted_proxies.0", "an address or a network", '"192.0.2.0/24"'),
        ('[web]\ncors_origins = ["a.org"]', "web.cors_origins.0", "a web address", "write one such as"),
        ('[web]\ncors_origins = ["https://a.org/x"]', "web.cors_origins.0", "without a path", '"https://portal'),
        ('[network]\nuser_agent = "me\\nyou"', "network.user_agent", "printable ASCII", ""),
        ('[network]\nuser_agent = " me"', "network.user_agent", "printable ASCII", ""),
        ('[network]\nuser_agent = "zoë…"', "network.user_agent", "printable ASCII", ""),
        ('[web]\npage_url = "a.example.org/{srn}"', "web.page_url", "a web address", "write one such as"),
        ('[web]\npublic_url = "harvester.example.org"', "web.public_url", "a web address", "write one such as"),
        (SOURCE + "max_shrink = 1", "sources.a.max_shrink", "a share above 0 and below 1", "0.05 is 5 %"),
        (SOURCE + "max_shrink = 5", "sources.a.max_shrink", "a share above 0 and below 1", "0.05 is 5 %"),
        (SOURCE + "[sources.a.set.three]", "sources.a.set.three", 'no set "three"', "there are: one, two"),
        (
            SOURCE + '[sources.a.set.one]\nkind = "x"',
            "sources.a.set.one.kind",
            "for the whole source",
            "write it there",
        ),
        (SOURCE + "[sources.a.set.one]\nmax_shrink = 2", "sources.a.set.one.max_shrink", "a share", "0.05 is 5 %"),
        (SOURCE + "[sources.a.set.one]\nmax_shrnk = 1", "sources.a.set.one.max_shrnk", "no such key", '"max_shrink"?'),
        (SOURCE.replace('"two"', '"one"'), "sources.a.sets", "each set once", "twice: one"),
        (SOURCE.replace('"two"', '"*"'), "sources.a.sets", "alone", ""),
        (SOURCE.replace('"two"', '"t wo"'), "sources.a.sets", "part of a key", "no spaces"),
        (SOURCE.replace('"two"', '"t\\u0000o"'), "sources.a.sets", "part of a key", "can be seen"),
        (SOURCE.replace('"two"', '"t\\u202eo"'), "sources.a.sets", "part of a key", "can be seen"),
        (SOURCE.replace('"two"', f'"{"t" * 201}"'), "sources.a.sets", "part of a key", "no more than 200"),
        (SOURCE.replace("sources.a", f"sources.{'a' * 201}"), f"sources.{'a' * 201}", "too long", "200"),
        ("[vocabularies]\nskos = [" + 2 * SKOS + "]", "vocabularies.skos", "twice: n", "the place of the other"),
        ("[vocabularies]\nskos = [" + SKOS.replace('"n"', '""') + "]", "vocabularies.skos.0.name", "can be seen", ""),
        (SOURCE.replace("sources.a", 'sources."a:b"'), "sources.a:b", "cannot be a name", "letters, digits"),
        (SOURCE.replace('sets = ["one", "two"]\n', ""), "sources.a.sets", "is missing", "add it"),
        ('[metastore.my-solr]\n[metastore."my.solr"]', "metastore.my.solr", "clashes with my-solr", "rename one"),
        ("night = 3", "night", "a table", ""),
    ],
)
def test_each_names_its_key_what_was_expected_and_the_mend(text: str, key: str, expected: str, mend: str) -> None:
    line = said(text)
    assert line.startswith(f"harvester.toml: {key}: ") and "\n" not in line
    assert expected in line and mend in line
    assert not JARGON.search(line)


def test_all_are_told_at_once() -> None:
    lines = said('platform = "A"\n[web]\nport = 70000\nhots = "x"').splitlines()
    assert [line.split(": ")[1] for line in lines] == ["platform", "web.port", "web.hots"]


def test_what_may_be_a_secret_is_not_told() -> None:
    assert "open-sesame" not in said('[web]\ntoken_env = "open-sesame"')
    assert "open-sesame" not in said(SOURCE.replace("https://", "https://me:open-sesame@"))
    assert "open-sesame" not in said('[index]\nurl = "https://me:open-sesame@host:x"')


@pytest.mark.parametrize(
    "text",
    [
        "[night]\ndeadline = 06:30:00",
        '[night]\ncron = "@daily"',
        '[night]\ncron = "30 0-6/2 1,15 jan-MAR mon-fri"',
        '[night]\ncron = "0 1 L * *"',
        '[web]\nhost = "::1"\ntrusted_proxies = ["10.0.0.0/8", "::1"]\ncors_origins = ["*", "http://localhost:3000"]',
        '[index]\nurl = "https://me:word@search.example.org:9200"',
        '[network]\nallow_hosts = ["localhost", "10.0.0.1", "::1", "[::1]", "solr_1"]',
        '[tasks]\ntika_url = "http://[::1]:9998/"',
        SOURCE + 'overlap = "0s"\npurge_after_days = 1',
    ],
)
def test_what_is_fine(text: str) -> None:
    parse(tomllib.loads(text))


def _paths(model: type[Section], before: Path = ()) -> Iterator[Path]:
    for name, field in model.model_fields.items():
        yield (*before, name)
        inner = _section(field.annotation)
        if inner is not None:
            place: Path = () if field.annotation is inner else (0,) if name == "skos" else ("a",)
            yield from _paths(inner, (*before, name, *place))
    if before == ("sources", "a"):
        yield from ((*before, "set", "one", name) for name in SetSettings.model_fields)


def _section(annotation: Any) -> type[Section] | None:
    if isinstance(annotation, type):
        return annotation if issubclass(annotation, Section) else None
    return next((found for part in typing.get_args(annotation) if (found := _section(part))), None)


KEYS = list(_paths(Config))
WRONG: list[Any] = [-1, 0, 10**30, 1.5, float("nan"), float("inf"), True, "", "x y", "\x00", [], [1], ["x y"], [[]], {}]
WRONG += [{"a": 1}, [{}], date(2026, 1, 1), clock(6)]
TOML = st.recursive(
    st.one_of(st.booleans(), st.integers(), st.floats(), st.text(), st.dates(), st.times(), st.datetimes()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(), inner, max_size=3)),
    max_leaves=5,
)


def _with(path: Path, value: Any) -> dict[str, Any]:
    """A file that is fine but for one value."""
    raw: dict[str, Any] = {
        "sources": {"a": {"kind": "x", "url": "https://example.org", "sets": ["one"], "set": {"one": {}}}},
        "metastore": {"a": {}},
        "web": {"tokens": {"a": {"token_env": "A_TOKEN", "scopes": ["push"]}}},
        "vocabularies": {"skos": [{"name": "n", "url": "https://example.org"}]},
    }
    table: Any = raw
    for part in path[:-1]:
        table = table[part] if isinstance(part, int) else table.setdefault(part, {})
    table[path[-1]] = value
    return raw


def _plain_words(path: Path, value: Any) -> None:
    try:
        parse(_with(path, value), "file")
    except ConfigError as error:
        key = re.escape(".".join(map(str, path)))
        for line in str(error).split("\nfile: "):
            assert re.match(rf"(file: )?{key}[.:]", line), (path, value, line)
            found = re.sub(
                r'found .*?, expected|found .*$|no (set|such key) .*|cannot be a name|"[^"]*"', "", line, flags=re.S
            )
            about = found.replace(".".join(map(str, path)), "")
            assert not JARGON.search(about), (path, value, line)


def test_there_are_keys() -> None:
    assert len(KEYS) > 80 and ("sources", "a", "set", "one", "max_shrink") in KEYS


def test_no_value_of_any_key_is_told_in_the_validators_words() -> None:
    for path in KEYS:
        for value in WRONG:
            _plain_words(path, value)


@given(st.sampled_from(KEYS), TOML)
def test_nor_is_any_other(path: Path, value: Any) -> None:
    _plain_words(path, value)


FIELD = st.sampled_from(
    ["*", "0", "1", "*/5", "1-5", "1,3", "?", "L", "R", "H", "15W", "mon", "fri#2", "L5", "jan", "9-1", "99", "1-", ""]
)


@given(st.lists(FIELD, min_size=4, max_size=6).map(" ".join))
def test_every_cron_that_is_taken_is_one_of_dagsters(cron: str) -> None:
    try:
        parse({"night": {"cron": cron}})
    except ConfigError:
        return
    dg.ScheduleDefinition(job_name="a", cron_schedule=cron)


@pytest.mark.parametrize("text", ["a = " + "9" * 5_000, "a = " + "[" * 3_000, "a = [[[", 'a = "\x00"'])
def test_what_no_reader_reads_is_one_sentence(tmp_path: pathlib.Path, text: str) -> None:
    file = tmp_path / "harvester.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match="not valid TOML"):
        load(file)
