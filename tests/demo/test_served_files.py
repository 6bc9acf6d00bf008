"""Behind the URLs of the records are real files, and everything that goes wrong with URLs."""

import io
import time
import zipfile

import pypdf
import pytest
import requests
import yt_dlp
from PIL import Image

from harvester_dagster.demo.records import HERE
from harvester_dagster.demo.served_files import SLOW_SECONDS
from harvester_dagster.demo.server import SampleServer
from tests.demo.clients import SLOWNESS, oai_records, repo_items

LOCATION = "{http://www.imsglobal.org/xsd/imsmd_v1p2}location"
DEAD = {"/files/missing.pdf": 404, "/files/gone.pdf": 410}


def _urls(sample: SampleServer) -> set[str]:
    """Every URL of a file in what both sources serve."""
    urls = {(e.text or "").strip() for record in oai_records(sample).values() for e in record.iter(LOCATION)}
    for item in repo_items(sample).values():
        attributes = item["attributes"] or {}
        for part in [*(attributes.get("files") or []), *(attributes.get("links") or [])]:
            urls.add(part["url"] or "")
    return urls - {""}


def test_every_url_points_at_this_server_and_answers_as_meant(sample: SampleServer) -> None:
    urls = _urls(sample)
    assert len(urls) >= 40
    outcomes = {}
    for url in urls:
        assert url.startswith((f"{sample.url}/files/", f"http://localhost:{sample.port}/video/"))
        with requests.get(url, stream=True, timeout=10) as answer:
            outcomes[url.removeprefix(sample.url)] = answer.status_code
    assert {path: status for path, status in outcomes.items() if status != 200} == DEAD


def test_files_are_small_enough_to_ship() -> None:
    assert sum(len(file.read_bytes()) for file in (HERE / "files").iterdir()) < 1_500_000


def test_a_known_file_is_not_sent_again(sample: SampleServer) -> None:
    url = f"{sample.url}/files/nursing-nl.pdf"
    first = requests.get(url, timeout=10)
    for known in (
        {"If-None-Match": first.headers["ETag"]},
        {"If-Modified-Since": first.headers["Last-Modified"]},
    ):
        again = requests.get(url, headers=known, timeout=10)
        assert (again.status_code, again.content) == (304, b"")
    changed = {"If-None-Match": '"other"', "If-Modified-Since": first.headers["Last-Modified"]}
    assert requests.get(url, headers=changed, timeout=10).status_code == 200


def test_ranges(sample: SampleServer) -> None:
    url = f"{sample.url}/files/nursing-nl.pdf"
    whole = requests.get(url, timeout=10).content
    part = requests.get(url, headers={"Range": "bytes=5-9"}, timeout=10)
    assert (part.status_code, part.content) == (206, whole[5:10])
    assert part.headers["Content-Range"] == f"bytes 5-9/{len(whole)}"
    beyond = requests.get(url, headers={"Range": f"bytes={len(whole)}-"}, timeout=10)
    assert beyond.status_code == 416


@pytest.mark.parametrize(
    ("path", "chain", "end"),
    [
        ("/files/moved/literature.pdf", [301], "/files/literature.pdf"),
        ("/files/chain/1", [302, 302, 301], "/files/lesson.html"),
    ],
)
def test_redirects(sample: SampleServer, path: str, chain: list[int], end: str) -> None:
    answer = requests.get(sample.url + path, timeout=10)
    assert [hop.status_code for hop in answer.history] == chain
    assert answer.url == sample.url + end


def test_a_redirect_in_a_circle(sample: SampleServer) -> None:
    with pytest.raises(requests.TooManyRedirects):
        requests.get(f"{sample.url}/files/loop/1", timeout=10)


@pytest.mark.parametrize(("folder", "status"), [("no-head", 405), ("head-404", 404)])
def test_some_servers_refuse_head(sample: SampleServer, folder: str, status: int) -> None:
    url = f"{sample.url}/files/{folder}/handout.pdf"
    assert requests.head(url, timeout=10).status_code == status
    assert requests.get(url, timeout=10).content.startswith(b"%PDF")


def test_the_slow_host_takes_so_many_seconds(sample: SampleServer) -> None:
    started = time.monotonic()
    requests.head(f"{sample.url}/files/slow/handout.pdf", timeout=10)
    assert time.monotonic() - started >= SLOW_SECONDS * SLOWNESS


