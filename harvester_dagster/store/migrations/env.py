"""Alembic's entry: runs the migrations, each plain SQL, in one transaction under a lock of its own."""

from alembic import context
from sqlalchemy import create_engine, pool, text

MIGRATION_LOCK = 7_405_001


def run() -> None:
    engine = create_engine(context.config.attributes["url"], poolclass=pool.NullPool)
    with engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": MIGRATION_LOCK})
        connection.execute(text("CREATE SCHEMA IF NOT EXISTS harvester"))
        context.configure(connection=connection, version_table_schema="harvester", transactional_ddl=True)
        with context.begin_transaction():
            context.run_migrations()
    engine.dispose()


run()
