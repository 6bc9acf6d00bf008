"""SKOS over HTTP: taken over, left as it is, or refused, and never less than there was."""

import json
from typing import Any

import pytest

from harvester_dagster.vocabularies import current
from harvester_dagster.vocabularies.current import VocabularyLost
from harvester_dagster.vocabularies.refresh import Harvested, Refresh
from tests.vocabularies.installations import Open, VocabularyServer


def _scheme(count: int, **labels: str) -> bytes:
    nodes = [
        {"@id": f"urn:{number}", "@type": "skos:Concept", "skos:prefLabel": labels.get(f"n{number}", f"Term {number}")}
        for number in range(count)
    ]
    return json.dumps({"@graph": nodes}).encode()


def _known(installation: Any) -> set[str]:
    vocabularies = current.load(installation.pool, installation.objects).vocabularies
    return {value for value in vocabularies.terms("study_vocabulary") if "urn:" in value}


def _harvest(installation: Any) -> Harvested:
    (harvested,) = _harvest_all(installation)
    return harvested


def _harvest_all(installation: Any) -> list[Harvested]:
    refresh = Refresh(installation.pool, installation.objects, installation.outside, installation.clock())
    return refresh.harvest(installation.config.vocabularies.skos)


def test_a_new_vocabulary_is_taken_over_beside_those_that_ship(installed: Open, server: VocabularyServer) -> None:
    installation, server.content = installed("new"), _scheme(3)
    before = current.load(installation.pool, installation.objects)
    harvested = _harvest(installation)
    assert (harvested.name, harvested.state, harvested.terms) == ("new", "taken over", 3)
    after = current.load(installation.pool, installation.objects)
    assert _known(installation) == {"urn:0", "urn:1", "urn:2"}
    assert after.version != before.version
    assert len(after.vocabularies.terms("study_vocabulary")) == 3 + len(before.vocabularies.terms("study_vocabulary"))


def test_the_same_again_changes_nothing(installed: Open, server: VocabularyServer) -> None:
    installation, server.content = installed("new"), _scheme(3)
    _harvest(installation)
    version = current.load(installation.pool, installation.objects).version
    assert _harvest(installation) == Harvested("new", "unchanged", 3)
    assert current.load(installation.pool, installation.objects).version == version


def test_a_change_is_taken_over_and_told(installed: Open, server: VocabularyServer) -> None:
    installation, server.content = installed("new"), _scheme(3)
    _harvest(installation)
    server.content = _scheme(4, n1="Renamed")
    changes = _harvest(installation).changes
    assert changes is not None
    assert changes == (frozenset({"urn:3"}), frozenset({"urn:1"}), frozenset())


def test_one_that_shrinks_is_not_taken_over(installed: Open, server: VocabularyServer) -> None:
    installation, server.content = installed("new"), _scheme(20)
    _harvest(installation)
    server.content = _scheme(19)
    harvested = _harvest(installation)
    assert (harvested.state, harvested.terms) == ("refused", 20)
    assert "from 20 to 19" in harvested.reason
    assert len(_known(installation)) == 20


def test_one_that_shrinks_against_what_ships_is_not_taken_over(installed: Open, server: VocabularyServer) -> None:
    installation, server.content = installed("vaktherapie-2020"), _scheme(3)
    harvested = _harvest(installation)
    assert (harvested.state, harvested.terms) == ("refused", 32)
    assert _known(installation) == set()


def test_one_of_a_name_that_ships_takes_its_place(installed: Open, server: VocabularyServer) -> None:
    installation, server.content = installed("vaktherapie-2020"), _scheme(32)
    assert _harvest(installation).state == "taken over"
    terms = current.load(installation.pool, installation.objects).vocabularies.terms("study_vocabulary")
    assert "http://purl.edustandaard.nl/concept/aaa35dd4-6ef0-4c3b-965b-23c5ff20cc82" not in terms
    assert len(_known(installation)) == 32


def test_what_is_no_vocabulary_or_no_answer_leaves_what_there_was(installed: Open, server: VocabularyServer) -> None:
    installation, server.content = installed("new"), _scheme(3)
    _harvest(installation)
    for status, content in ((200, b"<html>moved</html>"), (200, b""), (404, b"gone")):
        server.status, server.content = status, content
        harvested = _harvest(installation)
        assert (harvested.state, harvested.terms) == ("failed", 3)
        assert harvested.reason
        assert len(_known(installation)) == 3
    with installation.pool.connection() as connection:
        assert connection.execute("SELECT refused <> '' FROM vocabulary_source").fetchone() == (True,)


def test_a_broken_tree_is_taken_over_mended_and_reported(installed: Open, server: VocabularyServer) -> None:
    node = {"@id": "urn:a", "@type": "skos:Concept", "skos:broader": {"@id": "urn:a"}}
    installation, server.content = installed("new"), json.dumps([node]).encode()
    assert [(finding.value, finding.problem) for finding in _harvest(installation).findings] == [("urn:a", "cycle")]


def test_one_that_is_no_longer_configured_goes(installed: Open, server: VocabularyServer) -> None:
    server.content = _scheme(3)
    _harvest_all(installed("new"))
    installation = installed()
    assert _harvest_all(installation) == []
    assert _known(installation) == set()


@pytest.mark.parametrize("what", ["gone", "broken"])
def test_one_whose_object_was_lost_is_stored_anew(installed: Open, server: VocabularyServer, what: str) -> None:
    installation, server.content = installed("new", "other"), _scheme(20)
    _harvest_all(installation)
    _lose(installation, what)
    with pytest.raises(VocabularyLost, match="the asset `vocabularies` harvests it again"):
        current.load(installation.pool, installation.objects)
    server.status = 404
    failed, _ = _harvest_all(installation)
    assert (failed.state, failed.terms) == ("failed", 20) and "what there was is lost" in failed.reason
    server.status, server.content = 200, _scheme(3)
    refused, _ = _harvest_all(installation)
    assert refused.state == "refused" and "from 20 to 3 terms, so what there was is lost" in refused.reason
    for content, terms in ((_scheme(20), 20), (_scheme(21), 21)):
        _lose(installation, what)
        server.content = content
        healed, other = _harvest_all(installation)
        assert (healed.state, healed.changes, other.terms) == ("taken over", None, terms)
        assert len(_known(installation)) == terms


def _lose(installation: Any, what: str) -> None:
    for found in list(installation.objects.list("vocabularies/")):
        installation.objects.delete([found.key])
        if what == "broken":
            installation.objects.put(found.key, b"half a vocab")
