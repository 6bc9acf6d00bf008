"""SKOS that is harvested beside what ships: fetched, compared, taken over or refused.

A vocabulary falls back as a set does: one that cannot be had, cannot be read, or has shrunk too much leaves the
state before it in place, with the reason. One that is no longer configured goes. Does not belong here: what SKOS is
(`skos.py`), when it is fetched (a schedule).
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal, NamedTuple

from harvester_dagster import canonical
from harvester_dagster.config import Skos
from harvester_dagster.failures import OutsideError
from harvester_dagster.outside.http import Outside
from harvester_dagster.store import keys
from harvester_dagster.store.database import Pool
from harvester_dagster.store.objects import Objects
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


class Refresh(NamedTuple):
    """What vocabularies are harvested with; `now` is in UTC."""

    pool: Pool
    objects: Objects
    outside: Outside
    now: datetime

    def harvest(self, configured: Sequence[Skos]) -> list[Harvested]:
        """Fetch every configured vocabulary and take over what has not shrunk too much; the next tasks use it.
        Vocabularies that are not configured any more are dropped. Never raises for a source: how each ended is told."""
        with self.pool.connection() as connection:
            connection.execute(
                "DELETE FROM vocabulary_source WHERE name <> ALL (%s)", ([one.name for one in configured],)
            )
        return [self._harvested(one.name, one.url) for one in configured]

    def _harvested(self, name: str, url: str) -> Harvested:
        kept, present = self._present(name)
        try:
            content = self.outside.get(url, max_bytes=MAX_BYTES).body
            digest = canonical.digest(content)
            if digest == kept:
                self._refuse(name, "")
                return Harvested(name, "unchanged", len(present))
            part = skos.part(name, content)
        except (OutsideError, skos.SkosError) as error:
            self._refuse(name, str(error))
            return Harvested(name, "failed", len(present), f"{error}; what there was stays in use")
        new = _by_value(part)
        if shrunk(list(present.values()), list(new.values())):
            reason = (
                f"it shrank from {len(present)} to {len(new)} terms, so what there was stays in use; if this is right, "
                f"take {name!r} out of vocabularies.skos for one harvest"
            )
            self._refuse(name, reason)
            return Harvested(name, "refused", len(present), reason)
        key = keys.vocabulary(digest.hex())
        self.objects.put(key, content)
        with self.pool.connection() as connection:
            connection.execute(
                """INSERT INTO vocabulary_source (name, object_key, digest, terms, taken_at)
                   VALUES (%(name)s, %(key)s, %(digest)s, %(terms)s, %(now)s)
                   ON CONFLICT (name) DO UPDATE SET object_key = excluded.object_key, digest = excluded.digest,
                       terms = excluded.terms, taken_at = excluded.taken_at, refused = ''""",
                {"name": name, "key": key, "digest": digest, "terms": len(new), "now": self.now},
            )
        findings = Vocabularies([part]).findings
        return Harvested(name, "taken over", len(new), changes=changes(present, new), findings=findings)

    def _present(self, name: str) -> tuple[bytes | None, dict[str, Term]]:
        """Digest and terms of what is in use under this name: harvested, else what ships."""
        with self.pool.connection() as connection:
            row = connection.execute(
                "SELECT object_key, digest FROM vocabulary_source WHERE name = %s", (name,)
            ).fetchone()
        if row:
            return row[1], _by_value(skos.part(name, self.objects.get(row[0])))
        part = shipped.vocabularies().parts.get(name)
        return None, _by_value(part) if part else {}

    def _refuse(self, name: str, reason: str) -> None:
        with self.pool.connection() as connection:
            connection.execute("UPDATE vocabulary_source SET refused = %s WHERE name = %s", (reason, name))


def _by_value(part: Part) -> dict[str, Term]:
    """Of a term with two parents the first counts, as in the trees."""
    return {term.value: term for term in reversed(part.terms)}
