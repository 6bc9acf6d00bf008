"""`harvester source check`: what a server says of itself, and lines that can be pasted into the configuration."""

import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest

from harvester_dagster.config import SetSettings, parse
from harvester_dagster.outside.http import Outside
from harvester_dagster.sources.registry import KINDS
from harvester_dagster.sources.source_error import SourceError
from tests.sources.misbehaving import OAI_HEAD, Answering, Asked, Reply, identify, oai_errors, server


def offers(prefixes: list[str], sets: list[str] | None, **identity: str) -> Answering:
    def listed(verb: str, name: str, values: list[str]) -> str:
        inside = "".join(f"<x><{name}>{value}</{name}></x>" for value in values)
        return f"{OAI_HEAD}<{verb}>{inside}</{verb}></OAI-PMH>"

    def answer(asked: Asked) -> str:
        match asked.params["verb"]:
            case "Identify":
                return identify("YYYY-MM-DD", **identity)
            case "ListMetadataFormats":
                return listed("ListMetadataFormats", "metadataPrefix", prefixes)
            case _:
                return oai_errors(("noSetHierarchy", "")) if sets is None else listed("ListSets", "setSpec", sets)

    return answer


def check(answers: Answering, outside: Outside, kind: str = "oai-pmh", path: str = "/oai") -> tuple[str, list[str]]:
    with server(answers) as running:
        settings = SetSettings(kind=kind, url=running.url + path)
        return running.url, list(KINDS[kind].check(settings, outside))


def pasted(lines: list[str]) -> Mapping[str, object]:
    """The block at the end, which must be valid configuration by itself."""
    block = "\n".join(lines[lines.index("") :])
    sources = parse(tomllib.loads(block)).sources
    assert len(sources) == 1
    return next(iter(sources.values())).model_dump()


def test_a_repository(outside: Outside) -> None:
    url, lines = check(offers(["oai_dc", "lom", "didl"], ["a", "b:c"]), outside)
    said = "\n".join(lines)
    assert "A repository" in said
    assert "admin@example.org" in said
    assert "didl" in said
    source = pasted(lines)
    assert (source["url"], source["metadata_prefix"], source["sets"], source["deletes"]) == (
        f"{url}/oai", "lom", ("a", "b:c"), "transient",
    )  # fmt: skip


def test_a_repository_without_sets_and_with_an_odd_delete_policy(outside: Outside) -> None:
    _, lines = check(offers(["oai_dc"], None, deletedRecord="perhaps"), outside)
    source = pasted(lines)
    assert (source["metadata_prefix"], source["sets"], source["deletes"]) == ("oai_dc", ("*",), "no")


def test_set_names_that_cannot_be_keys_are_left_out_of_the_lines(outside: Outside) -> None:
    _, lines = check(offers(["oai_dc"], ["good", "a b", "x,y"]), outside)
    assert pasted(lines)["sets"] == ("good",)
    assert any("a b" in line for line in lines)


def test_a_repository_without_a_format_that_has_a_mapping(outside: Outside) -> None:
    with pytest.raises(SourceError, match="lom, oai_dc"):
        check(offers(["marcxml"], None), outside)


def test_a_wrong_address_gets_its_mend(outside: Outside) -> None:
    with pytest.raises(SourceError, match="verb=Identify"):
        check(lambda _: "<html><body>Welcome</body></html>", outside)
    with pytest.raises(SourceError, match="look at url"):
        check(lambda _: Reply(status=404), outside)
    with pytest.raises(SourceError, match="badVerb; look at url"):
        check(lambda _: oai_errors(("badVerb", "")), outside)


def test_a_sharekit_channel(outside: Outside, recordings: Path) -> None:
    page = (recordings / "sharekit" / "repo-items.2.json").read_bytes()
    url, lines = check(lambda _: page, outside, "sharekit", "/api/jsonapi/channel/v1/edusources/repoItems?x=1")
    assert any("Les 12" in line for line in lines)
    source = pasted(lines)
    assert (source["kind"], source["url"], source["sets"]) == ("sharekit", f"{url}/api", ("edusources",))


def test_a_sharekit_address_without_its_channel_gets_its_mend(outside: Outside) -> None:
    with pytest.raises(SourceError, match="channel"):
        check(lambda _: "{}", outside, "sharekit", "/api")


@pytest.mark.parametrize("verb", ["Identify", "ListMetadataFormats", "ListSets"])
@pytest.mark.parametrize("status", [200, 400, 422])
def test_what_a_server_says_is_wrong_is_told_whatever_its_status(verb: str, status: int, outside: Outside) -> None:
    good = offers(["lom"], ["a"])

    def answer(asked: Asked) -> Reply | str | bytes:
        if asked.params["verb"] == verb:
            return Reply(oai_errors(("badArgument", "not like this")).encode(), status)
        return good(asked)

    with pytest.raises(SourceError, match=f"{verb}: badArgument: not like this; look at sets"):
        check(answer, outside)


@pytest.mark.parametrize("status", [200, 404, 422])
def test_no_sets_is_no_error_whatever_its_status(status: int, outside: Outside) -> None:
    good = offers(["lom"], None)

    def answer(asked: Asked) -> Reply | str | bytes:
        given = good(asked)
        return Reply(str(given).encode(), status) if asked.params["verb"] == "ListSets" else given

    assert pasted(check(answer, outside)[1])["sets"] == ("*",)


def test_answers_that_are_not_packed_as_they_say_are_told_of(outside: Outside) -> None:
    good = offers(["lom"], ["a"])

    def answer(asked: Asked) -> Reply:
        plain = asked.headers["accept-encoding"] == "identity"
        return Reply(str(good(asked)).encode(), headers={} if plain else {"Content-Encoding": "gzip"})

    said = check(answer, outside)[1]
    assert any("announces gzip or deflate, and does not pack" in line for line in said)
