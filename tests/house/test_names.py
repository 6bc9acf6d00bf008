"""Every name of Dagster's stands in `assets/names.py` once, is in use, and is what it was."""

import ast
import re
from collections.abc import Iterable, Iterator

from assets import names
from harvester_dagster.config import Config, Metastore
from harvester_dagster.definitions import build
from tests.house.trees import ROOT, nodes

NAMES = ROOT / "assets" / "names.py"
DAGSTERS = [path for folder in ("assets", "sensors", "resources") for path in (ROOT / folder).glob("*.py")] + [
    ROOT / "harvester_dagster" / "definitions.py",
    ROOT / "harvester_dagster" / "cli" / "dagster_runs.py",
]
OTHERS = [*(ROOT / "harvester_dagster" / "cli").glob("*.py"), *(ROOT / "harvester_dagster" / "web").glob("*.py")]
NAMING_KEYWORDS = {"name", "group_name", "job_name", "asset", "asset_key", "check_name", "deps", "selection"}
NAMING_CALLS = {"AssetSpec", "AssetCheckSpec", "AssetKey", "AssetSelection", "assets", "define_asset_job"}


def texts(syntax: Iterable[ast.AST]) -> Iterator[str]:
    for each in syntax:
        if isinstance(each, ast.Constant) and isinstance(each.value, str):
            yield each.value


def named_in_place(call: ast.Call) -> Iterator[str]:
    """What a call that gives or asks for a name has written out."""
    for keyword in call.keywords:
        if keyword.arg in NAMING_KEYWORDS:
            yield from texts(ast.walk(keyword.value))
    if (getattr(call.func, "attr", None) or getattr(call.func, "id", None)) in NAMING_CALLS:
        for argument in call.args:
            yield from texts(ast.walk(argument))


def test_no_name_is_written_out_where_dagster_takes_one() -> None:
    found = {
        (path.relative_to(ROOT).as_posix(), text)
        for path in DAGSTERS
        if path != NAMES
        for node in nodes(path)
        if isinstance(node, ast.Call)
        for text in named_in_place(node)
    }
    assert found == set()


def test_no_name_that_is_no_common_word_stands_elsewhere() -> None:
    known = {value for value in vars(names).values() if isinstance(value, str) and re.fullmatch(r"\w+[/_]\w+", value)}
    assert len(known) > 20
    found = {
        (path.relative_to(ROOT).as_posix(), text)
        for path in {*DAGSTERS, *OTHERS} - {NAMES}
        for text in texts(nodes(path))
        if text in known
    }
    assert found == set()


def test_no_name_is_without_use() -> None:
    used = "\n".join(path.read_text(encoding="utf-8") for path in {*DAGSTERS, *OTHERS} - {NAMES})
    public = {name for name in vars(names) if not name.startswith("_")}
    assert {name for name in public if not re.search(rf"\b{name}\b", used)} == set()


def test_the_names_are_those_under_which_dagster_has_recorded_what_was() -> None:
    """A name that changes begins a history of its own: materializations, runs and ticks stay under the old one."""
    built = build(Config(metastore={"a-b.c": Metastore(schedules={"partial": "0 2 * * *"})}))
    graph = built.resolve_asset_graph()
    assets = {key.to_user_string() for key in graph.get_all_asset_keys()}
    assert assets >= {
        *("harvest", "products/documents", "files/documents", "products/set", "files/set"),
        *("deactivate_invalid_products", "create_opensearch_index", "set_current_dataset_version", "vocabularies"),
        *("journals", "access_decisions", "access_updates"),
        *("check_url", "tika", "pdf_preview", "image_preview", "video_preview", "youtube_api"),
        *("lookup_study_vocabulary_parents", "normalize_disciplines", "normalize_publisher_year"),
        "lookup_consortium_translations",
    }
    checks = {f"{key.asset_key.to_user_string()}:{key.name}" for key in graph.asset_check_keys}
    assert checks >= {
        *("harvest:source_answered", "products/set:check_set_integrity", "files/set:check_set_integrity"),
        *("create_opensearch_index:index_verified", "set_current_dataset_version:all_sets_fresh"),
        "set_current_dataset_version:search_follows",
        *("vocabularies:vocabularies_taken_over", "journals:journals_valid", "access_updates:updates_applied"),
    }
    jobs = {
        "harvest_set",
        "release",
        "harvest_vocabularies",
        "decide_access",
        "accept",
        "rollback",
        "reconcile_set",
        "retry",
    }
    assert {job.name for job in built.resolve_all_job_defs()} >= jobs
    repository = built.get_repository_def()
    assert {each.name for each in repository.schedule_defs} >= {
        "nightly",
        "reconcile_daily",
        "vocabularies_weekly",
        "access_a_b_c_partial",
    }
    assert {each.name for each in repository.sensor_defs} >= {"night_watch", "day_work"}
    ops = {name for job in built.resolve_all_job_defs() for name in job.graph.node_dict}
    assert {"documents", "sets", "access", "accept_candidate", "reconcile_with_source"} <= ops
    assert {"roll_back", "normalize_products"} <= ops
    groups = {graph.get(key).group_name for key in graph.get_all_asset_keys()}
    assert groups >= {"harvest", "products", "files", "accepted_products", "accepted_files", "release", "metastore"}
    tags = {value for name, value in vars(names).items() if name.endswith("_TAG")}
    assert tags >= {"harvest/night", "harvest/set", "harvest/source", "harvest/release", "harvest/origin"}
    assert tags >= {"access/endpoint", "access/request"}
    assert names.SOURCE_SET == "source_set"
