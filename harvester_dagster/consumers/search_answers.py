"""What consumers get of an answer of the search index: documents in their form there, counts, words.

Belongs here: from the server's answer to ours, and which version an index shows. Does not belong here: asking
(`search/`), HTTP.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from psycopg import Connection

from harvester_dagster.config import Config
from harvester_dagster.search import index
from harvester_dagster.search.mapping import CHECKSUM

_LEAST = 0.01
"""Score of what may have been meant, below which it is a guess."""


class Searched(NamedTuple):
    """The version that an alias shows, and since when; the current one or, for a while, the one before."""

    version_id: int | None = None
    seq: int = 0
    as_of: datetime | None = None


def searched(connection: Connection[Any], config: Config, entity: str) -> Searched:
    """What the alias of an entity was moved to last."""
    row = connection.execute(
        """SELECT s.version_id, coalesce(max(p.seq), 0), max(p.at)
           FROM search_index s LEFT JOIN publication p USING (version_id)
           WHERE s.entity = %s AND s.shown AND starts_with(s.name, %s) GROUP BY s.version_id""",
        (entity, index.prefix(config, entity)),
    ).fetchone()
    return Searched(*row) if row else Searched()


def withheld(connection: Connection[Any], config: Config, entity: str) -> set[str]:
    """The srns of what was taken down, or came back, since the index that the alias shows heard of it."""
    rows = connection.execute(
        """SELECT k.key || ':' || d.external_id
           FROM search_index s JOIN publication_document p ON p.seq > s.overlay_seq
           JOIN document d ON d.doc_id = p.doc_id AND d.entity = s.entity JOIN harvest_set k ON k.set_id = d.set_id
           WHERE s.entity = %(entity)s AND s.shown AND starts_with(s.name, %(prefix)s)
           UNION
           SELECT k.key || ':' || d.external_id
           FROM search_index s JOIN takedown t ON s.overlay_seq = 0
           JOIN document d ON t.doc_id IN (d.doc_id, d.owner_id) AND d.set_id = t.set_id AND d.entity = s.entity
           JOIN harvest_set k ON k.set_id = d.set_id
           WHERE s.entity = %(entity)s AND s.shown AND starts_with(s.name, %(prefix)s)""",
        {"entity": entity, "prefix": index.prefix(config, entity)},
    )
    return {srn for (srn,) in rows}


def documents(answer: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The documents of the hits, each with its `score` and the words that were found (`highlight`)."""
    return [
        {
            **{name: value for name, value in hit["_source"].items() if name != CHECKSUM},
            "score": hit.get("_score"),
            "highlight": hit.get("highlight", {}),
        }
        for hit in answer["hits"]["hits"]
    ]


def in_order(found: Sequence[dict[str, Any]], srns: Sequence[str]) -> list[dict[str, Any]]:
    """Documents in the order in which they were asked for, each once."""
    known = {one["srn"]: one for one in found}
    return [known[srn] for srn in dict.fromkeys(srns) if srn in known]


def total(answer: Mapping[str, Any]) -> int:
    """Of all documents that are found."""
    found: int = answer["hits"]["total"]["value"]
    return found


def facets(answer: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Values of each field that was asked for, with how many documents have them under the other filters."""
    return {
        name: [{"value": one["key"], "count": one["doc_count"]} for one in found["values"]["buckets"]]
        for name, found in answer.get("aggregations", {}).items()
    }


def meant(answer: Mapping[str, Any]) -> str | None:
    """The text that was probably meant; None: this one."""
    options = [option for one in answer.get("suggest", {}).get("meant", ()) for option in one["options"]]
    return next((str(option["text"]) for option in options if option["score"] >= _LEAST), None)


def words(answer: Mapping[str, Any], prefix: str) -> list[str]:
    """Words that begin so, the shortest first."""
    options = [option for one in answer.get("suggest", {}).get("words", ()) for option in one["options"]]
    found = {word for option in options for word in option["_source"].get("suggest_completion", ())}
    begun = (word for word in found if word.casefold().startswith(prefix.casefold()))
    return sorted(begun, key=lambda word: (len(word), word))
