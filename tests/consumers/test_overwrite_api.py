"""`/api/v1/overwrite/…`: what is put is what consumers see after the next release, and goes by DELETE."""

from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import quote

import psycopg
import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harvester_dagster.explain import why
from harvester_dagster.publication import audit
from harvester_dagster.releases import release
from harvester_dagster.sets import versions
from tests.consumers.serving import listening
from tests.sets.conftest import OpenWorld, open_world, source
from tests.sets.world import KEY, World

__all__ = ["open_world", "source"]
TOKENS = {
    "editor": {"token_env": "EDITOR_TOKEN", "scopes": ["overwrite"]},
    "operator": {"token_env": "OPERATOR_TOKEN", "scopes": ["operate", "push", "read-raw", "takedown"]},
}


class Api(NamedTuple):
    world: World
    url: str

    def ask(self, method: str, srn: str, token: str = "editor-secret", **given: Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return requests.request(method, f"{self.url}/overwrite/{srn}/", headers=headers, timeout=30, **given)

    def put(self, srn: str, fields: Any) -> requests.Response:
        return self.ask("PUT", srn, json=fields)

    def shown(self, srn: str = f"{KEY}:a", entity: str = "product") -> dict[str, Any]:
        found: dict[str, Any] = requests.get(f"{self.url}/{entity}/{srn}/", timeout=30).json()
        return found

    def release(self) -> int:
        """As by hand; the newest seq."""
        release.release(self.world.installation, by_hand=True)
        seq: int = self.world.one("SELECT max(seq) FROM publication")
        return seq


@pytest.fixture
def api(open_world: OpenWorld, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    monkeypatch.setenv("HARVESTER_TOKEN", "s3cret")
    for name in ("EDITOR", "OPERATOR"):
        monkeypatch.setenv(f"{name}_TOKEN", f"{name.lower()}-secret")
    world = open_world(installed={"web": {"tokens": TOKENS}})
    world.source.put("a", "b", "c/d", title="As harvested", files=("x",))
    world.night()
    release.release(world.installation, by_hand=True)
    with listening(world.installation) as url:
        yield Api(world, url)


def test_what_is_put_is_shown_after_the_next_release_and_goes_with_delete_and_another(api: Api) -> None:
    before, as_of = api.shown(), requests.get(f"{api.url}/product/", timeout=30).json()["as_of"]
    seq = api.world.one("SELECT max(seq) FROM publication")
    fields = {"title": "By hand", "disciplines": ["techniek"], "authors": [{"name": "Ada"}]}
    answer = api.put(f"{KEY}:a", fields)
    assert answer.status_code == 200, answer.text
    assert answer.json()["fields"] == fields and answer.json()["by"] == "token:editor"
    assert api.shown() == before, "until it is released"

    api.release()
    shown = api.shown()
    assert (shown["title"], shown["overwrite"], shown["disciplines"]) == ("By hand", True, ["techniek"])
    assert shown["authors"] == [{"name": "Ada", "email": None}]
    assert "By hand" in [each["text"] for language in shown["texts"].values() for each in language["titles"]]
    since = requests.get(f"{api.url}/product/", params={"modified_since": as_of}, timeout=30).json()["results"]
    changes = requests.get(f"{api.url}/changes/", params={"after": seq, "entity": "products"}, timeout=30).json()
    assert [each["srn"] for each in since] == [each["srn"] for each in changes["results"]] == [f"{KEY}:a"]

    assert api.ask("DELETE", f"{KEY}:a").json()["fields"] is None
    assert api.shown() == shown
    api.release()
    assert api.shown() == before


def test_it_stays_whatever_the_source_sends_and_belongs_to_the_document_not_to_a_version(api: Api) -> None:
    api.put(f"{KEY}:a", {"title": "By hand"})
    api.release()
    api.world.source.put("a", title="Changed at the source", subtitle="New")
    api.world.night(asked="full")
    api.release()
    assert (api.shown()["title"], api.shown()["subtitle"]) == ("By hand", "New")
    with api.world.installation.pool.connection() as connection:
        first = versions.by_id(connection, 1)
    release.roll_back(api.world.installation, first)
    assert api.shown()["title"] == "As harvested"
    assert api.ask("GET", f"{KEY}:a").json()["fields"] == {"title": "By hand"}
    api.release()
    assert api.shown()["title"] == "By hand"


def test_a_file_shows_in_its_product(api: Api) -> None:
    (file,) = api.shown()["files"]
    assert api.put(file["srn"], {"title": "Syllabus", "copyright": "cc-by-40"}).status_code == 200
    api.release()
    (embedded,) = api.shown()["files"]
    assert (embedded["title"], embedded["copyright"]) == ("Syllabus", "cc-by-40")
    assert api.shown(file["srn"], "file")["title"] == "Syllabus"


def test_history_says_who_when_and_what_and_cannot_be_changed(api: Api) -> None:
    assert api.ask("GET", f"{KEY}:a").json() == {
        "srn": f"{KEY}:a", "entity": "products", "version": 0, "at": None, "by": None, "fields": None, "history": []
    }  # fmt: skip
    api.put(f"{KEY}:a", {"title": "One"})
    assert api.ask("PUT", f"{KEY}:a", "s3cret", json={"subtitle": "Two"}).status_code == 200
    api.ask("DELETE", f"{KEY}:a")
    said = api.ask("GET", f"{KEY}:a").json()
    assert said["fields"] is None
    assert [(each["by"], each["fields"]) for each in said["history"]] == [
        ("token:editor", None), ("HARVESTER_TOKEN", {"subtitle": "Two"}), ("token:editor", {"title": "One"})
    ]  # fmt: skip
    assert all(each["at"].startswith("2026-03-02T01:30") for each in said["history"])
    with api.world.installation.pool.connection() as connection:
        rows = audit.rows(connection, subject=f"{KEY}:a")
    assert [(row.actor, row.act, row.outcome) for row in rows] == [
        ("token:editor", "clear overwrite", "done"),
        ("HARVESTER_TOKEN", "overwrite", "done"),
        ("token:editor", "overwrite", "done"),
    ]
    for statement in ("DELETE FROM overwrite_log", "UPDATE overwrite_log SET actor = 'nobody'"):
        with pytest.raises(psycopg.errors.RaiseException, match="append-only"):
            api.world.change(statement)


def test_of_two_who_edit_at_once_the_later_is_refused_by_what_they_saw(api: Api) -> None:
    seen = api.ask("GET", f"{KEY}:a").headers["ETag"]

    def put(tag: str, title: str) -> requests.Response:
        headers = {"Authorization": "Bearer editor-secret", "If-Match": tag}
        return requests.put(f"{api.url}/overwrite/{KEY}:a/", json={"title": title}, headers=headers, timeout=30)

    first = put(seen, "One")
    assert first.status_code == 200 and first.headers["ETag"] != seen
    for stale in (seen, '"99"', '"0", "99"', f"W/{seen}", "", '"' + "9" * 40 + '"', "'; --"):
        answer = put(stale, "Two")
        assert (answer.status_code, answer.headers["content-type"]) == (412, "application/problem+json"), stale
        assert "token:editor has overwritten title meanwhile" in answer.json()["detail"]
    assert api.ask("DELETE", f"{KEY}:a", "s3cret").status_code == 200, "who names no state means any"
    assert put(first.headers["ETag"], "Two").status_code == 412
    assert put(api.ask("GET", f"{KEY}:a").headers["ETag"], "Two").json()["fields"] == {"title": "Two"}
    now = api.ask("GET", f"{KEY}:a").headers["ETag"]
    assert put(f'"99", W/{now}', "Three").status_code == 412, "a weak one is none for writing"
    assert put(f'"99", "x,y",{now}', "Three").status_code == 200, "any of a list"
    assert put("*", "Three").status_code == 200
    with api.world.installation.pool.connection() as connection:
        outcomes = [row.outcome for row in audit.rows(connection, act="overwrite")]
    assert sorted(outcomes) == ["done"] * 4 + ["refused"] * 9


def test_what_cannot_be_read_names_the_parameters_of_that_method(api: Api) -> None:
    for method, known in (("GET", "known are: before"), ("PUT", "it takes none"), ("DELETE", "it takes none")):
        answer = api.ask(method, f"{KEY}:a", params={"what": "1"}, json={"title": "x"})
        assert answer.status_code == 400 and known in answer.json()["detail"], (method, answer.text)


@pytest.mark.parametrize("date", ["2020-13-45", "2020-13", "2019-02-29", "0000", "0000-01-01", "2020-00", "2020-1-1"])
def test_a_date_that_there_is_not_is_refused(api: Api, date: str) -> None:
    answer = api.put(f"{KEY}:a", {"publisher_date": date})
    assert answer.status_code == 422 and "publisher_date" in answer.json()["detail"]
    for good in ("2020", "2020-02", "2020-02-29", None):
        assert api.put(f"{KEY}:a", {"publisher_date": good}).status_code == 200


@pytest.mark.parametrize("body", ['{"title": "A", "title": "B"}', '{"authors": [{"name": "A", "name": "B"}]}'])
def test_a_field_that_stands_there_twice_is_refused(api: Api, body: str) -> None:
    answer = api.ask("PUT", f"{KEY}:a", data=body)
    assert answer.status_code == 400 and "stands there twice" in answer.json()["detail"]
    assert api.ask("GET", f"{KEY}:a").json()["fields"] is None


def test_history_comes_in_parts(api: Api) -> None:
    for number in range(23):
        api.put(f"{KEY}:a", {"title": str(number)})
    first = api.ask("GET", f"{KEY}:a").json()
    assert [each["fields"]["title"] for each in first["history"]] == [str(n) for n in range(22, 2, -1)]
    rest = api.ask("GET", f"{KEY}:a", params={"before": first["history"][-1]["version"]}).json()
    assert [each["fields"]["title"] for each in rest["history"]] == ["2", "1", "0"]
    assert rest["fields"] == {"title": "22"}, "what is overwritten now is not a matter of the part"


def test_why_says_who_overwrote_what(api: Api) -> None:
    def stages() -> list[str]:
        return [stage.outcome for stage in why.why(api.world.installation, f"{KEY}:a") if stage.stage == "overwrite"]

    assert stages() == []
    api.put(f"{KEY}:a", {"title": "One", "subtitle": "Two"})
    assert stages() == ["title, subtitle overwritten by token:editor"]
    api.ask("DELETE", f"{KEY}:a")
    assert stages() == ["taken away by token:editor"]


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b'{"titel": "x"}', 422, "titel: a product has no such field"),
        (b'{"title": 7}', 422, "title: 7 is not of type"),
        (b'{"srn": "x", "state": "deleted", "set": "x", "provider": null}', 422, "provider: it cannot be overwritten"),
        (b'{"title": "a\\u0000b"}', 400, "NUL"),
        (b"{}", 400, "at least one field"),
        (b"", 400, "not JSON"),
        (b'["title"]', 400, "JSON object"),
        (b'{"title": NaN}', 400, "not JSON"),
        (b'{"title": "\xff"}', 400, "not JSON"),
        (b'{"title": ' * 20_000, 400, "not JSON"),
        (b'{"title": "' + b"x" * 250_000 + b'"}', 400, "200,000 bytes"),
    ],
)
def test_what_cannot_be_taken_is_a_problem_that_names_it_and_changes_nothing(
    api: Api, body: bytes, status: int, said: str
) -> None:
    answer = api.ask("PUT", f"{KEY}:a", data=body)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json" and said in answer.json()["detail"]
    assert api.world.rows("SELECT FROM overwrite") == api.world.rows("SELECT FROM overwrite_log") == []
    with api.world.installation.pool.connection() as connection:
        assert [row.outcome for row in audit.rows(connection, act="overwrite")] == ["refused"]


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_it_needs_the_scope_at_this_machine_too(api: Api, method: str) -> None:
    for token in ("", "wrong", "operator-secret"):
        answer = api.ask(method, f"{KEY}:a", token, json={"title": "x"})
        assert (answer.status_code, answer.headers["content-type"]) == (403, "application/problem+json"), token
    assert api.world.rows("SELECT FROM overwrite") == []


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
@pytest.mark.parametrize(
    "srn",
    [
        *("x", ":", f"{KEY}:", f"{KEY}:none", "%00", f"{KEY}:a%00", "'; DROP TABLE overwrite; --"),
        *("%ff%fe", "..%2f..", "a" * 2_900),
    ],
)
def test_an_srn_that_names_nothing_is_not_found(api: Api, method: str, srn: str) -> None:
    answer = api.ask(method, srn, json={"title": "x"})
    assert answer.status_code == 404, answer.text
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("srn", [f"{KEY}:c/d", f"{KEY}:c%2Fd", quote(f"{KEY}:c/d", safe="")])
def test_a_slash_in_an_srn_stays_as_it_is_or_is_escaped(api: Api, srn: str) -> None:
    assert api.put(srn, {"title": "By hand"}).json()["srn"] == f"{KEY}:c/d"
    assert api.ask("DELETE", srn).status_code == 200
    assert api.ask("DELETE", srn).status_code == 404, "there is none any more"


FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "title": st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1),
        "subtitle": st.none() | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
        "keywords": st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1)),
        "studies": st.lists(st.sampled_from(["a", "b"])),
        "publisher_year": st.none() | st.integers(0, 9999),
    },
).filter(bool)


@settings(
    max_examples=min(settings.default.max_examples, 10),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(fields=FIELDS)
def test_whatever_may_be_put_is_what_is_shown(api: Api, fields: dict[str, Any]) -> None:
    assert api.put(f"{KEY}:b", fields).status_code == 200
    api.release()
    shown = api.shown(f"{KEY}:b")
    assert {name: shown[name] for name in fields} == fields
    assert api.world.outputs() == api.world.rebuilt()
    assert api.ask("DELETE", f"{KEY}:b").status_code == 200
    api.release()
    assert api.shown(f"{KEY}:b")["title"] == "As harvested" and not api.shown(f"{KEY}:b")["overwrite"]
