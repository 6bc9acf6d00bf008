"""Consumers that keep a copy of what is published, each in its own way, over the API alone.

They belong to the tests: a page at a time, so that a test can let anything happen between two of them.
"""

from typing import Any

from starlette.routing import Mount
from starlette.testclient import TestClient

from harvester_dagster.installation import Installation
from harvester_dagster.web.api.consumer_api import PATH, consumer_api
from harvester_dagster.web.app import create_app

Copy = dict[str, dict[str, Any]]
TOO_OLD = 410


def client_of(installation: Installation) -> TestClient:
    """A client of the API as it is mounted; its addresses are below it."""
    web = installation.config.web
    base = web.public_url or "http://localhost"
    return TestClient(create_app(web, [Mount(PATH, consumer_api(installation))]), f"{base}{PATH}")


class FeedReader:
    """Applies pages of `changes`; begins anew when told so."""

    def __init__(self, client: TestClient, page_size: int) -> None:
        self.client, self.page_size = client, page_size
        self.copy: Copy = {}
        self.seq = 0
        self.next: str | None = None

    def read_page(self) -> bool:
        """One page; whether all that was current when it began is there now."""
        url = self.next or f"/changes/?after={self.seq}&page_size={self.page_size}"
        answer = self.client.get(url)
        if answer.status_code == TOO_OLD:
            self.copy, self.seq, self.next = {}, 0, None
            return False
        assert answer.status_code == 200, answer.text
        page = answer.json()
        for change in page["results"]:
            if change["action"] == "put":
                assert change["document"]["srn"] == change["srn"]
                self.copy[change["srn"]] = change["document"]
            else:
                self.copy.pop(change["srn"], None)
        self.next = page["next"]
        if self.next is None:
            self.seq = page["seq"]
        return self.next is None

    def catch_up(self) -> None:
        while not self.read_page():
            pass


class SinceReader:
    """Applies lists of each entity with `modified_since`, and sends `as_of` back."""

    def __init__(self, client: TestClient, page_size: int) -> None:
        self.client, self.page_size = client, page_size
        self.copies: dict[str, Copy] = {"product": {}, "file": {}}
        self.as_of: dict[str, str | None] = {"product": None, "file": None}

    @property
    def copy(self) -> Copy:
        return {srn: document for copy in self.copies.values() for srn, document in copy.items()}

    def catch_up(self) -> None:
        for entity, copy in self.copies.items():
            asked: dict[str, Any] = {"page_size": self.page_size}
            if since := self.as_of[entity]:
                asked["modified_since"] = since
            page = walked(self.client, f"/{entity}/", asked)
            if page is None:
                continue
            for document in page["results"]:
                if document["state"] == "deleted":
                    copy.pop(document["srn"], None)
                else:
                    copy[document["srn"]] = document
            self.as_of[entity] = page["as_of"]


class Walker:
    """Walks along one list, a page at a time, and remembers what was shown when it began."""

    def __init__(self, client: TestClient, page_size: int) -> None:
        self.client, self.page_size = client, page_size
        self.found: list[str] = []
        self.next: str | None = None
        self.began: Copy = {}
        self.free: set[str] = set()
        """What was taken down meanwhile, and perhaps brought back: it may have come or not."""

    def forget(self, srn: str) -> None:
        """A document is taken down."""
        self.free.add(srn)

    def read_page(self, shown: Copy) -> None:
        """`shown`: what is published now."""
        if self.next is None:
            self.found, self.began, self.free = [], shown, set()
        answer = self.client.get(self.next or f"/product/?page_size={self.page_size}")
        if answer.status_code in (TOO_OLD, 417):
            self.next = None
            return
        assert answer.status_code == 200, answer.text
        page = answer.json()
        came = [document for document in page["results"] if document["srn"] not in self.free]
        assert all(document == self.began[document["srn"]] for document in came)
        self.found += [document["srn"] for document in came]
        self.next = page["next"]
        if self.next is None:
            products = sorted(srn for srn, each in self.began.items() if each["entity"] == "products")
            assert [srn for srn in self.found if srn not in self.free] == [
                srn for srn in products if srn not in self.free
            ]


def walked(client: TestClient, path: str, asked: dict[str, Any]) -> dict[str, Any] | None:
    """All pages of a list as one; None: nothing is published yet."""
    answer = client.get(path, params=asked)
    if answer.status_code == 417:
        return None
    assert answer.status_code == 200, answer.text
    whole: dict[str, Any] = answer.json()
    following = whole["next"]
    while following:
        answer = client.get(following)
        assert answer.status_code == 200, answer.text
        page = answer.json()
        assert (page["version"], page["seq"], page["as_of"]) == (whole["version"], whole["seq"], whole["as_of"])
        whole["results"] += page["results"]
        following = page["next"]
    return whole
