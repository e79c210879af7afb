"""What the dialplan tells the bridge is text that a caller may have had a hand in."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callcenter.calls.line import Incoming

pytestmark = pytest.mark.unit

CALL = "6a1f9a38-8c4b-4b0e-9c39-0c9a52a1b0aa"
GOOD = [CALL, "12319", "13800000001", "1795211304.395", "1795211304.397", f"20261120/{CALL}.wav", "1795211304.0"]


def test_a_call_as_the_dialplan_names_it() -> None:
    incoming = Incoming.parse(GOOD)
    assert incoming.call == UUID(CALL)
    assert incoming.rung_at < incoming.answered_at
    assert incoming.answered_at.utcoffset() is not None


@pytest.mark.parametrize(
    ("index", "value"),
    [(0, "nobody"), (1, "12319;x"), (2, "138\r\nX: 1"), (2, "<script>"), (3, "yesterday"), (3, "1e400"), (4, "")],
)
def test_what_is_not_a_call_is_refused_without_being_quoted(index: int, value: str) -> None:
    args = list(GOOD)
    args[index] = value
    with pytest.raises(ValueError, match=r"argument|not what the dialplan sends") as refused:
        Incoming.parse(args)
    assert not value or value not in str(refused.value)


@given(st.lists(st.text(max_size=40), max_size=9))
def test_any_arguments_are_a_call_or_a_value_error(args: list[str]) -> None:
    try:
        incoming = Incoming.parse(args)
    except ValueError:
        return
    assert not incoming.number.strip("0123456789+")
