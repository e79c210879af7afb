"""What one case contributes to the figures of evaluation. Pure: from the facts of its log, orders, limits and their
times to counts by day and by whose doing it was; no clock, no store, nothing that anybody types in.

The same facts give the same tallies, whenever they are counted. A limit counts on the day it first fell due: neither
an extension nor a pause moves a case out of the period that it was promised for. A limit that was withdrawn before it
fell due is left out and shown; one withdrawn afterwards was missed. Seconds are seconds on the clock.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Final, NamedTuple
from uuid import UUID

from callcenter.cases.life import CHECK, CITIZEN, DISPATCH, FILE, HANDLE, LEAD, SIGN, VERIFY
from callcenter.cases.lifecycle import Action, Post
from callcenter.cases.model import (
    CANCELLED,
    CHECKING,
    DRAFT,
    ENDED,
    NOT_ACCEPTED,
    PENDING_DISPATCH,
    PENDING_HANDLE,
    SUSPENDED,
    SYSTEM,
)
from callcenter.clock import local
from callcenter.insight.evaluation_facts import COLLECTED, PROACTIVE, Facts, Limit, Order, Step, closed_at

AT_ONCE: Final = timedelta(hours=24)
"""Closed within it: 即办."""
REWORKS_THAT_COST_MORE: Final = 3

_FILES = frozenset({Action.FILE.value, "filed"})
_DISPATCHES = frozenset({Action.DISPATCH.value, Action.DESIGNATE.value})
POST_OF: Final = {
    **dict.fromkeys((Action.FILE, Action.REFUSE, Action.CANCEL, Action.CLOSE, Action.FORCE_CLOSE), Post.DUTY_CHIEF),
    **dict.fromkeys((Action.DISPATCH, Action.GRANT_RETURN, Action.GRANT_EXTENSION), Post.DISPATCHER),
    **dict.fromkeys((Action.VERIFY, Action.CHECK, Action.SELF_HANDLE), Post.COLLECTOR),
    Action.DESIGNATE: Post.DUTY_CHIEF,
}
"""The post a step is of where its log row does not name one (``detail.post``)."""
_POSTS: Final = {action.value: post.value for action, post in POST_OF.items()}


class Whose(NamedTuple):
    """What a count is attributed to besides the case's place and category; empty: to nobody."""

    day: date
    unit: str = ""
    post: str = ""
    person: str = ""


@dataclass(slots=True)
class Tallies:
    """What a case contributes."""

    by: dict[Whose, Counter[str]] = field(default_factory=dict)

    def add(self, at: datetime, counters: Iterable[str], *, unit: UUID | None = None, post: str = "", person: str = "",
            ) -> None:  # fmt: skip
        """One more of each of ``counters`` on the day of ``at``."""
        self._of(at, unit, post, person).update(counters)

    def add_s(self, at: datetime, counter: str, seconds: float, unit: UUID | None = None) -> None:
        """Whole seconds, none below zero."""
        self._of(at, unit, "", "")[counter] += max(0, int(seconds))

    def _of(self, at: datetime, unit: UUID | None, post: str, person: str) -> Counter[str]:
        whose = Whose(local(at).date(), str(unit) if unit else "", post, person)
        return self.by.setdefault(whose, Counter())


@dataclass(slots=True)
class Commission:
    """A case given to one unit, until it goes to another or is given back: the first order and its reworks."""

    orders: list[Order]
    limits: list[Limit]
    until: datetime | None = None
    """When the next unit had it."""

    @property
    def unit(self) -> UUID:
        """Whose it is."""
        return self.orders[0].unit

    def has(self, at: datetime) -> bool:
        """Whether it was this unit's case then."""
        return self.orders[0].issued_at <= at and (self.until is None or at < self.until)

    @property
    def returned(self) -> bool:
        """Given back with consent."""
        return self.orders[-1].outcome == "returned"


def recurrence(facts: Facts) -> tuple[Whose, Counter[str]] | None:
    """What the case adds if its matter comes back: to the unit that had it, on the day it was closed."""
    end = closed_at(facts)
    if end is None:
        return None
    unit = next((one.unit for one in reversed(facts.orders) if one.part == LEAD), None)
    return Whose(local(end).date(), str(unit) if unit else ""), Counter({"recurred": 1})


