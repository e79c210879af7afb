"""What a desk shows, without browser or store: lists, the choice, live messages, what an agent's decision leads to."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.pages import words
from api.pages.categories import Categories
from api.pages.view import Changed, DeskView, runs, sound
from callcenter.calls.desk import CallCard, CaseCard, Said

pytestmark = pytest.mark.unit

NOON = datetime(2026, 11, 20, 4, tzinfo=UTC)
LIGHT = {"standard": "GB/T 30428.2-2013", "kind": "part", "code": "0137", "major": "公用设施", "minor": "路灯"}
COVER = {**LIGHT, "code": "0106", "minor": "路灯井盖"}


def case_card(call: UUID | None = None, minutes: int = 0, **more: Any) -> CaseCard:
    card = CaseCard(
        id=uuid4(),
        call=call,
        number="2026112000001",
        state="reported",
        disposition="case",
        domain="urban",
        category=LIGHT,
        decision="confirm",
        version=3,
        confirmed=False,
        confirmed_by=None,
        address=None,
        created_at=NOON + timedelta(minutes=minutes),
        completed_at=None,
    )
    return replace(card, **more)


def call_card(minutes: int = 0, **more: Any) -> CallCard:
    card = CallCard(
        id=uuid4(),
        number="138****5678",
        line="12319",
        state="live",
        rung_at=NOON + timedelta(minutes=minutes),
        answered_at=NOON + timedelta(minutes=minutes, seconds=2),
        ended_at=None,
        extension="",
        said=(),
        routing=None,
        case=None,
    )
    return replace(card, **more)


def heard(card: CallCard, leg: UUID, sequence: int, text: str) -> dict[str, Any]:
    return {
        "type": "utterance",
        "call": str(card.id),
        "leg": str(leg),
        "kind": "citizen",
        "sequence": sequence,
        "text": text,
        "confidence": 0.9,
    }


def test_live_calls_newest_first_then_what_waits_oldest_first() -> None:
    view = DeskView()
    calls = [call_card(n) for n in (1, 3, 2)]
    waiting = [case_card(minutes=n) for n in (5, 4)]
    view.load(calls, waiting)
    order = [str(calls[1].id), str(calls[2].id), str(calls[0].id), str(waiting[1].id), str(waiting[0].id)]
    assert view.order() == order
    assert view.selected == order[0]
    for _ in range(9):
        view.move(1)
    assert view.selected == order[-1]
    for _ in range(9):
        view.move(-1)
    assert view.selected == order[0]
    assert view.move(-1) is Changed.NOTHING


def test_moving_about_an_empty_desk_is_no_fault() -> None:
    view = DeskView()
    assert view.move(1) is view.move(-1) is view.select("nothing") is Changed.NOTHING
    assert view.current is None


def test_an_utterance_replaces_the_words_under_way_and_is_never_doubled() -> None:
    view, card, leg = DeskView(), call_card(), uuid4()
    view.load([card], [])
    entry = view.current
    assert entry is not None
    view.apply({"type": "partial", "call": str(card.id), "leg": str(leg), "kind": "citizen", "text": "路灯"}, at=NOON)
    assert list(entry.partials.values()) == [("citizen", "路灯")]
    changed = view.apply(heard(card, leg, 0, "路灯不亮"), NOON)
    assert Changed.WORDS in changed
    assert entry.partials == {}
    view.apply(heard(card, leg, 0, "路灯不亮"), NOON)
    view.apply(heard(card, leg, 1, "三天了"), NOON)
    assert [said.text for said in entry.said] == ["路灯不亮", "三天了"]


def test_reading_the_store_again_keeps_lines_in_their_places() -> None:
    view, card, citizen, agent = DeskView(), call_card(), uuid4(), uuid4()
    view.load([card], [])
    view.apply(heard(card, agent, 0, "您好"), NOON)
    view.apply(heard(card, citizen, 0, "你好"), NOON)
    stored = [
        Said(citizen, "citizen", 0, "你好", NOON - timedelta(seconds=5), 0.5, (("你好", 0.5),)),
        Said(agent, "agent", 0, "您好", NOON, 0.9),
        Said(citizen, "citizen", 1, "路灯", NOON + timedelta(seconds=1), 0.9),
    ]
    view.put(replace(card, said=tuple(stored)))
    entry = view.current
    assert entry is not None
    assert [said.text for said in entry.said] == ["您好", "你好", "路灯"]
    assert entry.said[1].words == (("你好", 0.5),)
    # Once the call is over its lines stand as they were said.
    view.put(replace(card, said=tuple(stored), state="ended", ended_at=NOON))
    assert [said.text for said in entry.said if said] == ["您好", "你好", "路灯"]
    assert [said.text for said in view.entries[str(card.id)].said] == ["你好", "您好", "路灯"]


def test_a_message_of_another_call_draws_at_most_the_lists() -> None:
    view, mine, other = DeskView(), call_card(2), call_card(1)
    view.load([mine, other], [])
    assert view.apply(heard(other, uuid4(), 0, "别的电话"), NOON) == Changed.LISTS


def test_the_agents_own_call_comes_to_the_front_and_nobody_elses() -> None:
    view, shown, answered = DeskView("101"), call_card(2), call_card(1)
    view.load([shown, answered], [])
    message = {"type": "call", "call": str(answered.id), "state": "talking", "extension": "102"}
    view.apply(message, NOON)
    assert view.selected == str(shown.id)
    assert view.apply({**message, "extension": "101"}, NOON) == Changed.ALL
    assert view.selected == str(answered.id)


def test_nobody_without_a_telephone_is_given_calls() -> None:
    view, shown, other = DeskView(""), call_card(2), call_card(1)
    view.load([shown, other], [])
    view.apply({"type": "call", "call": str(other.id), "state": "talking", "extension": ""}, NOON)
    assert view.selected == str(shown.id)


def test_an_ended_call_leaves_unless_it_is_being_looked_at_or_waits() -> None:
    view = DeskView()
    looked_at, gone, waits = call_card(3), call_card(2), call_card(1)
    view.load([looked_at, gone, waits], [])
    for card in (looked_at, gone, waits):
        view.apply({"type": "ended", "call": str(card.id)}, NOON)
    assert view.live == []
    filed = case_card(looked_at.id, state="pending_dispatch")
    view.put(replace(looked_at, state="ended", ended_at=NOON, case=filed))
    view.put(replace(gone, state="ended", ended_at=NOON))
    view.put(replace(waits, state="ended", ended_at=NOON, case=case_card(waits.id)))
    assert view.order() == [str(looked_at.id), str(waits.id)]
    view.move(1)
    assert view.order() == [str(waits.id)]


def test_after_a_decision_the_next_that_waits_is_chosen_and_the_last_stays() -> None:
    view = DeskView()
    cards = [case_card(minutes=n) for n in range(3)]
    view.load([], cards)
    view.select(str(cards[1].id))
    for now, then in ((1, 2), (2, 0), (0, 0)):
        entry = view.current
        assert entry is not None
        assert entry.key == str(cards[now].id)
        view.decided(entry, replace(cards[now], confirmed=True, state="pending_dispatch"))
        assert view.selected == str(cards[then].id)
    assert view.waiting == []


def test_deciding_about_a_live_call_stays_with_it() -> None:
    view, live = DeskView(), call_card(case=case_card(state="draft"))
    view.load([live], [case_card()])
    entry = view.current
    assert entry is not None
    assert entry.case is not None
    view.decided(entry, replace(entry.case, confirmed=True))
    assert view.selected == str(live.id)


def test_the_category_is_the_routers_until_it_is_settled() -> None:
    view = DeskView()
    card = call_card(routing={"category": COVER}, case=case_card(state="draft"))
    view.load([card], [])
    entry = view.current
    assert entry is not None
    assert entry.category == COVER
    before = entry.shown()
    entry.case = case_card(state="pending_dispatch")
    assert entry.category == LIGHT
    entry.case = case_card(state="draft", confirmed=True)
    assert entry.category == LIGHT
    assert entry.shown() != before


def test_what_is_shown_changes_when_there_is_something_to_look_at_and_only_then() -> None:
    view, card = DeskView(), call_card(case=case_card(state="draft"))
    view.load([card], [])
    entry = view.current
    assert entry is not None
    looks = []
    for routing in (
        {"category": LIGHT, "alternatives": [{"category": COVER}], "probability": 0.5},
        {"category": LIGHT, "alternatives": [{"category": COVER}], "probability": 0.9, "text": "more"},
        {"category": LIGHT, "alternatives": []},
        {"category": COVER, "alternatives": []},
    ):
        view.apply({"type": "routing", "call": str(card.id), "routing": routing}, NOON)
        looks.append(entry.shown())
    assert looks[0] == looks[1]
    assert len(set(looks)) == 3


def test_a_call_nobody_knows_is_shown_and_asked_for() -> None:
    view, card = DeskView(), call_card()
    view.apply(heard(card, uuid4(), 0, "喂"), NOON)
    assert view.unknown == {card.id}
    assert [entry.number for entry in view.live] == ["新来电"]
    view.unknown.clear()  # as the page does when it begins to read
    view.put(card)
    assert [entry.number for entry in view.live] == ["138****5678"]
    ended = call_card()
    view.apply({"type": "ended", "call": str(ended.id)}, NOON)
    assert view.unknown == {ended.id}
    assert len(view.entries) == 1


def test_a_reading_begun_before_a_routing_neither_hides_it_nor_the_need_to_read_again() -> None:
    """Seen once on a busy machine: an emergency was announced, then drawn over by what had been read before it."""
    view, card = DeskView(), call_card()
    view.load([card], [])
    view.unknown.clear()
    fire = {"category": LIGHT, "alternatives": [], "emergency": {"services": ["119"]}}
    view.apply({"type": "routing", "call": str(card.id), "sequence": 0, "routing": fire}, NOON)
    view.put(card)  # read while the router was still thinking
    entry = view.current
    assert entry is not None
    assert entry.emergency == ["119"]
    assert view.unknown == {card.id}
    over = {"category": LIGHT, "alternatives": [], "emergency": None}
    view.put(replace(card, routing=over, routed=1))
    assert entry is not view.current
    assert view.current is not None
    assert view.current.emergency == []
    view.apply({"type": "routing", "call": str(card.id), "sequence": 0, "routing": fire}, NOON)  # overtaken on its way
    assert view.current.emergency == []


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from(
    ["routing", "leg", "sequence", "text", "words", "confidence", "state", "extension", "kind", "category", "emergency"]
)


@given(
    st.sampled_from(["call", "partial", "utterance", "routing", "case", "ended", "resync", "?"]),
    st.dictionaries(FIELDS, JSON, max_size=6),
)
def test_no_message_whatever_is_in_it_breaks_the_page(kind: str, fields: dict[str, Any]) -> None:
    view, card = DeskView("101"), call_card()
    view.load([card], [])
    view.apply({"type": kind, "call": str(card.id), **fields}, NOON)
    view.apply({**fields, "type": kind}, NOON)
    for entry in view.entries.values():
        entry.shown()
        assert all(isinstance(one, str) for one in entry.emergency)
        assert "".join(text for said in entry.said for text, _ in runs(said)) == "".join(s.text for s in entry.said)


@given(st.dictionaries(st.sampled_from(["category", "alternatives", "reasons", "emergency"]), JSON))
def test_a_sound_routing_can_be_drawn(routing: dict[str, Any]) -> None:
    made = sound(routing)
    assert made["category"] is None or isinstance(made["category"], dict)
    assert all(isinstance(one["category"], dict) for one in made["alternatives"])
    assert sound(made) == made


@pytest.mark.parametrize(
    ("text", "heard_words", "expected"),
    [
        ("路灯不亮", (), [("路灯不亮", True)]),
        ("路灯不亮", (("路灯", 0.9), ("不亮", 0.9)), [("路灯不亮", False)]),
        ("路灯不亮", (("路灯", 0.9), ("不亮", 0.1)), [("路灯", False), ("不亮", True)]),
        ("路灯，不亮。", (("路灯", 0.1), ("不亮", 0.9)), [("路灯", True), ("，不亮。", False)]),
        ("路灯 不亮", (("路灯", 0.9), ("不亮", 0.9)), [("路灯 不亮", False)]),
        ("三十三号", (("33号", 0.9),), [("三十三号", True)]),
        ("路灯不亮", (("不亮", 0.9),), [("路灯不亮", True)]),
    ],
)
def test_pieces_of_an_utterance_add_up_to_it(
    text: str, heard_words: tuple[tuple[str, float], ...], expected: list[tuple[str, bool]]
) -> None:
    found = runs(Said(uuid4(), "citizen", 0, text, NOON, 0.2, heard_words))
    assert found == expected
    assert "".join(piece for piece, _ in found) == text


@pytest.mark.parametrize(
    ("typed", "first"),
    [
        ("路灯", "路灯"),
        ("ld", "路灯"),
        ("LUDENG", "路灯"),
        ("S0101", "婚姻家庭纠纷"),
        ("小广告", "非法小广告"),
        ("  井盖  污水 ", "污水井盖"),
        ("离婚", "婚姻家庭纠纷"),
    ],
)
def test_a_category_is_found_by_name_pinyin_code_and_everyday_words(typed: str, first: str) -> None:
    categories = Categories("GB/T 30428.2-2013")
    assert categories.search(typed)[0].category.minor == first
    assert categories.search("") == categories.search("   ") == categories.search("没有这个东西") == []
    found = categories.search(typed)[0]
    assert categories.of(found.category.to_json()) is found
    assert categories.of({"standard": "social"}) is None


def test_codes_without_words_are_shown_as_they_are() -> None:
    assert words.reason("no_place") == "没有说明地点"
    assert words.reason("something_new") == "something_new"
    assert words.name(words.CALL_STATES, None) == ""
