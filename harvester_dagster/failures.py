"""What a person can mend: one root of errors, and the table by which the errors of others become ours.

    HarvesterError                   a sentence and its mend; neither holds a secret
    ├── ConfigError                  config: the file cannot be used
    ├── Busy                         store: another run holds the lock
    ├── OtherSchema                  store: its schema is older or newer than this code
    ├── OutsideError                 how a call to the outside failed: code, sentence, the hops that were made
    │   ├── TransientError           may work later: 5xx, 408, 429, time-outs, cuts; `retry_after` when the host said so
    │   │   └── StorageError         our own disk or bucket is at fault, not who was called
    │   └── PermanentError           will not work for this URL: other 4xx, loops, content beyond the limits
    │       └── RefusedError         we do not call it: not a web address, or an address that is not public
    ├── Unavailable                  services: a bundled service cannot be had here
    ├── ChildFailed                  services: a process that was started has ended or is not ready
    ├── SkosError                    vocabularies: a vocabulary that cannot be read
    ├── VocabularyLost               vocabularies: what was harvested of one cannot be read any more
    ├── SourceError                  sources: a source cannot be harvested now
    │   ├── NotWellFormed            what it sends is no XML
    │   ├── UnknownRecord            it has no record of the id that was asked for
    │   ├── Unanswered               a page cannot be had; what came before it stands
    │   │   └── NoAnswer             it answers, and nothing that its protocol knows
    │   ├── Circle                   its list leads back to where it was
    │   └── NotWhole                 its list ended, and by its own words is not all there
    ├── BadOverwrite                 publication: an operator's values that cannot be taken
    │   └── NotOverwritable          a field that may not be overwritten, or not so
    ├── OverwriteMoved               publication: what would be overwritten is not what was looked at
    ├── NotTakenDown                 publication: what cannot be taken down, or brought back
    │   └── ManyTakedowns            so many within a day that it must be said twice
    ├── UnknownSet, UnknownTask      sets: there is no such set, or task
    ├── NotChosen                    sets: nothing was chosen to be tried again, or what is not there
    ├── NotOpen                      sets: the run's attempt is no longer the set's open one
    ├── NothingToAccept              sets: no candidate waits, or the set is not retired
    ├── CandidateMoved               sets: what would be accepted is not what was looked at
    ├── NotByItself                  sets: a record cannot be harvested by its id now
    │   └── NeverByItself            nor later: asking again changes nothing of that
    ├── NotPushed                    sets: what was pushed is no record of its set
    ├── InboxFull                    sets: so many pushes of a set wait that no further one is taken
    ├── NothingToReconcile           sets: a set cannot be compared with its source's list of identifiers now
    ├── NothingToRemap               sets: the stored pages do not hold all of the set
    ├── NotPromotable                sets: no such version, or it must not become current
    │   ├── Held                     automatic releases are held
    │   └── Superseded               another version has become current meanwhile
    ├── NotHeld                      sets: automatic releases are not held, or not by what was seen
    ├── SearchError                  search: the search server did not do what was asked
    │   ├── Unreachable              later it may
    │   ├── Refused                  somebody must act first
    │   │   ├── TooManyRejected      more documents than a mistake can explain
    │   │   └── BadQuestion          a question that it does not take
    │   ├── NothingIndexed           no version has been indexed yet
    │   └── NoIndex                  there is none to be had here
    ├── BadMapping                   search: the configured mapping cannot be used
    ├── NoNight                      releases: there is no such night that goes on
    ├── NotMailed, NotTold           releases: the mail server did not take a mail; a way to tell that is none
    ├── NothingPublished             consumers: no version has become current yet
    ├── NoSuchVersion                consumers: no version of this number was ever published
    ├── NoLongerKept                 consumers: what was asked for has been cleaned away
    ├── UnknownDocument, UnknownKind explain: no source has sent it; there is no such kind of source
    ├── NoPerson                     explain: too short a text to be looked for
    ├── UnknownEndpoint, UnknownRule, BadJournals      access: named by a person, and not there or not readable
    ├── InProgress, StoppedBefore    access: a run of the endpoint is under way, or was stopped before it began
    ├── NotStarted, NotServed        web: Dagster did not start a run; the pages did not come up
    ├── NotSignedIn                  web: a person's login at the provider came to nothing
    ├── UnknownLieError              demo: no sample source lies like that
    └── RunFailed                    cli: a Dagster run failed

Everything else is a bug. The kind of an outside failure is decided where it happens; nobody sorts it again.
Belongs here: the root, the kinds of outside failures, the table. Does not belong here: when to try again (the caller
knows its patience); how an error is shown (`cli/commands.py`, `web`).
"""

import errno
import re
from collections.abc import Mapping
from typing import NamedTuple

_USERINFO = re.compile(r"(?<=://)[^/\s:@]*:\S*@")
_ASSIGNED = re.compile(r"(?i)\b(password|passwd|secret|token|api_?key)=[^\s&;,'\"]+")


