"""A product and a file as consumers see them: every sentence about the output, one by one."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harvester_dagster import canonical
from harvester_dagster.catalog import CATALOG
from harvester_dagster.config import Config, Output, Store, Tasks
from harvester_dagster.documents.output import (
    Enriched,
    file_output,
    overlaid,
    product_output,
    technical_type,
)
from harvester_dagster.tasks.task import Result
from harvester_dagster.tasks.visibility import is_hidden

NOW = datetime(2026, 11, 22, 3, tzinfo=UTC)
CONFIG = Config(store=Store(objects_public_url="https://objects.example.org"))
PRODUCTS, FILES_ALONE = CATALOG.making("products", CONFIG), CATALOG.making("files", CONFIG)
SRN = "sharekit:edusources:5af0:e26f"
PREVIEWS = {"full_size": "a.jpg", "preview": "b.jpg", "preview_small": "c.jpg"}
SHOWN = {size: f"https://objects.example.org/{key}" for size, key in PREVIEWS.items()}


def _found(data: Mapping[str, Any]) -> Result:
    return Result("success", data, "", None, 1, NOW)


def _product(
    results: Mapping[str, Result] | None = None, overwrite: Mapping[str, Any] | None = None, **properties: Any
) -> Enriched:
    return Enriched(
        SRN,
        "sharekit:edusources",
        "5af0:e26f",
        "active",
        {
            "external_id": "5af0:e26f",
            "state": "active",
            "title": "Bomen",
            "subtitle": None,
            "description": None,
            "language": "nl",
            "authors": [],
            "provider": {"ror": None, "external_id": None, "slug": None, "name": "Hanze"},
            "copyright": None,
            "technical_type": None,
            "learning_material": {"disciplines": ["kunst_cultuur"], "consortium": "X", "study_vocabulary": ["urn:a"]},
            "research_product": {"research_themes": ["thema"]},
            **properties,
        },
        results or {},
        overwrite,
        NOW,
        "2017-12-11T12:52:09Z",
    )


def _file(name: str, results: Mapping[str, Result] | None = None, state: str = "active", **properties: Any) -> Enriched:
    return Enriched(
        f"{SRN}:{name}",
        "sharekit:edusources",
        f"5af0:e26f:{name}",
        state,
        {
            "external_id": f"5af0:e26f:{name}",
            "url": f"https://example.org/{name}",
            "hash": name,
            "title": f"File {name}",
            "mime_type": "application/pdf",
            "copyright": "cc-by-40",
            "access_rights": "OpenAccess",
            "is_link": False,
            "priority": 0,
            "language": "en",
            "provider": {"ror": None, "external_id": None, "slug": None, "name": "Hanze"},
            **properties,
        },
        results or {},
        None,
        NOW,
    )


def _text(*texts: str, language: str | None = None) -> dict[str, Result]:
    return {"tika": _found({"texts": [{"text": text, "language": language} for text in texts]})}


def _output(*files: Enriched, config: Config = CONFIG, **properties: Any) -> dict[str, Any]:
    return product_output(_product(**properties), files, CATALOG.making("products", config))


def test_it_starts_as_the_properties_with_its_identity() -> None:
    output = _output(keywords=["boom"])
    assert output["keywords"] == ["boom"]
    assert output["srn"] == SRN
    assert output["set"] == "sharekit:edusources"
    assert output["harvest_source"] == "edusources"
    assert output["entity"] == "products"
    assert output["external_id"] == "5af0:e26f"
    assert output["state"] == "active"


def test_it_tells_when_it_was_accepted_and_what_the_source_says() -> None:
    output = _output()
    assert output["modified_at"] == "2026-11-22T03:00:00Z"
    assert output["source_modified_at"] == "2017-12-11T12:52:09Z"


def test_an_overwrite_wins_over_the_source_and_shows() -> None:
    overwritten = _product(overwrite={"title": "Bos", "learning_material": {"disciplines": ["techniek"]}})
    output = product_output(overwritten, [], PRODUCTS)
    assert output["title"] == "Bos"
    assert output["disciplines"] == ["techniek"]
    assert output["texts"]["nl"]["titles"][0]["text"] == "Bos"
    assert output["overwrite"] is True
    assert _output()["overwrite"] is False


def test_an_overwrite_inside_an_object_leaves_its_other_values() -> None:
    assert overlaid({"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": None}, "d": [4]}) == {
        "a": {"b": None, "c": 2},
        "d": [4],
    }


def test_learning_material_and_research_product_are_lifted_to_the_top() -> None:
    output = _output()
    assert output["disciplines"] == ["kunst_cultuur"]
    assert output["research_themes"] == ["thema"]
    assert not {"learning_material", "research_product"} & output.keys()


def test_derivatives_replace_what_they_normalise() -> None:
    terms = {"keyword": ["a"], "nl": ["A"], "en": ["A"]}
    output = _output(
        results={
            "lookup_study_vocabulary_parents": _found({"study_vocabulary": terms}),
            "normalize_disciplines": _found({"disciplines_normalized": terms}),
            "lookup_consortium_translations": _found({"consortium": {"keyword": "X", "nl": "X", "en": None}}),
            "normalize_publisher_year": _found({"publisher_year_normalized": "2024"}),
        }
    )
    assert output["study_vocabulary"] == terms
    assert output["disciplines_normalized"] == terms
    assert output["consortium"] == {"keyword": "X", "nl": "X", "en": None}
    assert output["publisher_year_normalized"] == "2024"


def test_without_derivatives_these_are_empty_objects_and_null() -> None:
    output = _output()
    assert output["study_vocabulary"] == output["disciplines_normalized"] == output["consortium"] == {}
    assert output["publisher_year_normalized"] is None


def test_files_that_are_not_active_or_not_found_are_left_out() -> None:
    gone = Result("failure", {"status": 404}, "answered 404", None, 1, NOW)
    dead = Result("failure", {"status": 500, "strikes": 3}, "answered 500", None, 3, NOW)
    failing = Result("retry", {"status": 500, "strikes": 2}, "answered 500", None, 5, NOW)
    output = _output(
        _file("deleted", state="deleted"),
        _file("inactive", state="inactive"),
        _file("gone", {"check_url": gone}),
        _file("dead", {"check_url": dead}),
        _file("failing", {"check_url": failing}),
        _file("checked", {"check_url": _found({"status": 200})}),
        _file("unchecked"),
    )
    assert [file["hash"] for file in output["files"]] == ["failing", "checked", "unchecked"]


def test_how_many_nights_a_file_may_fail_is_a_setting() -> None:
    failing = Result("retry", {"status": None, "strikes": 1}, "no answer", None, 1, NOW)
    assert not is_hidden(failing, Tasks())
    assert is_hidden(failing, Tasks(dead_after_nights=1))


def test_files_come_by_priority_then_in_the_products_own_order() -> None:
    urls = [f"https://example.org/{name}" for name in ("b c", "a", "d", "e")]
    files = [
        _file("e", priority=5),
        _file("d"),
        _file("a"),
        _file("b", url="https://example.org/b%20c"),
        _file("unlisted", priority=0),
    ]
    output = _output(*files, files=urls)
    assert [file["hash"] for file in output["files"]] == ["e", "b", "a", "d", "unlisted"]


def test_the_main_file_gives_the_product_its_url_type_and_pictures() -> None:
    video = {"duration": "PT1M", "embed_url": "https://youtube.com/embed/x", "previews": {"full_size": "x"}}
    main = _file("main", {"pdf_preview": _found({**PREVIEWS, "seconds": 1}), "youtube_api": _found(video)}, priority=1)
    output = _output(_file("other", mime_type="image/png"), main)
    assert output["url"] == "https://example.org/main"
    assert output["mime_type"] == "application/pdf"
    assert output["previews"] == SHOWN
    assert output["video"]["duration"] == "PT1M"
    assert "previews" not in output["video"]
    assert output["technical_type"] == "document"
    assert output["copyright"] == "cc-by-40"


def test_the_products_own_technical_type_and_copyright_win() -> None:
    output = _output(_file("a"), technical_type="video", copyright="cc0-10")
    assert output["technical_type"] == "video"
    assert output["copyright"] == "cc0-10"


def test_whether_the_main_files_copyright_is_taken_over_is_a_setting() -> None:
    config = CONFIG.model_copy(update={"output": Output(copyright_from_main_file=False)})
    assert _output(_file("a"), config=config)["copyright"] == "yes"


def test_without_any_copyright_it_is_yes() -> None:
    assert _output()["copyright"] == "yes"
    assert _output(_file("a", copyright=None))["copyright"] == "yes"


def test_without_files_what_comes_from_the_main_file_is_null() -> None:
    output = _output()
    assert [output[field] for field in ("url", "mime_type", "previews", "video")] == [None] * 4
    assert output["files"] == output["licenses"] == output["technical_types"] == []


def test_an_embedded_file_has_these_keys_and_never_its_text() -> None:
    keys = {"srn", "url", "hash", "state", "title", "type", "is_link", "copyright", "mime_type", "access_rights"}
    keys |= {"priority", "language", "provider", *FILES_ALONE.fields(SRN, {})}
    shown = _file("b", {"image_preview": _found(PREVIEWS), "youtube_api": _found({"duration": "PT1M"})})
    bare, rich = _output(_file("a", _text("secret words")), shown)["files"]
    assert set(bare) == keys
    assert set(rich) == keys | {"previews", "video"}
    assert "secret words" not in str(bare)


@pytest.mark.parametrize("task", ["pdf_preview", "image_preview", "video_preview"])
def test_previews_come_from_the_task_that_made_them(task: str) -> None:
    (file,) = _output(_file("a", {task: _found(PREVIEWS)}))["files"]
    assert file["previews"] == SHOWN


@pytest.mark.parametrize("kind", ["failure", "empty", "retry"])
def test_what_a_task_did_not_succeed_in_does_not_show(kind: Any) -> None:
    results = {"pdf_preview": Result(kind, PREVIEWS, "", None, 1, NOW)}
    assert "previews" not in _output(_file("a", results))["files"][0]


def test_files_without_a_title_are_numbered_as_attachments_and_urls() -> None:
    untitled: dict[str, Any] = {"title": None}
    output = _output(
        _file("a", **untitled),
        _file("b", is_link=True, **untitled),
        _file("c"),
        _file("d", is_link=True, **untitled),
        _file("e", **untitled),
    )
    titles = [file["title"] for file in output["files"]]
    assert titles == ["Attachment 1", "URL 1", "File c", "URL 2", "Attachment 3"]


def test_licenses_and_technical_types_follow_the_files() -> None:
    output = _output(
        _file("a", copyright="cc-by-40", mime_type="video/mp4"),
        _file("b", copyright=None, mime_type="image/png", priority=-1),
        _file("c", copyright="cc0-10", mime_type=None, url="https://example.org/page"),
    )
    assert output["licenses"] == ["cc-by-40", "cc0-10"]
    assert output["technical_types"] == ["video", "unknown", "image"]


@pytest.mark.parametrize(
    ("mime_type", "expected"),
    [
        ("application/pdf", "document"),
        ("text/html; charset=utf-8", "website"),
        ("Application/X-InSpire", "app"),
        ("video/x-unheard-of", "video"),
        ("image/unheard-of", "image"),
        ("audio/unheard-of", "audio"),
        ("application/unheard-of", "unknown"),
        ("image", "image"),
        ("", "unknown"),
        (None, "unknown"),
    ],
)
def test_a_technical_type_comes_from_the_table_else_from_the_main_type(mime_type: str | None, expected: str) -> None:
    assert technical_type(mime_type) == expected


def test_a_file_without_a_mime_type_has_the_one_its_url_tells() -> None:
    (file,) = _output(_file("a", mime_type=None, url="https://example.org/paper.pdf?download=1"))["files"]
    assert (file["mime_type"], file["type"]) == ("application/pdf", "document")


AUTHORS = [{"name": "Jan", "email": "jan@example.org", "dai": "1"}, {"name": "Ann", "email": "see the website"}]


def test_addresses_of_authors_are_null() -> None:
    output = _output(authors=AUTHORS)
    assert output["authors"] == [{"name": "Jan", "email": None, "dai": "1"}, {"name": "Ann", "email": None}]


def test_a_setting_allows_addresses_and_what_is_none_stays_null() -> None:
    config = CONFIG.model_copy(update={"output": Output(author_emails=True)})
    emails = [author["email"] for author in _output(authors=AUTHORS, config=config)["authors"]]
    assert emails == ["jan@example.org", None]


def test_texts_are_filed_by_language_with_where_they_are_from() -> None:
    file = _file("a", _text("The forest", "Its trees"), title="Forest.pdf")
    texts = _output(file, subtitle="Een inleiding", description="Over bomen")["texts"]
    kinds = {"titles", "subtitles", "descriptions", "contents", "transcriptions"}
    assert {language: texts[language].keys() for language in texts} == {"nl": kinds, "en": kinds, "unk": kinds}
    assert texts["nl"]["titles"] == [{"text": "Bomen", "document": SRN, "provider": "Hanze", "by_machine": False}]
    assert [text["text"] for text in texts["nl"]["subtitles"]] == ["Een inleiding"]
    assert [text["text"] for text in texts["nl"]["descriptions"]] == ["Over bomen"]
    assert [text["text"] for text in texts["en"]["titles"]] == ["Forest.pdf"]
    assert [text["text"] for text in texts["en"]["contents"]] == ["The forest", "Its trees"]
    assert {text["document"] for text in texts["en"]["contents"]} == {f"{SRN}:a"}


@pytest.mark.parametrize(
    ("language", "filed"), [("nl", "nl"), ("en", "en"), ("EN-gb", "en"), ("de", "unk"), ("", "unk"), (None, "unk")]
)
def test_another_language_than_dutch_and_english_is_unknown(language: str | None, filed: str) -> None:
    assert _output(language=language)["texts"][filed]["titles"][0]["text"] == "Bomen"


def test_a_file_without_a_language_has_the_one_its_text_was_found_in() -> None:
    texts = _output(_file("a", _text("Het bos", language="nl"), language=None))["texts"]
    assert [text["text"] for text in texts["nl"]["contents"]] == ["Het bos"]


def test_an_invented_title_is_no_text_to_search() -> None:
    assert _output(_file("a", title=None))["texts"]["en"]["titles"] == []


def test_suggestions_are_the_first_text_of_a_file_and_words_of_it_and_the_title() -> None:
    output = _output(_file("a"), _file("b", _text("Één boom,  2 bomen", "more")), title="Bomen & bossen")
    assert output["suggest_phrase"] == "Één boom,  2 bomen"
    assert output["suggest_completion"] == ["Bomen", "bossen", "Een", "boom", "bomen"]


def test_without_texts_there_is_no_phrase_and_completions_are_of_the_title() -> None:
    output = _output()
    assert output["suggest_phrase"] is None
    assert output["suggest_completion"] == ["Bomen"]


def test_a_file_by_itself_has_its_identity_its_type_and_no_text() -> None:
    output = file_output(_file("a", {**_text("secret words"), "pdf_preview": _found(PREVIEWS)}), [], FILES_ALONE)
    assert (output["entity"], output["srn"], output["harvest_source"]) == ("files", f"{SRN}:a", "edusources")
    assert (output["type"], output["previews"], output["state"]) == ("document", SHOWN, "active")
    assert "secret words" not in str(output)


def test_a_file_that_is_not_found_is_inactive() -> None:
    gone = Result("failure", {"status": 410}, "answered 410", None, 1, NOW)
    assert file_output(_file("a", {"check_url": gone}), [], FILES_ALONE)["state"] == "inactive"


TEXT = st.text(max_size=20)
MAYBE = st.one_of(st.none(), TEXT)
FILES = st.lists(
    st.builds(
        lambda number, texts, state, **properties: _file(str(number), _text(*texts), state, **properties),
        st.integers(0, 99),
        st.lists(TEXT, max_size=3),
        st.sampled_from(["active", "active", "deleted"]),
        title=MAYBE,
        mime_type=MAYBE,
        copyright=MAYBE,
        priority=st.integers(-9, 9),
        language=MAYBE,
        is_link=st.booleans(),
    ),
    max_size=5,
)


@given(
    FILES, st.fixed_dictionaries({"subtitle": MAYBE, "language": MAYBE, "copyright": MAYBE, "technical_type": MAYBE})
)
def test_whatever_a_source_says_the_output_keeps_to_its_schema(
    files: list[Enriched], properties: dict[str, Any]
) -> None:
    output = _output(*files, **properties)
    assert CATALOG.validation("products")(output) == []
    assert len(output["technical_types"]) == len(output["files"]) == sum(file.state == "active" for file in files)
    priorities = [file["priority"] for file in output["files"]]
    assert priorities == sorted(priorities, reverse=True)


@given(FILES)
def test_producing_changes_nothing_that_it_was_made_from_and_is_repeatable(files: list[Enriched]) -> None:
    product = _product()
    before = canonical.encode([product, files])
    first = canonical.encode(product_output(product, files, PRODUCTS))
    assert canonical.encode(product_output(product, files, PRODUCTS)) == first
    assert canonical.encode([product, files]) == before
