"""``callcenter models fetch``: bring a speech model from its publisher, whole or not at all.

Before the first call, by hand or by scripts/setup. A download that breaks off goes on where it stopped, also in the
next run; nothing is unpacked before its SHA-256 is what it should be; the model appears under its name in one step.
"""

import errno
import json
import shutil
import stat
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from tqdm import tqdm

from callcenter.speech.models import ModelError, load_card, sha256_of, verify, write_card

PUBLISHER = "https://alphacephei.com/vosk/models/"
"""Where the models' makers publish them; a mirror is given as ``base_url``."""

_CHUNK = 1 << 18
_ATTEMPTS = 5
"""Tries that bring nothing, in a row. A try that brought bytes does not count: a slow line gets there."""
_TIMEOUT_S = 30.0
_LARGEST_UNPACKED = 8 << 30
_LARGEST_RATIO = 20
"""An archive that unpacks to more than this many times its size is no model: floats hardly compress."""


@dataclass(frozen=True, slots=True)
class Published:
    """A model as its publisher offers it. ``sha256`` is empty where no trusted source states it."""

    name: str
    megabytes: int
    sha256: str
    licence: str = "Apache-2.0"
    character_error_rate: tuple[tuple[str, float], ...] = ()
    files: dict[str, tuple[str, int]] = field(default_factory=dict)
    """SHA-256 and bytes of files within, where known."""


MODELS = {
    model.name: model
    for model in (
        Published(
            "vosk-model-small-cn-0.22",
            42,
            "3af8b0e7e0f835ae9d414ce5df580237a3cfb08d586c9fbbb0f7ff29ad5b14ba",
            character_error_rate=(("SpeechIO-02", 23.54), ("SpeechIO-06", 38.29), ("THCHS", 17.15)),
            files={
                "am/final.mdl": ("91eda2c04c4f599361cb92b0e5298ccdf6b3c7a1fa52bfcefcd2c4e07aa1c131", 15_901_896),
                "graph/Gr.fst": ("46d41a9b1723abccdcb354d731a5b58d87c060100d88ada1a3e31220f52b0434", 26_082_259),
                "graph/HCLr.fst": ("798af0d9ba6f2d727747f58e1e7b2305f8618bc8ea7f6c51beecd8a2c965b965", 16_158_762),
                "ivector/final.ie": ("c39d46fbff04efb7baa9660ae7a728b0e2f35a4a1250b56ed3a599e26956df86", 9_927_287),
            },
        ),
        Published(
            "vosk-model-cn-0.22",
            1_300,
            "",
            character_error_rate=(("SpeechIO-02", 13.98), ("SpeechIO-06", 27.30), ("THCHS", 7.43)),
        ),
    )
}


class FetchError(RuntimeError):
    """A model could not be fetched; one line that says why and what to do."""


def fetch(
    name: str,
    models_dir: Path,
    *,
    progress: bool = True,
    base_url: str | None = None,
    sha256: str | None = None,
    accept_unverified: bool = False,
    say: Callable[[str], None] = print,
) -> Path:
    """Fetch model ``name`` into ``models_dir`` and return its directory; one that is there and whole is left alone.

    ``base_url``: a mirror's folder. ``sha256``: what the archive must be, over what is known here. Where neither
    states it, ``accept_unverified`` takes what comes and records its hash. ``say`` gets the lines for the user.
    Raises FetchError.
    """
    model = MODELS.get(name)
    if model is None:
        raise FetchError(f"no speech model {name!r} is known: {', '.join(MODELS)}")
    target = models_dir / name
    if target.exists():
        try:
            verify(target)
        except ModelError as error:
            raise FetchError(f"{target} is there but not whole ({error}): remove it and fetch again") from error
        return target
    expected = (sha256 or model.sha256).lower()
    if not expected and not accept_unverified:
        raise FetchError(
            f"no trusted source states the SHA-256 of {name}: give it with --sha256, "
            "or accept what the publisher sends with --accept-unverified (its hash is then recorded in card.json)"
        )
    work = models_dir / ".fetch"
    try:
        work.mkdir(parents=True, exist_ok=True)
        archive = _download(model, work, base_url or PUBLISHER, progress)
        found = _check_hash(archive, expected, name)
        if not expected:
            say(f"{name}: SHA-256 {found} – recorded, not verified: compare it with a source you trust")
        _install(model, archive, target, work, found, verified=bool(expected))
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise FetchError(
                f"the disk of {models_dir} is full: {name} needs about {3 * model.megabytes} MB while it is unpacked"
            ) from error
        raise FetchError(f"cannot write {name} under {models_dir}: {error.strerror or error}") from error
    return target


# -- the archive -------------------------------------------------------------------------------------------------------
def _download(model: Published, work: Path, base_url: str, progress: bool) -> Path:
    url = f"{base_url.rstrip('/')}/{model.name}.zip"
    part, origin = work / f"{model.name}.zip.part", work / f"{model.name}.zip.origin"
    whole = work / f"{model.name}.zip"
    if whole.exists():
        return whole
    fruitless = 0
    bar = tqdm(
        total=None, unit="B", unit_scale=True, unit_divisor=1024, desc=model.name, disable=not progress, leave=False
    )
    with bar:
        while True:
            before = part.stat().st_size if part.exists() else 0
            try:
                finished = _download_once(url, part, origin, bar)
            except HTTPError as error:
                error.close()
                if error.code < 500 and error.code not in (408, 429):
                    raise FetchError(f"{url} answered {error.code} {error.reason}: is the address right?") from error
                failure: Exception = ConnectionError(f"it answered {error.code} {error.reason}")
            except (URLError, HTTPException, TimeoutError, ConnectionError) as error:
                failure = error
            else:
                if finished:
                    break
                failure = ConnectionError("the connection was cut")
            brought = (part.stat().st_size if part.exists() else 0) > before
            fruitless = 0 if brought else fruitless + 1
            if fruitless >= _ATTEMPTS:
                reason = getattr(failure, "reason", None) or failure
                kept = f"; {before / 1e6:.0f} MB are kept, the next run goes on there" if before else ""
                raise FetchError(f"cannot reach {url} ({reason}): is there a network, or a proxy?{kept}") from failure
            time.sleep(min(0.2 * 2**fruitless, 5.0))
    part.replace(whole)
    origin.unlink(missing_ok=True)
    return whole


