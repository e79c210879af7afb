"""The table of a case's life: every state, step and post, what is refused and why, and who may not do two things."""

from dataclasses import replace
from datetime import timedelta
from itertools import product
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st

from callcenter.access.permissions import POSTS, STEPS_OF, TABLE, Permission, Role, permissions_of, posts_of
from callcenter.cases import events
from callcenter.cases.act_effects import EFFECTS
from callcenter.cases.judges import OF_UNITS
from callcenter.cases.life import CITIZEN, PHASES
from callcenter.cases.lifecycle import (
    OPEN,
    Action,
    Actor,
    Given,
    Move,
    Post,
    Refused,
    Side,
    Snapshot,
    decide,
    legal,
    side_of,
)
from callcenter.cases.lifecycle import TABLE as STEPS
from callcenter.cases.model import CLOSED, ENDED, STATES
from callcenter.clock import now

pytestmark = pytest.mark.unit

ROADS, PARKS, ACCUSED = uuid4(), uuid4(), uuid4()
AT = now()

WITH_UNIT = ("pending_handle", "handling")
OPEN_FILED = (
    "pending_dispatch",
    "pending_handle",
    "handling",
    "suspended",
    "pending_check",
    "checking",
    "pending_close",
)

LEADS_TO: dict[str, dict[str, set[str]]] = {
    "answer": {"reported": {"closed"}},
    "ask_verify": {
        "reported": {"pending_verify", "reported"},
        **{state: {state} for state in ("pending_filing", "pending_dispatch", *WITH_UNIT)},
    },
    "verify": {
        "pending_verify": {"pending_filing"},
        **{state: {state} for state in ("reported", "pending_filing", "pending_dispatch", *WITH_UNIT, "suspended")},
    },
    "file": {state: {"pending_dispatch"} for state in ("reported", "pending_filing")},
    "refuse": {state: {"not_accepted"} for state in ("reported", "pending_filing")},
    "cancel": {state: {"cancelled"} for state in ("reported", "pending_verify", "pending_filing", "pending_dispatch")},
    "self_handle": {state: {"closed"} for state in ("reported", "pending_verify")},
    "hand_over": {state: {"closed"} for state in ("reported", "pending_filing")},
    "dispatch": {"pending_dispatch": {"pending_handle"}},
    "designate": {"pending_dispatch": {"pending_handle"}},
    "return_to_filing": {"pending_dispatch": {"pending_filing"}},
    "sign": {"pending_handle": {"handling", "pending_handle"}, "handling": {"handling"}},
    "assign": {"handling": {"handling"}},
    "ask_return": {state: {state} for state in WITH_UNIT},
    "grant_return": {state: {"pending_dispatch"} for state in WITH_UNIT},
    "deny_return": {state: {state} for state in WITH_UNIT},
    "ask_extension": {"handling": {"handling"}},
    "grant_extension": {"handling": {"handling"}},
    "deny_extension": {"handling": {"handling"}},
    "ask_suspension": {"handling": {"handling"}},
    "grant_suspension": {"handling": {"suspended"}},
    "deny_suspension": {"handling": {"handling"}},
    "resume": {"suspended": {"handling"}},
    "report_done": {"handling": {"pending_check", "handling"}},
    "ask_check": {"pending_check": {"checking"}},
    "check": {"checking": {"pending_close", "pending_handle"}},
    "call_back": {"pending_close": {"pending_close"}},
    "close": {"pending_close": {"closed"}},
    "force_close": {state: {"closed"} for state in OPEN_FILED},
    "reopen": {"pending_close": {"pending_dispatch"}},
    "appeal": {"closed": {"closed"}},
    "judge_appeal": {"closed": {"closed"}},
    "confirm_appeal": {"closed": {"closed"}},
}
"""The transitions of DOMAIN.md §4 written a second time: what the table must say, and no more."""

MAY: dict[str, set[str]] = {
    "agent": {
        *("answer", "ask_verify", "file", "hand_over", "ask_check", "check", "call_back", "reopen"),
        "confirm_appeal",
    },
    "duty_chief": {
        *("answer", "ask_verify", "file", "refuse", "cancel", "hand_over", "designate", "grant_suspension"),
        *("deny_suspension", "ask_check", "call_back", "close", "force_close", "reopen", "confirm_appeal"),
    },
    "dispatcher": {
        *("dispatch", "return_to_filing", "grant_return", "deny_return", "grant_extension", "deny_extension"),
        *("grant_suspension", "deny_suspension", "resume", "judge_appeal"),
    },
    "collector": {"verify", "self_handle", "check"},
    "unit": {
        *("sign", "assign", "ask_return", "ask_extension", "ask_suspension", "resume", "report_done", "appeal"),
    },
    "inspector": set(),
    "leader": set(),
    "analyst": set(),
    "maintainer": set(),
    "volunteer": set(),
    "system": {"ask_verify", "file", "dispatch", "resume", "ask_check"},
}
"""Who may do what, written a second time."""


