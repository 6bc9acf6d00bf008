"""Whether those who are to be told of trouble hear it: each is told of a trouble that there is not.

Belongs here: who is told, and what each answered. Does not belong here: how each is told (`releases/alerts.py`,
`releases/alert_mail.py`), whether anything needs a hand.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from urllib.parse import urlsplit

from harvester_dagster.config import Config, secret
from harvester_dagster.explain.online import Reply
from harvester_dagster.failures import OutsideError, mendable
from harvester_dagster.outside.http import Outside
from harvester_dagster.releases import alert_mail, alerts
from harvester_dagster.releases.alerts import Alert, NotTold

TRIAL = Alert("trial", "nothing is wrong: somebody tries whether you are told", "nothing needs to be done")


def tried(config: Config, outside: Outside, now: datetime) -> Iterator[Reply]:
    """Tell each who is configured of a trial; one reply each, none where nobody is configured."""
    for what, tell in _listeners(config, outside, now):
        try:
            yield Reply(what, True, tell())
        except Exception as error:
            if (found := mendable(error)) is None:
                raise
            yield Reply(what, False, str(found))


def told(config: Config) -> list[str]:
    """Who is told, by name; nobody is asked for it."""
    with Outside() as nobody:
        return [what for what, _ in _listeners(config, nobody, datetime.min)]


def _listeners(config: Config, outside: Outside, now: datetime) -> Iterator[tuple[str, Callable[[], str]]]:
    if url := secret(config.night.alert_url_env):
        yield f"the address in {config.night.alert_url_env}", partial(_posted, outside, url)
    if url := secret(config.night.heartbeat_url_env):
        yield f"the heartbeat in {config.night.heartbeat_url_env}", partial(_called, outside, url)
    if dsn := secret(config.night.sentry_dsn_env):
        yield "Sentry", partial(_reported, dsn)
    if config.alerts.email.host:
        yield f"mail to {', '.join(config.alerts.email.to)}", partial(_mailed, config, now)


def _posted(outside: Outside, url: str) -> str:
    with _unnamed(url):
        alerts.to_url(outside, url, TRIAL)
    return "took it"


def _called(outside: Outside, url: str) -> str:
    with _unnamed(url):
        outside.get(url)
    return "was called, as at the end of a night"


@contextmanager
def _unnamed(url: str) -> Iterator[None]:
    """What went wrong there, without the address: its path may be a secret. Raises NotTold."""
    try:
        yield
    except OutsideError as error:
        where = urlsplit(url).hostname or "it"
        answer = f"answered {error.status}" if error.status else f"did not answer: {error.code}"
        raise NotTold(f"{where} {answer}") from None


def _reported(dsn: str) -> str:
    alerts.to_sentry(dsn, TRIAL)
    return "was sent one; look whether it is there, for it says nothing"


def _mailed(config: Config, now: datetime) -> str:
    alert_mail.hand_over(config.alerts.email, alert_mail.mail(config, [TRIAL], now))
    return f"{config.alerts.email.host} took it"
