"""The arithmetic of evaluation: each indicator by its formula, what resists gaming, and that cells add up."""

from collections import Counter
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callcenter.cases.lifecycle import Action
from callcenter.insight.evaluation import tallies
from callcenter.insight.evaluation_facts import (
    Callback,
    Check,
    Facts,
    Limit,
    Order,
    Picture,
    Step,
)
from callcenter.insight.indicators import COUNTERS, COUNTS, INDICATORS, MEANS, mean, rates

pytestmark = pytest.mark.unit

T0 = datetime(2026, 11, 2, 1, 0, tzinfo=UTC)
"""A Monday, 09:00 in the city."""
UNIT, OTHER = UUID(int=1), UUID(int=2)
CHIEF, DISPATCHER, COLLECTOR = (str(UUID(int=n)) for n in (11, 12, 13))


def h(hours: float) -> datetime:
    return T0 + timedelta(hours=hours)


def step(action: str, before: str | None, after: str, hours: float, actor: str = CHIEF) -> Step:
    return Step(action, actor, before, after, h(hours))


def order(number: int, hours: float, unit: UUID = UNIT, **more: Any) -> Order:
    return Order(UUID(int=100 + number), unit, h(hours), DISPATCHER, **more)


def limit(phase: str, due: float, ended: float | None = None, met: bool | None = None, **more: Any) -> Limit:
    return Limit(phase, h(due), h(more.pop("moved", due)), None if ended is None else h(ended), met, **more)


TAKEN_IN = [
    step("opened", None, "draft", 0, "system"),
    step("completed", "draft", "reported", 0, "system"),
    step("file", "reported", "pending_dispatch", 1),
    step("dispatch", "pending_dispatch", "pending_handle", 2, DISPATCHER),
    step("sign", "pending_handle", "handling", 3),
]
FINISHED = [
    step("report_done", "handling", "pending_check", 20),
    step("ask_check", "pending_check", "checking", 20),
    step("check", "checking", "pending_close", 22, COLLECTOR),
    step("close", "pending_close", "closed", 30),
]
LIFE = Facts(
    case=UUID(int=7),
    source="phone",
    opened_at=T0,
    domain="urban",
    kind="part",
    category="GB/T 30428.2-2013|part|0101",
    steps=[*TAKEN_IN, *FINISHED],
    orders=[order(1, 2, outcome="done")],
    limits=[
        limit("citizen", 48, 30, True),
        limit("file", 2, 1, True),
        limit("dispatch", 3, 2, True),
        limit("sign", 10, 3, True, order=UUID(int=101)),
        limit("handle", 26, 20, True, order=UUID(int=101)),
        limit("check", 24, 22, True),
    ],
    checks=[Check("check", COLLECTOR, "passed")],
    pictures=[Picture(h(19), True)],
    callbacks=[Callback(h(29), True, "satisfied")],
)
"""A case by the book."""


def total(*lives: Facts) -> Counter[str]:
    found: Counter[str] = Counter()
    for facts in lives:
        for counts in tallies(facts).values():
            found.update(counts)
    return found


def shown(facts: Facts, code: str) -> tuple[int, int]:
    rate = rates(total(facts))[code]
    return rate.numerator, rate.denominator


# -- the table ---------------------------------------------------------------------------------------------------------


def test_the_table_names_every_indicator_once() -> None:
    assert len(INDICATORS) == 44
    assert len({one.code for one in INDICATORS}) == len({one.zh for one in INDICATORS}) == 44
    named = {one.zh for one in INDICATORS} | set(COUNTS.values())
    for wanted in (
        *("结案率", "结案率（扣缓办）", "按期结案率", "紧急问题结案率", "紧急问题按期结案率", "处置率", "按期处置率"),
        *(
            "按时立案率",
            "准确立案率",
            "按时派遣率",
            "准确派遣率",
            "按时核实率",
            "按时核查率",
            "有效上报率",
            "监督举报率",
        ),
        *("漏报率", "返工率", "推诿数", "延期数", "挂账数", "作废数", "立案数", "应结案数"),
        *("解决率", "主动发现率", "发现率", "办结率", "即办率", "首派准确率", "退件率", "复发率"),
    ):
        assert wanted in named
    assert all(one.formula_zh and one.formula_en and one.source for one in INDICATORS)
    used = {one for each in INDICATORS for one in (each.part, each.whole, each.part_less)} - {""}
    used |= {counter for each in INDICATORS for _, counter in each.left_out} | set(COUNTS)
    used |= {one for _, total_, number in MEANS.values() for one in (total_, number)}
    assert used <= set(COUNTERS)


