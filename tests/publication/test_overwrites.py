"""An operator's values for a document, and the mark that its output is to be made anew."""

import psycopg
import pytest

from harvester_dagster.publication import overwrites
from harvester_dagster.publication.overwrites import BadOverwrite
from tests.sets.world import NIGHT


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '"x"', "1"])
def test_what_is_no_overwrite_is_told(text: str) -> None:
    with pytest.raises(BadOverwrite, match="JSON"):
        overwrites.read(text)


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
