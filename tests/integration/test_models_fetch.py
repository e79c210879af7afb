"""``callcenter models fetch`` against a real HTTP server that cuts, forgets, lies and refuses."""

import hashlib
import io
import shutil
import stat
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from callcenter.settings import REPOSITORY
from callcenter.speech import fetch as module
from callcenter.speech.commands import fetch as fetch_command
from callcenter.speech.fetch import MODELS, FetchError, Published, fetch
from callcenter.speech.models import examine
from tests.speaking import SYNTHETIC

pytestmark = pytest.mark.integration

NAME = "vosk-model-small-test"


@dataclass
class Site:
    """A publisher's site that behaves as told."""

    files: dict[str, bytes] = field(default_factory=dict)
    cut_after: list[int] = field(default_factory=list)
    """Bytes sent before the connection is cut, one for each coming answer."""
    ranges: bool = True
    etag: str = '"1"'
    status: int = 200
    asked: list[str | None] = field(default_factory=list)
    """The Range header of every request."""
    url: str = ""


@pytest.fixture
def site() -> Iterator[Site]:
    offered = Site()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            offered.asked.append(wanted)
            body = offered.files.get(self.path.lstrip("/"))
            if body is None or offered.status != 200:
                self.send_error(404 if body is None else offered.status)
                return
            start = 0
            if wanted and offered.ranges and self.headers.get("If-Range") == offered.etag:
                start = int(wanted.removeprefix("bytes=").rstrip("-"))
                if start >= len(body):
                    self.send_error(416)
                    return
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
            else:
                self.send_response(200)
            self.send_header("Content-Length", str(len(body) - start))
            self.send_header("ETag", offered.etag)
            self.end_headers()
            end = len(body)
            if offered.cut_after:
                end = min(end, start + offered.cut_after.pop(0))
            self.wfile.write(body[start:end])
            if end < len(body):
                self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    offered.url = f"http://127.0.0.1:{server.server_port}/"
    yield offered
    server.shutdown()
    thread.join()
    server.server_close()


def packed(files: dict[str, bytes] | None = None, *, root: str = NAME) -> bytes:
    """The synthetic model as a publisher packs it, and ``files`` beside it."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(SYNTHETIC.rglob("*")):
            if path.is_file() and path.name not in ("card.json", "README.md"):
                archive.write(path, f"{root}/{path.relative_to(SYNTHETIC)}")
        for name, content in (files or {}).items():
            archive.writestr(name, content)
    return out.getvalue()


ARCHIVE = packed()
DIGEST = hashlib.sha256(ARCHIVE).hexdigest()


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model of our own among the published ones: the real archives are 42 MB and more."""
    monkeypatch.setitem(MODELS, NAME, Published(NAME, 9, DIGEST))
    monkeypatch.setattr(module.time, "sleep", lambda _: None)


def get(site: Site, folder: Path, **more: object) -> Path:
    return fetch(NAME, folder, progress=False, base_url=site.url, **more)  # type: ignore[arg-type]


def test_a_model_arrives_whole_with_a_card(site: Site, tmp_path: Path) -> None:
    site.files[f"{NAME}.zip"] = ARCHIVE
    path = get(site, tmp_path)
    assert path == tmp_path / NAME
    model = examine(path)
    assert model.carded
    assert not model.knows_only_synthetic
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [NAME]
    asked = len(site.asked)
    assert get(site, tmp_path) == path
    assert len(site.asked) == asked, "fetched again although it was there"


def test_a_connection_cut_midway_goes_on_where_it_stopped(site: Site, tmp_path: Path) -> None:
    site.files[f"{NAME}.zip"] = ARCHIVE
    site.cut_after = [100_000, 1, 400_000]
    get(site, tmp_path)
    assert site.asked == [None, "bytes=100000-", "bytes=100001-", "bytes=500001-"]
    examine(tmp_path / NAME)


def test_the_next_run_goes_on_where_the_last_one_stopped(site: Site, tmp_path: Path) -> None:
    site.files[f"{NAME}.zip"] = ARCHIVE
    site.cut_after = [300_000, *[0] * 10]
    with pytest.raises(FetchError, match="the next run goes on there"):
        get(site, tmp_path)
    site.cut_after = []
    site.asked.clear()
    get(site, tmp_path)
    assert site.asked == ["bytes=300000-"]


@pytest.mark.parametrize("change", ["no ranges", "another file"])
def test_what_cannot_be_continued_starts_anew(site: Site, tmp_path: Path, change: str) -> None:
    site.files[f"{NAME}.zip"] = bytes(len(ARCHIVE))
    site.cut_after = [300_000, *[0] * 10]
    with pytest.raises(FetchError):
        get(site, tmp_path)
    site.files[f"{NAME}.zip"] = ARCHIVE
    site.cut_after = []
    if change == "no ranges":
        site.ranges = False
    else:
        site.etag = '"2"'
    get(site, tmp_path)
    examine(tmp_path / NAME)


def test_a_wrong_hash_is_refused_and_nothing_stays(site: Site, tmp_path: Path) -> None:
    site.files[f"{NAME}.zip"] = ARCHIVE[:-1] + bytes([ARCHIVE[-1] ^ 1])
    with pytest.raises(FetchError, match=f"expected {DIGEST}"):
        get(site, tmp_path)
    assert not (tmp_path / NAME).exists()
    assert not list((tmp_path / ".fetch").glob("*.zip"))


