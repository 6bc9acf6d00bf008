"""Whatever goes wrong that a person can mend: one sentence, the right exit code, no traceback, no secret."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psycopg
import pytest
from typer.testing import CliRunner

from harvester_dagster.cli.commands import Commands
from harvester_dagster.failures import HarvesterError
from harvester_dagster.store import database
from tests.cli.conftest import WORKS, Run
from tests.cli.walking import UNKNOWN, Command, commands

EVERY = commands()
PASSWORD = "open-sesame"
AWAY = f"postgresql://harvester:{PASSWORD}@127.0.0.1:1/harvester"
BROKEN: Mapping[str, tuple[str, str]] = {
    "not there": ("", "there is no such file"),
    "no TOML": ("platform = ", "not valid TOML"),
    "an unknown key": ('platfrom = "x"', 'platfrom: there is no such key; did you mean "platform"?'),
    "a wrong kind of value": ("[night]\nmax_concurrent_sets = true", "night.max_concurrent_sets: found true"),
    "a kind that nobody knows": (
        '[sources.a]\nkind = "oai"\nurl = "https://example.org"\nsets = ["x"]',
        'sources.a.kind: there is no kind "oai"; did you mean "oai-pmh"?',
    ),
}
"""What is in the file, and what must be said of it."""
READ_NO_FILE = {"tasks list", "demo", "services fetch"}
ASK_NO_STORE = {"tasks list", "config check", "source check", "alerts try", "demo", "services fetch"}


def one_sentence(result: Any, said: str = "", code: int = 1) -> None:
    """Progress, whose lines end in an ellipsis, may come before it."""
    lines = [line for line in result.stderr.splitlines() if not line.endswith("…")]
    assert (result.exit_code, result.stdout, len(lines)) == (code, "", 1), (result.output, result.exception)
    assert said in lines[0]
    assert "Traceback" not in result.output and PASSWORD not in result.output


def name_of(value: object) -> str:
    return value.name if isinstance(value, Command) else str(value)


def test_there_are_commands_to_walk() -> None:
    assert {"status", "versions diff", "access why", "config check"} <= {each.name for each in EVERY}


@pytest.mark.parametrize("situation", BROKEN)
def test_a_configuration_that_cannot_be_used(folder: Path, run: Run, situation: str) -> None:
    text, said = BROKEN[situation]
    if text:
        (folder / "harvester.toml").write_text(text)
    spared = READ_NO_FILE | ({"source check"} if not text else set())
    for command in EVERY:
        if command.name not in spared:
            one_sentence(run(*command.line()), said)


def test_the_file_that_is_offered_as_a_mend_is_there(run: Run) -> None:
    mended = re.search(r"\((\S+\.toml) lists every key", run("status").stderr)
    assert mended and (Path(__file__).parents[2] / mended[1]).exists()


@pytest.mark.parametrize("command", [each for each in EVERY if each.name not in ASK_NO_STORE], ids=name_of)
def test_a_store_that_is_not_there(works: Path, run: Run, command: Command) -> None:
    os.environ["HARVESTER_POSTGRES_URL"] = AWAY
    one_sentence(run(*command.line()), "the store (PostgreSQL) fails")


@pytest.mark.parametrize(
    "address",
    [
        f"postgresql//harvester {PASSWORD}",
        f"host=127.0.0.1 dbname=harvester password={PASSWORD}",
        f"postgresql://me:{PASSWORD}@one.example.org,two.example.org/harvester",
        f"postgresql://me:{PASSWORD}@one.example.org:port/harvester",
        "mysql://127.0.0.1/harvester",
        "postgresql://[::1/harvester",
    ],
)
def test_an_address_of_the_store_that_is_none(works: Path, run: Run, address: str) -> None:
    os.environ["HARVESTER_POSTGRES_URL"] = address
    one_sentence(run("status"), "the variable HARVESTER_POSTGRES_URL holds no address of a PostgreSQL")


def test_a_store_that_a_later_version_made(works: Path, run: Run, database: str) -> None:
    os.environ["HARVESTER_POSTGRES_URL"] = database
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("UPDATE harvester.alembic_version SET version_num = '9999'")
    one_sentence(run("status"), "use the newer version that made it")


def test_a_store_in_which_nothing_may_be_made(works: Path, run: Run, database: str) -> None:
    """Its schema is made through SQLAlchemy, whose errors are around those of the driver."""
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("DROP SCHEMA harvester CASCADE")
        connection.execute(f"ALTER DATABASE {connection.info.dbname} SET default_transaction_read_only = on")
    os.environ["HARVESTER_POSTGRES_URL"] = database
    one_sentence(run("status"), "the store (PostgreSQL) takes no writes")


def test_a_state_folder_that_is_a_file(works: Path, run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for home in (tmp_path / "file", tmp_path / "file" / "below"):
        os.environ["HARVESTER_HOME"] = str(home)
        one_sentence(run("status"), "a file may not be used")


@pytest.mark.parametrize(
    "command", [each for each in EVERY if each.name not in ASK_NO_STORE | {"store migrate"}], ids=name_of
)
def test_a_copy_that_only_looks_leaves_an_older_store_as_it_is(
    works: Path, run: Run, database: str, command: Command
) -> None:
    works.write_text(f"{WORKS}\n[night]\nautomation = false\n")
    os.environ["HARVESTER_POSTGRES_URL"] = database
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("UPDATE harvester.alembic_version SET version_num = '0001'")
        result = run(*command.line())
        assert connection.execute("SELECT version_num FROM harvester.alembic_version").fetchone() == ("0001",)
    one_sentence(result, f"the store has schema 0001, and this version of the program works with {newest()}; bring it")
    assert "`harvester store migrate`" in result.stderr


def newest() -> str:
    """The version of the schema that this code makes."""
    return max(path.name for path in (database.MIGRATIONS / "versions").glob("0*.py"))[:4]


def test_commands_that_need_neither(run: Run) -> None:
    assert run("tasks", "list").exit_code == 0
    one_sentence(run("source", "check", "http://127.0.0.1:1/"), "allow_hosts")


@pytest.mark.parametrize(
    ("command", "parameter"),
    [(each, name) for each in EVERY for name in UNKNOWN if name in each.parameters],
    ids=name_of,
)
def test_what_there_is_none_of(works: Path, run: Run, database: str, command: Command, parameter: str) -> None:
    os.environ["HARVESTER_POSTGRES_URL"] = database
    result = run(*command.line(**{parameter: UNKNOWN[parameter]}))
    one_sentence(result, UNKNOWN[parameter] if parameter != "new" else "there is no version")


def test_a_server_that_is_not_there(works: Path, run: Run, database: str) -> None:
    os.environ["HARVESTER_POSTGRES_URL"] = database
    one_sentence(run("access", "why", "x"), "127.0.0.1")


def _app(error: BaseException) -> Commands:
    app = Commands("One that fails.")

    @app.command()
    def fail() -> None:
        raise error

    @app.command()
    def other() -> None: ...

    return app


def test_a_mistake_of_ours_is_one_line_and_its_traceback_in_the_log(folder: Path) -> None:
    result = CliRunner().invoke(_app(ZeroDivisionError(f"at {AWAY}\nand so on")), ["fail"])
    one_sentence(result, "ZeroDivisionError: at postgresql://***@127.0.0.1:1/harvester", code=3)
    named = re.search(r"more in (\S+)\)", result.stderr)
    assert named and Path(named[1]) == folder / "state" / "logs" / "harvester.log"
    log = Path(named[1]).read_text()
    assert "Traceback" in log and "ZeroDivisionError" in log and PASSWORD not in log
    assert Path(named[1]).stat().st_mode & 0o077 == 0


def test_a_log_that_cannot_be_written_is_told_too(folder: Path) -> None:
    (folder / "state").write_text("a file where the folder should be")
    one_sentence(CliRunner().invoke(_app(ZeroDivisionError()), ["fail"]), "cannot be written", code=3)


def test_ctrl_c_ends_quietly() -> None:
    result = CliRunner().invoke(_app(KeyboardInterrupt()), ["fail"])
    assert (result.exit_code, result.output) == (130, "")


def test_a_sentence_and_its_mend() -> None:
    one_sentence(CliRunner().invoke(_app(HarvesterError("it broke", "mend it")), ["fail"]), "it broke; mend it")


def test_a_wrong_argument_is_the_callers_mistake(run: Run) -> None:
    assert run("versions", "diff", "one", "two").exit_code == 2
    assert run("nothing").exit_code == 2


def _typed(*line: str, **environment: str) -> subprocess.Popen[str]:
    program = Path(sys.executable).with_name("harvester")
    return subprocess.Popen(
        [str(program), *line],
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.service
@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"HARVESTER_CONFIG": "gone.toml"}, "gone.toml: there is no such file"),
        ({"HARVESTER_POSTGRES_URL": AWAY}, "fails"),
    ],
)
def test_as_it_is_typed(works: Path, environment: dict[str, str], said: str) -> None:
    process = _typed("status", **environment)
    out, errors = process.communicate(timeout=60)
    assert (process.returncode, out, len(errors.splitlines())) == (1, "", 1)
    assert said in errors and PASSWORD not in errors


@pytest.mark.service
def test_ctrl_c_as_it_is_typed(folder: Path) -> None:
    (folder / "harvester.toml").write_text('[network]\nallow_hosts = ["127.0.0.1"]')
    with socket.create_server(("127.0.0.1", 0)) as silent:
        process = _typed("source", "check", f"http://127.0.0.1:{silent.getsockname()[1]}/")
        silent.settimeout(60)
        with silent.accept()[0]:
            process.send_signal(signal.SIGINT)
            out, errors = process.communicate(timeout=60)
    assert (process.returncode, out, errors) == (130, "", "")


@pytest.mark.parametrize(
    "line",
    [
        ("tasks", "retry", "check_url", "--reason", b"\xff"),
        ("why", b"a:b:\xed\xa0\x80"),
        ("audit", "--subject", b"\xff"),
        (b"\xff",),
        ("config", b"\xff"),
    ],
)
def test_an_argument_that_is_no_text(folder: Path, line: tuple[str | bytes, ...]) -> None:
    command = [str(Path(sys.executable).with_name("harvester")), *line]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (2, "") and len(done.stderr.splitlines()) == 1, done
    assert "is no text in UTF-8" in done.stderr and "\\x" in done.stderr
