"""The mail of the night: what needs a hand, in one mail, with the way to each.

Belongs here: its text, and handing it to the mail server that `[alerts.email]` names. Does not belong here: what needs
a hand (`alerts.py`). What came from outside is text in it: the mail has no HTML, its head says nothing that came from
outside, and what a terminal would obey is shown as it is written.
"""

import logging
import smtplib
import ssl
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, make_msgid

from harvester_dagster import shown_text
from harvester_dagster.config import Config, Email, secret
from harvester_dagster.failures import HarvesterError
from harvester_dagster.installation import Installation
from harvester_dagster.page_addresses import set_page
from harvester_dagster.publication import audit
from harvester_dagster.releases.alerts import Alert
from harvester_dagster.store.away import overlooked

SECONDS = 30.0
"""So long the mail server may take for each answer."""
MOST = 50
"""Causes that a mail tells of; the others are counted."""
_LONGEST = 1_000
"""Characters of a sentence."""
_LOG = logging.getLogger(__name__)


class NotMailed(HarvesterError):
    """The mail server did not take a mail."""


def tell_by_mail(installation: Installation, alerts: Sequence[Alert]) -> bool:
    """Mail what needs a hand, if anything does and somebody is to be told; whether a mail went out. One that nobody
    took is a row of the audit: the pages show what it would have said."""
    settings = installation.config.alerts.email
    if not settings.host or not alerts:
        return False
    try:
        hand_over(settings, mail(installation.config, alerts, installation.clock()))
    except NotMailed as error:
        _LOG.error("mail: %s", error)
        with overlooked(), installation.pool.connection(timeout=10) as connection:
            audit.write(connection, "mail", "", installation.clock(), "failed", reason=error.sentence)
        return False
    return True


def mail(config: Config, alerts: Sequence[Alert], now: datetime) -> EmailMessage:
    """The mail that tells of these causes."""
    message = EmailMessage(policy=SMTP)
    settings = config.alerts.email
    count = f"{len(alerts)} need a hand" if len(alerts) != 1 else "1 needs a hand"
    message["Subject"] = f"Harvester {config.platform}: {count}"
    message["From"], message["To"] = settings.sender, ", ".join(settings.to)
    message["Date"] = format_datetime(now.astimezone(config.zone))
    message["Message-ID"] = make_msgid(domain=settings.sender.rpartition("@")[2])
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(_text(config, alerts))
    return message


def _text(config: Config, alerts: Sequence[Alert]) -> str:
    base = config.web.public_url
    told = [_told(config, alert) for alert in alerts[:MOST]]
    if len(alerts) > MOST:
        told.append(f"and {len(alerts) - MOST} more")
    told.append(f"The night: {base}/" if base else "All of it: harvester status")
    return "\n\n".join(told) + "\n"


def _told(config: Config, alert: Alert) -> str:
    lines = [_one_line(alert.message), f"  what to do: {_one_line(alert.mend)}"]
    if alert.since:
        lines.append(f"  since {alert.since.astimezone(config.zone):%Y-%m-%d %H:%M}")
    if base := config.web.public_url:
        lines.append(f"  {base}{set_page(alert.key) if alert.key else '/'}")
    return "\n".join(lines)


def _one_line(text: str) -> str:
    return shown_text.one_line(text if len(text) <= _LONGEST else f"{text[:_LONGEST]} …")


def hand_over(settings: Email, message: EmailMessage) -> None:
    """Give a mail to the server. Raises NotMailed, also where it refuses one of those whom it is for."""
    context = ssl.create_default_context()
    where = f"{settings.host}:{settings.port}"
    try:
        with ExitStack() as stack:
            server = stack.enter_context(
                smtplib.SMTP_SSL(settings.host, settings.port, timeout=SECONDS, context=context)
                if settings.security == "tls"
                else smtplib.SMTP(settings.host, settings.port, timeout=SECONDS)
            )
            if settings.security == "starttls":
                server.starttls(context=context)
            if (name := secret(settings.username_env)) and (password := secret(settings.password_env)):
                server.login(name, password)
            refused = server.send_message(message)
    except (OSError, smtplib.SMTPException, UnicodeError) as error:
        raise NotMailed(f"the mail server {where} took no mail: {_reason(error)}", _MEND) from None
    if refused:
        raise NotMailed(f"the mail server {where} takes none for {', '.join(refused)}", _MEND)


_MEND = "see [alerts.email] of the configuration; `harvester alerts try` tries it"


def _reason(error: Exception) -> str:
    """Why, without what was said to the server: a password may be in that."""
    if isinstance(error, UnicodeError):
        return "the server's name, or the name or password for it, holds what SMTP does not take"
    if isinstance(error, smtplib.SMTPAuthenticationError):
        return "it does not let this name and password in"
    if isinstance(error, smtplib.SMTPNotSupportedError):
        return "it has not what is asked of it: encryption by STARTTLS, or signing in"
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return f"it takes none for {', '.join(error.recipients)}"
    if isinstance(error, smtplib.SMTPResponseException):
        said = error.smtp_error.decode(errors="replace") if isinstance(error.smtp_error, bytes) else error.smtp_error
        return shown_text.one_line(f"it answered {error.smtp_code} {said}"[:300])
    if isinstance(error, ssl.SSLError):
        return "no encrypted connection could be made, or its certificate is not valid for it"
    return shown_text.one_line(str(error)[:300]) or type(error).__name__
