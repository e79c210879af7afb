"""Nothing native touches a model that is not what its card says."""

import json
import os
import shutil
from pathlib import Path

import pytest

from callcenter.speech.models import CARD, ModelError, examine, load_card, verify, write_card
from tests.speaking import SYNTHETIC

pytestmark = pytest.mark.unit


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SYNTHETIC, tmp_path / "model"))


def flip(path: Path, at: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1]))


def test_the_committed_model_is_whole_and_says_whose_voice_it_knows() -> None:
    model = examine(SYNTHETIC)
    assert model.carded
    assert model.knows_only_synthetic
    assert model.voices == ("espeak-ng cmn-latn-pinyin",)
    assert model.rate_for(8_000) == 8_000
    assert model.licence


@pytest.mark.parametrize(
    "name", ["am/final.mdl", "graph/HCLG.fst", "graph/words.txt", "conf/model.conf", "graph/phones/word_boundary.int"]
)
def test_one_changed_bit_is_refused(model: Path, name: str) -> None:
    flip(model / name, (model / name).stat().st_size // 2)
    with pytest.raises(ModelError, match=r"damaged.*fetch it again"):
        examine(model)


@pytest.mark.parametrize("name", ["am/final.mdl", "graph/HCLG.fst", "conf/mfcc.conf"])
def test_a_missing_or_cut_file_is_named(model: Path, name: str) -> None:
    size = (model / name).stat().st_size
    os.truncate(model / name, size - 1)
    with pytest.raises(ModelError, match=name):
        examine(model)
    (model / name).unlink()
    with pytest.raises(ModelError, match=name):
        examine(model)


def test_a_file_the_card_does_not_know_is_refused(model: Path) -> None:
    (model / "ivector").mkdir()
    (model / "ivector" / "final.ie").write_bytes(b"x")
    with pytest.raises(ModelError, match=r"ivector/final\.ie"):
        examine(model)


def test_no_model_at_all_says_what_to_do(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(ModelError, match="callcenter models fetch"):
            load_card(path)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"files": {}}', '{"files": {"a": 1}}', '{"files": {"a": {"bytes": 1}}}']
)
def test_a_broken_card_is_refused(model: Path, text: str) -> None:
    (model / CARD).write_text(text)
    with pytest.raises(ModelError, match=CARD):
        examine(model)


def test_without_a_card_it_is_taken_for_peoples_voices(model: Path) -> None:
    (model / CARD).unlink()
    found = examine(model)
    assert not found.carded
    assert not found.knows_only_synthetic


@pytest.mark.parametrize("name", ["am/final.mdl", "graph/HCLG.fst"])
def test_without_a_card_a_web_page_is_no_model(model: Path, name: str) -> None:
    (model / CARD).unlink()
    (model / name).write_text("<html>404</html>")
    with pytest.raises(ModelError, match=name):
        verify(model)


def test_a_model_that_cannot_take_8_khz_says_so(model: Path) -> None:
    conf = model / "conf" / "mfcc.conf"
    conf.write_text(conf.read_text().replace("8000", "16000"))
    (model / CARD).unlink()
    with pytest.raises(ModelError, match="allow-upsample"):
        load_card(model).rate_for(8_000)
    conf.write_text(conf.read_text() + "--allow-upsample=true\n")
    assert load_card(model).rate_for(8_000) == 8_000


def test_a_large_model_is_hashed_once_for_each_state_of_its_files(model: Path, tmp_path: Path) -> None:
    with (model / "graph" / "HCLG.fst").open("ab") as file:
        file.truncate(70 << 20)  # larger than what is hashed every time; sparse
    write_card(model, name="large")
    stamps = tmp_path / "run"
    verify(model, stamps=stamps)
    [stamp] = stamps.iterdir()
    card = json.loads((model / CARD).read_text())
    before = stamp.stat().st_mtime_ns
    verify(model, stamps=stamps)
    assert stamp.stat().st_mtime_ns == before, "hashed again without need"
    flip(model / "graph" / "HCLG.fst", 1_000)  # same size, another time of change
    with pytest.raises(ModelError, match="damaged"):
        verify(model, stamps=stamps)
    flip(model / "graph" / "HCLG.fst", 1_000)
    card["files"]["am/final.mdl"]["sha256"] = "0" * 64  # another card: what was verified says nothing about it
    (model / CARD).write_text(json.dumps(card))
    with pytest.raises(ModelError, match="damaged"):
        verify(model, stamps=stamps)
