"""Who holds which token, and what it allows: on pages, at the API, at the door."""

from typing import Any

import pytest
import requests
from starlette.requests import HTTPConnection, Request

from harvester_dagster.config import SCOPES, NamedToken, Web
from harvester_dagster.publication import audit
from harvester_dagster.web import guard
from harvester_dagster.web.door import why_closed
from harvester_dagster.web.guard import Actor
from tests.web.conftest import Site
from tests.web.test_access_pages import until

WEB = Web(
    tokens={
        "library": NamedToken(token_env="LIBRARY_TOKEN", scopes=("push", "overwrite")),
        "operator": NamedToken(token_env="OPERATOR_TOKEN", scopes=("operate", "takedown")),
        "unset": NamedToken(token_env="UNSET_TOKEN", scopes=SCOPES),
    }
)


@pytest.fixture(autouse=True)
def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HARVESTER", "LIBRARY", "OPERATOR"):
        monkeypatch.setenv(f"{name}_TOKEN", f"{name.lower()}-secret-é")
    monkeypatch.delenv("UNSET_TOKEN", raising=False)


def scope(token: str, client: str = "127.0.0.1", **more: Any) -> dict[str, Any]:
    headers = [(b"host", b"localhost")]
    if token:
        headers.append((b"authorization", f"Bearer {token}".encode()))
    return {"type": "http", "path": "/", "method": "POST", "client": (client, 1), "headers": headers, **more}


def admitted(token: str, needed: str, client: str = "192.0.2.7", by_token: bool = False) -> str | None:
    """Whose name an act would bear; None: it is refused."""
    found = guard.admitted(Request(scope(token, client)), WEB, needed, by_token=by_token)
    return found.doer.name if isinstance(found, Actor) else None


def test_each_token_has_its_scopes_and_its_name() -> None:
    allowed = {
        "library-secret-é": ("token:library", {"push", "overwrite"}),
        "operator-secret-é": ("token:operator", {"operate", "takedown"}),
        "harvester-secret-é": ("HARVESTER_TOKEN", set(SCOPES) - {"takedown"}),
    }
    for token, (name, scopes) in allowed.items():
        assert {needed: admitted(token, needed) for needed in SCOPES} == {
            needed: name if needed in scopes else None for needed in SCOPES
        }
    for wrong in ("", "library", "library-secret", "library-secret-é ", "é", "x" * 100_000):
        assert all(admitted(wrong, needed) is None for needed in SCOPES)


def test_at_this_machine_pages_act_as_local_and_what_needs_a_token_needs_it() -> None:
    for needed in SCOPES:
        assert admitted("", needed, "127.0.0.1") == "local"
        assert admitted("", needed, "127.0.0.1", by_token=True) is None
    assert admitted("library-secret-é", "push", "127.0.0.1", by_token=True) == "token:library"
    assert admitted("library-secret-é", "operate", "127.0.0.1") is None, "who says who they are is who they are"


def test_the_door_is_for_those_who_may_operate() -> None:
    def status(token: str) -> int | None:
        asked = HTTPConnection(scope(token, "192.0.2.7", method="GET"))
        found = why_closed(asked, WEB)
        return found.status if found else None

    assert status("operator-secret-é") is status("harvester-secret-é") is None
    assert (status("library-secret-é"), status("wrong"), status("")) == (403, 401, 401)


def test_what_is_done_on_a_page_is_audited_with_its_token(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    data = {"mode": "full", "endpoint": "dtu"}
    assert requests.post(f"{site.url}/harvest/create", data=data, timeout=60).status_code == 202
    authorization = {"Authorization": "Bearer harvester-secret-é".encode()}
    stopped = requests.post(f"{site.url}/harvest/stop", headers=authorization, timeout=60)
    assert stopped.status_code == 204, stopped.text
    assert (
        requests.post(f"{site.url}/harvest/stop", headers={"Origin": "http://evil.example"}, timeout=60).status_code
        == 403
    )
    assert requests.post(f"{site.url}/api/v1/anything", timeout=60).status_code == 403, "without a token"
    assert requests.post(f"{site.url}/api/v1/anything", headers=authorization, timeout=60).status_code == 404
    until(site, "stopped")
    with site.pool.connection() as connection:
        found = [(row.actor, row.act, row.subject, row.address) for row in audit.rows(connection)]
    assert found == [
        ("HARVESTER_TOKEN", "stop enriching", "every endpoint", "127.0.0.1"),
        ("local", "enrich", "dtu", "127.0.0.1"),
    ]
