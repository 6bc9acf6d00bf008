"""What is looked at before the first write: whether this is a collection that takes updates, and loses nothing by them.

Belongs here: the questions to Solr, and the sentences with which a run is refused. Does not belong here: what an
atomic update does to a field (`kept_fields.py`), the fields that the enricher itself reads (`Solr.check`).
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

from harvester_dagster.access.solr import kept_fields
from harvester_dagster.access.solr.collection import BIB, Solr, read_only
from harvester_dagster.access.solr.kept_fields import SolrSchema
from harvester_dagster.failures import OutsideError, PermanentError

_LOOKED_AT = 20
"""Documents of a target of copyFields that are looked at, to tell values of their own from what has no terms."""
_NAMED = 10


class Loss(NamedTuple):
    """A field that an atomic update would harm. `documents`: how many that the enricher decides have it; None: Solr
    cannot count them."""

    field: str
    why: str
    documents: int | None

    def __str__(self) -> str:
        counted = "" if self.documents is None else f" ({self.documents:,} documents)"
        return f"{self.field}{counted}: {self.why}"


def check_writable(solr: Solr, allowed: Collection[str] = ()) -> list[Loss]:
    """What is lost by leave of `allowed`: names of fields, or of the schema's rules with a `*`.

    Raises PermanentError with code "schema" when anything else would be lost, "read-only" when updates would not be
    taken or not last, "several-collections" for an alias of several; OutsideError when Solr does not say.
    """
    follow_alias(solr)
    cores = _cores(solr)
    _check_no_follower(solr)
    found = losses(solr, cores)
    lost = [loss for loss, rule in found if not {loss.field, rule} & set(allowed)]
    if lost:
        named = "; ".join(map(str, lost[:_NAMED])) + (f"; and {len(lost) - _NAMED} more" if len(lost) > _NAMED else "")
        options = " ".join(f"--allow-loss {loss.field}" for loss in lost[:_NAMED])
        raise PermanentError(
            "schema",
            f"{solr.url}: nothing was written, for an update would harm fields that Solr cannot give back: {named}. "
            "Store them (or give them docValues) and index the documents anew; or let them go: "
            f"{options}, or allow_loss of [metastore.{solr.name}]",
        )
    return [loss for loss, _rule in found]


def losses(solr: Solr, cores: Sequence[str] = ()) -> list[tuple[Loss, str]]:
    """Every field of documents that the enricher decides which an atomic update would harm, by name, each with the name
    of its rule in the schema. `cores`: one of each shard, where there are several. Raises OutsideError."""
    schema = _schema(solr)
    used = {name for core in cores or [solr.url] for name in _in_index(solr, core)}
    found = []
    for name in sorted(used | schema.fields.keys()):
        rule = schema.rule_of(name)
        why = kept_fields.why_lost(schema, name, used)
        if why is None and rule is not None and schema.is_target(name) and _is_fed(solr, schema, name, used):
            why = kept_fields.FED
        if why is None:
            continue
        documents = _count(solr, [_has(name)]) if rule is not None and rule.is_searchable else None
        if documents != 0 and (documents is not None or name in used):
            found.append((Loss(name, why, documents), rule.name if rule is not None else name))
    return found


def follow_alias(solr: Solr) -> None:
    """Let an alias mean the collection that it means now, for as long as `solr` is used: one that is moved meanwhile
    moves no run. Raises OutsideError; PermanentError with code "several-collections" when it means several."""
    try:
        aliases = solr.told(f"{solr.root}/admin/collections?action=LISTALIASES&wt=json").get("aliases", {})
    except PermanentError:  # no SolrCloud, or these credentials may not ask
        return
    name = solr.collection
    for _ in aliases:  # an alias may mean an alias
        name = aliases.get(name, name)
    if "," in name:
        raise PermanentError(
            "several-collections",
            f"{solr.url} is an alias of several collections ({name}): updates would go to the first of them only; "
            "name one, in an endpoint for each",
        )
    solr.use(name)


def _cores(solr: Solr) -> list[str]:
    """The address of a core of each shard; none for a server without shards, or one that does not tell."""
    asked = urlencode({"action": "CLUSTERSTATUS", "collection": solr.collection, "wt": "json"})
    try:
        cluster = solr.told(f"{solr.root}/admin/collections?{asked}").get("cluster", {})
    except PermanentError:  # no SolrCloud, or these credentials may not ask
        return []
    collections: Mapping[str, Any] = cluster.get("collections", {})
    found = []
    for collection in collections.values():
        if str(collection.get("readOnly", "")).lower() == "true":
            raise read_only(solr.url, "it is set to readOnly")
        for shard in collection.get("shards", {}).values():
            replicas = [each for each in shard.get("replicas", {}).values() if each.get("state") == "active"]
            if shard.get("state") == "active" and replicas:
                found.append(f"{solr.root}/{quote(replicas[0]['core'])}")
    return found


def _check_no_follower(solr: Solr) -> None:
    try:
        details = solr.told(f"{solr.url}/replication?command=details&wt=json").get("details", {})
    except PermanentError:  # no such handler, or not for these credentials
        return
    for word, leader in (("isFollower", "leaderUrl"), ("isSlave", "masterUrl")):
        if str(details.get(word, "")).lower() == "true":
            role = details.get("follower") or details.get("slave") or {}
            where = f" of {role[leader]}" if leader in role else ""
            raise read_only(solr.url, f"it is a replica{where}, and its next copy would undo what was written")


def _schema(solr: Solr) -> SolrSchema:
    answers: dict[str, Any] = {}
    for part in ("fields", "dynamicfields", "copyfields", "fieldtypes"):
        defaults = "" if part == "fieldtypes" else "?showDefaults=true"
        answers |= solr.told(f"{solr.url}/schema/{part}{defaults}")
    try:
        return kept_fields.schema_of(answers)
    except (KeyError, TypeError, AttributeError) as error:
        raise PermanentError("schema", f"{solr.url}: its schema cannot be read: {error!r}") from None


def _in_index(solr: Solr, core: str) -> list[str]:
    """The fields that documents of a core have, or had until its segments are merged."""
    fields = solr.told(f"{core}/admin/luke?numTerms=0&wt=json").get("fields", {})
    return [name for name, about in fields.items() if about.get("docs") != 0]


def _is_fed(solr: Solr, schema: SolrSchema, target: str, used: Collection[str]) -> bool:
    """Whether a document has the target and none of what is copied there. Not known where that cannot be asked."""
    sources = sorted(schema.sources(target, used))
    rules = [schema.rule_of(source) for source in sources]
    rule = schema.rule_of(target)
    if rule is None or not rule.is_searchable or not all(found and found.is_searchable for found in rules):
        return False
    filters = [_has(target), *(f"*:* -{_has(source)}" for source in sources)]
    if not _count(solr, filters):
        return False
    asked = urlencode({"q": "*:*", "fq": [BIB, *filters], "fl": ",".join(["id", *sources]), "rows": _LOOKED_AT}, True)
    found = solr.told(f"{solr.url}/select?{asked}&wt=json")
    return any(not set(sources) & document.keys() for document in found["response"]["docs"])


def _count(solr: Solr, filters: Iterable[str]) -> int | None:
    try:
        return solr.count([BIB, *filters])
    except OutsideError as error:
        if error.status == 400:  # of a type that cannot be asked whether it is there
            return None
        raise


def _has(field: str) -> str:
    return re.sub(r"([^\w])", r"\\\1", field) + ":[* TO *]"