def test_without_a_known_hash_the_user_decides(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MODELS, NAME, Published(NAME, 9, ""))
    site.files[f"{NAME}.zip"] = ARCHIVE
    with pytest.raises(FetchError, match=r"--sha256.*--accept-unverified"):
        get(site, tmp_path)
    assert site.asked == []
    said: list[str] = []
    get(site, tmp_path, accept_unverified=True, say=said.append)
    assert DIGEST in said[0]
    assert "not verified" in said[0]
    assert '"verified": false' in (tmp_path / NAME / "card.json").read_text()
    shutil.rmtree(tmp_path / NAME)
    get(site, tmp_path, sha256=DIGEST.upper())


def test_every_published_model_needs_a_hash_or_consent(tmp_path: Path) -> None:
    for model in MODELS.values():
        if not model.sha256:
            with pytest.raises(FetchError, match="--accept-unverified"):
                fetch(model.name, tmp_path, base_url="http://127.0.0.1:9/")
    assert len(MODELS["vosk-model-small-cn-0.22"].sha256) == 64


@pytest.mark.parametrize(
    "entry",
    ["../outside", f"{NAME}/../../outside", "/etc/outside", "other/file", f"{NAME}\\..\\outside"],
)
def test_an_archive_that_reaches_outside_is_not_unpacked(site: Site, tmp_path: Path, entry: str) -> None:
    site.files[f"{NAME}.zip"] = bad = packed({entry: b"harm"})
    with pytest.raises(FetchError, match="not unpacked"):
        get(site, tmp_path / "models", sha256=hashlib.sha256(bad).hexdigest())
    assert not list(tmp_path.rglob("outside"))
    assert not (tmp_path / "models" / NAME).exists()


def test_an_archive_with_a_link_is_not_unpacked(site: Site, tmp_path: Path) -> None:
    out = io.BytesIO(ARCHIVE)
    with zipfile.ZipFile(out, "a") as archive:
        link = zipfile.ZipInfo(f"{NAME}/graph/passwd")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
    site.files[f"{NAME}.zip"] = out.getvalue()
    with pytest.raises(FetchError, match="neither file nor folder"):
        get(site, tmp_path, sha256=hashlib.sha256(out.getvalue()).hexdigest())


def test_an_archive_that_swells_is_not_unpacked(site: Site, tmp_path: Path) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{NAME}/graph/HCLG.fst", bytes(50 << 20))
    site.files[f"{NAME}.zip"] = out.getvalue()
    with pytest.raises(FetchError, match="would unpack"):
        get(site, tmp_path, sha256=hashlib.sha256(out.getvalue()).hexdigest())


@pytest.mark.parametrize("content", [b"<html>come back later</html>", packed(root="another")[:5_000]])
def test_what_is_no_model_is_said_so(site: Site, tmp_path: Path, content: bytes) -> None:
    site.files[f"{NAME}.zip"] = content
    with pytest.raises(FetchError, match="not a speech model"):
        get(site, tmp_path, sha256=hashlib.sha256(content).hexdigest())
    assert not (tmp_path / NAME).exists()


def test_failures_are_one_clear_line(site: Site, tmp_path: Path) -> None:
    out, errors = io.StringIO(), io.StringIO()
    streams = {"out_stream": out, "error_stream": errors}
    assert fetch_command(NAME, tmp_path, base_url="http://127.0.0.1:9/", **streams) == 1
    assert fetch_command(NAME, tmp_path, base_url="file:///etc/", **streams) == 1
    assert fetch_command(NAME, tmp_path, base_url=site.url, **streams) == 1  # 404
    site.files[f"{NAME}.zip"], site.status = ARCHIVE, 503
    assert fetch_command(NAME, tmp_path, base_url=site.url, **streams) == 1
    assert fetch_command("vosk-model-xx", tmp_path, **streams) == 1
    lines = errors.getvalue().splitlines()
    assert len(lines) == 5
    for told, expected in zip(lines, ("network", "not an http", "404", "503", "vosk-model-small-cn-0.22"), strict=True):
        assert expected in told
    assert out.getvalue() == ""


def test_a_full_disk_is_named(site: Site, tmp_path: Path) -> None:
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a small tmpfs needs root")
    try:
        site.files[f"{NAME}.zip"] = ARCHIVE
        with pytest.raises(FetchError, match=r"disk .* is full"):
            get(site, folder)
        assert not (folder / NAME).exists()
    finally:
        subprocess.run(["umount", folder], check=True)


def test_the_command_line_fetches(site: Site, tmp_path: Path) -> None:
    name = "vosk-model-cn-0.22"
    site.files[f"{name}.zip"] = packed(root=name)
    command = [sys.executable, "-m", "callcenter", "models", "fetch", name, "--from", site.url, "--accept-unverified"]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=REPOSITORY,
        env={"PATH": "/usr/bin:/bin", "CALLCENTER_MODELS_DIR": str(tmp_path), "PYTHONPATH": str(REPOSITORY)},
    )
    assert done.returncode == 0, done.stderr
    assert f"CALLCENTER_SPEECH_MODEL={tmp_path / name}" in done.stdout
    examine(tmp_path / name)
