"""The benchmarks in small: that they run and measure what they say, not how fast it is."""

import pytest

from benchmarks import commands, harvest, pages, reconciling, tasks
from benchmarks.rows import Row, is_met
from benchmarks.source import JSON, LOM, Shape, answer, page_templates, records
from harvester_dagster.sources.registry import KINDS


@pytest.mark.parametrize("shape", [JSON, LOM], ids=["json", "lom"])
def test_generated_records_have_the_size_and_the_number_that_they_should(shape: Shape) -> None:
    page = answer("/jsonapi/channel/v1/n100/repoItems" if shape == JSON else "/oai?verb=ListRecords&set=n100")
    assert len(KINDS[shape.kind].cut(page)) == shape.records_a_page
    assert len(records(shape, 3)) / shape.records_a_page == pytest.approx(shape.record_bytes, rel=0.01)
    assert len({len(template) for template in page_templates(shape)}) > 1


def test_a_target_is_of_the_value_with_a_unit_and_of_the_ratio_without() -> None:
    row = Row("a", 6_000, "/s", 10_000, 0.6, "≥ 0.5, ≥ 5,000/s")
    assert is_met(row)
    assert not is_met(row._replace(ratio=0.4))
    assert not is_met(row._replace(value=4_999))
    assert not is_met(row._replace(unit="s", value=1.0, target="< 1 s"))
    assert is_met(row._replace(ratio=0.78, target="≥ 0.77 (≤ 1.3 × the time)"))
    assert is_met(row._replace(target="")) is None


@pytest.mark.parametrize("shape", [JSON, LOM], ids=["json", "lom"])
def test_the_harvest_benchmark_in_small(shape: Shape) -> None:
    found = {row.name: row for row in harvest.measure(sizes=(1_000,), rounds=1, shapes=(shape,))}
    assert {name for name, row in found.items() if row.value <= 0} == set()
    called = f"{shape.name}, 1,000"
    assert is_met(found[f"initial {called}: peak memory"])
    assert is_met(found[f"fallback {called} (the verdict on half of it)"])
    assert is_met(found[f"rollback {called}"])


def test_the_reconciliation_benchmark_in_small() -> None:
    seconds, memory = reconciling.measure(count=10_000)
    assert seconds.value > seconds.ceiling > 0 and is_met(memory)


def test_the_tasks_benchmark_in_small() -> None:
    found = {row.name: row for row in tasks.measure(products=100, urls=20, hosts=5)}
    assert len(found) == 4
    assert all(row.value > 0 for row in found.values())


def test_the_pages_benchmark_in_small() -> None:
    found = [row.name for row in pages.measure(documents=2_000)]
    assert len(found) == len(set(found)) == 2 * (len(pages.PAGES) + 1) + 4, "and takedowns and pushes"


@pytest.mark.timeout(600)
def test_the_commands_benchmark_in_small() -> None:
    found = {row.name: row.value for row in commands.measure(rounds=1)}
    assert list(found) == ["harvester --version", "harvester status", "harvester why"] and min(found.values()) > 0
