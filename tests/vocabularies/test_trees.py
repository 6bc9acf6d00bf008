"""Trees from any graph: mended, reported, and answering in the same way whatever they were made from."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from harvester_dagster.vocabularies.trees import Node, Part, Term, Vocabularies, changes, columns, shrunk

VALUES = st.sampled_from("abcdefgh")
TERMS = st.lists(st.builds(Term, VALUES, st.one_of(st.none(), VALUES, st.just("nowhere")), st.just("n"), st.just("e")))


def _vocabularies(*terms: Term, curated: bool = False) -> Vocabularies:
    return Vocabularies([Part("part", "field", terms, curated)])


def _term(value: str, parent: str | None = None, name: str = "") -> Term:
    return Term(value, parent, name or value.upper(), f"{name or value} in English")


@given(TERMS)
def test_any_graph_becomes_a_forest_of_all_its_values(terms: list[Term]) -> None:
    vocabularies = _vocabularies(*terms)
    assert set(vocabularies.terms("field")) == {term.value for term in terms}
    for value in vocabularies.terms("field"):
        root = vocabularies.root("field", value)
        assert root is not None
        assert root.parent is None
        assert root in vocabularies.ancestors("field", value)


@given(TERMS)
def test_a_tree_shows_every_value_once(terms: list[Term]) -> None:
    def values(nodes: tuple[Node, ...]) -> list[str]:
        return [value for node in nodes for value in (node.term.value, *values(node.children))]

    shown = Counter(values(_vocabularies(*terms).tree("field")))
    assert shown == Counter({term.value for term in terms})


@given(TERMS)
def test_what_is_sound_is_left_alone_and_what_is_not_is_reported(terms: list[Term]) -> None:
    vocabularies = _vocabularies(*terms)
    first = {term.value: term for term in reversed(terms)}
    mended = {value for value, term in vocabularies.terms("field").items() if term != first[value]}
    reported = {finding.value for finding in vocabularies.findings if finding.problem != "two parents"}
    assert mended == reported


@given(st.permutations([_term("a", "b"), _term("b", "c"), _term("c", "a"), _term("d", "a")]))
def test_a_cycle_is_opened_at_the_same_place_in_whatever_order_it_comes(terms: list[Term]) -> None:
    vocabularies = _vocabularies(*terms)
    assert [finding.problem for finding in vocabularies.findings] == ["cycle"]
    assert [term.value for term in vocabularies.lineage("field", "d")] == ["d", "a"]
    assert [term.value for term in vocabularies.lineage("field", "b")] == ["b", "c", "a"]


def test_a_value_that_is_its_own_parent_is_a_root() -> None:
    vocabularies = _vocabularies(_term("a", "a"))
    assert vocabularies.root("field", "a") == _term("a")
    assert vocabularies.findings[0].problem == "cycle"


def test_an_orphan_becomes_a_root_and_is_reported_with_the_parent_it_lacks() -> None:
    vocabularies = _vocabularies(_term("a", "lost"))
    assert vocabularies.root("field", "a") == _term("a")
    (finding,) = vocabularies.findings
    assert (finding.field, finding.value, finding.problem) == ("field", "a", "orphan")
    assert "lost" in finding.detail


def test_of_two_parents_the_first_is_kept() -> None:
    vocabularies = _vocabularies(_term("a"), _term("b"), _term("c", "a"), _term("c", "b"))
    assert vocabularies.root("field", "c") == _term("a")
    assert [(finding.value, finding.problem) for finding in vocabularies.findings] == [("c", "two parents")]


def test_ancestors_are_sorted_and_hold_the_value_itself() -> None:
    vocabularies = _vocabularies(_term("m"), _term("z", "m"), _term("a", "z"))
    assert [term.value for term in vocabularies.ancestors("field", "a")] == ["a", "m", "z"]
    assert vocabularies.ancestors("field", "unknown") == ()
    assert vocabularies.root("field", "unknown") is None


def test_columns_stay_in_step() -> None:
    assert columns([_term("b", None, "x"), _term("a", None, "y")]) == {
        "keyword": ["b", "a"],
        "nl": ["x", "y"],
        "en": ["x in English", "y in English"],
    }


def test_curated_terms_win_whatever_comes_first_and_bring_their_parent() -> None:
    scheme = Part("scheme", "field", (_term("a", None, "from the scheme"), _term("b", "a", "only there")))
    tree = Part("tree", "field", (_term("root"), _term("a", "root", "curated")), curated=True)
    for parts in ([scheme, tree], [tree, scheme]):
        vocabularies = Vocabularies(parts)
        assert vocabularies.get("field", "a") == _term("a", "root", "curated")
        assert [term.value for term in vocabularies.lineage("field", "b")] == ["b", "a", "root"]
        assert vocabularies.findings == ()


def test_a_newer_part_of_the_same_name_takes_the_place_of_the_old_one() -> None:
    old = _vocabularies(_term("a"), _term("b"))
    new = old.with_parts([Part("part", "field", (_term("a", None, "new"),))])
    assert set(new.terms("field")) == {"a"}
    assert set(old.terms("field")) == {"a", "b"}


def test_counts_are_shown_in_the_tree() -> None:
    vocabularies = _vocabularies(_term("a"), _term("b", "a")).with_counts({"field": {"b": 3}})
    (root,) = vocabularies.tree("field")
    assert (root.occurrences, root.children[0].occurrences) == (0, 3)


def test_a_very_deep_tree_needs_no_deep_stack() -> None:
    depth = 5_000
    chain = [_term("0"), *(_term(str(level), str(level - 1)) for level in range(1, depth))]
    vocabularies = _vocabularies(*reversed(chain))
    assert vocabularies.root("field", str(depth - 1)) == _term("0")
    assert len(vocabularies.tree("field")) == 1
    assert vocabularies.digest_of("field", [str(depth - 1)])


def test_a_digest_moves_exactly_with_its_terms_and_their_ancestors() -> None:
    terms = (_term("root"), _term("a", "root"), _term("b", "a"), _term("other"))
    before = _vocabularies(*terms)
    after = before.with_parts([Part("part", "field", (terms[0], _term("a", "root", "renamed"), *terms[2:]))])
    moved = {
        value
        for value in before.terms("field")
        if before.digest_of("field", [value]) != after.digest_of("field", [value])
    }
    assert moved == {"a", "b"}
    assert before.digest != after.digest
    assert before.digest_of("field", ["new"]) == after.digest_of("field", ["new"])


def test_a_digest_of_an_unknown_value_moves_when_it_becomes_known() -> None:
    before = _vocabularies(_term("a"))
    after = _vocabularies(_term("a"), _term("b"))
    assert before.digest_of("field", ["a", "b"]) != after.digest_of("field", ["a", "b"])
    assert before.digest_of("field", ["a"]) == after.digest_of("field", ["a"])


def test_counts_move_no_digest_except_where_they_make_values_known() -> None:
    vocabularies = _vocabularies(_term("a"))
    assert vocabularies.with_counts({"field": {"a": 5}}).digest == vocabularies.digest
    assert vocabularies.with_counts({"publisher_year": {"2025": 1}}).digest != vocabularies.digest
    assert vocabularies.with_counts({"publisher_year": {"2025": 0}}).digest == vocabularies.digest
    once, often = ({"publisher_year": {"2025": count}} for count in (1, 9))
    assert vocabularies.with_counts(once).digest == vocabularies.with_counts(often).digest


def test_changes_name_what_differs() -> None:
    old = {term.value: term for term in (_term("same"), _term("renamed"), _term("moved"), _term("gone"))}
    new = {
        term.value: term for term in (_term("same"), _term("renamed", None, "x"), _term("moved", "same"), _term("new"))
    }
    found = changes(old, new)
    assert found.added == {"new"}
    assert found.changed == {"renamed", "moved"}
    assert found.removed == {"gone"}


def test_a_vocabulary_that_shrinks_as_a_set_may_not_is_not_taken_over() -> None:
    assert shrunk(105, 100)
    assert not shrunk(104, 100)
    assert not shrunk(100, 104)
    assert shrunk(1, 0)
    assert not shrunk(0, 0)
    assert shrunk(200, 200, max_shrink=0.0) is False
