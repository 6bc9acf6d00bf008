"""The mail of the night on a real SMTP server: once a night, with the ways to what needs a hand, and text only."""

import asyncio
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import default
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP, AuthResult

from harvester_dagster import config
from harvester_dagster.catalog import CATALOG
from harvester_dagster.explain import alert_trial, config_check
from harvester_dagster.outside.http import Outside
from harvester_dagster.publication import audit
from harvester_dagster.releases import alert_mail, alerts, nights, release
from harvester_dagster.releases.alerts import Alert
from harvester_dagster.releases.missing_nights import MissingNights
from harvester_dagster.sets import versions
from tests.outside.hostile_site import Site as HostileSite
from tests.outside.test_http import certificate
from tests.sets.conftest import OpenWorld
from tests.sets.world import DAY, KEY, NIGHT, World

__all__ = ["certificate"]
EVIL = "x\r\nBcc: all@example.org\r\n\r\n<b>bold</b>\x1b[31m‮"


class Postbox:
    """Takes mails; with `refuses` it answers that to each."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        self.signed_in: list[tuple[bytes, bytes]] = []
        self.refuses = ""

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:
        if self.refuses:
            return self.refuses
        message = BytesParser(policy=default).parsebytes(envelope.content)
        assert isinstance(message, EmailMessage)
        message["X-Rcpt"] = ", ".join(envelope.rcpt_tos)
        self.mails.append(message)
        return "250 OK"

    def authenticate(self, _server: Any, _session: Any, _envelope: Any, _mechanism: str, given: Any) -> AuthResult:
        self.signed_in.append((given.login, given.password))
        return AuthResult(success=given.password == b"right", handled=False)


Opened = Callable[..., tuple[Postbox, dict[str, Any]]]


@pytest.fixture
def postbox() -> Iterator[Opened]:
    """Opens a server, `over` TLS from the first byte where that is given; its postbox, and the settings that lead
    there."""
    with ExitStack() as stack:

        def opened(**options: Any) -> tuple[Postbox, dict[str, Any]]:
            box, loop = Postbox(), asyncio.new_event_loop()
            over = options.pop("over", None)
            serve = loop.create_server(
                lambda: SMTP(box, authenticator=box.authenticate, loop=loop, **options), "127.0.0.1", 0, ssl=over
            )
            server = loop.run_until_complete(serve)
            thread = threading.Thread(target=loop.run_forever, daemon=True)
            thread.start()
            stack.callback(loop.close)
            stack.callback(thread.join, 10)
            stack.callback(loop.call_soon_threadsafe, loop.stop)
            port = server.sockets[0].getsockname()[1]
            settings = {"host": "127.0.0.1", "port": port, "security": "none", "sender": "harvester@example.org"}
            return box, {**settings, "to": ["ops@example.org", "metadata@example.org"]}

        yield opened


def failing(open_world: OpenWorld, email: dict[str, Any], **web: Any) -> World:
    """A world whose source says no."""
    world = open_world(sets=["one"], installed={"alerts": {"email": email}, "web": web})
    world.source.status = 404
    world.night()
    return world


def end_of_night(world: World) -> int:
    with world.installation.pool.connection() as connection:
        night = nights.open_night(connection, world.installation.config, world.now).night_id
    release.end_night(world.installation, night)
    return night


def text(mail: EmailMessage) -> str:
    content = mail.get_content()
    assert isinstance(content, str)
    return content.replace("\r\n", "\n")


def test_a_night_sends_one_mail_that_leads_to_what_needs_a_hand(open_world: OpenWorld, postbox: Opened) -> None:
    box, email = postbox()
    world = failing(open_world, email, public_url="https://harvester.example.org")
    night = end_of_night(world)
    release.end_night(world.installation, night)
    (mail,) = box.mails
    assert mail["From"] == "harvester@example.org" and mail["X-Rcpt"] == "ops@example.org, metadata@example.org"
    assert mail["Subject"] == f"Harvester {world.installation.config.platform}: 1 needs a hand"
    assert mail.get_content_type() == "text/plain" and not mail.is_multipart()
    assert f"https://harvester.example.org/set/{KEY}/" in text(mail)
    assert f"{KEY}: its source failed" in text(mail) and "https://harvester.example.org/\n" in text(mail)
    world.forward()
    end_of_night(world)
    assert len(box.mails) == 2, "what still needs a hand is told the next night again"


def test_what_the_page_of_the_night_shows_is_mailed_from_the_first_night_on(
    open_world: OpenWorld, postbox: Opened
) -> None:
    box, email = postbox()
    web = {"public_url": "https://harvester.example.org"}
    world = open_world(min_documents=2, installed={"alerts": {"email": email}, "web": web})
    world.source.put("a", "b", "c")
    world.night()
    world.source.delete("a", "b", "c")
    world.night()
    versions.hold_releases(world.installation, "an audit")
    world.change(
        """INSERT INTO task_report (set_id, task, finished_at, looked_at, outcomes, reused, seconds, examples)
           SELECT set_id, 'check_url', %s, 40, '{"retry": 30, "success": 10}', 0, 1, '[["x", "y", "no answer"]]'
           FROM harvest_set WHERE key = 'src:two'""",
        world.now,
    )
    end_of_night(world)
    (mail,) = box.mails
    assert mail["Subject"].endswith("4 need a hand")
    said = text(mail)
    assert f"{KEY}: attempt 2 was rejected and waits" in said and f"https://harvester.example.org/set/{KEY}/" in said
    assert "src:two is missing: never harvested" in said
    assert "automatic releases: held by dagster: an audit" in said
    assert "check_url: 30 of 40 results failed for now: no answer" in said
    assert KEY not in {alert.key for alert in alerts.standing(world.installation)}, "some nights only later"


def test_where_nothing_needs_a_hand_no_mail_is_sent(open_world: OpenWorld, postbox: Opened) -> None:
    box, email = postbox()
    world = open_world(sets=["one"], installed={"alerts": {"email": email}})
    world.source.put("a")
    world.night()
    end_of_night(world)
    assert box.mails == []


def test_a_server_that_takes_no_mail_ends_no_night(open_world: OpenWorld, postbox: Opened) -> None:
    box, email = postbox()
    world = failing(open_world, email)
    box.refuses = "550 go away\x1b[2J"
    end_of_night(world)
    assert world.one("SELECT count(*) FROM night WHERE ended_at IS NULL") == 0
    with world.installation.pool.connection() as connection:
        (row,) = audit.rows(connection, act="mail")
    assert row.outcome == "failed" and "550 go away\\x1b" in row.detail["reason"]


def test_a_night_that_does_not_begin_is_mailed_once(open_world: OpenWorld, postbox: Opened) -> None:
    box, email = postbox()
    world = open_world(installed={"alerts": {"email": email}})
    watch = MissingNights(world.installation)
    world.forward(2 * DAY)
    told = []
    for _ in range(15):  # Dagster has its time first: nobody looked for so long
        world.forward(timedelta(minutes=1))
        told.append(watch.look())
    assert len([found for found in told if found]) == 1
    assert "no night has begun" in text(box.mails[0]) and len(box.mails) == 1


def test_text_from_outside_is_text_and_begins_no_line_of_its_own(postbox: Opened) -> None:
    box, email = postbox()
    made = config.parse({"alerts": {"email": email}, "web": {"public_url": "https://h.example.org"}})
    told = [Alert(EVIL, EVIL, EVIL, key=f"src:{EVIL}"), Alert("long", "y" * 5_000, "")]
    alert_mail.hand_over(made.alerts.email, alert_mail.mail(made, told, NIGHT))
    (mail,) = box.mails
    assert mail["Bcc"] is None and mail["X-Rcpt"] == "ops@example.org, metadata@example.org"
    assert mail.get_content_type() == "text/plain" and "<b>bold</b>" in text(mail)
    assert not {"\x1b", "‮"} & set(text(mail)) and "y" * 1_000 + " …" in text(mail)
    assert not any(line.startswith("Bcc") for line in text(mail).splitlines())
    assert "https://h.example.org/set/src:x%0D%0ABcc" in text(mail)


def test_a_hundred_causes_are_one_mail_of_fifty(postbox: Opened) -> None:
    box, email = postbox()
    made = config.parse({"alerts": {"email": email}})
    alert_mail.hand_over(made.alerts.email, alert_mail.mail(made, [Alert("a", "m", "d")] * 100, NIGHT))
    assert "and 50 more" in text(box.mails[0]) and box.mails[0]["Subject"].endswith("100 need a hand")


def test_signing_in(postbox: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    box, email = postbox(auth_require_tls=False)
    settings = config.parse({"alerts": {"email": email | {"username_env": "A_USER", "password_env": "A_PASSWORD"}}})
    monkeypatch.setenv("A_USER", "me")
    monkeypatch.setenv("A_PASSWORD", "right")
    assert [reply.ok for reply in trial(settings)] == [True]
    assert box.signed_in == [(b"me", b"right")] and "nothing is wrong" in text(box.mails[0])
    monkeypatch.setenv("A_PASSWORD", "wrong-secret")
    (reply,) = trial(settings)
    assert not reply.ok and "does not let" in reply.said and "wrong-secret" not in reply.said


def trial(settings: config.Config) -> list[alert_trial.Reply]:
    with Outside() as outside:
        return list(alert_trial.tried(settings, outside, NIGHT))


def test_a_mail_goes_by_starttls_to_a_server_that_proves_its_name(
    postbox: Opened, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    box, email = postbox(tls_context=context, require_starttls=True)
    settings = config.parse({"alerts": {"email": email | {"security": "starttls", "host": "localhost"}}})
    (refused,) = trial(settings)
    assert not refused.ok and "certificate" in refused.said and box.mails == []
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert [reply.ok for reply in trial(settings)] == [True] and len(box.mails) == 1


def test_a_mail_goes_over_tls_to_a_server_that_proves_its_name(
    postbox: Opened, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    box, email = postbox(over=context)
    named, by_number = (
        config.parse({"alerts": {"email": email | {"security": "tls", "host": host}}})
        for host in ("localhost", "127.0.0.1")
    )
    (refused,) = trial(named)
    assert not refused.ok and "certificate" in refused.said
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    (refused,) = trial(by_number)
    assert not refused.ok and "certificate" in refused.said and box.mails == []
    assert [reply.ok for reply in trial(named)] == [True] and len(box.mails) == 1


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_nothing_is_sent_to_a_server_that_does_not_encrypt(postbox: Opened, security: str) -> None:
    box, email = postbox()
    (reply,) = trial(config.parse({"alerts": {"email": email | {"security": security}}}))
    assert not reply.ok and box.mails == []


@pytest.mark.parametrize("password", ["pässword", "right"])
def test_what_smtp_does_not_take_ends_no_night(
    open_world: OpenWorld, postbox: Opened, monkeypatch: pytest.MonkeyPatch, password: str
) -> None:
    box, email = postbox(auth_require_tls=False)
    host = "smtp..example.org" if password == "right" else email["host"]
    monkeypatch.setenv("A_USER", "me")
    monkeypatch.setenv("A_PASSWORD", password)
    world = failing(open_world, email | {"host": host, "username_env": "A_USER", "password_env": "A_PASSWORD"})
    end_of_night(world)
    with world.installation.pool.connection() as connection:
        (row,) = audit.rows(connection, act="mail")
    assert "SMTP does not take" in row.detail["reason"] and password not in row.detail["reason"] and box.mails == []


def test_a_release_that_failed_comes_first(open_world: OpenWorld, postbox: Opened) -> None:
    box, email = postbox()
    world = failing(open_world, email)
    with world.installation.pool.connection() as connection:
        night = nights.open_night(connection, world.installation.config, world.now).night_id
    release.end_night(world.installation, night, failed_run="r1")
    assert text(box.mails[0]).startswith("the release of the night failed (run r1)")


def test_a_trial_tells_everybody_and_no_secret(postbox: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    box, email = postbox()
    settings = config.parse(
        {"night": {"alert_url_env": "AN_URL", "sentry_dsn_env": "A_DSN"}, "alerts": {"email": email}}
    )
    site = HostileSite()
    monkeypatch.setenv("AN_URL", site.url("/services/T0/B0/SECRET"))
    monkeypatch.setenv("A_DSN", "notadsn")
    with Outside(allow_hosts=("127.0.0.1",)) as outside:
        replies = [*alert_trial.tried(settings, outside, NIGHT)]
    assert [reply.ok for reply in replies] == [False, False, True] and len(box.mails) == 1
    assert "answered 404" in replies[0].said and "DSN" in replies[1].said
    assert not any("SECRET" in reply.said or "notadsn" in reply.said for reply in replies)


@pytest.mark.parametrize(
    ("wrong", "key"),
    [
        ({"host": "smtp.example.org"}, "alerts.email.sender"),
        ({"host": "smtp.example.org", "sender": "a@example.org"}, "alerts.email.to"),
        ({"sender": "a@example.org\nBcc: b@example.org"}, "alerts.email.sender"),
        ({"to": ["a@example.org, b@example.org"]}, "alerts.email.to"),
        ({"to": ["Ops <a@example.org>"]}, "alerts.email.to"),
        ({"host": "smtp.example.org:25"}, "alerts.email.host"),
        ({"username_env": "A_USER"}, "alerts.email.password_env"),
        ({"security": "ssl"}, "alerts.email.security"),
    ],
)
def test_what_cannot_be_is_told_with_its_key(wrong: dict[str, Any], key: str) -> None:
    with pytest.raises(config.ConfigError, match=key):
        config.parse({"alerts": {"email": wrong}})


def test_a_password_goes_over_no_open_line() -> None:
    email = {"host": "smtp.example.org", "sender": "a@example.org", "to": ["b@example.org"], "security": "none"}
    signed = email | {"username_env": "A_USER", "password_env": "A_PASSWORD"}
    read = config.parse({"alerts": {"email": signed}})
    assert [each.key for each in config_check.unrunnable(read, CATALOG)] == ["alerts.email.security"]
    assert [each.key for each in config_check.unset(read, {})] == [
        "alerts.email.username_env",
        "alerts.email.password_env",
    ]
    assert config_check.notes(read) == ["alerts.email: mails have no links, for web.public_url is not set"]
