"""Whether a well-formed configuration runs tonight: names that nothing has, hosts, variables."""

import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest

from harvester_dagster.catalog import CATALOG
from harvester_dagster.config import parse
from harvester_dagster.config_mistakes import ConfigError
from harvester_dagster.explain import config_check

ROOT = Path(__file__).parents[2]
OAI = '[sources.a]\nkind = "oai-pmh"\nurl = "https://example.org/oai"\nsets = ["one", "two"]\n'
PORT = '[network]\nallow_hosts = ["127.0.0.1:9000"]'


def told(text: str) -> list[str]:
    return list(map(str, config_check.unrunnable(parse(tomllib.loads(text)), CATALOG)))


def missing(text: str, environment: Mapping[str, str]) -> list[str]:
    return list(map(str, config_check.unset(parse(tomllib.loads(text)), environment)))


@pytest.mark.parametrize(
    ("text", "key", "said"),
    [
        (OAI.replace("oai-pmh", "oai_pmh"), "sources.a.kind", 'no kind "oai_pmh"; did you mean "oai-pmh"? there are: '),
        (OAI + 'metadata_prefix = "lomm"', "sources.a.metadata_prefix", 'did you mean "lom"? there are: lom, oai_dc'),
        (OAI + '[sources.a.set.two]\nmetadata_prefix = "marc"', "sources.a.set.two.metadata_prefix", "lom, oai_dc"),
        (OAI + 'metadata_prefix = "x"\nformat = "lomm"', "sources.a.format", 'did you mean "lom"?'),
        (OAI + '[sources.a.set.two]\nformat = "marc"', "sources.a.set.two.format", "lom, oai_dc"),
        (
            '[tasks]\ndisabled = ["tika", "check_urls"]',
            "tasks.disabled",
            'did you mean "check_url"?',
        ),
        ('[index]\nmapping = "campus"', "index.mapping", "no such entry point of harvester_dagster.search_mapping"),
        (
            OAI.replace("example.org", "127.0.0.1:81"),
            "sources.a.url",
            'add "127.0.0.1" to network.allow_hosts',
        ),
        (OAI.replace("example.org", "localhost"), "sources.a.url", 'loopback; add "localhost" to'),
        (OAI.replace("example.org", "10.1.2.3"), "sources.a.url", 'private; add "10.1.2.3" to'),
        (OAI.replace("example.org", "[::1]:80"), "sources.a.url", 'loopback; add "::1" to'),
        (OAI.replace("https://example.org", "http://127.1"), "sources.a.url", 'loopback; add "127.1" to'),
        (OAI.replace("https://example.org", "http://2130706433"), "sources.a.url", "loopback"),
        (OAI.replace("https://example.org", "http://0x7f.1"), "sources.a.url", "loopback"),
        (OAI.replace("https://example.org", "http://ip6-localhost"), "sources.a.url", "loopback"),
        (
            OAI.replace("https://example.org", "http://127.0.0.1:81") + PORT,
            "sources.a.url",
            'add "127.0.0.1:81" to network.allow_hosts',
        ),
        (
            OAI.replace("https://example.org", "http://127.0.0.1:3000") + '[network]\nallow_hosts = ["127.0.0.1"]',
            "sources.a.url",
            "127.0.0.1:3000 is not called: Dagster's pages of this installation listens there",
        ),
        (OAI + '[sources.a.set.one]\nurl = "http://192.168.0.1"', "sources.a.set.one.url", "private"),
        ('[[vocabularies.skos]]\nname = "x"\nurl = "http://169.254.1.1/"', "vocabularies.skos.0.url", "link-local"),
        ('[metastore.m]\ndoi_resolver_url = "http://127.0.0.1/"', "metastore.m.doi_resolver_url", "loopback"),
    ],
)
def test_what_can_never_work_here(text: str, key: str, said: str) -> None:
    (line,) = told(text)
    assert line.startswith(f"{key}: ") and said in line


@pytest.mark.parametrize(
    "text",
    [
        "",
        OAI + 'metadata_prefix = "oai_dc"',
        OAI + 'metadata_prefix = "dc"\nformat = "oai_dc"',
        OAI + 'format = "oai_dc"\n[sources.a.set.two]\nmetadata_prefix = "oai_ltsc"\nformat = "lom"',
        OAI.replace("oai-pmh", "sharekit") + 'metadata_prefix = "of no meaning here"',
        OAI.replace("example.org", "[::1]") + '[network]\nallow_hosts = ["::1"]',
        OAI.replace("example.org", "LOCALHOST.") + '[network]\nallow_hosts = ["localhost"]',
        OAI.replace("https://example.org", "http://127.0.0.1:9000") + PORT,
        '[tasks]\ntika_url = "http://localhost:9998"\n[index]\nurl = "http://localhost:9200"',
        '[metastore.m]\nurl = "http://127.0.0.1:8983/solr"',
        '[index]\nurl = "none"\nmapping = "of no index"',
    ],
)
def test_what_is_fine(text: str) -> None:
    assert told(text) == []


