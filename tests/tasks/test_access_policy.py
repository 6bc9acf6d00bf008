import pytest
from hypothesis import given
from hypothesis import strategies as st

from harvester_dagster.tasks.access_policy import analysis_refused, media_type, not_image, not_pdf, on_hosts
from harvester_dagster.tasks.task import Subject
from tests.tasks.content_site import checked, subject


@pytest.mark.parametrize(
    ("rights", "licence", "allowed"),
    [
        ("OpenAccess", None, True),
        ("OpenAccess", "yes", True),
        ("RestrictedAccess", "cc-by-40", True),
        ("RestrictedAccess", "cc-by-nc-sa", True),
        ("RestrictedAccess", None, False),
        ("RestrictedAccess", "", False),
        ("RestrictedAccess", "yes", False),
        ("RestrictedAccess", "unknown", False),
        ("RestrictedAccess", "cc-by-nd-40", False),
        ("RestrictedAccess", "CC-BY-NC-ND", False),
        ("ClosedAccess", "cc-by-40", False),
        ("openaccess", "cc-by-40", False),
        (None, "cc-by-40", False),
    ],
)
def test_the_gate(rights: str | None, licence: str | None, allowed: bool) -> None:
    assert (analysis_refused({"access_rights": rights, "copyright": licence}) is None) is allowed


@given(st.text(), st.one_of(st.none(), st.text()))
def test_rights_nobody_defined_allow_nothing(rights: str, licence: str | None) -> None:
    if rights not in ("OpenAccess", "RestrictedAccess"):
        assert analysis_refused({"access_rights": rights, "copyright": licence})


@pytest.mark.parametrize(
    ("given_type", "url", "kind"),
    [
        ("application/pdf; charset=binary", "https://x.org/a", "application/pdf"),
        ("Application/PDF", "https://x.org/a", "application/pdf"),
        (None, "https://x.org/a.pdf?download=1", "application/pdf"),
        ("", "https://x.org/a.png", "image/png"),
        ("text/html", "https://x.org/a.pdf", "text/html"),
        (None, "https://x.org/a", ""),
    ],
)
def test_the_type_is_the_sources_else_the_urls(given_type: str | None, url: str, kind: str) -> None:
    assert media_type({"mime_type": given_type, "url": url}) == kind


def test_pdfs_have_two_names() -> None:
    assert not_pdf({"mime_type": "application/pdf"}) is None
    assert not_pdf({"mime_type": "application/x-pdf"}) is None
    assert not_pdf({"mime_type": "application/vnd.pdf"}) == "not a PDF: application/vnd.pdf"


@pytest.mark.parametrize(
    ("said", "seen", "applies"),
    [
        ("image/jpeg", "image/jpeg", True),
        ("image/png", None, True),
        ("image/png", "application/octet-stream", True),
        (None, "image/webp", True),
        ("image/png", "text/html", False),
        ("text/html", "image/png", False),
        ("image/svg+xml", "image/svg+xml", False),
        ("image/png", "image/svg+xml", False),
        (None, None, False),
    ],
)
def test_an_image_by_mime_type_that_the_server_does_not_contradict(
    said: str | None, seen: str | None, applies: bool
) -> None:
    looked_at = subject("https://x.org/a", mime_type=said, check=checked(content_type=seen))
    assert (not_image(looked_at) is None) is applies


def test_an_image_of_a_set_whose_urls_are_not_checked() -> None:
    assert not_image(Subject({"url": "https://x.org/a.png"}, {})) is None


@pytest.mark.parametrize(
    ("url", "there"),
    [
        ("https://vimeo.com/1", True),
        ("https://player.VIMEO.com./1", True),
        ("https://notvimeo.com/1", False),
        ("https://vimeo.com.evil.org/1", False),
        ("https://evil.org/?vimeo.com", False),
        ("https://vimeo.com@evil.org/", False),
        ("http://[", False),
    ],
)
def test_hosts_are_matched_whole(url: str, there: bool) -> None:
    assert on_hosts(url, ("vimeo.com",)) is there
