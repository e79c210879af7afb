"""The moments of a call: what a later mark changes, and the parts between them."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callcenter.calls import timeline

pytestmark = pytest.mark.unit

START = datetime(2026, 11, 20, 9, 30, tzinfo=UTC)
MARKS = st.dictionaries(
    st.sampled_from(timeline.MARKS), st.integers(0, 600).map(lambda seconds: START + timedelta(seconds=seconds))
)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def test_the_first_value_stays() -> None:
    assert timeline.merged({timeline.RUNG: at(0)}, {timeline.RUNG: at(9)}) == {timeline.RUNG: at(0)}


@pytest.mark.parametrize("name", sorted(timeline.LAST_WINS))
def test_marks_that_a_later_utterance_moves_take_the_later_one(name: str) -> None:
    assert timeline.merged({name: at(3)}, {name: at(9)}) == {name: at(9)}
    assert timeline.merged({name: at(9)}, {name: at(3)}) == {name: at(9)}


def test_an_unknown_mark_is_named() -> None:
    with pytest.raises(ValueError, match=r"'lunch'.*one of rung, answered"):
        timeline.merged({}, {"lunch": at(0)})


@given(MARKS, MARKS)
def test_merging_again_changes_nothing_and_the_old_is_not_touched(
    old: dict[str, datetime], new: dict[str, datetime]
) -> None:
    before = dict(old)
    once = timeline.merged(old, new)
    assert old == before
    assert timeline.merged(once, new) == once
    assert set(once) == set(old) | set(new)


@given(MARKS, MARKS)
def test_moving_marks_do_not_mind_the_order(one: dict[str, datetime], other: dict[str, datetime]) -> None:
    one = {name: moment for name, moment in one.items() if name in timeline.LAST_WINS}
    other = {name: moment for name, moment in other.items() if name in timeline.LAST_WINS}
    assert timeline.merged(one, other) == timeline.merged(other, one)


def test_the_parts_of_a_call() -> None:
    found = timeline.spans(
        {
            timeline.RUNG: at(0),
            timeline.ANSWERED: at(1),
            timeline.LAST_VOICED: at(10),
            timeline.END_DECIDED: at(12),
            timeline.STORED: at(12.25),
        }
    )
    assert found == {
        "rung_to_answered": 1.0,
        "last_voiced_to_end_decided": 2.0,
        "end_decided_to_stored": 0.25,
        "last_voiced_to_stored": 2.25,
    }


@given(MARKS)
def test_no_part_is_negative(marks: dict[str, datetime]) -> None:
    assert all(seconds >= 0 for seconds in timeline.spans(marks).values())


def test_parts_out_of_order_are_left_out() -> None:
    assert timeline.spans({timeline.STORED: at(5), timeline.PULLED: at(4)}) == {}
