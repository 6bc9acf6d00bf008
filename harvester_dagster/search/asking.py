"""A plain search over an index with the built-in mapping: enough to see that it answers.

Belongs here: one query that understands Dutch and English and forgives a typo. Does not belong here: the search of a
portal: schema and queries are the search team's.
"""

from collections.abc import Iterable
from typing import NamedTuple

from harvester_dagster.installation import Installation
from harvester_dagster.search import index
from harvester_dagster.search.client import asking, connected

FIELDS = ("title.folded^3", "texts.nl.*.text", "texts.en.*.text", "texts.unk.*.text")


class Found(NamedTuple):
    """What a search found: how many, and the titles of the best."""

    words: str
    hits: int
    titles: tuple[str, ...]


def ask(installation: Installation, searches: Iterable[str], entity: str = "products") -> list[Found]:
    """Search what the alias shows. Raises SearchError."""
    alias, found = index.alias(installation.config, entity), []
    with connected(installation.config.index) as client:
        for words in searches:
            query = {"multi_match": {"query": words, "fields": FIELDS, "fuzziness": "AUTO", "operator": "and"}}
            body = {"size": 3, "track_total_hits": True, "query": query, "_source": ["title"]}
            with asking(f"searching {alias}"):
                answer = client.search(index=alias, body=body)["hits"]
            titles = tuple(str(hit["_source"].get("title")) for hit in answer["hits"])
            found.append(Found(words, answer["total"]["value"], titles))
    return found
