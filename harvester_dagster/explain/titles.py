"""The titles under which people know documents, beside SRNs on a page; in one statement, however many there are.

Belongs here: those of what is accepted and published. Does not belong here: what is raw, or taken down.
"""

from collections.abc import Collection
from typing import Any

import msgspec
from psycopg import Connection

from harvester_dagster.sets.generations import live

_PUBLISHED = f"""
SELECT body FROM output o JOIN output_body USING (doc_id, from_gen)
WHERE o.published AND {live("o", "s.accepted_gen")} AND o.doc_id ="""
_TITLES = f"""
SELECT srn, own.body, of_product.body FROM unnest(%(srns)s::text[]) srn
JOIN harvest_set s ON starts_with(srn, s.key || ':')
JOIN document d ON d.set_id = s.set_id AND d.external_id = substr(srn, length(s.key) + 2)
LEFT JOIN LATERAL ({_PUBLISHED} d.doc_id) own ON true
LEFT JOIN LATERAL ({_PUBLISHED} d.owner_id) of_product ON true
WHERE NOT EXISTS (SELECT FROM takedown t WHERE t.doc_id IN (d.doc_id, d.owner_id))
"""


class _Titled(msgspec.Struct):
    """What is read of an output."""

    title: str | None = None


def titles(connection: Connection[Any], srns: Collection[str]) -> dict[str, str]:
    """By srn: its own title, else that of the product which a file belongs to."""
    rows = connection.execute(_TITLES, {"srns": [*srns]}) if srns else ()
    return {srn: title for srn, *bodies in rows if (title := next(filter(None, map(_title, bodies)), ""))}


def _title(body: str | None) -> str:
    return msgspec.json.decode(body, type=_Titled).title or "" if body else ""