def test_the_huge_file_says_so_and_keeps_coming(sample: SampleServer) -> None:
    with requests.get(f"{sample.url}/files/huge.pdf", stream=True, timeout=10) as answer:
        assert int(answer.headers["Content-Length"]) == 2 * 1024**3
        got = b"".join(answer.iter_content(1024 * 1024).__next__() for _ in range(3))
    assert got.startswith(b"%PDF")
    assert got.count(0) > 2_000_000


def test_some_files_lie_about_their_type(sample: SampleServer) -> None:
    page = requests.get(f"{sample.url}/files/liar.pdf", timeout=10)
    assert (page.headers["Content-Type"], page.content[:9]) == ("application/pdf", b"<!doctype")
    pdf = requests.get(f"{sample.url}/files/liar.jpg", timeout=10)
    assert (pdf.headers["Content-Type"], pdf.content[:4]) == ("image/jpeg", b"%PDF")
    download = requests.get(f"{sample.url}/files/download", timeout=10)
    assert (download.headers["Content-Type"], download.content[:4]) == ("application/octet-stream", b"%PDF")


def test_a_file_without_a_validator_is_always_sent(sample: SampleServer) -> None:
    url = f"{sample.url}/files/no-validator/notes.txt"
    conditions = {"If-None-Match": "*", "If-Modified-Since": "Mon, 01 Jan 2024 12:00:00 GMT"}
    answer = requests.get(url, headers=conditions, timeout=10)
    assert answer.status_code == 200
    assert not {"ETag", "Last-Modified"} & answer.headers.keys()


def test_nothing_outside_the_folder_is_served(sample: SampleServer) -> None:
    for path in ("/files/%2e%2e/catalogue.toml", "/files/%2e%2e%2fserver.py", "/files/", "/video/", "/files/.pdf"):
        assert requests.get(sample.url + path, timeout=10).status_code == 404


def test_pdfs_are_of_several_producers_and_versions(sample: SampleServer) -> None:
    readable, versions = {}, set()
    for file in (HERE / "files").iterdir():
        if file.name.endswith(".pdf") and file.name not in ("broken.pdf", "encrypted.pdf"):
            content = file.read_bytes()
            reader = pypdf.PdfReader(io.BytesIO(content))
            readable[file.name] = len(reader.pages)
            versions.add(content[:8])
    assert versions >= {b"%PDF-1.1", b"%PDF-1.4", b"%PDF-1.5", b"%PDF-1.7", b"%PDF-2.0"}
    assert (min(readable.values()), max(readable.values())) == (1, 20)
    assert pypdf.PdfReader(io.BytesIO((HERE / "files/encrypted.pdf").read_bytes())).is_encrypted


def test_pictures_are_what_decoders_stumble_over() -> None:
    def opened(name: str) -> Image.Image:
        return Image.open(io.BytesIO((HERE / "files" / name).read_bytes()))

    assert opened("photo-rotated.jpg").getexif()[0x0112] == 6
    assert opened("cmyk.jpg").mode == "CMYK"
    assert opened("sixteen-bit.png").mode.startswith("I")
    assert opened("alpha.png").mode == "RGBA"
    assert getattr(opened("pictograms.gif"), "n_frames", 1) == 6
    assert [opened(name).format for name in ("picture.webp", "plate.tiff")] == ["WEBP", "TIFF"]


def test_office_files_and_archives_open(sample: SampleServer) -> None:
    for name in ("exercises.docx", "nursing.pptx", "course.zip", "course.epub"):
        content = requests.get(f"{sample.url}/files/{name}", timeout=10).content
        assert zipfile.ZipFile(io.BytesIO(content)).testzip() is None


@pytest.mark.service
def test_a_video_page_is_one_to_yt_dlp(sample: SampleServer) -> None:
    with yt_dlp.YoutubeDL({"quiet": True, "no_warnings": True, "skip_download": True}) as client:
        video = client.extract_info(sample.url_of("/video/vortex"), download=False)
        assert (video["title"], video["duration"]) == ("Using a vortex mixer", 90)
        assert requests.get(video["thumbnail"], timeout=10).headers["Content-Type"] == "image/jpeg"
        with pytest.raises(yt_dlp.utils.DownloadError, match="Unsupported URL"):
            client.extract_info(sample.url_of("/video/no-video"), download=False)
