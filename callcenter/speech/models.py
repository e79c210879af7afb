"""Speech models on disk: what a directory holds, whether it is whole, and whose voice it knows.

Before any leg is heard: the compute child examines the model here before native code touches a byte of it, because a
graph with a number out of range does not fail in Vosk, it kills the process at the first decode.
"""

import hashlib
import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

log = structlog.get_logger()

CARD = "card.json"
SYNTHETIC_MODEL = "cmn-synthetic"
_ALWAYS_HASH_BYTES = 64 << 20
"""Hashing this much takes about 0.1 s; larger models are hashed once for each (size, time of change)."""
_PARTS = ("am", "conf", "graph", "ivector", "rescore", "rnnlm")
"""The folders Vosk 0.3.45 reads; what else lies beside them cannot hurt."""
_FST_MAGIC = 2125659606
"""First four bytes of every OpenFst file, little-endian."""


class ModelError(RuntimeError):
    """A speech model is missing, unfinished or not what its card says. The text names the mend."""


@dataclass(frozen=True, slots=True)
class SpeechModel:
    """An examined Vosk model directory."""

    path: Path
    name: str
    sample_rate: int
    """What its features are made for, Hz."""
    resamples: bool
    """Whether it takes audio of a lower rate as well (``--allow-upsample``)."""
    carded: bool
    """False: no card; its files were looked at, but nobody vouches for them."""
    knows_only_synthetic: bool
    """True: real callers yield nonsense, and no decision may rest on what it hears."""
    voices: tuple[str, ...]
    licence: str

    def rate_for(self, rate: int) -> int:
        """The rate to feed it when the source has ``rate``: the source's own where the model takes it.

        Raises ModelError when a telephone's 8 kHz cannot be fed.
        """
        if rate >= self.sample_rate:
            return self.sample_rate
        if self.resamples:
            return rate
        raise ModelError(
            f"speech model {self.name} wants {self.sample_rate} Hz and its conf does not say --allow-upsample=true, "
            f"so it cannot hear {rate} Hz: add that line to {self.path / 'conf'}/mfcc.conf (or fbank.conf)"
        )


def examine(path: Path, *, stamps: Path | None = None) -> SpeechModel:
    """Verify the model in ``path`` and say what it is, without loading it. Raises ModelError."""
    verify(path, stamps=stamps)
    return load_card(path)


def load_card(path: Path) -> SpeechModel:
    """What the model in ``path`` says of itself. Its files must be there; they are not hashed. Raises ModelError."""
    _check_presence(path)
    rate, resamples = _feature_rate(path)
    card = _read_card(path)
    facts = card or {}
    return SpeechModel(
        path=path,
        name=str(facts.get("name") or path.name),
        sample_rate=rate,
        resamples=resamples,
        carded=card is not None,
        knows_only_synthetic=bool(facts.get("knows_only_synthetic", False)),
        voices=tuple(facts.get("voices", ("people",))),
        licence=str(facts.get("licence", "")),
    )


def verify(path: Path, *, stamps: Path | None = None) -> None:
    """Make sure that native code may touch the model in ``path``. Raises ModelError.

    A directory with a card must match it byte for byte. One without is accepted when its files have the right shape,
    with a warning, and is taken for a model of real voices. ``stamps`` is a writable folder that remembers which large
    models were already hashed, and under which sizes and times.
    """
    _check_presence(path)
    card = _read_card(path)
    if card is None:
        log.warning("speech model without a card", model=path.name, checked="structure only")
    else:
        _verify_files(path, card, stamps)
    _check_structure(path)


def write_card(path: Path, **facts: Any) -> None:
    """Write ``card.json`` for the model in ``path``: ``facts`` and the SHA-256 and bytes of every file Vosk reads."""
    files = {
        name: {"sha256": sha256_of(path / name), "bytes": (path / name).stat().st_size} for name in sorted(_files(path))
    }
    text = json.dumps({**facts, "files": files}, ensure_ascii=False, indent=2)
    (path / CARD).write_text(text + "\n", encoding="utf-8")


