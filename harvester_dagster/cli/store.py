"""`harvester store …`: the schema of the store, brought up to date when somebody asks for it.

Belongs here: the command's words, and where it is refused. Migrating is `store/database.py`.
"""

from harvester_dagster import installation
from harvester_dagster.cli import printing
from harvester_dagster.cli.commands import Commands, Json
from harvester_dagster.cli.session import loaded, opened, services
from harvester_dagster.config_mistakes import ConfigError
from harvester_dagster.publication import audit
from harvester_dagster.store import database

store_app = Commands("The store (PostgreSQL).")


@store_app.callback()
def store() -> None:
    """Keeps `migrate` a command of its own while it is the only one."""


@store_app.command("migrate")
def store_migrate(as_json: Json = False) -> None:
    """Bring the store's schema to the one of this version, before anything of it runs there. `harvester up`, `night`
    and `demo` do so by themselves; a copy that only looks (`night.automation = false`) may not."""
    config = loaded()
    if not config.night.automation and installation.postgres_url(config):
        raise ConfigError(
            "night.automation is false: this copy only looks at a store whose nights run elsewhere",
            "type `harvester store migrate` in the installation that runs them",
        )
    with services(config) as url:
        done = database.migrate(url)
        with opened() as found:
            audit.told(found.pool, "migrate", done.now, found.clock(), "done", before=done.before or "")
    if as_json:
        printing.as_json(done)
    elif done.before == done.now:
        printing.console.print(f"The store has schema {done.now} already.")
    else:
        printing.console.print(f"The store has schema {done.now} now; before, it had {done.before or 'none'}.")