def _download_once(url: str, part: Path, origin: Path, bar: Any) -> bool:
    """One request, from where ``part`` ends. Returns whether the archive is complete."""
    have = part.stat().st_size if part.exists() else 0
    known = json.loads(origin.read_text(encoding="utf-8")) if origin.exists() else {}
    if have and (known.get("url") != url or not known.get("validator")):
        have = 0  # another mirror, or nothing to tell by whether it is still the same file
    headers = {"User-Agent": "callcenter-models-fetch", "Accept-Encoding": "identity"}
    if have:
        headers |= {"Range": f"bytes={have}-", "If-Range": known["validator"]}
    if not url.startswith(("https://", "http://")):
        raise FetchError(f"{url} is not an http address")
    try:
        answer: HTTPResponse = urlopen(Request(url, headers=headers), timeout=_TIMEOUT_S)  # noqa: S310 - checked above
    except HTTPError as error:
        if error.code == 416 and have and have == known.get("bytes"):
            return True
        if error.code == 416:
            part.unlink(missing_ok=True)
        raise
    with answer:
        if answer.status != 206:
            have = 0  # no ranges here, or the file changed: from the start
        total = have + int(answer.headers.get("Content-Length") or 0)
        entity_tag = answer.headers.get("ETag") or ""
        validator = answer.headers.get("Last-Modified") if entity_tag.startswith("W/") else entity_tag
        validator = validator or answer.headers.get("Last-Modified") or ""
        origin.write_text(json.dumps({"url": url, "validator": validator, "bytes": total}), encoding="utf-8")
        bar.total = total or None
        bar.n = have
        bar.refresh()
        with part.open("r+b" if have else "wb") as file:
            file.seek(have)
            while chunk := answer.read(_CHUNK):
                file.write(chunk)
                bar.update(len(chunk))
            have = file.tell()
    return bool(have) and (not total or have >= total)


def _check_hash(archive: Path, expected: str, name: str) -> str:
    found = sha256_of(archive)
    if expected and found != expected:
        archive.unlink()
        raise FetchError(
            f"{name}.zip is not what it should be: SHA-256 {found}, expected {expected}; it was deleted. "
            "Fetch it again, or from another mirror; if it stays so, do not use it"
        )
    return found


# -- unpacking ---------------------------------------------------------------------------------------------------------
def _install(model: Published, archive: Path, target: Path, work: Path, found: str, *, verified: bool) -> None:
    unpacked = work / f"{model.name}.unpacked"
    shutil.rmtree(unpacked, ignore_errors=True)
    unpacked.mkdir()
    try:
        _unpack(archive, unpacked, model.name)
        root = unpacked / model.name
        for name, (digest, size) in model.files.items():
            file = root / name
            if not file.is_file() or file.stat().st_size != size or sha256_of(file) != digest:
                raise FetchError(
                    f"{model.name}: {name} is not the published one, although the archive is: do not use it"
                )
        write_card(
            root,
            name=model.name,
            language="cmn",
            voices=["people"],
            knows_only_synthetic=False,
            licence=model.licence,
            character_error_rate=[{"on": on, "percent": percent} for on, percent in model.character_error_rate],
            archive={"sha256": found, "verified": verified},
        )
        load_card(root)
        root.rename(target)
    except (zipfile.BadZipFile, ModelError) as error:
        archive.unlink(missing_ok=True)
        raise FetchError(f"{model.name}.zip is not a speech model ({error}); it was deleted: fetch it again") from error
    finally:
        shutil.rmtree(unpacked, ignore_errors=True)
    archive.unlink()
    if not any(work.iterdir()):
        work.rmdir()


def _unpack(archive: Path, into: Path, name: str) -> None:
    """Unpack files and folders below ``name/`` and nothing else. Raises FetchError for anything that could do harm."""
    with zipfile.ZipFile(archive) as packed:
        entries = packed.infolist()
        size = sum(entry.file_size for entry in entries)
        if size > min(_LARGEST_UNPACKED, _LARGEST_RATIO * archive.stat().st_size):
            raise FetchError(f"{name}.zip would unpack to {size} bytes: that is no model")
        if size > shutil.disk_usage(into).free:
            raise OSError(errno.ENOSPC, "no space left")
        for entry in entries:
            path = Path(entry.filename)
            kind = stat.S_IFMT(entry.external_attr >> 16)
            if path.is_absolute() or ".." in path.parts or "\\" in entry.filename or path.parts[:1] != (name,):
                raise FetchError(f"{name}.zip holds {entry.filename!r}, outside {name}/: it was not unpacked")
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise FetchError(f"{name}.zip holds {entry.filename!r}, neither file nor folder: it was not unpacked")
            if entry.is_dir():
                (into / path).mkdir(parents=True, exist_ok=True)
                continue
            (into / path).parent.mkdir(parents=True, exist_ok=True)
            with packed.open(entry) as source, (into / path).open("wb") as file:
                copied = 0
                while chunk := source.read(_CHUNK):
                    copied += len(chunk)
                    if copied > entry.file_size:
                        raise FetchError(f"{name}.zip: {entry.filename!r} is larger than it says: it was not unpacked")
                    file.write(chunk)
