"""What the line says: the texts of ``dialplans/prompts.toml``, spoken by espeak-ng into files that Asterisk plays.

``scripts/setup`` renders them before the first call; the way of a call then only names them (``hotline/greeting``), and
a case number is told digit by digit from ``digits/0`` … ``digits/9``. The rendered set lies in
``<prompts_dir>/<digest of the texts>/`` and ``<prompts_dir>/current`` points at it, so that a changed text never mixes
with an old one and a playing file never vanishes.

Files are G.711 A-law, 8 kHz, without header (``.alaw``): what Chinese trunks speak, so that nothing is transcoded
during a call.
"""

import argparse
import hashlib
import io
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
import wave
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from callcenter.settings import REPOSITORY

RATE: Final = 8000
"""Samples a second of the telephone."""

RENDERING: Final = 1
"""Raised when the same text is to sound otherwise (levels, pauses), so that rendered sets are made again."""

PEAK: Final = 0.5
"""Loudest sample of a prompt, of full scale: −6 dBFS keeps clear of A-law's coarse top and of clipping on the way."""

LEAD_SECONDS: Final = 0.15
"""Silence before a prompt: the first packets after answering are often lost on the way to the telephone."""

WAITING_PAUSE_SECONDS: Final = 12.0
"""Quiet after each sentence that a waiting citizen hears."""

BEEP_HERTZ: Final = 1000.0
BEEP_SECONDS: Final = 0.35

SPEAK_SECONDS: Final = 30.0
"""No sentence takes espeak-ng a tenth of this."""

Samples = npt.NDArray[np.int16]


class PromptError(Exception):
    """A prompt cannot be read or spoken; the text names it and the mend."""


@dataclass(frozen=True, slots=True)
class Voice:
    """How espeak-ng speaks. ``variant`` such as ``+f3``; ``pitch`` 0–99."""

    name: str = "cmn-latn-pinyin"
    words_per_minute: int = 165
    pitch: int = 50
    variant: str = ""


@dataclass(frozen=True, slots=True)
class PromptTexts:
    """``dialplans/prompts.toml``, checked. Keys are file names without extension."""

    voice: Voice
    hotline: Mapping[str, str]
    waiting: Mapping[str, str]
    digits: Mapping[str, str]

    @property
    def digest(self) -> str:
        """Name of the rendered set: the same texts and voice give the same name."""
        parts = [f"{RENDERING} {self.voice}"]
        for group in (self.hotline, self.waiting, self.digits):
            parts += [f"{name}={text}" for name, text in sorted(group.items())]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def load_texts(dialplans_dir: Path) -> PromptTexts:
    """The texts under ``dialplans_dir``. Raises PromptError naming the file and what is wrong with it."""
    path = dialplans_dir / "prompts.toml"
    try:
        data = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise PromptError(
            f"no prompt texts at {path}: set CALLCENTER_DIALPLANS_DIR to the project's dialplans"
        ) from None
    except tomllib.TOMLDecodeError as error:
        raise PromptError(f"{path} is not TOML: {error}") from None
    groups: dict[str, dict[str, str]] = {}
    for group in ("hotline", "waiting", "digits"):
        texts = data.get(group)
        if not isinstance(texts, dict) or not texts:
            raise PromptError(f"{path}: section [{group}] is missing or empty")
        for name, text in texts.items():
            if not name.replace("-", "").isalnum() or not name.isascii():
                raise PromptError(f"{path}: {name!r} in [{group}] names a file: use letters, digits and '-'")
            if not isinstance(text, str) or not text.strip():
                raise PromptError(f"{path}: {name!r} in [{group}] has no text")
        groups[group] = texts
    missing = [digit for digit in "0123456789" if digit not in groups["digits"]]
    if missing:
        raise PromptError(f"{path}: section [digits] lacks {', '.join(missing)}")
    known = {"name", "words_per_minute", "pitch"}
    voice = data.get("voice", {})
    if set(voice) - known:
        raise PromptError(f"{path}: section [voice] knows {', '.join(sorted(known))}, not {sorted(set(voice) - known)}")
    return PromptTexts(Voice(**voice), groups["hotline"], groups["waiting"], groups["digits"])


# -- sound -------------------------------------------------------------------------------------------------------------


