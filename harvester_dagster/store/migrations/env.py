"""Alembic's entry: runs the migrations, each plain SQL, in one transaction under a lock of its own."""

from alembic import context
from sqlalchemy import create_engine, pool, text

from harvester_dagster.store import locks
from harvester_dagster.store.locks import Lock


def run() -> None:
    """Run the migrations up to the newest one, in one transaction, while no other process does."""
    engine = create_engine(context.config.attributes["url"], poolclass=pool.NullPool)
    with engine.begin() as connection:
        driver = connection.connection.driver_connection
        assert driver is not None
        locks.take_until_end(driver, Lock.MIGRATION)
        connection.execute(text("CREATE SCHEMA IF NOT EXISTS harvester"))
        context.configure(connection=connection, version_table_schema="harvester", transactional_ddl=True)
        with context.begin_transaction():
            context.run_migrations()
    engine.dispose()


run()