def actor(*posts: Post, unit: UUID | None = None, sides: set[Side] | None = None) -> Actor:
    return Actor(str(uuid4()), frozenset(posts), unit, frozenset(sides or ()))


READY = Snapshot(
    state="reported",
    has_category=True,
    mode="exempt",
    kind="part",
    level=1,
    lead=ROADS,
    orders=frozenset({ROADS, PARKS}),
    excluded=frozenset({ACCUSED}),
    checked=True,
    satisfaction="satisfied",
    verifying=True,
    asked=frozenset({"return", "extension", "suspension"}),
    suspension_until=AT + timedelta(days=1),
)
"""A case in which everything is open that can be, but for what excludes it."""
GIVES = Given(
    reason=True,
    text=True,
    knowledge=True,
    unit=ROADS,
    handler=uuid4(),
    result="exists",
    until=AT + timedelta(days=1),
    evidence_after=True,
    reached=True,
    satisfaction="satisfied",
    police_number=True,
    granted=True,
)


def ready_for(action: Action, state: str) -> Snapshot:
    """A case in ``state`` at which nothing but state and post can stop ``action``."""
    changes: dict[str, Any] = {"state": state}
    if action is Action.ANSWER:
        changes["disposition"] = "question"
    if action is Action.ASK_VERIFY:
        changes["verifying"] = False
    if action is Action.SIGN:
        changes["unsigned"] = frozenset({ROADS})
    if action is Action.DESIGNATE:
        changes["returns"] = 3
    if action in (Action.ASK_RETURN, Action.ASK_EXTENSION, Action.ASK_SUSPENSION):
        changes["asked"] = frozenset()
    if action is Action.APPEAL:
        changes["late"] = frozenset({ROADS})
    if action is Action.JUDGE_APPEAL:
        changes["appeal"] = "asked"
    if action is Action.CONFIRM_APPEAL:
        changes["appeal"] = "judged"
    return replace(READY, **changes)


def give(action: Action) -> Given:
    return replace(GIVES, result="passed") if action is Action.CHECK else GIVES


def decided(case: Snapshot, action: Action, who: Actor, what: Given) -> Move | Refused:
    """The move, or the refusal."""
    try:
        return decide(case, action, who, what, AT)
    except Refused as refused:
        return refused


def test_the_table_is_the_domains() -> None:
    assert {step.value: set(row.states) for step, row in STEPS.items()} == {
        step: set(states) for step, states in LEADS_TO.items()
    }
    assert {post: {step.value for step, row in STEPS.items() if post in row.posts} for post in Post} == MAY
    assert set(STEPS) == set(Action) == set(EFFECTS) == set(events.OF_STEP)


@pytest.mark.parametrize("action", list(Action))
def test_every_state_and_post_that_may_not_is_refused_with_a_reason_and_every_other_moves(action: Action) -> None:
    for state, post in product(STATES, Post):
        case, who = ready_for(action, state), actor(post, unit=ROADS if post is Post.UNIT else None)
        allowed = state in LEADS_TO[action] and action.value in MAY[post]
        if allowed:
            move = decide(case, action, who, give(action), AT)
            assert isinstance(move, Move)
            assert move.to_state in LEADS_TO[action][state]
            assert action in legal(case, who)
        else:
            with pytest.raises(Refused) as refused:
                decide(case, action, who, give(action), AT)
            assert len(refused.value.reason) > 5
            assert action not in refused.value.legal
            assert refused.value.legal == legal(case, who)
            assert action in str(refused.value)


@pytest.mark.parametrize("action", list(Action))
def test_who_has_acted_on_another_side_is_refused(action: Action) -> None:
    side = STEPS[action].side
    state = next(iter(LEADS_TO[action]))
    post = sorted(STEPS[action].posts - {Post.SYSTEM})[0]
    for other in Side:
        who = actor(post, unit=ROADS, sides={other})
        case = ready_for(action, state)
        if side is None or other is side:
            decide(case, action, who, give(action), AT)
            continue
        with pytest.raises(Refused, match=f"for {other}, and {side} is somebody else's"):
            decide(case, action, who, give(action), AT)
        assert action not in legal(case, who)