def without_secrets(text: str) -> str:
    """The text without what stands for a password in a URL or in `password=…`."""
    return _ASSIGNED.sub(r"\1=***", _USERINFO.sub("***@", text))


class HarvesterError(Exception):
    """What a person can mend. `str()` is the sentence and, where it does not say it already, the mend."""

    def __init__(self, sentence: str, mend: str = "") -> None:
        self.sentence = without_secrets(sentence)
        self.mend = without_secrets(mend)
        super().__init__(self.sentence, self.mend)

    def __str__(self) -> str:
        return f"{self.sentence}; {self.mend}" if self.mend else self.sentence


class Hop(NamedTuple):
    """One redirect: what answered with it, and where it was asked."""

    status: int
    url: str


class OutsideError(HarvesterError):
    """`code` is for machines ("dns", "timeout", "status-503"), the sentence for people."""

    def __init__(self, code: str, sentence: str, *, status: int | None = None) -> None:
        super().__init__(sentence)
        self.args = (code, self.sentence)  # what it is made of again in another process
        self.code = code
        self.status = status
        self.hops: tuple[Hop, ...] = ()
        self.body = b""
        """The first 64 KB of what was answered with an error status: some protocols say there what is wrong."""


class TransientError(OutsideError):
    """May work later."""

    def __init__(
        self, code: str, sentence: str, *, status: int | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(code, sentence, status=status)
        self.retry_after = retry_after
        """Seconds that the host asked us to stay away."""


class StorageError(TransientError):
    """Our own disk or bucket is at fault."""


class PermanentError(OutsideError):
    """Will not work for this URL."""


class RefusedError(PermanentError):
    """We do not call it."""


_STORE = (
    "the store (PostgreSQL) fails",
    "see whether it runs, and whether the variable that store.postgres_url_env names holds its address",
)
_FULL = ("the store's disk is full (PostgreSQL)", "make room there and run it again: nothing that was stored is lost")
_OBJECTS = ("the object store cannot be used", "look at store.objects and S3's variables")
_DAGSTER = ("Dagster's storage (PostgreSQL) fails", _STORE[1])
_FILE = ("a file may not be used", "be the user who owns it, or name a folder in HARVESTER_HOME")
FOREIGN: Mapping[str, tuple[str, str]] = {
    "psycopg.errors.DiskFull": _FULL,
    "psycopg.OperationalError": _STORE,
    "psycopg_pool.PoolTimeout": (
        "the store (PostgreSQL) gave no connection in time",
        f"ask again in a minute, for all may be in use; if it stays so, {_STORE[1]}",
    ),
    "psycopg.errors.InsufficientPrivilege": ("the store (PostgreSQL) refuses", "give its user the right to it"),
    "psycopg.errors.ReadOnlySqlTransaction": ("the store (PostgreSQL) takes no writes", "name its primary server"),
    "sqlalchemy.exc.OperationalError": _DAGSTER,
    "dagster_postgres.utils.DagsterPostgresException": _DAGSTER,
    "alembic.util.exc.CommandError": (
        "the store's schema is none that this version knows",
        "use the newer version that made it",
    ),
    "botocore.exceptions.BotoCoreError": _OBJECTS,
    "botocore.exceptions.ClientError": ("the object store refuses", _OBJECTS[1]),
    "builtins.PermissionError": _FILE,
    "builtins.FileExistsError": _FILE,
    "builtins.NotADirectoryError": _FILE,
    "builtins.IsADirectoryError": _FILE,
}
"""Errors of libraries that a person can mend, by their class: what is said before their own first line, and the mend.
Names, not classes: most commands never import what they come from."""


NO_TEXT = "a text holds U+0000 or half a character: nobody stores such a text"


def is_no_text(error: BaseException) -> bool:
    """Whether it came of a text that was given, which PostgreSQL and UTF-8 do not take."""
    if isinstance(error, UnicodeEncodeError):
        return error.reason == "surrogates not allowed"
    names = {f"{cls.__module__}.{cls.__qualname__}" for cls in type(error).__mro__}
    is_refused = "psycopg.DataError" in names and "NUL (0x00)" in str(error)  # by the driver
    return is_refused or "psycopg.errors.UntranslatableCharacter" in names


def mendable(error: BaseException) -> HarvesterError | None:
    """An error as one of ours; None: a bug."""
    if isinstance(error, HarvesterError):
        return error
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        where = f" ({error.filename})" if error.filename else ""
        mend = "make room and run it again: what was accepted before is as it was"
        return HarvesterError(f"a disk is full{where}: {error.strerror}", mend)
    if isinstance(error, OSError) and error.errno == errno.EROFS:
        return HarvesterError(f"{_FILE[0]}: {error}", _FILE[1])
    within = getattr(error, "orig", None)  # SQLAlchemy's are around those of the driver
    if isinstance(within, Exception) and (found := mendable(within)):
        return found
    for cls in type(error).__mro__:
        if said := FOREIGN.get(f"{cls.__module__}.{cls.__qualname__}"):
            what, mend = said
            return HarvesterError(f"{what}: {(str(error).strip() or cls.__name__).splitlines()[0]}", mend)
    return None
