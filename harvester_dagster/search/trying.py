"""A search as a person would type it, over the alias that is public now: for a look, and for the demonstration.

Does not belong here: the queries of a portal; these are the search team's.
"""

from typing import NamedTuple

from harvester_dagster.installation import Installation
from harvester_dagster.search import index
from harvester_dagster.search.client import asking, connected


class Found(NamedTuple):
    words: str
    hits: int
    titles: list[str]


def search(installation: Installation, *questions: str, shown: int = 3) -> list[Found]:
    """The best hits for each question, misspelt words allowed. Raises SearchError."""
    alias = index.alias(installation.config, "products")
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
            found.append(Found(words, answer["total"]["value"], titles))
    return found
