"""A group of commands whose every failure becomes a sentence and an exit code; the arguments that commands share.

    0    done
    1    what a person can mend, or the answer "no" (`verify` found a difference): one sentence on stderr
    2    the command was typed wrongly
    3    a mistake in this program: one line on stderr, its traceback in `logs/harvester.log` of the state folder
    130  Ctrl-C; 143: ended by SIGTERM

Belongs here: how a command ends. Does not belong here: which errors a person can mend (`failures.py`).
"""

import os
import pwd
import shlex
import socket
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from traceback import format_exception
from typing import Annotated, Any, TypeVar

import typer
from typer.core import TyperCommand

from harvester_dagster import shown_text
from harvester_dagster.config import home
from harvester_dagster.failures import mendable, without_secrets
from harvester_dagster.publication import audit
from harvester_dagster.publication.audit import Doer

EXIT_CODES = (
    "Exit codes: 0 done; 1 an error that you can mend, or the answer is no; 2 a wrong argument; "
    "3 a mistake in the program (its log is named); 130 Ctrl-C."
)
MENDABLE, BUG, INTERRUPTED = 1, 3, 130
F = TypeVar("F", bound=Callable[..., Any])
_LOG_BYTES = 1_000_000

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only show what would happen.")]
Key = Annotated[str, typer.Argument(metavar="SOURCE:SET", help="The set, as `harvester set list` names it.")]
Srn = Annotated[str, typer.Argument(metavar="SRN", help="The document: source:set:external_id.")]


class Commands(typer.Typer):
    """A group of commands that end as this module says."""

    def __init__(self, help: str, **options: Any) -> None:
        super().__init__(help=help, no_args_is_help=True, **options)

    def command(self, name: str | None = None, **options: Any) -> Callable[[F], F]:
        """As `typer.Typer.command`."""
        return super().command(name, cls=_Command, **options)


class _Command(TyperCommand):
    def invoke(self, ctx: Any) -> Any:
        try:
            with audit.acting(whoever_types()):
                return super().invoke(ctx)
        except (typer.Exit, typer.Abort, typer.BadParameter, BrokenPipeError):
            raise
        except KeyboardInterrupt:
            raise typer.Exit(INTERRUPTED) from None
        except Exception as error:
            raise typer.Exit(_told(error)) from None


def whoever_types() -> Doer:
    """The user of this process; from this machine, or from where they are logged in."""
    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        name = str(os.getuid())
    return Doer(f"cli:{name}", os.environ.get("SSH_CONNECTION", "").partition(" ")[0] or socket.gethostname())


def _told(error: Exception) -> int:
    """Say what went wrong; the exit code."""
    if found := mendable(error):
        if found is not error:
            _logged(error)  # one of a library: its sentence may not be the whole story
        _say(str(found))
        return MENDABLE
    said = (str(error).strip() or "no message").splitlines()[0]
    _say(without_secrets(f"A mistake in this program: {type(error).__name__}: {said:.300} ({_logged(error)})"))
    return BUG


def _say(sentence: str) -> None:
    typer.secho(shown_text.lines(sentence), fg=typer.colors.RED, err=True)


def _logged(error: Exception) -> str:
    """Write the traceback to the log; where it is."""
    path = home() / "logs" / "harvester.log"
    entry = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {shlex.join(sys.argv)}\n{''.join(format_exception(error))}\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        if path.stat().st_size > _LOG_BYTES:
            path.replace(path.with_name(f"{path.name}.1"))
        with path.open("a", encoding="utf-8") as log:
            log.write(without_secrets(entry))
    except OSError as failure:
        return f"{path} cannot be written: {failure.strerror}"
    return f"more in {path}"