def test_supervision_command_and_handling_are_three() -> None:
    sides: dict[Side | None, set[str]] = {}
    for action, step in STEPS.items():
        sides.setdefault(step.side, set()).add(action.value)
    assert sides[Side.HANDLING] == MAY["unit"] - {"resume"}
    assert sides[Side.COMMAND] == (MAY["dispatcher"] - {"resume"}) | {"designate"}
    assert sides[None] == {"resume"}
    assert {"file", "verify", "check", "close", "answer", "confirm_appeal"} <= sides[Side.SUPERVISION]


@pytest.mark.parametrize(
    ("logged", "side"),
    [
        ("file", Side.SUPERVISION),
        ("filed", Side.SUPERVISION),
        ("confirmed", Side.SUPERVISION),
        ("corrected", Side.SUPERVISION),
        ("registered", Side.SUPERVISION),
        ("amended", Side.SUPERVISION),
        ("item_chosen", Side.SUPERVISION),
        ("dispatch", Side.COMMAND),
        ("item_commanded", Side.COMMAND),
        ("joint_ordered", Side.COMMAND),
        ("joint_ended", Side.COMMAND),
        ("sign", Side.HANDLING),
        ("resume", None),
        ("opened", None),
        ("words_added", None),
        ("no such step", None),
    ],
)
def test_what_is_logged_counts_on_a_side(logged: str, side: Side | None) -> None:
    assert side_of(logged) is side


@pytest.mark.parametrize(
    ("action", "state", "changes", "lacks", "reason"),
    [
        ("answer", "reported", {}, {"text": False, "knowledge": False}, "answer is needed"),
        ("answer", "reported", {"disposition": "case"}, {}, "only a question"),
        ("ask_verify", "reported", {"verified": "exists"}, {}, "has been verified"),
        ("ask_verify", "reported", {"verifying": True}, {}, "been asked to look"),
        ("verify", "pending_verify", {}, {"result": "perhaps"}, "none of exists"),
        ("verify", "pending_verify", {"verifying": False}, {}, "nobody has asked"),
        ("file", "reported", {"has_category": False}, {}, "no category"),
        ("file", "reported", {"mode": None}, {}, "not settled"),
        ("file", "reported", {"mode": "verify_first"}, {}, "verified first"),
        ("file", "reported", {"verified": "not_exists"}, {}, "found nothing"),
        ("file", "reported", {"verified": "cannot_tell"}, {}, "duty chief decides"),
        ("file", "reported", {"disposition": "question"}, {}, "question is not filed"),
        ("refuse", "reported", {}, {"reason": False}, "reason is needed"),
        ("cancel", "reported", {}, {"reason": False}, "reason is needed"),
        ("self_handle", "reported", {"level": 2}, {}, "small matter"),
        ("self_handle", "reported", {"has_category": False}, {}, "no category"),
        ("self_handle", "reported", {}, {"evidence_after": False}, "picture"),
        ("hand_over", "reported", {}, {"police_number": False}, "number"),
        ("dispatch", "pending_dispatch", {}, {"unit": None}, "unit that leads"),
        ("dispatch", "pending_dispatch", {}, {"assisting": (ROADS,)}, "named twice"),
        ("dispatch", "pending_dispatch", {}, {"unit": ACCUSED}, "complained about"),
        ("dispatch", "pending_dispatch", {}, {"assisting": (ACCUSED,)}, "complained about"),
        ("dispatch", "pending_dispatch", {"returns": 3}, {}, "duty chief designates"),
        ("designate", "pending_dispatch", {"returns": 2}, {}, "2 times"),
        ("return_to_filing", "pending_dispatch", {}, {"reason": False}, "reason"),
        ("sign", "pending_handle", {"unsigned": frozenset()}, {}, "has signed"),
        ("assign", "handling", {}, {"handler": None}, "person who handles"),
        ("assign", "handling", {"unsigned": frozenset({ROADS})}, {}, "not signed"),
        ("ask_return", "handling", {"designated": True}, {}, "designated"),
        ("ask_return", "handling", {"return_by": AT - timedelta(seconds=1)}, {}, "given back until"),
        ("ask_return", "handling", {}, {"reason": False}, "reason"),
        ("ask_return", "handling", {"lead": PARKS}, {}, "does not lead"),
        ("grant_return", "handling", {"asked": frozenset()}, {}, "nobody has asked for a return"),
        ("ask_extension", "handling", {"extensions": 2}, {}, "2 is the most"),
        ("ask_suspension", "handling", {"suspensions": 1}, {}, "1 is the most"),
        ("ask_suspension", "handling", {}, {"until": AT}, "lie ahead"),
        ("ask_suspension", "handling", {}, {"until": None}, "until when"),
        ("grant_extension", "handling", {"extended_until": AT}, {}, "would be over"),
        ("grant_suspension", "handling", {"suspension_until": AT}, {}, "is over"),
        ("deny_extension", "handling", {}, {"reason": False}, "reason"),
        ("report_done", "handling", {}, {"text": False}, "what was done"),
        ("report_done", "handling", {}, {"evidence_after": False}, "new picture"),
        ("report_done", "handling", {"orders": frozenset()}, {}, "no open order"),
        ("check", "checking", {}, {"result": None}, "neither passed nor failed"),
        ("check", "checking", {}, {"result": "failed", "reason": False}, "reason"),
        ("call_back", "pending_close", {}, {"reached": None}, "reached"),
        ("call_back", "pending_close", {}, {"satisfaction": None}, "what the citizen says"),
        ("close", "pending_close", {"checked": False}, {}, "nobody has checked"),
        ("close", "pending_close", {"satisfaction": "dissatisfied"}, {"reason": False}, "not satisfied"),
        ("close", "pending_close", {"satisfaction": None, "called_back": 2}, {}, "2 of 3 tries"),
        ("force_close", "handling", {}, {"reason": False}, "reason"),
        ("reopen", "pending_close", {}, {"reason": False}, "reason"),
        ("appeal", "closed", {"late": frozenset()}, {}, "missed no limit"),
        ("appeal", "closed", {"appeal": "asked"}, {}, "one a case"),
        ("judge_appeal", "closed", {}, {"granted": None}, "granted or not"),
    ],
)
def test_what_is_missing_is_named(
    action: str, state: str, changes: dict[str, Any], lacks: dict[str, Any], reason: str
) -> None:
    step = Action(action)
    who = actor(sorted(STEPS[step].posts - {Post.SYSTEM})[0], unit=ROADS)
    case = ready_for(step, state)
    decide(case, step, who, give(step), AT)  # with everything it goes
    with pytest.raises(Refused, match=reason):
        decide(replace(case, **changes), step, who, replace(give(step), **lacks), AT)


