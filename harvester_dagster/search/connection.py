"""The way to OpenSearch: one client for a piece of work, and the kinds in which asking it can fail.

    SearchError                  a sentence that names the cause and the mend; never a secret
    ├── Unreachable              passes by itself: no answer, cut connections, 5xx, 429 beyond our patience
    ├── Refused                  somebody must act: credentials, rights, a full disk, a server that is too old
    └── NoIndex                  there is none to be had here: `url = "none"`, or no Java or Maven for the bundled one

Belongs here: connecting, authentication, sorting of failures. Does not belong here: what is asked.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from harvester_dagster.config import Index, home, secret
from harvester_dagster.failures import HarvesterError
from harvester_dagster.services import launcher

if TYPE_CHECKING:
    from opensearchpy import OpenSearch

TIMEOUT = 30
"""Seconds for an answer, unless a call names its own. A number: the library fails on "30s"."""

SLOW = 180
"""Seconds for what takes the server long: creating, cloning, refreshing, flushing, a bulk."""

OLDEST = 2


class SearchError(HarvesterError):
    """The search server did not do what was asked."""


class Unreachable(SearchError):
    """It did not answer, or not in time: later it may."""


class Refused(SearchError):
    """It answered, and will not do it until somebody mends something."""


class NoIndex(SearchError):
    """This installation has no search server: `index.url = "none"`, or the bundled one cannot be had."""


@contextmanager
def connected(index: Index) -> Iterator["OpenSearch"]:
    """A client of the configured server, or of the bundled one, that has answered. Raises SearchError."""
    from opensearchpy import OpenSearch

    if index.url == "none":
        raise NoIndex('index.url = "none": this installation has no search index', "name a server there")
    with ExitStack() as stack:
        url = index.url or _bundled(stack)
        client = OpenSearch(url, http_auth=_auth(index), timeout=TIMEOUT, max_retries=0, pool_maxsize=4)
        stack.callback(client.close)
        where = urlsplit(url)._replace(netloc=urlsplit(url).netloc.rpartition("@")[2]).geturl()
        with asking(f"the search server at {where}"):
            _check_version(client.info(), where)
        yield client


def _bundled(stack: ExitStack) -> str:
    try:
        return stack.enter_context(launcher.opensearch(home()))
    except launcher.Unavailable as error:
        raise NoIndex(str(error), "or name a server in index.url") from None


def _auth(index: Index) -> Any:
    if index.auth == "basic":
        user, password = secret(index.username_env), secret(index.password_env)
        if not user or not password:
            raise Refused(
                'index.auth = "basic" needs a name and a password',
                f"set the environment variables {index.username_env} and {index.password_env}",
            )
        return (user, password)
    if index.auth == "aws":
        import boto3
        from opensearchpy import Urllib3AWSV4SignerAuth

        credentials = boto3.Session().get_credentials()
        if credentials is None:
            raise Refused('index.auth = "aws" found no credentials', "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
        return Urllib3AWSV4SignerAuth(credentials, index.aws_region)
    return None


def _check_version(info: Any, url: str) -> None:
    version = info.get("version", {}) if isinstance(info, dict) else {}
    number, distribution = str(version.get("number", "?")), version.get("distribution", "something else")
    major = number.partition(".")[0]
    if distribution != "opensearch" or not major.isdigit() or int(major) < OLDEST:
        raise Refused(f"{url} is {distribution} {number}", f"OpenSearch {OLDEST}.0 or later is needed")


@contextmanager
def asking(what: str) -> Iterator[None]:
    """Turn what the library raises in the block into a SearchError whose sentence begins with `what` was asked."""
    from opensearchpy.exceptions import OpenSearchException

    try:
        yield
    except OpenSearchException as error:
        raise sorted_failure(what, error) from error


def sorted_failure(what: str, error: Exception) -> SearchError:
    """The SearchError that a failure of the library is; the sentence begins with `what` was asked."""
    from opensearchpy.exceptions import ConnectionError as NoConnection
    from opensearchpy.exceptions import ConnectionTimeout, SerializationError, TransportError

    if isinstance(error, ConnectionTimeout):
        return Unreachable(f"{what}: no answer in time")
    if isinstance(error, NoConnection):
        return Unreachable(f"{what}: no connection ({type(error.info).__name__})")
    if isinstance(error, SerializationError):
        return Unreachable(f"{what}: the answer is not JSON", "is there a proxy in between?")
    if not isinstance(error, TransportError):
        return Refused(f"{what}: {error}")
    status, reason = error.status_code, _reason(error)
    if status == 401:
        return Refused(f"{what}: the credentials were refused", "look at index.auth and the variables it names")
    if is_disk_full(reason):
        return Refused(f"{what}: the server's disk is full (flood stage)", "free some space")
    if status == 403:
        mend = "lift that block" if "blocked by" in reason else "give the user of index.auth the right to it"
        return Refused(f"{what}: not allowed: {reason}", mend)
    if status in (408, 429) or not isinstance(status, int) or status >= 500:
        return Unreachable(f"{what}: status {status}: {reason}")
    return Refused(f"{what}: status {status}: {reason}")


def kinds(error: Any) -> frozenset[str]:
    """The types of errors that a server names in its refusal of a question, those of its causes too."""
    info = getattr(error, "info", None)
    told = info.get("error") if isinstance(info, dict) else None
    return frozenset(_kinds(told)) if isinstance(told, dict) else frozenset()


def _kinds(told: dict[str, Any]) -> Iterator[str]:
    causes = told.get("root_cause")
    for one in (told, told.get("caused_by"), *(causes if isinstance(causes, list) else ())):
        if isinstance(one, dict):
            yield str(one.get("type"))


def is_disk_full(reason: str) -> bool:
    """Whether a server's message is about its flood-stage block."""
    return "flood-stage" in reason or "read-only-allow-delete" in reason


def _reason(error: Any) -> str:
    info = error.info if isinstance(error.info, dict) else {}
    told = info.get("error")
    if isinstance(told, dict):
        causes = told.get("root_cause")
        cause = causes[0] if isinstance(causes, list) and causes and isinstance(causes[0], dict) else told
        return f"{cause.get('type', error.error)}: {cause.get('reason', '')}"[:500]
    return str(told or error.error)[:500]