def to_alaw(pcm: Samples) -> bytes:
    """G.711 A-law of signed 16-bit samples, one byte a sample (ITU-T G.711, table 1; even bits inverted)."""
    magnitude = pcm.astype(np.int32) >> 3
    positive = magnitude >= 0
    magnitude = np.where(positive, magnitude, ~magnitude)
    # the segment is the position of the highest bit above the lowest five
    segment = np.zeros_like(magnitude)
    for bound in (0x1F, 0x3F, 0x7F, 0xFF, 0x1FF, 0x3FF, 0x7FF):
        segment += magnitude > bound
    shift = np.maximum(segment, 1)
    code = (segment << 4) | ((magnitude >> shift) & 0x0F)
    return (code ^ np.where(positive, 0xD5, 0x55)).astype(np.uint8).tobytes()


def from_alaw(data: bytes) -> Samples:
    """Signed 16-bit samples of G.711 A-law, one byte a sample."""
    code = np.frombuffer(data, np.uint8).astype(np.int32) ^ 0x55
    segment = (code & 0x70) >> 4
    magnitude = ((code & 0x0F) << 4) + 8
    magnitude = np.where(segment > 0, (magnitude + 0x100) << np.maximum(segment - 1, 0), magnitude)
    return np.where(code & 0x80, magnitude, -magnitude).astype(np.int16)


def silence(seconds: float) -> Samples:
    """``seconds`` of digital silence."""
    return np.zeros(round(seconds * RATE), np.int16)


def beep() -> Samples:
    """The tone after which the citizen speaks: soft edges, so that it does not click."""
    time = np.arange(round(BEEP_SECONDS * RATE)) / RATE
    edge = np.clip(np.minimum(time, BEEP_SECONDS - time) / 0.02, 0.0, 1.0)
    return (np.sin(2 * np.pi * BEEP_HERTZ * time) * edge * PEAK * 0.5 * 32767).astype(np.int16)


