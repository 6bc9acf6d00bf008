"""What is taken down is shown by nothing that consumers ask, in whatever version; and it can come back."""

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
import requests

from harvester_dagster.publication import takedowns
from harvester_dagster.releases import release, value_counts
from harvester_dagster.sets import versions, withheld
from harvester_dagster.tasks import normalize_publisher_year
from tests.consumers.serving import listening
from tests.sets.conftest import OpenWorld, open_world, source
from tests.sets.world import KEY, World, catalog, check

__all__ = ["open_world", "source"]
TOKENS = {
    "officer": {"token_env": "OFFICER_TOKEN", "scopes": ["takedown", "read-raw"]},
    "operator": {"token_env": "OPERATOR_TOKEN", "scopes": ["operate", "push", "read-raw", "overwrite"]},
}
MARKER = "Zeldzaamheid"
SRN = f"{KEY}:b"


class Api(NamedTuple):
    world: World
    url: str

    def act(self, srn: str = SRN, token: str = "officer-secret", **given: Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return requests.post(f"{self.url}/takedown/{srn}/", headers=headers, json=given, timeout=30)

    def take(self, srn: str = SRN, **given: Any) -> dict[str, Any]:
        answer = self.act(srn, reason="case 12", **given)
        assert answer.status_code == 200, answer.text
        said: dict[str, Any] = answer.json()
        return said

    def get(self, path: str, **asked: Any) -> requests.Response:
        headers = {"Authorization": "Bearer officer-secret"}
        return requests.get(f"{self.url}{path}", params=asked, headers=headers, timeout=30)

    def everything(self) -> dict[str, str]:
        """All that consumers can ask, by its path."""
        old = self.world.one("SELECT min(version_id) FROM dataset_version")
        new = self.world.one("SELECT max(version_id) FROM dataset_version")
        paths = [
            *("/product/", "/product/metadata/", "/file/", f"/product/?version={old}", "/changes/?after=0"),
            *(f"/product/{SRN}/", f"/product/{SRN}/?version={old}", f"/product/metadata/{SRN}/"),
            *(f"/product/{SRN}/?at=2027-01-01", f"/product/raw/{SRN}/", f"/file/?version={old}"),
            *(f"/export/product/documents.ndjson?version={old}", "/export/product/documents.ndjson"),
            *("/export/product/", "/export/file/documents.ndjson", f"/difference/?old={old}&new={new}"),
            *("/sitemap/product/", f"/sitemap/product/part.xml?set={KEY}&up_to=z"),
        ]
        return {path: self.get(path).text for path in paths}


@pytest.fixture
def api(open_world: OpenWorld, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    monkeypatch.setenv("HARVESTER_TOKEN", "s3cret")
    for name in ("OFFICER", "OPERATOR"):
        monkeypatch.setenv(f"{name}_TOKEN", f"{name.lower()}-secret")
    web = {"tokens": TOKENS, "page_url": "https://example.org/{srn}"}
    world = open_world(installed={"web": web}, catalog=catalog(normalize_publisher_year.TASK), min_documents=1000)
    world.source.put("a", "b", "c", title=MARKER, files=("x", "y"), publishedAt="2024-01-01")
    published(world)
    world.source.put("a", "b", title=f"{MARKER} 2", files=("x", "y"), publishedAt="2024-01-01")
    world.source.put("c", title="Another")
    published(world)
    with listening(world.installation) as url:
        yield Api(world, url)


def published(world: World) -> int:
    world.night()
    release.release(world.installation, by_hand=True)
    seq: int = world.one("SELECT max(seq) FROM publication")
    return seq


def test_nothing_shows_it_any_more_and_who_has_a_copy_is_told(api: Api) -> None:
    before, seq = api.everything(), api.world.one("SELECT max(seq) FROM publication")
    as_of = api.get("/product/").json()["as_of"]
    assert sum(SRN in text for text in before.values()) > 12
    said = api.take()
    assert (said["documents"], said["purge"], said["behind"], said["seq"]) == (3, "none", "", seq + 1)
    after = api.everything()
    told = json.loads(after.pop("/changes/?after=0"))["results"]
    assert [path for path, text in after.items() if SRN in text and '"status":404' not in text] == []
    assert SRN not in {each["srn"] for each in told}, "who begins has nothing to delete"
    changes = api.get("/changes/", after=seq).json()
    deleted = {each["srn"]: each["action"] for each in changes["results"]}
    assert len(deleted) == 3 and deleted[SRN] == "delete" and set(deleted.values()) == {"delete"}
    assert changes["seq"] == seq + 1
    assert api.get("/changes/", after=seq + 1).json()["results"] == []
    since = api.get("/product/", modified_since=as_of).json()["results"]
    assert since == [{"srn": SRN, "entity": "products", "state": "deleted"}]
    check(api.world)


def test_its_source_sends_it_again_and_again_and_a_rollback_leads_back_before_it(api: Api) -> None:
    api.take()
    for title in ("Third", "Fourth"):
        api.world.source.put("b", title=title, files=("x", "new"))
        published(api.world)
        check(api.world)
        assert api.get(f"/product/{SRN}/").status_code == 404
        assert SRN not in api.get("/file/").text + api.get("/product/").text
    with api.world.installation.pool.connection() as connection:
        first = versions.by_id(connection, 1)
    versions.promote(api.world.installation, first, rollback=True)
    assert api.get(f"/product/{SRN}/").status_code == 404
    assert {each["srn"] for each in api.get("/product/").json()["results"]} == {f"{KEY}:a", f"{KEY}:c"}
    assert api.get("/changes/", after=0).json()["results"]


def test_undone_it_is_back_everywhere_as_its_source_has_it(api: Api) -> None:
    before, copies = api.everything(), api.get("/product/").json()["results"]
    api.take()
    seq = api.world.one("SELECT max(seq) FROM publication")
    assert api.act(undo=True).json()["documents"] == 3
    changes = {each["srn"]: each["action"] for each in api.get("/changes/", after=seq).json()["results"]}
    assert len(changes) == 3 and set(changes.values()) == {"put"}
    assert api.get("/product/").json()["results"] == copies
    plain = [path for path in before if "documents.ndjson" in path or path.startswith(f"/product/{SRN}/")]
    after = api.everything()
    assert [path for path in plain if after[path] != before[path]] == []
    check(api.world)
    api.take()
    api.world.source.put("b", title="While it was away")
    published(api.world)
    api.act(undo=True)
    assert api.get(f"/product/{SRN}/").json()["title"] == "While it was away"
    check(api.world)
    assert api.world.outputs() == api.world.rebuilt()


def test_what_clients_and_this_process_remember_obeys(api: Api) -> None:
    paths = ["/product/", "/product/?version=1", "/export/product/?version=1", "/difference/?old=1&new=2"]
    paths += ["/export/product/documents.ndjson?version=1", "/changes/?after=0", "/sitemap/product/"]
    kept = {path: api.get(path) for path in paths}
    walk = api.get("/product/?page_size=1").json()["next"]
    feed = api.get("/changes/?after=0&page_size=1").json()["next"]
    cursors = {url: requests.get(url, timeout=30).headers["etag"] for url in (walk, feed)}
    api.take()
    for path, answer in kept.items():
        tag = {"If-None-Match": answer.headers["etag"]}
        assert requests.get(f"{api.url}{path}", headers=tag, timeout=30).status_code == 200, path
    for url, tag in cursors.items():
        answer = requests.get(url, headers={"If-None-Match": tag}, timeout=30)
        assert answer.status_code == 200 and f'"srn":"{SRN}"' not in answer.text
    assert requests.get(walk, timeout=30).json()["results"][0]["srn"] == f"{KEY}:c", "the walk goes on without it"


def test_counts_of_values_and_documents_go_down_and_up(api: Api) -> None:
    def counted() -> tuple[Any, ...]:
        tree = api.get("/metadata/tree/", field="publisher_year").json()["results"][0]["children"]
        with api.world.installation.pool.connection() as connection:
            version = versions.current(connection)
            assert version is not None
            counts = value_counts.counts_of(connection, api.world.installation.catalog, version.generations)
        return {one["value"]: one["count"] for one in tree if one["count"]}, counts["publisher_year"]["2024"]

    before = counted()
    api.take()
    assert counted() != before and counted()[1] == before[1] - 1
    value_counts.count(api.world.installation)
    assert counted()[1] == before[1] - 1
    api.act(undo=True)
    assert counted() == before
    api.take()
    published(api.world)
    assert counted()[1] == before[1] - 1


def test_who_may_and_what_is_refused(api: Api) -> None:
    assert api.act(token="operator-secret", reason="x").status_code == 403
    assert api.act(token="s3cret", reason="x").status_code == 403, "the token of the installation has not the scope"
    assert api.act(token="", reason="x").status_code == 403
    assert api.act().status_code == 400
    assert api.act(reason=" ").status_code == 400
    assert api.act(undo=True).status_code == 409
    assert api.act(f"{KEY}:none", reason="x").status_code == 404
    part = api.world.one("SELECT external_id FROM document WHERE owner_id IS NOT NULL ORDER BY 1 LIMIT 1")
    answer = api.act(f"{KEY}:{part}", reason="x")
    assert answer.status_code == 409 and f"{KEY}:a" in answer.json()["detail"]
    looked = api.act(reason="x", dry_run=True).json()
    assert looked["taken_down"] is None and looked["goes"][0] == SRN and len(looked["goes"]) == 3
    assert api.get(f"/product/{SRN}/").status_code == 200
    assert api.world.rows("SELECT FROM takedown") == []
    refused = api.world.rows("SELECT DISTINCT act, outcome FROM audit WHERE act LIKE '%%takedown'")
    assert set(refused) == {("takedown", "refused"), ("undo takedown", "refused")}


def test_the_act_its_row_and_the_alert_are_one_and_again_changes_nothing(api: Api) -> None:
    first, again = api.take(), api.take()
    assert (again["documents"], again["seq"]) == (0, None) and first["documents"] == 3
    assert api.world.rows("SELECT actor, subject, detail->>'reason' FROM audit WHERE act = 'takedown'") == [
        ("token:officer", SRN, "case 12")
    ]
    ((body,),) = api.world.rows("SELECT body FROM alert WHERE cause LIKE 'takedown%'")
    assert body["message"] == f"{SRN} was taken down by token:officer" and "case 12" not in json.dumps(body)


def test_more_than_twenty_in_a_day_must_be_said_twice(api: Api) -> None:
    def others(count: int, each: int = 1) -> None:
        api.world.change(
            """INSERT INTO audit (at, actor, act, subject, address, outcome)
               SELECT %s, 'cli:ada', 'takedown', 's' || n, '', 'done'
               FROM generate_series(1, %s) n, generate_series(1, %s)""",
            api.world.now,
            count,
            each,
        )

    others(takedowns.A_DAY - 1, each=2)  # documents count, not what was done about each
    assert api.act(f"{KEY}:a", reason="x").status_code == 200
    answer = api.act(reason="x")
    assert answer.status_code == 428 and "20 other documents" in answer.json()["detail"], answer.text
    assert api.get(f"/product/{SRN}/").status_code == 200
    assert api.act(reason="x", confirmed=True).status_code == 200
    assert api.get(f"/product/{SRN}/").status_code == 404
    assert api.act(reason="x").status_code == 200, "what is down already, is nothing more"
    assert api.act(reason="x", purge=True).status_code == 428, "to remove what is kept of it is"
    assert api.world.rows("SELECT DISTINCT purge FROM takedown") == [("none",)]
    assert api.act(reason="x", purge=True, confirmed=True).json()["purge"] == "done"


def test_the_same_record_by_another_route_is_named_and_stays(api: Api) -> None:
    api.world.source.put("b", spec="two", title="The same id")
    api.world.source.put("d", title="The same address", files=("shared/x",), doi="10.1/x")
    api.world.source.put("e", title="Another", files=("shared/x",), doi="10.1/y")
    api.world.source.put("f", title="The same DOI", files=("z",), doi="10.1/x")
    api.world.night("src:two")
    published(api.world)
    assert [one["srn"] for one in api.take()["same"]] == ["src:two:b"]
    said = api.act(f"{KEY}:d", reason="x", dry_run=True).json()
    assert {one["srn"]: one["both_have"] for one in said["same"]} == {
        f"{KEY}:e": "the same address",
        f"{KEY}:f": "the same DOI",
    }
    assert said["looked_everywhere"] is True
    purged = api.act(f"{KEY}:d", reason="x", purge=True).json()
    assert purged["purge"] == "done" and purged["same"] == said["same"]
    assert api.get("/product/src:two:b/").status_code == api.get(f"/product/{KEY}:e/").status_code == 200


def test_a_doi_and_an_address_are_known_however_they_are_written(api: Api) -> None:
    api.world.source.put("d", doi="https://doi.org/10.1234/Abc(1)", files=())
    for name, written in (
        ("e", "10.1234/abc(1)"),
        ("f", "doi:10.1234/ABC(1)"),
        ("g", "http://dx.doi.org/10.1234/aBc(1)"),
    ):
        api.world.source.put(name, doi=written, files=())
    api.world.source.put("h", doi="10.1234/abc(12)", files=())
    api.world.source.put("i", title="10.1234/abc(1)", files=())
    link = api.world.source.url.removeprefix("http:")
    api.world.source.put("j", links=[{"url": f"http:{link}/files/page/"}], files=())
    api.world.source.put("k", links=[{"url": f"https:{link}/files/page"}], files=())
    published(api.world)
    said = {name: api.act(f"{KEY}:{name}", reason="x", dry_run=True).json()["same"] for name in "dej"}
    assert {one["srn"] for one in said["d"]} == {f"{KEY}:{name}" for name in "efg"}
    assert {one["srn"] for one in said["e"]} == {f"{KEY}:{name}" for name in "dfg"}
    assert {one["both_have"] for one in said["d"]} == {"the same DOI"}
    assert said["j"] == [{"srn": f"{KEY}:k", "both_have": "the same address"}]


def test_a_takedown_looks_at_one_document_by_indices_and_readers_pay_nothing(api: Api) -> None:
    api.world.change(
        """INSERT INTO document (doc_id, set_id, entity, external_id)
           SELECT 1000000 + n, 1, 'products', 'bulk' || n FROM generate_series(1, 20000) n;
           INSERT INTO output (doc_id, set_id, entity, from_gen, published, hash, made_from)
           SELECT 1000000 + n, 1, 'products', 1, true, '', '' FROM generate_series(1, 20000) n;
           INSERT INTO output_body (doc_id, from_gen, body)
           SELECT 1000000 + n, 1, '{}' FROM generate_series(1, 20000) n;
           ANALYZE harvester.document; ANALYZE harvester.output; ANALYZE harvester.output_body"""
    )
    read = "SELECT coalesce(sum(seq_tup_read), 0) FROM pg_stat_xact_user_tables WHERE relname = ANY (%s)"
    big = ["document", "output", "output_body", "revision", "body", "task_use"]
    with api.world.installation.pool.connection() as connection:
        doc_id, set_id = connection.execute(
            "SELECT doc_id, set_id FROM document WHERE external_id = 'b' AND set_id = 1"
        ).fetchone() or (0, 0)
        before = connection.execute(read, (big,)).fetchone()
        family = withheld.family(connection, doc_id)
        value_counts.turn(connection, api.world.installation.catalog, family, -1)
        assert withheld.withhold(connection, set_id, family) == family
        takedowns.put(connection, doc_id, set_id, "x", api.world.now)
        withheld.settle_candidate(connection, set_id, 1)
        assert withheld.give_back(connection, set_id, family) == family
        assert connection.execute(read, (big,)).fetchone() == before
