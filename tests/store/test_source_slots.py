"""At most so many at once ask one source, whichever process they are in; on a real PostgreSQL."""

import multiprocessing
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from harvester_dagster.store.database import Pool, open_pool
from harvester_dagster.store.source_slots import source_slot

SLOTS = 2


@pytest.fixture
def pool(database: str) -> Iterator[Pool]:
    opened = open_pool(database, max_size=16)
    yield opened
    opened.close()


def hold(url: str, held: "multiprocessing.Queue[bool]") -> None:
    """In a process of its own: take a slot and keep it."""
    with source_slot(open_pool(url), "src", SLOTS):
        held.put(True)
        time.sleep(600)


def test_never_more_than_the_slots_ask_at_once_and_all_have_their_turn(pool: Pool) -> None:
    counting, asking, most = threading.Lock(), 0, 0

    def ask(_: int) -> None:
        nonlocal asking, most
        with source_slot(pool, "src", SLOTS, pause=0.01):
            with counting:
                asking += 1
                most = max(most, asking)
            time.sleep(0.03)
            with counting:
                asking -= 1

    with ThreadPoolExecutor(10) as threads:
        assert len(list(threads.map(ask, range(10)))) == 10
    assert most == SLOTS


def test_another_source_does_not_wait_and_one_that_waits_says_so(pool: Pool) -> None:
    said: list[str] = []
    waited = threading.Event()

    def ask() -> None:
        with source_slot(pool, "src", 1, said.append, pause=0.01):
            waited.set()

    with source_slot(pool, "src", 1), source_slot(pool, "other", 1, said.append):
        assert said == []
        asker = threading.Thread(target=ask)
        asker.start()
        assert not waited.wait(0.3)
    assert waited.wait(10)
    asker.join()
    assert said == ["waits: 1 already ask source src"]


def test_one_that_failed_gives_its_slot_back(pool: Pool) -> None:
    with pytest.raises(ValueError, match="a page"), source_slot(pool, "src", 1):
        raise ValueError("a page that cannot be read")
    with source_slot(pool, "src", 1):
        pass


def test_a_holder_that_is_killed_frees_its_slot(database: str, pool: Pool) -> None:
    spawn = multiprocessing.get_context("spawn")
    held: multiprocessing.Queue[bool] = spawn.Queue()
    holders = [spawn.Process(target=hold, args=(database, held)) for _ in range(SLOTS)]
    for holder in holders:
        holder.start()
    for _ in holders:
        assert held.get(timeout=60)
    taken = threading.Event()

    def ask() -> None:
        with source_slot(pool, "src", SLOTS, pause=0.01):
            taken.set()

    asker = threading.Thread(target=ask)
    asker.start()
    assert not taken.wait(0.5), "both are taken, from other processes"
    holders[0].kill()
    assert taken.wait(30)
    asker.join()
    holders[1].kill()
    for holder in holders:
        holder.join()
