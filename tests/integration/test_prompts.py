"""What the line says: espeak-ng for real, the A-law of the standard, and rendered sets that never mix."""

import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from callcenter.settings import REPOSITORY
from callcenter.telephony import prompts
from callcenter.telephony.prompts import PromptError, PromptSet, from_alaw, load_texts, speak, to_alaw

pytestmark = pytest.mark.integration

DIALPLANS = REPOSITORY / "dialplans"

TEXTS = """
[voice]
name = "cmn-latn-pinyin"
[hotline]
greeting = "{greeting}"
[waiting]
waiting-1 = "请稍候。"
[digits]
0 = "零"
1 = "幺"
2 = "二"
3 = "三"
4 = "四"
5 = "五"
6 = "六"
7 = "七"
8 = "八"
9 = "九"
"""


def dialplans(folder: Path, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "prompts.toml").write_text(text, "utf-8")
    return folder


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("prompts")
    prompts.render(DIALPLANS, out)
    return out


def test_a_law_is_that_of_the_standard() -> None:
    every = np.arange(-32768, 32768).astype(np.int16)
    if sys.version_info < (3, 13):  # the reference implementation left the standard library then
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            import audioop
        assert to_alaw(every) == audioop.lin2alaw(every.tobytes(), 2)
        assert from_alaw(bytes(range(256))).tobytes() == audioop.alaw2lin(bytes(range(256)), 2)
    # ITU-T G.711: zero is 0xD5, and what was decoded encodes to the same byte
    assert to_alaw(np.zeros(2, np.int16)) == b"\xd5\xd5"
    assert to_alaw(from_alaw(bytes(range(256)))) == bytes(range(256))
    # an error of at most half a step: 1/32 of the value, 16 near zero
    error = np.abs(from_alaw(to_alaw(every)).astype(int) - every.astype(int))
    assert (error <= np.maximum(16, np.abs(every.astype(int)) / 32 + 1)).all()


def test_every_prompt_is_speech_of_a_sensible_length_and_level(rendered: Path) -> None:
    found = PromptSet(prompts.current(rendered))
    texts = load_texts(DIALPLANS)
    spoken = {f"hotline/{name}": text for name, text in texts.hotline.items()}
    spoken |= {f"digits/{digit}": text for digit, text in texts.digits.items()}
    spoken |= {f"hotline/waiting/{name}": text for name, text in texts.waiting.items()}
    assert found.names == set(spoken) | {"hotline/beep"}
    for name, text in spoken.items():
        sound = from_alaw((found.root / f"{name}.alaw").read_bytes())
        voiced = np.flatnonzero(np.abs(sound.astype(int)) > 200)
        seconds = (voiced[-1] - voiced[0]) / prompts.RATE
        assert 0.09 * len(text) < seconds < 0.6 * len(text) + 0.5, name
        assert 10000 < np.abs(sound.astype(int)).max() < 17500, name


def test_the_greeting_is_short_and_says_that_the_call_is_recorded() -> None:
    greeting = load_texts(DIALPLANS).hotline["greeting"]
    assert "录音" in greeting
    assert len(greeting) < 40


def test_names_are_asterisk_s(rendered: Path) -> None:
    found = PromptSet(prompts.current(rendered))
    assert found.name("greeting") == "hotline/greeting"
    assert found.number("2026-019") == [f"digits/{digit}" for digit in "2026019"]
    assert 3 < found.seconds("hotline/greeting") < 9
    with pytest.raises(PromptError, match="no prompt 'greting'"):
        found.name("greting")


def test_rendering_again_does_nothing_and_a_changed_text_makes_a_new_set(tmp_path: Path) -> None:
    source = dialplans(tmp_path / "dialplans", TEXTS.format(greeting="您好。"))
    out = tmp_path / "prompts"
    first = prompts.render(source, out)
    stamp = (first / "hotline/greeting.alaw").stat().st_mtime_ns
    assert prompts.render(source, out) == first
    assert (first / "hotline/greeting.alaw").stat().st_mtime_ns == stamp
    assert prompts.up_to_date(source, out)

    dialplans(source, TEXTS.format(greeting="早上好。"))
    assert not prompts.up_to_date(source, out)
    second = prompts.render(source, out)
    assert second != first
    assert prompts.current(out) == second
    assert (first / "hotline/greeting.alaw").is_file()  # a call may be playing it
    assert not list(out.glob(".rendering-*"))


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[hotline", "not TOML"),
        ('[hotline]\ngreeting = "x"', r"\[waiting\] is missing"),
        (TEXTS.format(greeting="  "), "'greeting' in .hotline. has no text"),
        (TEXTS.format(greeting="x").replace('9 = "九"', ""), "lacks 9"),
        (TEXTS.format(greeting="x").replace("waiting-1", '"../x"'), "names a file"),
        (TEXTS.format(greeting="x").replace("name =", "nmae ="), "nmae"),
    ],
)
def test_faulty_texts_are_named(tmp_path: Path, text: str, fault: str) -> None:
    with pytest.raises(PromptError, match=fault):
        load_texts(dialplans(tmp_path / "dialplans", text))


def test_what_cannot_be_spoken_is_an_error_and_leaves_the_old_set(tmp_path: Path) -> None:
    source = dialplans(tmp_path / "dialplans", TEXTS.format(greeting="您好。"))
    out = tmp_path / "prompts"
    first = prompts.render(source, out)
    dialplans(source, TEXTS.format(greeting="。。。"))
    with pytest.raises(PromptError, match="says nothing"):
        prompts.render(source, out)
    assert prompts.current(out) == first
    assert not list(out.glob(".rendering-*"))
    dialplans(source, TEXTS.format(greeting="您好。").replace("cmn-latn-pinyin", "no-such-voice"))
    with pytest.raises(PromptError, match="no voice 'no-such-voice'"):
        prompts.render(source, out)
    assert prompts.current(out) == first


def test_text_that_looks_like_an_option_is_spoken() -> None:
    assert len(speak("-v 您好")) > 1000


def test_without_prompts_the_mend_is_named(tmp_path: Path) -> None:
    with pytest.raises(PromptError, match="run scripts/setup"):
        prompts.current(tmp_path)


def test_the_command_line_tells_up_to_date_from_not(tmp_path: Path) -> None:
    source = dialplans(tmp_path / "dialplans", TEXTS.format(greeting="您好。"))
    command = [sys.executable, "-m", "callcenter.telephony.prompts"]
    places = ["--dialplans", str(source), "--out", str(tmp_path / "prompts")]
    assert subprocess.run([*command, "check", *places], check=False).returncode == 1
    assert subprocess.run([*command, "render", *places], check=False, capture_output=True).returncode == 0
    assert subprocess.run([*command, "check", *places], check=False).returncode == 0
    broken = subprocess.run(
        [*command, "render", "--dialplans", str(tmp_path / "none")], check=False, capture_output=True, text=True
    )
    assert broken.returncode == 2
    assert "no prompt texts at" in broken.stderr
