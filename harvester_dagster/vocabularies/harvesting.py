"""SKOS that is harvested beside what ships: fetched, compared, taken over or refused.

A vocabulary falls back as a set does: one that cannot be had, cannot be read, or has shrunk too much leaves the
state before it in place, with the reason. One that is no longer configured goes. Does not belong here: what SKOS is
(`skos.py`), when it is fetched (a schedule).
"""

from typing import Literal, NamedTuple

from harvester_dagster.config import Skos
from harvester_dagster.documents import canonical
from harvester_dagster.installation import Installation
from harvester_dagster.outside.failures import OutsideError
from harvester_dagster.vocabularies import shipped, skos
from harvester_dagster.vocabularies.trees import Changes, Finding, Part, Term, Vocabularies, changes, shrunk

MAX_BYTES = 64 << 20

State = Literal["taken over", "unchanged", "refused", "failed"]


class Harvested(NamedTuple):
    """How the harvest of one vocabulary ended; whatever the state, `terms` of it are in use now."""

    name: str
    state: State
    terms: int
    reason: str = ""
    changes: Changes | None = None
    findings: tuple[Finding, ...] = ()


def harvest(installation: Installation) -> list[Harvested]:
    """Fetch every configured vocabulary; the next tasks use what was taken over."""
    configured = installation.config.vocabularies.skos
    with installation.pool.connection() as connection:
        connection.execute(
            "DELETE FROM vocabulary_source WHERE name <> ALL (%s)", ([vocabulary.name for vocabulary in configured],)
        )
    return [_harvested(installation, vocabulary) for vocabulary in configured]


def _harvested(installation: Installation, vocabulary: Skos) -> Harvested:
    name = vocabulary.name
    kept, present = _present(installation, name)
    try:
        content = installation.outside.get(vocabulary.url, max_bytes=MAX_BYTES).body
        digest = canonical.digest(content)
        if digest == kept:
            _refuse(installation, name, "")
            return Harvested(name, "unchanged", len(present))
        part = skos.part(name, content)
    except (OutsideError, skos.SkosError) as error:
        _refuse(installation, name, str(error))
        return Harvested(name, "failed", len(present), f"{error}; what there was stays in use")
    new = _by_value(part)
    if shrunk(list(present.values()), list(new.values())):
        reason = (
            f"it shrank from {len(present)} to {len(new)} terms, so what there was stays in use; if this is right, "
            f"take {name!r} out of vocabularies.skos for one harvest"
        )
        _refuse(installation, name, reason)
        return Harvested(name, "refused", len(present), reason)
    key = f"vocabularies/{digest.hex()}.json"
    installation.objects.put(key, content)
    with installation.pool.connection() as connection:
        connection.execute(
            """INSERT INTO vocabulary_source (name, object_key, digest, terms, taken_at)
               VALUES (%(name)s, %(key)s, %(digest)s, %(terms)s, %(now)s)
               ON CONFLICT (name) DO UPDATE SET object_key = excluded.object_key, digest = excluded.digest,
                   terms = excluded.terms, taken_at = excluded.taken_at, refused = ''""",
            {"name": name, "key": key, "digest": digest, "terms": len(new), "now": installation.clock()},
        )
    findings = Vocabularies([part]).findings
    return Harvested(name, "taken over", len(new), changes=changes(present, new), findings=findings)


def _present(installation: Installation, name: str) -> tuple[bytes | None, dict[str, Term]]:
    """Digest and terms of what is in use under this name: harvested, else what ships."""
    with installation.pool.connection() as connection:
        row = connection.execute("SELECT object_key, digest FROM vocabulary_source WHERE name = %s", (name,)).fetchone()
    if row:
        return row[1], _by_value(skos.part(name, installation.objects.get(row[0])))
    part = shipped.vocabularies().parts.get(name)
    return None, _by_value(part) if part else {}


def _by_value(part: Part) -> dict[str, Term]:
    """Of a term with two parents the first counts, as in the trees."""
    return {term.value: term for term in reversed(part.terms)}


def _refuse(installation: Installation, name: str, reason: str) -> None:
    with installation.pool.connection() as connection:
        connection.execute("UPDATE vocabulary_source SET refused = %s WHERE name = %s", (reason, name))
