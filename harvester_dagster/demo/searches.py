"""A search as a person would type it, over the alias that is public now: for a look, and for the demonstration.

Does not belong here: the queries of a portal; these are the search team's.
"""

from typing import NamedTuple

from harvester_dagster.installation import Installation
from harvester_dagster.search import index
from harvester_dagster.search.connection import asking, connected


class Hits(NamedTuple):
    """What a search found: how many documents, and the titles of the best ones."""

    words: str
    hits: int
    titles: list[str]


def search(installation: Installation, *questions: str, shown: int = 3) -> list[Hits]:
    """The best hits for each question, misspelt words allowed. Raises SearchError."""
    first = next(row for row in installation.catalog.entities if row.mapping)
    alias = index.alias(installation.config, first.name)
    found = []
    with connected(installation.config.index) as client, asking(f"searching {alias}"):
        for words in questions:
            body = {
                "size": shown,
                "_source": ["title"],
                "query": {
                    "multi_match": {
                        "query": words,
                        "fields": ["title^3", "keywords^2", "texts.*.*.text.analyzed", "texts.*.*.text.folded"],
                        "type": "most_fields",
                        "fuzziness": "AUTO",
                    }
                },
            }
            answer = client.search(index=alias, body=body)["hits"]
            titles = [hit["_source"].get("title") or "" for hit in answer["hits"]]
            found.append(Hits(words, answer["total"]["value"], titles))
    return found