def test_a_social_matter_needs_no_picture_and_a_second_suspension_is_the_chiefs() -> None:
    unit = actor(Post.UNIT, unit=ROADS)
    social = replace(ready_for(Action.REPORT_DONE, "handling"), kind="social")
    assert decide(social, Action.REPORT_DONE, unit, replace(GIVES, evidence_after=False), AT)
    long = replace(ready_for(Action.GRANT_SUSPENSION, "handling"), suspension_until=AT + timedelta(days=31))
    with pytest.raises(Refused, match="duty chief"):
        decide(long, Action.GRANT_SUSPENSION, actor(Post.DISPATCHER), GIVES, AT)
    assert decide(long, Action.GRANT_SUSPENSION, actor(Post.DUTY_CHIEF), GIVES, AT).to_state == "suspended"


def test_an_appeal_is_decided_by_two() -> None:
    judge = actor(Post.AGENT)
    case = replace(ready_for(Action.CONFIRM_APPEAL, "closed"), appeal_judge=judge.id)
    with pytest.raises(Refused, match="two people"):
        decide(case, Action.CONFIRM_APPEAL, judge, GIVES, AT)
    assert decide(case, Action.CONFIRM_APPEAL, actor(Post.AGENT), GIVES, AT).to_state == CLOSED


@pytest.mark.parametrize("action", list(Action))
def test_what_ends_a_case_ends_every_limit(action: Action) -> None:
    for state in LEADS_TO[action]:
        for post in sorted(STEPS[action].posts):
            move = decide(ready_for(action, state), action, actor(post, unit=ROADS), give(action), AT)
            if move.to_state in ENDED and state not in ENDED:
                assert set(move.withdraw) | set(move.stop) >= set(PHASES)
                assert move.outcome is not None
            else:
                assert move.outcome is None
                assert CITIZEN not in (*move.stop, *move.withdraw, *move.pause), "the citizen's clock never stops"
                if move.to_state == "pending_handle" and state != "pending_handle":
                    assert set(move.start) >= set(OF_UNITS)