def speak(text: str, voice: Voice | None = None, *, peak: float = PEAK) -> Samples:
    """``text`` spoken by espeak-ng, as 8 kHz samples without the silence around it.

    Runs a program and filters sound: tens of milliseconds, so not on an event loop. Raises PromptError when espeak-ng
    is missing, fails, or says nothing.
    """
    from scipy.signal import resample_poly  # half a second to import; only rendering needs it

    voice = voice or Voice()
    command = ["espeak-ng", "-v", voice.name + voice.variant, "-s", str(voice.words_per_minute), "-p", str(voice.pitch)]
    try:
        done = subprocess.run(
            [*command, "--stdout", "--", text], capture_output=True, check=False, timeout=SPEAK_SECONDS
        )
    except FileNotFoundError:
        raise PromptError("espeak-ng is not installed: run scripts/setup, or apt-get install espeak-ng") from None
    except subprocess.TimeoutExpired:
        raise PromptError(f"espeak-ng did not finish a text of {len(text)} characters in {SPEAK_SECONDS} s") from None
    if done.returncode != 0 or not done.stdout:
        raise PromptError(f"espeak-ng failed ({done.returncode}): {done.stderr.decode(errors='replace').strip()[:200]}")
    # written to a pipe, the header's lengths are wrong; the samples run to the end of the output
    with wave.open(io.BytesIO(done.stdout)) as reader:
        rate, width, channels = reader.getframerate(), reader.getsampwidth(), reader.getnchannels()
    if (width, channels) != (2, 1):
        raise PromptError(f"espeak-ng gave {channels} channels of {width} bytes where one of 2 was expected")
    body = done.stdout[44 : 44 + (len(done.stdout) - 44) // 2 * 2]
    heard = resample_poly(np.frombuffer(body, "<i2").astype(np.float64), RATE, rate)
    voiced = np.flatnonzero(np.abs(heard) > 60)
    if not len(voiced):
        raise PromptError(f"espeak-ng voice {voice.name} says nothing for {text!r}")
    margin = RATE // 50
    heard = heard[max(0, int(voiced[0]) - margin) : int(voiced[-1]) + margin]
    scaled: Samples = np.clip(heard * (peak * 32767 / np.abs(heard).max()), -32768, 32767).astype(np.int16)
    return scaled


# -- the rendered set --------------------------------------------------------------------------------------------------


def current(prompts_dir: Path) -> Path:
    """The rendered set in force. Raises PromptError when there is none."""
    path = prompts_dir / "current"
    if not (path / "hotline" / "greeting.alaw").is_file():
        raise PromptError(f"no rendered prompts at {path}: run scripts/setup")
    return path.resolve()


def up_to_date(dialplans_dir: Path, prompts_dir: Path) -> bool:
    """Whether the set in force is that of the texts as they are now. Raises PromptError for faulty texts."""
    try:
        return current(prompts_dir).name == load_texts(dialplans_dir).digest
    except PromptError:
        load_texts(dialplans_dir)
        return False


def render(dialplans_dir: Path, prompts_dir: Path) -> Path:
    """Speak every text that the set in force lacks; returns the set's folder. Raises PromptError, OSError (disk)."""
    texts = load_texts(dialplans_dir)
    done = prompts_dir / texts.digest
    if not done.is_dir():
        _check_voice(texts.voice.name)
        prompts_dir.mkdir(parents=True, exist_ok=True)
        making = Path(tempfile.mkdtemp(prefix=".rendering-", dir=prompts_dir))
        try:
            _render_into(making, texts)
            making.chmod(0o755)
            try:
                making.rename(done)
            except OSError:
                if not done.is_dir():  # otherwise another setup was faster, with the same texts
                    raise
        finally:
            shutil.rmtree(making, ignore_errors=True)
    link = prompts_dir / f".current-{os.getpid()}"
    link.unlink(missing_ok=True)
    link.symlink_to(done.name)
    link.replace(prompts_dir / "current")
    return done


def _check_voice(name: str) -> None:
    """espeak-ng speaks an unknown voice's text in another one, without a word: ask it for its list first."""
    try:
        listed = subprocess.run(["espeak-ng", "--voices"], capture_output=True, text=True, check=False, timeout=30)
    except FileNotFoundError:
        raise PromptError("espeak-ng is not installed: run scripts/setup, or apt-get install espeak-ng") from None
    known = {line.split()[1] for line in listed.stdout.splitlines()[1:] if len(line.split()) > 1}
    if name not in known:
        raise PromptError(f"this espeak-ng has no voice {name!r}: set [voice] name in prompts.toml to one it lists")


def _render_into(folder: Path, texts: PromptTexts) -> None:
    lead = silence(LEAD_SECONDS)

    def write(name: str, parts: Iterable[Samples]) -> None:
        path = folder / f"{name}.alaw"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(to_alaw(np.concatenate(list(parts))))

    for name, text in texts.hotline.items():
        write(f"hotline/{name}", (lead, speak(text, texts.voice), lead))
    write("hotline/beep", (lead, beep(), silence(0.05)))
    for name, text in texts.waiting.items():
        write(f"hotline/waiting/{name}", (lead, speak(text, texts.voice), silence(WAITING_PAUSE_SECONDS)))
    for digit, text in texts.digits.items():
        write(f"digits/{digit}", (silence(0.04), speak(text, texts.voice), silence(0.12)))


@dataclass(frozen=True, slots=True)
class PromptSet:
    """The rendered prompts as the way of a call names them. ``root`` is what ``current`` gives."""

    root: Path
    names: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        found = (path.relative_to(self.root).with_suffix("").as_posix() for path in self.root.rglob("*.alaw"))
        object.__setattr__(self, "names", frozenset(found))

    def name(self, prompt: str) -> str:
        """Asterisk's name of ``prompt``: ``greeting`` → ``hotline/greeting``. Raises PromptError if not rendered."""
        name = f"hotline/{prompt}"
        if name not in self.names:
            raise PromptError(
                f"no prompt {prompt!r} in {self.root}: add it to dialplans/prompts.toml and run scripts/setup"
            )
        return name

    def seconds(self, name: str) -> float:
        """How long ``name`` (as Asterisk names it) plays. Raises PromptError if it was not rendered."""
        if name not in self.names:
            raise PromptError(f"no prompt {name!r} in {self.root}: run scripts/setup")
        return (self.root / f"{name}.alaw").stat().st_size / RATE

    def number(self, digits: str) -> list[str]:
        """Asterisk's names that tell ``digits`` one by one; other characters (``-``) are passed over."""
        return [f"digits/{digit}" for digit in digits if digit in "0123456789"]


def main(arguments: list[str] | None = None) -> int:
    """``python -m callcenter.telephony.prompts render|check``, for scripts/setup. 0: done; 1: out of date; 2: fault."""
    parser = argparse.ArgumentParser(prog="prompts", description="speak the prompts of dialplans/prompts.toml")
    parser.add_argument("what", choices=("render", "check"))
    parser.add_argument("--dialplans", type=Path, default=REPOSITORY / "dialplans")
    parser.add_argument("--out", type=Path, default=REPOSITORY / "var" / "prompts")
    asked = parser.parse_args(arguments)
    try:
        if asked.what == "check":
            return 0 if up_to_date(asked.dialplans, asked.out) else 1
        sys.stdout.write(f"{render(asked.dialplans, asked.out)}\n")
    except (PromptError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
