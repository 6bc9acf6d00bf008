"""SKOS that is harvested beside what ships: fetched, compared, taken over or refused.

A vocabulary falls back as a set does: one that cannot be had, cannot be read, or has shrunk too much leaves the
state before it in place, with the reason. One whose object was lost is stored anew. One that is no longer configured
goes. Does not belong here: what SKOS is (`skos.py`), when it is fetched (a schedule), when an object that no vocabulary
is in any more goes (`releases/retention.py`).
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


class _Present(NamedTuple):
    """What was taken over last. Without `terms` it is lost: its object cannot be read."""

    digest: bytes | None
    size: int
    terms: dict[str, Term] | None

    @property
    def stays(self) -> str:
        """What becomes of it when nothing is taken over, in words."""
        lost = "what there was is lost, and what looks it up waits"
        return lost if self.terms is None else "what there was stays in use"


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
        present = self._present(name)
        try:
            content = self.outside.get(url, max_bytes=MAX_BYTES).body
            digest = canonical.digest(content)
            if digest == present.digest and present.terms is not None:
                self._refuse(name, "")
                return Harvested(name, "unchanged", present.size)
            part = skos.part(name, content)
        except (OutsideError, skos.SkosError) as error:
            self._refuse(name, str(error))
            return Harvested(name, "failed", present.size, f"{error}; {present.stays}")
        new = _by_value(part)
        if shrunk(present.size, len(new)):
            reason = (
                f"it shrank from {present.size} to {len(new)} terms, so {present.stays}; if this is right, "
                f"take {name!r} out of vocabularies.skos for one harvest"
            )
            self._refuse(name, reason)
            return Harvested(name, "refused", present.size, reason)
        self._take_over(name, digest, content, len(new))
        findings = Vocabularies([part]).findings
        changed = None if present.terms is None else changes(present.terms, new)
        return Harvested(name, "taken over", len(new), changes=changed, findings=findings)

    def _take_over(self, name: str, digest: bytes, content: bytes, count: int) -> None:
        key = keys.vocabulary(digest.hex())
        self.objects.put(key, content)
        with self.pool.connection() as connection:
            connection.execute("DELETE FROM vocabulary_unused WHERE object_key = %s", (key,))
            connection.execute(
                """INSERT INTO vocabulary_source (name, object_key, digest, terms, taken_at)
                   VALUES (%(name)s, %(key)s, %(digest)s, %(terms)s, %(now)s)
                   ON CONFLICT (name) DO UPDATE SET object_key = excluded.object_key, digest = excluded.digest,
                       terms = excluded.terms, taken_at = excluded.taken_at, refused = ''""",
                {"name": name, "key": key, "digest": digest, "terms": count, "now": self.now},
            )

    def _present(self, name: str) -> _Present:
        """What is in use under this name: harvested, else what ships."""
        with self.pool.connection() as connection:
            row = connection.execute(
                "SELECT object_key, digest, terms FROM vocabulary_source WHERE name = %s", (name,)
            ).fetchone()
        if row is None:
            part = shipped.vocabularies().parts.get(name)
            terms = _by_value(part) if part else {}
            return _Present(None, len(terms), terms)
        key, digest, count = row
        try:
            return _Present(digest, count, _by_value(skos.part(name, self.objects.get(key))))
        except (OutsideError, skos.SkosError):
            return _Present(digest, count, None)

    def _refuse(self, name: str, reason: str) -> None:
        with self.pool.connection() as connection:
            connection.execute("UPDATE vocabulary_source SET refused = %s WHERE name = %s", (reason, name))


def _by_value(part: Part) -> dict[str, Term]:
    """Of a term with two parents the first counts, as in the trees."""
    return {term.value: term for term in reversed(part.terms)}
