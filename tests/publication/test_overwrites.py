"""An operator's values for a document, and the mark that its output is to be made anew."""

import importlib
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from harvester_dagster.publication import audit, overwrites
from harvester_dagster.publication.audit import Doer
from harvester_dagster.publication.overwrites import BadOverwrite, Entry, OverwriteMoved
from harvester_dagster.store.database import open_pool
from tests.sets.world import NIGHT


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '"x"', "1"])
def test_what_is_no_overwrite_is_told(text: str) -> None:
    with pytest.raises(BadOverwrite, match="JSON"):
        overwrites.read(text)


@pytest.mark.parametrize("dots", ["…", "..."])
def test_dots_that_stand_for_a_value_are_none(dots: str) -> None:
    with pytest.raises(BadOverwrite, match="title: dots"):
        overwrites.read(f'{{"language": "nl", "title": "{dots}"}}')


def test_set_and_cleared_each_marks_the_document(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("SET search_path = harvester")
        connection.execute("INSERT INTO harvest_set (key) VALUES ('src:one')")
        connection.execute(
            """INSERT INTO document (doc_id, set_id, entity, external_id)
               SELECT 7, set_id, 'products', 'a' FROM harvest_set"""
        )

        def dirty() -> bool:
            done = "UPDATE dirty SET done_in = 1 WHERE done_in IS NULL RETURNING doc_id"
            return connection.execute(done).fetchall() == [(7,)]

        assert overwrites.clear(connection, 7, NIGHT) is False and not dirty()
        overwrites.put(connection, 7, overwrites.read('{"title": "A"}'), NIGHT)
        assert dirty()
        overwrites.put(connection, 7, {"title": "B"}, NIGHT)
        assert dirty()
        assert connection.execute("SELECT body FROM overwrite").fetchall() == [({"title": "B"},)]
        assert overwrites.clear(connection, 7, NIGHT) is True and dirty()
        assert connection.execute("SELECT FROM overwrite").rowcount == 0


def test_what_was_overwritten_before_there_was_a_log_is_in_it(database: str) -> None:
    migration = importlib.import_module("harvester_dagster.store.migrations.versions.0012_corrections")
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(
            """SET search_path = harvester; DROP INDEX result_failed;
               DROP TABLE overwrite_log; DROP FUNCTION overwrite_log_is_append_only"""
        )
        connection.execute("INSERT INTO harvest_set (key) VALUES ('src:one')")
        for doc_id, name in ((1, "a"), (2, "b")):
            connection.execute(
                """INSERT INTO document (doc_id, set_id, entity, external_id)
                   SELECT %s, set_id, 'products', %s FROM harvest_set""",
                (doc_id, name),
            )
            connection.execute('INSERT INTO overwrite VALUES (%s, \'{"title": "A"}\', %s)', (doc_id, NIGHT))
        with audit.acting(Doer("cli:alice")):
            audit.write(connection, "overwrite", "src:one:a", NIGHT, fields=["title"])
        connection.execute(migration.SCHEMA)
        assert overwrites.history(connection, 1, 9) == [Entry(1, NIGHT, "cli:alice", {"title": "A"})]
        assert overwrites.history(connection, 2, 9) == [Entry(2, NIGHT, "", {"title": "A"})]


def test_of_two_who_overwrite_what_they_saw_the_later_is_told(database: str) -> None:
    with open_pool(database) as pool:
        with pool.connection() as connection:
            connection.execute("INSERT INTO harvest_set (key) VALUES ('src:one')")
            connection.execute(
                """INSERT INTO document (doc_id, set_id, entity, external_id)
                   SELECT 7, set_id, 'products', 'a' FROM harvest_set"""
            )

        def put(title: str) -> str:
            with audit.acting(Doer(title)), pool.connection() as connection:
                overwrites.put(connection, 7, {"title": title}, NIGHT, seen=0)
                return title

        with ThreadPoolExecutor(4) as beside:
            asked = [beside.submit(put, title) for title in "ABCD"]
        (won,) = [each.result() for each in asked if not each.exception()]
        refused = [each.exception() for each in asked if each.exception()]
        assert {str(error) for error in refused} == {
            f"{won} has overwritten title meanwhile; look at it again, then say what shall stand"
        }
        with pool.connection() as connection:
            assert overwrites.history(connection, 7, 9) == [Entry(1, NIGHT, won, {"title": won})]


def test_history_is_read_in_parts(database: str) -> None:
    with open_pool(database) as pool, pool.connection() as connection:
        connection.execute("INSERT INTO harvest_set (key) VALUES ('src:one')")
        connection.execute(
            """INSERT INTO document (doc_id, set_id, entity, external_id)
               SELECT 7, set_id, 'products', 'a' FROM harvest_set"""
        )
        for number in range(1, 6):
            overwrites.put(connection, 7, {"title": str(number)}, NIGHT, seen=number - 1)
        newest = overwrites.newest(connection, 7)
        assert newest and newest.fields == {"title": "5"}
        parts = [overwrites.history(connection, 7, 2), overwrites.history(connection, 7, 2, before=4)]
        assert [[entry.number for entry in part] for part in parts] == [[5, 4], [3, 2]]
        assert overwrites.fields_at(connection, 7, 3) == {"title": "3"}
        assert overwrites.fields_at(connection, 7, 0) == {}
        with pytest.raises(OverwriteMoved):
            overwrites.clear(connection, 7, NIGHT, seen=4)
        assert overwrites.clear(connection, 7, NIGHT, seen=5)
