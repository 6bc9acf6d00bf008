"""How Dagster's web application is made: as its own command makes it. Names that it does not promise, pinned."""

import inspect
import re
from collections.abc import Callable

from dagster import DagsterInstance
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import ModuleTarget, WorkspaceFileTarget
from dagster_webserver.app import create_app_from_workspace_process_context
from dagster_webserver.cli import dagster_webserver

from harvester_dagster.cli import dagster_ui
from tests.house.test_foreign_names import OURS
from tests.house.trees import ROOT


def test_dagsters_web_application_is_made_as_its_own_command_makes_it() -> None:
    """By `WorkspaceProcessContext`, its targets, `optimize_for_webserver` and `create_app_…`: in one module."""
    private = re.compile(r"^from dagster(_webserver|\._)\S* import|optimize_for_webserver", re.MULTILINE)
    files = [path for room in OURS for path in (ROOT / room).rglob("*.py")]
    assert {path.name for path in files if private.search(path.read_text(encoding="utf-8"))} == {"dagster_ui.py"}

    def names(function: Callable[..., object]) -> list[str]:
        return list(inspect.signature(function).parameters)

    assert names(WorkspaceProcessContext)[:3] == ["instance", "workspace_load_target", "version"]
    assert list(ModuleTarget.__annotations__) == ["module_name", "attribute", "working_directory", "location_name"]
    assert list(WorkspaceFileTarget.__annotations__) == ["paths"]
    assert "live_data_poll_rate" in names(create_app_from_workspace_process_context)
    own = (
        dagster_ui.STATEMENT_TIMEOUT_MS,
        dagster_ui.POOL_RECYCLE_SECONDS,
        dagster_ui.POOL_OVERFLOW,
        dagster_ui.LIVE_DATA_POLL_MS,
    )
    defaults = {option.name: option.default for option in dagster_webserver.params}
    asked = ("db_statement_timeout", "db_pool_recycle", "db_pool_max_overflow", "live_data_poll_rate")
    assert own == tuple(defaults[name] for name in asked)
    assert names(DagsterInstance.optimize_for_webserver)[1:] == ["statement_timeout", "pool_recycle", "max_overflow"]