def test_the_seeds_figures_come_out() -> None:
    found = rates(Counter(due=152_234, due_solved=140_150))["solved"]
    assert (found.numerator, found.denominator) == (140_150, 152_234)
    assert f"{found.value:.2%}" == "92.06%"
    proactive = rates(Counter(reported=263_223, reported_public=11_000))["proactive"]
    assert f"{proactive.value:.2%}" == "95.82%"


def test_nothing_of_nothing_has_no_rate() -> None:
    assert {one.value for one in rates(Counter()).values()} == {None}
    assert mean(Counter(), "handling_time") is None


# -- one case by the book ----------------------------------------------------------------------------------------------


def test_a_case_by_the_book_counts_in_full() -> None:
    full = (
        *("closing", "closing_on_time", "solved", "handling", "handling_on_time", "filing_on_time", "filing_accurate"),
        *("dispatch_on_time", "dispatch_accurate", "first_dispatch_accurate", "signing_on_time", "check_on_time"),
        *("proof", "callback", "reached", "satisfaction", "completion"),
    )
    for code in full:
        assert shown(LIFE, code) == (1, 1), code
    for code in (
        "rework",
        "returned",
        "evasion",
        "extension",
        "suspension",
        "forced",
        "recurrence",
        "yellow",
        "proactive",
    ):
        assert shown(LIFE, code) == (0, 1), code
    counts = total(LIFE)
    assert mean(counts, "handling_time") == 18 * 3600
    assert mean(counts, "closing_time") == 30 * 3600
    assert set(counts) <= set(COUNTERS)


def test_each_count_stands_on_its_own_day_and_with_whom_it_is() -> None:
    by = tallies(LIFE)
    found = {(w.day.day, w.unit != "", w.post, w.person): set(counts) for w, counts in by.items()}
    assert found[3, True, "duty_chief", CHIEF] >= {"closed"}
    assert found[2, True, "dispatcher", DISPATCHER] >= {"dispatched_on_time", "first_accurate"} - {"dispatched_on_time"}
    assert {"checked_on_time"} <= found[3, False, "collector", COLLECTOR]
    assert "due_on_time" in next(counts for (day, *_), counts in found.items() if "due" in counts and day == 4)
    assert all("handled" not in counts for (day, *_), counts in found.items() if day == 2)


def test_a_draft_and_words_without_a_matter_count_nothing() -> None:
    assert tallies(replace(LIFE, steps=LIFE.steps[:1])) == {}
    cancelled = [LIFE.steps[0], step("cancelled", "draft", "cancelled", 0, "system")]
    assert tallies(replace(LIFE, steps=cancelled)) == {}


# -- what resists gaming -----------------------------------------------------------------------------------------------


def test_an_extension_does_not_move_a_case_into_another_period() -> None:
    moved = limit("handle", 26, 70, True, order=UUID(int=101), moved=74, extended=1)
    facts = replace(LIFE, limits=[*LIFE.limits[:4], moved, LIFE.limits[5]])
    days = {w.day for w, counts in tallies(facts).items() if counts["handling_due"]}
    assert days == {date(2026, 11, 3)}
    assert shown(facts, "handling_on_time") == (1, 1)
    assert shown(facts, "extension") == (1, 1)


def test_a_suspended_case_leaves_only_the_denominators_that_say_so() -> None:
    held = replace(
        LIFE,
        steps=[*TAKEN_IN, step("grant_suspension", "handling", "suspended", 5, DISPATCHER)],
        limits=[limit("citizen", 48), limit("handle", 26, order=UUID(int=101))],
        orders=[order(1, 2)],
    )
    counts = total(held, LIFE)
    found = rates(counts)
    assert (found["closing"].numerator, found["closing"].denominator, found["closing"].exclusions) == (1, 2, {})
    less = found["closing_less_suspended"]
    assert (less.numerator, less.denominator, less.exclusions) == (1, 1, {"suspended": 1})
    assert (found["handling"].numerator, found["handling"].denominator) == (1, 2)
    assert counts["suspensions"] == 1
    resumed = replace(held, steps=[*held.steps, step("resume", "suspended", "handling", 90)])
    assert shown(resumed, "closing_less_suspended") == (0, 1)