def sha256_of(path: Path) -> str:
    """Hex SHA-256 of a file of any size."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_presence(path: Path) -> None:
    missing = _missing(path)
    if not path.is_dir() or len(missing) > 3:
        raise ModelError(
            f'no speech model at {path}: run "callcenter models fetch vosk-model-small-cn-0.22" '
            "or set CALLCENTER_SPEECH_MODEL to a Vosk model directory"
        )
    if missing:
        raise ModelError(
            f"speech model {path} lacks {', '.join(missing)}: it was unpacked only in part, or is not a Vosk model; "
            'fetch it again ("callcenter models fetch")'
        )


def _missing(path: Path) -> list[str]:
    """Names of the files without which Vosk refuses or fails (SPEECH: am, graph, conf)."""
    missing = [name for name in ("am/final.mdl", "graph/words.txt", "conf/model.conf") if not _filled(path / name)]
    static = _filled(path / "graph/HCLG.fst")
    dynamic = _filled(path / "graph/HCLr.fst") and _filled(path / "graph/Gr.fst")
    if not static and not dynamic:
        missing.append("graph/HCLG.fst (or graph/HCLr.fst and graph/Gr.fst)")
    if not _filled(path / "conf/mfcc.conf") and not _filled(path / "conf/fbank.conf"):
        missing.append("conf/mfcc.conf (or conf/fbank.conf)")
    return missing


def _filled(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0


def _files(path: Path) -> Iterator[str]:
    for part in _PARTS:
        for file in (path / part).rglob("*"):
            if file.is_file():
                yield file.relative_to(path).as_posix()


def _read_card(path: Path) -> dict[str, Any] | None:
    file = path / CARD
    if not file.is_file():
        return None
    try:
        card = json.loads(file.read_text(encoding="utf-8"))
        entries = [(entry["sha256"], entry["bytes"]) for entry in card["files"].values()]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ModelError(f"{file} is not a model card ({type(error).__name__}: {error}): restore it") from error
    if not entries:
        raise ModelError(f"{file} vouches for no file: restore it, or delete it to use the model without a card")
    return dict(card)


def _verify_files(path: Path, card: dict[str, Any], stamps: Path | None) -> None:
    expected: dict[str, dict[str, Any]] = card["files"]
    present = set(_files(path))
    if surplus := sorted(present - expected.keys()):
        raise ModelError(f"speech model {path} holds {surplus[0]}, which its card does not know: remove it")
    stats: dict[str, list[int]] = {}
    for name, entry in expected.items():
        file = path / name
        if not file.is_file() or file.stat().st_size != entry["bytes"]:
            size = file.stat().st_size if file.is_file() else "no file"
            raise ModelError(
                f"speech model {path}: {name} has {size} bytes where the card says {entry['bytes']}: fetch it again"
            )
        stat = file.stat()
        stats[name] = [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]
    total = sum(entry["bytes"] for entry in expected.values())
    stamp = None
    if stamps is not None and total > _ALWAYS_HASH_BYTES:
        key = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:16]
        stamp = stamps / f"speech-model-{key}.json"
        facts = json.dumps({"files": stats, "card": expected}, sort_keys=True)
        if stamp.is_file() and stamp.read_text(encoding="utf-8") == facts:
            return
    for name, entry in expected.items():
        if (found := sha256_of(path / name)) != entry["sha256"]:
            raise ModelError(
                f"speech model {path}: {name} is damaged (SHA-256 {found[:16]}…, the card says "
                f"{entry['sha256'][:16]}…): fetch it again"
            )
    if stamp is not None:
        stamp.parent.mkdir(parents=True, exist_ok=True)
        stamp.write_text(facts, encoding="utf-8")


def _check_structure(path: Path) -> None:
    """What can be known of the files without Kaldi: enough to tell a web page or a half file from a model."""
    for name in ("graph/HCLG.fst", "graph/HCLr.fst", "graph/Gr.fst"):
        file = path / name
        if file.is_file():
            with file.open("rb") as stream:
                head = stream.read(4)
            if len(head) < 4 or struct.unpack("<i", head)[0] != _FST_MAGIC:
                raise ModelError(f"speech model {path}: {name} is not an OpenFst file: fetch it again")
    with (path / "am/final.mdl").open("rb") as stream:
        head = stream.read(2)
    if head not in (b"\0B", b"<T"):  # Kaldi's mark of a binary file, or the first token of a text one
        raise ModelError(f"speech model {path}: am/final.mdl is not a Kaldi model: fetch it again")


def _feature_rate(path: Path) -> tuple[int, bool]:
    """Sampling rate of the features and whether lower rates are taken. Kaldi's default rate is 16,000 Hz."""
    conf = path / "conf/mfcc.conf"
    if not conf.is_file():
        conf = path / "conf/fbank.conf"
    options: dict[str, str] = {}
    for line in conf.read_text(encoding="utf-8").splitlines():
        name, _, value = line.split("#")[0].strip().removeprefix("--").partition("=")
        options[name.strip()] = value.strip()
    try:
        rate = int(float(options.get("sample-frequency", "16000")))
    except ValueError as error:
        raise ModelError(f"{conf}: --sample-frequency={options['sample-frequency']} is not a rate") from error
    return rate, options.get("allow-upsample", "false") == "true"