@for_all(
    action=st.sampled_from(Action),
    state=st.sampled_from(STATES),
    posts=st.frozensets(st.sampled_from(Post), max_size=4),
    sides=st.frozensets(st.sampled_from(Side), max_size=2),
    unit=st.sampled_from([None, ROADS, PARKS, ACCUSED]),
    case=st.builds(
        Snapshot,
        state=st.just("draft"),
        disposition=st.sampled_from(["case", "question", "none"]),
        has_category=st.booleans(),
        mode=st.sampled_from([None, "verify_first", "exempt", "dispatch_first"]),
        kind=st.sampled_from([None, "part", "event", "social"]),
        level=st.sampled_from([None, 1, 4]),
        verified=st.sampled_from([None, "exists", "not_exists", "cannot_tell"]),
        verifying=st.booleans(),
        checked=st.booleans(),
        lead=st.sampled_from([None, ROADS]),
        orders=st.frozensets(st.sampled_from([ROADS, PARKS])),
        unsigned=st.frozensets(st.sampled_from([ROADS, PARKS])),
        excluded=st.just(frozenset({ACCUSED})),
        asked=st.frozensets(st.sampled_from(["return", "extension", "suspension"])),
        returns=st.integers(0, 4),
        extensions=st.integers(0, 3),
        suspensions=st.integers(0, 2),
        late=st.frozensets(st.sampled_from([ROADS, PARKS])),
        appeal=st.sampled_from([None, "asked", "judged", "ended"]),
    ),
    what=st.builds(
        Given,
        reason=st.booleans(),
        text=st.booleans(),
        unit=st.sampled_from([None, ROADS, PARKS, ACCUSED]),
        assisting=st.sampled_from([(), (PARKS,), (ACCUSED,)]),
        result=st.sampled_from([None, "exists", "passed", "failed", "x"]),
        evidence_after=st.booleans(),
        granted=st.sampled_from([None, True, False]),
        reached=st.sampled_from([None, True, False]),
        satisfaction=st.sampled_from([None, "satisfied", "x"]),
    ),
)
def test_whatever_comes_the_answer_is_a_move_of_the_table_or_a_reason(
    action: Action,
    state: str,
    posts: frozenset[Post],
    sides: frozenset[Side],
    unit: UUID | None,
    case: Snapshot,
    what: Given,
) -> None:
    case, who = replace(case, state=state), Actor("x", posts, unit, sides)
    move = decided(case, action, who, what)
    if isinstance(move, Refused):
        assert move.reason
        assert action not in move.legal
        return
    assert move.to_state in LEADS_TO[action][state]
    assert action in legal(case, who)
    assert posts & STEPS[action].posts
    assert STEPS[action].side is None or sides <= {STEPS[action].side}
    if move.to_state == "pending_handle" and state == "pending_dispatch":
        assert ACCUSED not in {what.unit, *what.assisting}
    if action is Action.FILE:
        assert case.mode != "verify_first" or case.verified is not None, "no shortcut skips it"


# -- posts and permissions ---------------------------------------------------------------------------------------------


def test_every_post_but_the_machines_is_somebodys_role() -> None:
    assert set(POSTS.values()) == set(Post) - {Post.SYSTEM}
    assert len(set(POSTS.values())) == len(POSTS)
    assert posts_of(["agent", "unit", "nobody"]) == {Post.AGENT, Post.UNIT}
    assert posts_of(["admin", "auditor", "dispatcher"]) == frozenset()


def test_a_role_may_take_the_steps_of_its_post_and_no_others() -> None:
    step_permissions = set(STEPS_OF.values())
    for role in Role:
        post = POSTS.get(role)
        own = {STEPS_OF[post]} if post in STEPS_OF else set()
        assert TABLE[role] & step_permissions == own, role
        assert (Permission.CASES_ACT in TABLE[role]) == bool(own), role
    takes_steps = {post for step in STEPS.values() for post in step.posts} - {Post.SYSTEM}
    assert set(STEPS_OF) == takes_steps


def test_an_inspector_reads_everything_and_handles_nothing() -> None:
    reading = {Permission.CASES_READ, Permission.CASES_READ_DRAFTS, Permission.CASES_READ_EVIDENCE}
    may = permissions_of(["inspector"])
    assert reading <= may
    assert not may & {
        *STEPS_OF.values(),
        *(Permission.CASES_ACT, Permission.CASES_CONFIRM, Permission.CASES_REGISTER, Permission.CASES_ADD_EVIDENCE),
    }


def test_open_and_ended_are_all_there_is() -> None:
    assert OPEN | ENDED | {"draft"} == set(STATES)
    assert not OPEN & ENDED