def test_a_cancelled_case_stays_due() -> None:
    gone = replace(
        LIFE,
        steps=[*TAKEN_IN[:3], step("cancel", "pending_dispatch", "cancelled", 2)],
        limits=[limit("citizen", 48, 2), limit("dispatch", 3, 2)],
        orders=[],
    )
    assert shown(gone, "closing") == (0, 1)
    assert shown(gone, "solved") == (0, 1)
    assert shown(gone, "filing_accurate") == (0, 1)
    assert shown(gone, "completion") == (0, 1)
    dispatch = rates(total(gone))["dispatch_on_time"]
    assert (dispatch.denominator, dispatch.exclusions) == (0, {"withdrawn": 1})


def test_a_limit_that_was_over_when_it_was_withdrawn_was_missed() -> None:
    late = replace(LIFE, limits=[limit("dispatch", 3, 4)], orders=[])
    assert shown(late, "dispatch_on_time") == (0, 1)
    returned = replace(
        LIFE, orders=[order(1, 2, outcome="returned")], limits=[limit("handle", 26, 27, order=UUID(int=101))]
    )
    assert shown(returned, "handling") == (0, 1)
    in_time = replace(returned, limits=[limit("handle", 26, 5, order=UUID(int=101))])
    assert rates(total(in_time))["handling"].exclusions == {"returned": 1}
    assert shown(in_time, "returned") == (1, 1)


def test_a_forced_close_solves_nothing() -> None:
    forced = replace(LIFE, steps=[*TAKEN_IN, step("force_close", "handling", "closed", 30)],
                     limits=[limit("citizen", 48, 30, True), limit("handle", 26, 30, order=UUID(int=101))])  # fmt: skip
    assert shown(forced, "closing") == (1, 1)
    assert shown(forced, "solved") == (0, 1)
    assert shown(forced, "handling") == (0, 1)
    assert shown(forced, "forced") == (1, 1)


def test_rework_is_judged_over_all_its_rounds() -> None:
    again = [
        step("report_done", "handling", "pending_check", 20),
        step("check", "checking", "pending_handle", 22, COLLECTOR),
        step("report_done", "handling", "pending_check", 40),
        step("check", "checking", "pending_close", 42, COLLECTOR),
    ]
    facts = replace(
        LIFE,
        steps=[*TAKEN_IN, *again],
        orders=[order(1, 2, outcome="rework"), order(2, 22, outcome="done")],
        limits=[limit("handle", 26, 20, True, order=UUID(int=101)), limit("handle", 46, 40, True, order=UUID(int=102))],
    )
    assert shown(facts, "rework") == (1, 1)
    assert shown(facts, "handling_on_time") == (1, 1)  # one case, not two
    assert shown(facts, "first_dispatch_accurate") == (1, 1)  # the same unit again
    assert total(facts)["reworks"] == 1
    assert shown(facts, "proof") == (0, 1)  # the picture is of the first round
    first_late = replace(facts, limits=[replace(facts.limits[0], met=False, ended_at=h(28)), facts.limits[1]])
    assert shown(first_late, "handling_on_time") == (0, 1)


@pytest.mark.parametrize(
    ("pictures", "given_"),
    [
        ([Picture(h(19), True)], 1),
        ([Picture(h(19), False)], 0),  # another case had it before
        ([Picture(h(2), True)], 0),  # taken when the order was given
        ([Picture(None, True)], 0),
        ([], 0),
        ([Picture(h(1), True), Picture(h(3), True)], 1),
    ],
)
def test_a_reply_picture_is_new_and_taken_after_dispatch(pictures: list[Picture], given_: int) -> None:
    assert shown(replace(LIFE, pictures=pictures), "proof") == (given_, 1)
    assert shown(replace(LIFE, pictures=pictures, kind="social"), "proof") == (0, 0)


def test_a_granted_appeal_exempts_and_the_overtime_stays() -> None:
    late = replace(
        LIFE,
        limits=[limit("citizen", 25, 30, False), limit("handle", 10, 20, False, order=UUID(int=101))],
        appeal=(h(100), False),
    )
    granted = replace(late, appeal=(h(100), True))
    for facts, exempt in ((late, 0), (granted, 1)):
        found = rates(total(facts))
        for code in ("closing_on_time", "handling_on_time"):
            assert found[code].numerator == 0
            assert found[code].denominator == 1 - exempt
            assert found[code].exclusions["appeal_granted"] == exempt
        assert (found["closing_on_time_raw"].numerator, found["closing_on_time_raw"].denominator) == (0, 1)
        assert (found["overtime_raw"].numerator, found["overtime_raw"].denominator) == (1, 1)
        assert total(facts)["overtime_s"] == 10 * 3600
        assert (found["appeal_granted"].numerator, found["appeal_granted"].denominator) == (exempt, 1)
    # An appeal changes nothing for a case that was in time.
    assert shown(replace(LIFE, appeal=(h(100), True)), "closing_on_time") == (1, 1)