def tallies(facts: Facts) -> dict[Whose, Counter[str]]:
    """What the case contributes, but for its recurrence. Nothing for a draft, or for words without a matter."""
    steps = facts.steps
    begun = next((one for one in steps if one.to_state not in (DRAFT, CANCELLED)), None)
    if begun is None:
        return {}
    view = _View(facts, begun)
    view.reporting()
    view.filing()
    view.closing()
    view.due()
    view.handling()
    view.phases()
    view.events()
    return {whose: +counts for whose, counts in view.out.by.items() if +counts}


def _detail_post(step: Step) -> str:
    if step.actor == SYSTEM:
        return Post.SYSTEM.value
    return step.post or _POSTS.get(step.action, Post.AGENT.value)


def commissions(facts: Facts) -> list[Commission]:
    """The lead orders of a case, those to one unit in a row together; a return begins a new one."""
    found: list[Commission] = []
    for order in (one for one in facts.orders if one.part == LEAD):
        if not found or found[-1].unit != order.unit or found[-1].returned:
            if found:
                found[-1].until = order.issued_at
            found.append(Commission([], []))
        found[-1].orders.append(order)
        found[-1].limits.extend(one for one in facts.limits if one.order == order.id and one.phase == HANDLE)
    return found


class _View:
    """The facts of one case with what several counts need."""

    def __init__(self, facts: Facts, begun: Step) -> None:
        self.facts, self.begun, self.out = facts, begun, Tallies()
        self.steps = facts.steps
        self.final = self.steps[-1].to_state
        self.commissions = commissions(facts)
        self.unit = self.commissions[-1].unit if self.commissions else None
        self.public = facts.source not in PROACTIVE
        self.closed = closed_at(facts)
        ends = [one for one in self.steps if one.to_state in ENDED and one.from_state not in ENDED]
        self.end = ends[-1] if ends and self.final in ENDED else None
        self.filed = next(
            (one for one in self.steps if one.action in _FILES and one.to_state == PENDING_DISPATCH), None
        )
        self.suspensions = self.at_of(Action.GRANT_SUSPENSION)
        self.granted = facts.appeal is not None and facts.appeal[1]

    def at_of(self, *actions: str) -> list[datetime]:
        return [one.at for one in self.steps if one.action in actions]

    def unit_at(self, at: datetime) -> UUID | None:
        return next((one.unit for one in reversed(self.commissions) if one.orders[0].issued_at <= at), None)

    def who(self, actions: frozenset[str], at: datetime | None) -> Step | None:
        """Who took the step that ended a limit."""
        return next((one for one in self.steps if one.action in actions and one.at == at), None)

    def ended_by(self, action: str) -> bool:
        return self.end is not None and self.end.action == action

    def reporting(self) -> None:
        facts, first = self.facts, self.steps[0]
        counts = ["reported"]
        if self.public:
            counts.append("reported_public")
        self_handled = self.ended_by(Action.SELF_HANDLE)
        if facts.source in COLLECTED:
            counts.append("reported_collector")
            if self.filed or self_handled:
                counts.append("reported_valid")
        if self.final == NOT_ACCEPTED:
            counts.append("reported_refused")
        if self.closed is not None:
            counts.append("completed")
            answered = self.ended_by(Action.ANSWER)
            counts += ["answered"] * answered + ["handed_over"] * self.ended_by(Action.HAND_OVER)
            if self_handled:
                counts.append("self_handled")
            elif answered or self.closed - self.begun.at <= AT_ONCE:
                counts.append("immediate")
        post = Post.COLLECTOR.value if facts.source in COLLECTED else _detail_post(first)
        self.out.add(self.begun.at, counts, unit=self.unit, post=post, person=first.actor)

    def filing(self) -> None:
        if self.filed is None:
            return
        facts, counts = self.facts, ["filed"]
        limit = next((one for one in facts.limits if one.phase == FILE and one.ended_at == self.filed.at), None)
        if limit is None or limit.met is None:
            counts.append("filed_unlimited")
        elif limit.met:
            counts.append("filed_on_time")
        if self.final == CANCELLED:
            counts.append("filed_cancelled")
        if not self.public:
            counts.append("filed_proactive")
        else:
            if any(one.kind == VERIFY and one.result == "exists" for one in facts.checks):
                counts.append("filed_public_verified")
            if facts.kind in ("part", "event"):
                counts.append("filed_public_patrol")
        lamps = {one.lamp for one in facts.limits}
        counts += ["filed_yellow"] * bool(lamps & {"yellow", "red"}) + ["filed_red"] * ("red" in lamps)
        self.out.add(self.filed.at, counts, unit=self.unit, post=_detail_post(self.filed), person=self.filed.actor)

    def closing(self) -> None:
        if self.closed is None or self.end is None:
            return
        facts, counts = self.facts, ["closed"]
        counts += ["forced"] * self.ended_by(Action.FORCE_CLOSE)
        if facts.wants_reply and self.filed is not None:
            counts.append("closed_wanting")
            counts += ["called_back"] * bool(facts.callbacks)
            counts += ["reached"] * any(one.reached for one in facts.callbacks)
            said = [one.satisfaction for one in facts.callbacks if one.satisfaction]
            if said:
                counts.append("said")
                counts += ["satisfied"] * (said[-1] in ("satisfied", "basically"))
        self.out.add(self.closed, counts, unit=self.unit, post=_detail_post(self.end), person=self.end.actor)
        self.out.add_s(self.closed, "closing_s", (self.closed - self.begun.at).total_seconds(), self.unit)
        self.out.add(self.closed, ["closing_n"], unit=self.unit)

    def due(self) -> None:
        """The case's own limit: the citizen's, which nothing stops; without one, that of the first order."""
        if self.filed is None:
            return
        of_case = [one for one in self.facts.limits if one.phase == CITIZEN]
        limits = of_case or [one for commission in self.commissions for one in commission.limits]
        if not limits:
            return
        first = limits[0]
        urgent = self.facts.urgent or any(one.urgent for one in limits)
        counts = ["due"] + ["urgent_due"] * urgent
        if self.closed is not None:
            counts += ["due_closed"] + ["urgent_closed"] * urgent
            counts += ["due_solved"] * (not self.ended_by(Action.FORCE_CLOSE))
            if self.closed <= (first if of_case else limits[-1]).due_at:
                counts += ["due_on_time"] + ["urgent_on_time"] * urgent
            elif self.granted:
                counts += ["due_exempt"] + ["urgent_exempt"] * urgent
        counts += ["due_suspended"] * (self.final == SUSPENDED) + ["due_cancelled"] * (self.final == CANCELLED)
        self.out.add(first.original_due_at, counts, unit=self.unit)

    def handling(self) -> None:
        failed = [one.at for one in self.steps if one.action == Action.CHECK
                  and one.from_state == CHECKING and one.to_state == PENDING_HANDLE]  # fmt: skip
        denied, done = self.at_of(Action.DENY_RETURN), self.at_of(Action.REPORT_DONE)
        for number, one in enumerate(self.commissions):
            first, last = one.orders[0], one.orders[-1]
            only = len({other.unit for other in self.commissions}) == 1 and not one.returned
            counts = ["ordered"]
            counts += ["ordered_returned"] * one.returned + ["ordered_evaded"] * any(map(one.has, denied))
            counts += ["ordered_extended"] * any(limit.extended for limit in one.limits)
            counts += ["ordered_suspended"] * any(map(one.has, self.suspensions))
            self.out.add(first.issued_at, counts, unit=one.unit)
            if number == 0:
                counts = ["first_dispatched"] + ["first_accurate"] * (only and len(self.commissions) == 1)
                step = self.who(_DISPATCHES, first.issued_at)
                post = _detail_post(step) if step else Post.DISPATCHER.value
                self.out.add(first.issued_at, counts, unit=one.unit, post=post, person=first.issued_by)
            replies = [at for at in done if one.has(at)]
            if replies:
                self.out.add_s(replies[-1], "handling_s", (replies[-1] - first.issued_at).total_seconds(), one.unit)
                self.out.add(replies[-1], ["handling_n"], unit=one.unit)
            if one.limits:
                self._handled(one, last, sum(map(one.has, failed)))

    def _handled(self, one: Commission, last: Order, reworks: int) -> None:
        end, counts = one.limits[-1], ["handling_due"]
        day = one.limits[0].original_due_at
        ended = end.ended_at is not None and end.met is not None
        late = [limit for limit in one.limits if limit.met is False]
        if one.returned and end.ended_at is not None and end.ended_at <= end.due_at and not late:
            counts.append("handling_returned")
        elif ended:
            counts.append("handled")
            counts += ["handled_on_time"] * (not late)
        if late:
            counts += ["handled_late"] + ["handling_exempt"] * self.granted
        if ended or reworks:
            counts.append("handled_ever")
            counts += ["reworked"] * bool(reworks) + ["reworked_thrice"] * (reworks >= REWORKS_THAT_COST_MORE)
            if self.facts.kind in ("part", "event"):
                counts.append("proof_needed")
                counts += ["proof_given"] * any(
                    picture.fresh and picture.taken_at is not None and picture.taken_at > last.issued_at
                    for picture in self.facts.pictures
                )
        person = str(last.handler) if last.handler else ""
        self.out.add(day, counts, unit=one.unit, post=Post.UNIT.value, person=person)
        over = sum((limit.ended_at - limit.due_at).total_seconds() for limit in late if limit.ended_at)
        self.out.add_s(day, "overtime_s", over, one.unit)

    def phases(self) -> None:
        accurate = len({one.unit for one in self.commissions}) == 1
        for limit in self.facts.limits:
            name, met, actions = _PHASES.get(limit.phase, ("", "", frozenset()))
            if not name:
                continue
            counts = [f"{name}_due"]
            withdrawn = limit.ended_at is not None and limit.met is None
            if withdrawn and limit.ended_at is not None and limit.ended_at <= limit.due_at:
                counts.append(f"{name}_withdrawn")
            elif limit.met:
                counts.append(met)
            if limit.phase == DISPATCH and limit.met is not None:
                counts += ["dispatched_accurate"] * accurate
            step = None if withdrawn else self.who(actions, limit.ended_at)
            unit = next((one.unit for one in self.facts.orders if one.id == limit.order), None)
            post = _detail_post(step) if step else _POST_OF_PHASE[limit.phase]
            self.out.add(limit.original_due_at, counts, unit=unit, post=post, person=step.actor if step else "")

    def events(self) -> None:
        for step in self.steps:
            name = _EVENTS.get(step.action)
            if step.action == Action.CHECK and step.to_state == PENDING_HANDLE and step.from_state == CHECKING:
                name = "reworks"
            if name is not None:
                unit = self.unit_at(step.at)
                self.out.add(step.at, [name], unit=unit, post=_detail_post(step), person=step.actor)
        if self.facts.appeal is not None:
            at, granted = self.facts.appeal
            self.out.add(at, ["appeals_decided"] + ["appeals_granted"] * granted, unit=self.unit)
        for at, unit in self.facts.sheets:
            self.out.add(at, ["sheets"], unit=unit)


_PHASES: Final[dict[str, tuple[str, str, frozenset[str]]]] = {
    DISPATCH: ("dispatch", "dispatched_on_time", _DISPATCHES),
    SIGN: ("sign", "signed_on_time", frozenset({Action.SIGN.value})),
    VERIFY: ("verify", "verified_on_time", frozenset({Action.VERIFY.value})),
    CHECK: ("check", "checked_on_time", frozenset({Action.CHECK.value})),
}
_POST_OF_PHASE: Final = {
    DISPATCH: Post.DISPATCHER.value,
    SIGN: Post.UNIT.value,
    VERIFY: Post.COLLECTOR.value,
    CHECK: Post.COLLECTOR.value,
}
_EVENTS: Final[dict[str, str]] = {
    Action.CANCEL.value: "cancelled",
    Action.REFUSE.value: "refused",
    Action.DENY_RETURN.value: "evasions",
    Action.GRANT_EXTENSION.value: "extensions",
    Action.GRANT_SUSPENSION.value: "suspensions",
    Action.GRANT_RETURN.value: "returns",
}
