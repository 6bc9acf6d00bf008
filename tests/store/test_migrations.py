"""What migrations make of rows that earlier versions wrote."""

import random
import string

import psycopg
from alembic import command
from alembic.config import Config
from psycopg.types.json import Jsonb

from harvester_dagster.store import database, keys
from harvester_dagster.store.database import MIGRATIONS


def test_results_that_there_are_say_which_objects_they_name(empty_database: str) -> None:
    alembic = Config(attributes={"url": empty_database.replace("postgresql://", "postgresql+psycopg://")})
    alembic.set_main_option("script_location", str(MIGRATIONS))
    command.upgrade(alembic, "0018")
    body, before = keys.body("ab" * 32), f"texts/tika-1/{'cd' * 32}"
    made = keys.derived("ab" * 32, "image_preview-2")
    text = "".join(random.Random(0).choices(string.ascii_letters, k=60_000))
    found = {
        "nothing": {"status": 200},
        "a word": {"text": "of bodies/and texts/"},
        "pictures": {"full_size": body, "preview": f"{made}a.jpg", "preview_small": f"{made}b.jpg"},
        "a long text": {"text": text, "kept": f"{before}/outcome.json"},
    }
    with psycopg.connect(empty_database, options="-c search_path=harvester") as connection:
        for task, data in found.items():
            connection.execute(
                """INSERT INTO result (task, version, fingerprint, kind, data, finished_at)
                   VALUES (%s, 1, '', 'success', %s, now())""",
                (task, Jsonb(data)),
            )
    database.migrate(empty_database)
    with psycopg.connect(empty_database, options="-c search_path=harvester") as connection:
        named = dict(connection.execute("SELECT task, names FROM result").fetchall())
    assert {task: sorted(names or ()) for task, names in named.items()} == {
        "nothing": [],
        "a word": [],
        "pictures": [body, made.rstrip("/")],
        "a long text": [before],
    }