def test_what_is_handled_on_the_spot_is_counted_apart() -> None:
    trivia = replace(
        LIFE,
        source="grid",
        steps=[
            step("reported", None, "reported", 0, COLLECTOR),
            step("self_handle", "reported", "closed", 1, COLLECTOR),
        ],
        orders=[],
        limits=[limit("citizen", 48, 1, True)],
    )
    assert shown(trivia, "self_handling") == (1, 1)
    assert shown(trivia, "closing") == shown(trivia, "solved") == shown(trivia, "handling") == (0, 0)
    immediate = rates(total(trivia))["immediate"]
    assert (immediate.numerator, immediate.denominator, immediate.exclusions) == (0, 0, {"self_handled": 1})
    assert shown(trivia, "valid_report") == (1, 1)
    assert shown(trivia, "proactive") == (1, 1)


def test_a_second_unit_makes_the_first_dispatch_wrong() -> None:
    facts = replace(
        LIFE,
        orders=[order(1, 2, outcome="returned"), order(2, 6, OTHER, outcome="done")],
        limits=[
            limit("dispatch", 3, 2, True),
            limit("handle", 26, 5, order=UUID(int=101)),
            limit("handle", 30, 20, True, order=UUID(int=102)),
        ],
    )
    assert shown(facts, "first_dispatch_accurate") == (0, 1)
    assert shown(facts, "dispatch_accurate") == (0, 1)
    assert shown(facts, "dispatch_on_time") == (1, 1)
    assert shown(facts, "returned") == (1, 2)
    units = {w.unit: counts for w, counts in tallies(facts).items() if counts["handled"]}
    assert list(units) == [str(OTHER)]


def test_public_reports_and_what_patrols_missed() -> None:
    verified = replace(LIFE, checks=[Check("verify", COLLECTOR, "exists")])
    assert shown(verified, "public_report") == shown(verified, "missed") == (1, 1)
    assert shown(replace(verified, source="patrol"), "missed") == (0, 1)
    assert shown(replace(verified, source="patrol"), "discovery") == (1, 1)
    assert shown(replace(verified, kind="social"), "missed") == (0, 1)


# -- random lives ------------------------------------------------------------------------------------------------------

ACTIONS = [one.value for one in Action]
STATES = ["reported", "pending_filing", "pending_dispatch", "pending_handle", "handling", "suspended", "pending_check"]


@st.composite
def lives(draw: st.DrawFn) -> Facts:
    states = ["draft", "reported", *draw(st.lists(st.sampled_from([*STATES, "checking", "pending_close"]), max_size=8))]
    if draw(st.booleans()):
        states.append(draw(st.sampled_from(["closed", "cancelled", "not_accepted"])))
    steps = [step("opened", None, "draft", 0)]
    for n, (before, after) in enumerate(pairwise(states)):
        steps.append(step(draw(st.sampled_from(ACTIONS)), before, after, n * 5))
    orders = []
    for n in range(draw(st.integers(0, 4))):
        outcome = draw(st.sampled_from(["done", "rework", "returned", None]))
        orders.append(order(n, n * 7, draw(st.sampled_from([UNIT, OTHER])), outcome=outcome))
    limits = []
    for n in range(draw(st.integers(0, 8))):
        phase = draw(st.sampled_from(["citizen", "file", "dispatch", "sign", "handle", "verify", "check"]))
        due, ended = draw(st.integers(1, 60)), draw(st.one_of(st.none(), st.integers(1, 90)))
        met = None if ended is None or draw(st.booleans()) else ended <= due
        whose = draw(st.sampled_from(orders)).id if orders and phase in ("handle", "sign") else None
        limits.append(limit(phase, due, ended, met, order=whose, extended=n % 2, urgent=n % 3 == 0))
    appeal = draw(st.one_of(st.none(), st.booleans()))
    return replace(
        LIFE,
        steps=steps,
        orders=orders,
        limits=limits,
        appeal=None if appeal is None else (h(200), appeal),
        source=draw(st.sampled_from(["phone", "grid", "video"])),
    )


@given(lives())
def test_no_life_makes_a_rate_leave_zero_to_one(facts: Facts) -> None:
    counts = total(facts)
    assert set(counts) <= set(COUNTERS)
    assert all(n > 0 for n in counts.values())
    for code, rate in rates(counts).items():
        assert 0 <= rate.numerator <= rate.denominator, code
        assert all(n >= 0 for n in rate.exclusions.values())