def test_a_variable_that_the_file_names_must_be_set() -> None:
    text = (
        '[store]\npostgres_url_env = "MY_POSTGRES"\n[night]\nalert_url_env = "HARVESTER_ALERT_URL"\n'
        + OAI
        + 'token_env = "A_KEY"\n[sources.a.set.two]\ntoken_env = "ANOTHER"\n[metastore.m]\npassword_env = "SOLR"'
    )
    assert {line.split(" is not set")[0] for line in missing(text, {})} == {
        "store.postgres_url_env: the variable MY_POSTGRES",
        "sources.a.token_env: the variable A_KEY",
        "sources.a.set.two.token_env: the variable ANOTHER",
        "metastore.m.password_env: the variable SOLR",
    }
    assert missing(text, dict.fromkeys(("MY_POSTGRES", "A_KEY", "ANOTHER", "SOLR"), "x")) == []
    assert missing("", {}) == [], "the defaults are only offered"


def test_what_signs_in_by_name_needs_both_variables() -> None:
    assert [line.split(":")[0] for line in missing('[index]\nauth = "basic"', {"OPENSEARCH_USERNAME": "x"})] == [
        "index.password_env"
    ]


def test_what_may_be_the_secret_itself_is_not_told() -> None:
    (line,) = missing('[web]\ntoken_env = "opensesame"', {})
    assert "opensesame" not in line and line.startswith("web.token_env: ")


def test_the_example_runs() -> None:
    assert told((ROOT / "harvester.example.toml").read_text()) == []


TOKENS = """
[web.tokens.library]
token_env = "LIBRARY_TOKEN"
scopes = ["push"]
"""


def test_a_token_has_a_variable_that_is_set_and_a_secret_of_its_own(tmp_path: Path) -> None:
    (line,) = missing(TOKENS, {})
    assert line.startswith("web.tokens.library.token_env: the variable LIBRARY_TOKEN is not set")
    assert missing(TOKENS, {"LIBRARY_TOKEN": "x"}) == []
    path = tmp_path / "harvester.toml"
    path.write_text(TOKENS)
    assert config_check.load(path, environment={"LIBRARY_TOKEN": "one", "HARVESTER_TOKEN": "two"})
    with pytest.raises(
        ConfigError, match=r"web\.tokens\.library\.token_env: its secret is that of web\.token_env"
    ) as told:
        config_check.load(path, environment={"LIBRARY_TOKEN": "one", "HARVESTER_TOKEN": "one"})
    assert '"one"' not in str(told.value)


def test_where_alerts_go_must_be_callable(tmp_path: Path) -> None:
    path = tmp_path / "harvester.toml"
    path.write_text("")
    environment = {"HARVESTER_ALERT_URL": "http://127.0.0.1:81/a-secret-path"}
    with pytest.raises(ConfigError, match=r"night\.alert_url_env: 127\.0\.0\.1:81 is not called") as caught:
        config_check.load(path, environment=environment)
    assert "a-secret-path" not in str(caught.value)
    with pytest.raises(ConfigError, match="holds no web address") as caught:
        config_check.load(path, environment={"HARVESTER_ALERT_URL": "http://[a-secret"})
    assert "a-secret" not in str(caught.value)
    path.write_text('[network]\nallow_hosts = ["127.0.0.1"]')
    config_check.load(path, environment=environment)


def test_all_of_a_file_is_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "harvester.toml"
    path.write_text(OAI.replace("oai-pmh", "oai") + 'token_env = "A_KEY"\n[tasks]\ndisabled = ["x"]')
    with pytest.raises(ConfigError) as caught:
        config_check.load(path, environment={})
    keys = [line.removeprefix(f"{path}: ").split(":")[0] for line in str(caught.value).splitlines()]
    assert keys == ["sources.a.kind", "tasks.disabled", "sources.a.token_env"]
    with pytest.raises(ConfigError) as caught:
        config_check.load(path)
    assert "A_KEY" not in str(caught.value), "who only looks needs no keys"


def test_who_reads_the_pages_from_elsewhere_needs_a_way_to_dagster() -> None:
    def noted(**web: str) -> bool:
        return any(note.startswith("web.dagster_url") for note in config_check.notes(parse({"web": web})))

    assert noted(public_url="https://harvester.example.org")
    assert not noted(public_url="https://harvester.example.org", dagster_url="https://dagster.example.org")
    assert not noted() and not noted(public_url="http://localhost:3001")
