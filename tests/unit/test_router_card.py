"""The shipped version's card is what training gives, and a supervisor can read it."""

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from classifier import card, corpus, training
from classifier.registry import Registry

pytestmark = pytest.mark.unit

REGISTRY = Registry()
VERSION = REGISTRY.promoted() or ""
CARD = REGISTRY.card(VERSION)
FOLDER: Path = REGISTRY.folder / VERSION


def test_the_shipped_weights_are_right_as_often_as_their_card_says() -> None:
    """On calls they have not seen; the fit of the held-back part again, minutes long, is ``scripts/bench/refit``."""
    _, model = REGISTRY.load(VERSION)
    assert training.unseen_shares(model) == CARD["figures"]["clean"]["raw"]
    assert len(corpus.load()) == CARD["counts"]["rows"] - CARD["counts"]["added_rows"]


def test_the_card_for_people_holds_the_figures_of_the_card_for_programs() -> None:
    text = (FOLDER / card.README).read_text(encoding="utf-8")
    clean = CARD["figures"]["clean"]
    for part in (clean["domain"], clean["category"], clean["category"]["top3"]):
        assert f"{part['accuracy']:.1%}" in text
        assert f"{part['interval'][0]:.1%}–{part['interval'][1]:.1%}" in text
    assert str(CARD["counts"]["rows"]) in text
    for picture in re.findall(r"\]\((.+?)\)", text):
        assert (FOLDER / picture).is_file()
    assert card.files(VERSION, CARD)[card.README] == text


def test_the_pictures_are_drawings_of_the_figures() -> None:
    clean, hard = CARD["figures"]["clean"], CARD["figures"]["hard"]
    svg = "{http://www.w3.org/2000/svg}"
    confusion = ElementTree.fromstring((FOLDER / card.CONFUSION).read_text(encoding="utf-8"))  # noqa: S314 - our own
    titles = [title.text or "" for title in confusion.iter(f"{svg}title")]
    assert len(titles) == len(hard["majors"]) ** 2
    assert sum(int(title.rsplit("：", 1)[1]) for title in titles) == hard["category"]["n"]
    risk = ElementTree.fromstring((FOLDER / card.RISK).read_text(encoding="utf-8"))  # noqa: S314 - our own
    (line,) = risk.iter(f"{svg}polyline")
    assert len(line.attrib["points"].split()) == len(clean["risk"])


def test_risk_and_coverage_agree_with_accuracy() -> None:
    clean = CARD["figures"]["clean"]
    probability, share, wrong = clean["risk"][-1]
    assert share == 1.0
    assert wrong == pytest.approx(1 - clean["category"]["accuracy"], abs=1e-3)
    assert [step[0] for step in clean["risk"]] == sorted((step[0] for step in clean["risk"]), reverse=True)
    assert probability >= 0


def test_a_version_is_small_enough_to_ship() -> None:
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) <= 25_000_000
