"""What one open desk shows, as a thing that can be tested without a browser: entries, the choice of one, live messages.

The page loads it from the store, then gives it each message of the bus and draws again what the answer names. It knows
nothing of NiceGUI, the store or the clock.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import Flag, auto
from typing import Any, Final
from uuid import UUID

from callcenter.calls.desk import CallCard, CaseCard, Said, words_of
from callcenter.calls.model import case_id
from callcenter.cases.model import DRAFT, PENDING_DISPATCH, REPORTED, in_blind_sample

CONFIDENCE_LOW: Final = 0.6
"""Words below it are underlined, so that the agent asks again. Vosk's confidence is no probability: the figure is a
first choice, to be replaced by a measured one once there are corrected transcripts."""

LONGEST_WORDS: Final = 400
"""Utterances shown of one call; a call of an hour has some 600, and nobody reads the first while it is being spoken."""


NEW_CALL: Final = "新来电"
"""In place of a number until the store has the call."""


class Changed(Flag):
    """What has to be drawn again."""

    NOTHING = 0
    LISTS = auto()
    WORDS = auto()
    PARTIAL = auto()
    VERDICT = auto()
    ALL = LISTS | WORDS | PARTIAL | VERDICT


@dataclass(slots=True)
class Entry:
    """One line of the desk's lists: a call, a call with its case, or a case that no call led to."""

    key: str
    """The call's id, or the case's where there is no call."""
    call: UUID | None
    number: str
    state: str
    rung_at: datetime
    answered_at: datetime | None
    ended_at: datetime | None
    extension: str
    said: list[Said] = field(default_factory=list)
    partials: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Of each leg under way: its kind and the words so far."""
    routing: dict[str, Any] | None = None
    routed: int = -1
    """The routing's place among the call's, counted from 0; -1 where there is none."""
    case: CaseCard | None = None
    loaded: bool = True
    """False while only its case or its live messages are known and the rest is still to be read from the store."""
    sampled: bool = False
    """Its case is of the blind sample."""
    revealed: bool = False
    """The router's answer has been shown all the same: the agent asked for it, or help had to be called."""

    @property
    def over(self) -> bool:
        """Whether the line is free again."""
        return self.ended_at is not None or self.state == "ended"

    @property
    def waiting(self) -> bool:
        """Whether its complete case awaits a decision."""
        case = self.case
        if case is None or case.confirmed:
            return False
        # A filed case of the blind sample waits for nobody, but for the agent's word on the router.
        return case.state == REPORTED or (case.blind and case.state == PENDING_DISPATCH)

    @property
    def hidden(self) -> bool:
        """Whether the router's answer is kept from the agent, so that their word does not lean on it."""
        decided = self.case is not None and self.case.confirmed
        return self.sampled and not self.revealed and not decided and not self.emergency

    @property
    def settled(self) -> bool:
        """Whether more words no longer move the case's category: a person has decided, or it is filed."""
        case = self.case
        return case is not None and (case.confirmed or case.state not in (DRAFT, REPORTED))

    @property
    def category(self) -> dict[str, Any] | None:
        """The category in force: the case's once it is settled, else the newest routing's; None while it is hidden."""
        if self.hidden:
            return None
        if self.settled:
            return self.case.category if self.case is not None else None
        if self.routing is not None:
            return self.routing.get("category")
        return self.case.category if self.case is not None else None

    @property
    def alternatives(self) -> list[dict[str, Any]]:
        """The router's next best, at most five: ``{"category", "probability"}``."""
        found: list[dict[str, Any]] = (self.routing or {}).get("alternatives", [])
        return found if not self.hidden else []

    @property
    def emergency(self) -> list[str]:
        """Services to be told at once."""
        found = (self.routing or {}).get("emergency") or {}
        return list(found.get("services", []))

    def shown(self) -> str:
        """What the verdict shows, as one word: changes when, and only when, the agent should look again."""
        category = self.category or {}
        others = [(one.get("category") or {}).get("code", "") for one in self.alternatives]
        confirmed = "1" if self.case is not None and self.case.confirmed else "h" if self.hidden else "0"
        return ":".join([str(category.get("kind", "")), str(category.get("code", "")), confirmed, *map(str, others)])


def sound(routing: dict[str, Any]) -> dict[str, Any]:
    """``routing`` with every part that is drawn in the form that docs/route.schema.json gives it, or left out: it comes
    over a bus that others write to, and a page that stumbles over one message shows no more calls."""
    category, alternatives = routing.get("category"), routing.get("alternatives")
    reasons, emergency = routing.get("reasons"), routing.get("emergency")
    services = emergency.get("services") if isinstance(emergency, dict) else None
    return {
        **routing,
        "category": category if isinstance(category, dict) else None,
        "alternatives": [
            one
            for one in (alternatives if isinstance(alternatives, list) else ())
            if isinstance(one, dict) and isinstance(one.get("category"), dict)
        ][:5],
        "reasons": [str(one) for one in reasons] if isinstance(reasons, list) else [],
        "emergency": {"services": [str(one) for one in services]} if isinstance(services, list) and services else None,
    }


def entry_of(card: CallCard) -> Entry:
    """The entry of a call as the store has it."""
    return Entry(
        key=str(card.id),
        call=card.id,
        number=card.number,
        state=card.state,
        rung_at=card.rung_at,
        answered_at=card.answered_at,
        ended_at=card.ended_at,
        extension=card.extension,
        said=list(card.said[-LONGEST_WORDS:]),
        routing=sound(card.routing) if card.routing is not None else None,
        routed=card.routed,
        case=card.case,
    )


def entry_of_case(card: CaseCard) -> Entry:
    """The entry of a waiting case whose call has not been loaded, or that has none."""
    return Entry(
        key=str(card.call or card.id),
        call=card.call,
        number="",
        state="ended",
        rung_at=card.created_at,
        answered_at=None,
        ended_at=card.completed_at or card.created_at,
        extension="",
        case=card,
        loaded=card.call is None,
    )


class DeskView:
    """The state of one page."""

    def __init__(self, extension: str = "", blind_every: int = 0) -> None:
        self.extension = extension
        self._blind_every = blind_every
        self.entries: dict[str, Entry] = {}
        self.selected: str | None = None
        self.unknown: set[UUID] = set()
        """Calls that messages told of and that are to be loaded from the store."""

    # -- lists -------------------------------------------------------------------------------------------------------

    @property
    def live(self) -> list[Entry]:
        """Calls under way, newest first."""
        return sorted((one for one in self.entries.values() if not one.over), key=_rung, reverse=True)

    @property
    def waiting(self) -> list[Entry]:
        """Complete cases that await a decision, oldest first."""
        return sorted((one for one in self.entries.values() if one.over and one.waiting), key=_completed)

    @property
    def current(self) -> Entry | None:
        """The entry chosen."""
        return self.entries.get(self.selected) if self.selected is not None else None

    def order(self) -> list[str]:
        """The keys as the arrow keys go through them; an ended call that is still chosen stands between the lists."""
        live, waiting = [one.key for one in self.live], [one.key for one in self.waiting]
        kept = [self.selected] if self.selected in self.entries and self.selected not in live + waiting else []
        return [*live, *kept, *waiting]

    # -- the store ---------------------------------------------------------------------------------------------------

    def load(self, live: Iterable[CallCard], waiting: Iterable[CaseCard]) -> None:
        """Start from the store, keeping the choice and the words of calls that are not loaded anew."""
        before = self.entries
        self.entries = {}
        for card in live:
            entry = self._drawn(entry_of(card), before.get(str(card.id)))
            if (old := before.get(entry.key)) is not None:
                entry.partials = old.partials
            self.entries[entry.key] = entry
        for case in waiting:
            key = str(case.call or case.id)
            old = self.entries.get(key) or before.get(key)
            if old is None:
                self.entries[key] = self._drawn(entry_of_case(case), None)
            else:
                old.case = case
                self.entries[key] = old
        if self.selected is not None and self.selected not in self.entries and self.selected in before:
            self.entries[self.selected] = before[self.selected]
        if self.current is None:
            self.selected = next(iter(self.order()), None)

    def put(self, card: CallCard) -> Changed:
        """Take one call as the store had it when it was read.

        ``unknown`` is left as it is: a message may have asked for a newer reading while this one was under way.
        """
        old = self.entries.get(str(card.id))
        entry = self._drawn(entry_of(card), old)
        if old is not None:
            entry.partials = {} if entry.over else old.partials
            if old.state not in ("ended", "live", "ringing") and not entry.over:
                entry.state = old.state  # the line knows more about a call under way than the store keeps
            if not entry.over:
                entry.said = _steady(old.said, entry.said)
        if entry.over and not entry.waiting and entry.key != self.selected:
            self.entries.pop(entry.key, None)
        else:
            self.entries[entry.key] = entry
        if self.selected is None:
            self.selected = next(iter(self.order()), None)
        return Changed.ALL

    def _drawn(self, entry: Entry, old: Entry | None) -> Entry:
        """``entry``, just read, with what ``old`` knew better: a routing that came while the store was being read, and
        whether a case of the blind sample was given up."""
        key = case_id(entry.call) if entry.call is not None else entry.case.id if entry.case is not None else None
        entry.sampled = key is not None and in_blind_sample(key, self._blind_every)
        if old is not None and old.routed > entry.routed:
            entry.routing, entry.routed = old.routing, old.routed
        entry.revealed = (old is not None and old.revealed) or bool(entry.emergency)
        return entry

    def reveal(self, entry: Entry) -> Changed:
        """Show the router's answer although the case is of the blind sample: the agent cannot do without."""
        entry.revealed = True
        return Changed.ALL

    # -- the bus -----------------------------------------------------------------------------------------------------

    def apply(self, message: dict[str, Any], at: datetime) -> Changed:
        """Take one live message received ``at``. One that is not understood changes nothing: it is only a hint."""
        try:
            call = UUID(str(message.get("call")))
        except ValueError:
            return Changed.NOTHING
        kind = str(message.get("type"))
        entry = self.entries.get(str(call))
        handlers: dict[str, Callable[[Entry, dict[str, Any], datetime], Changed]] = {
            "call": self._call,
            "partial": self._partial,
            "utterance": self._utterance,
            "routing": self._routing,
            "case": self._case,
            "ended": self._ended,
        }
        handler = handlers.get(kind)
        if handler is None:
            return Changed.NOTHING
        if entry is None:
            self.unknown.add(call)
            if kind in ("case", "ended"):
                # Of a call that we do not show; perhaps its case waits now, which the store will tell.
                return Changed.NOTHING
            # The store may be slow or away: what is being said is shown all the same.
            entry = self._drawn(Entry(str(call), call, NEW_CALL, "live", at, None, None, "", loaded=False), None)
            self.entries[entry.key] = entry
            if self.selected is None:
                self.selected = entry.key
        changed = handler(entry, message, at)
        return changed if entry.key == self.selected else changed & Changed.LISTS

    def _call(self, entry: Entry, message: dict[str, Any], at: datetime) -> Changed:
        if isinstance(state := message.get("state"), str):
            entry.state = state
        if isinstance(extension := message.get("extension"), str) and extension:
            entry.extension = extension
            if entry.state == "talking" and extension == self.extension:
                self.selected = entry.key
                return Changed.ALL
        if entry.answered_at is None and entry.call is not None:
            self.unknown.add(entry.call)
        return Changed.LISTS

    def _partial(self, entry: Entry, message: dict[str, Any], at: datetime) -> Changed:
        leg, text = str(message.get("leg", "")), str(message.get("text", ""))
        if text:
            entry.partials[leg] = (str(message.get("kind", "")), text)
        else:
            entry.partials.pop(leg, None)
        return Changed.PARTIAL

    def _utterance(self, entry: Entry, message: dict[str, Any], at: datetime) -> Changed:
        try:
            leg, sequence = UUID(str(message["leg"])), int(message["sequence"])
            confidence = float(message.get("confidence", 1.0))
            heard = words_of(message.get("words"))
        except (KeyError, ValueError, TypeError, OverflowError):
            return Changed.NOTHING
        entry.partials.pop(str(leg), None)
        kind, text = str(message.get("kind", "")), str(message.get("text", ""))
        said = Said(leg, kind, sequence, text, at, confidence, heard)
        for index, one in enumerate(entry.said):
            if (one.leg, one.sequence) == (leg, sequence):
                entry.said[index] = replace(said, at=one.at)
                break
        else:
            if text:
                entry.said.append(said)
                del entry.said[:-LONGEST_WORDS]
        return Changed.WORDS | Changed.PARTIAL | Changed.LISTS

    def _routing(self, entry: Entry, message: dict[str, Any], at: datetime) -> Changed:
        routing = message.get("routing")
        if not isinstance(routing, dict):
            return Changed.NOTHING
        sequence = message.get("sequence")
        if isinstance(sequence, int):
            if sequence < entry.routed:
                return Changed.NOTHING  # late: the store had told of a newer one
            entry.routed = sequence
        entry.routing = sound(routing)
        entry.revealed = entry.revealed or bool(entry.emergency)
        if entry.call is not None and (entry.case is None or entry.key == self.selected):
            self.unknown.add(entry.call)  # for the case's version, without which nobody can decide about it
        return Changed.VERDICT | Changed.LISTS

    def _case(self, entry: Entry, message: dict[str, Any], at: datetime) -> Changed:
        if entry.call is not None:
            self.unknown.add(entry.call)
        return Changed.NOTHING

    def _ended(self, entry: Entry, message: dict[str, Any], at: datetime) -> Changed:
        entry.state = "ended"
        entry.ended_at = entry.ended_at or at
        entry.partials.clear()
        if entry.call is not None:
            self.unknown.add(entry.call)
        return Changed.LISTS | Changed.PARTIAL | Changed.VERDICT

    # -- the agent ---------------------------------------------------------------------------------------------------

    def select(self, key: str) -> Changed:
        """Choose an entry; nothing happens for one that is not there."""
        if key not in self.entries or key == self.selected:
            return Changed.NOTHING
        left = self.current
        self.selected = key
        if left is not None and left.over and not left.waiting:
            del self.entries[left.key]
        return Changed.ALL

    def move(self, by: int) -> Changed:
        """Go ``by`` entries down (or up) the lists, stopping at their ends."""
        order = self.order()
        if not order:
            return Changed.NOTHING
        here = order.index(self.selected) if self.selected in order else -by if by > 0 else len(order)
        return self.select(order[min(max(here + by, 0), len(order) - 1)])

    def decided(self, entry: Entry, card: CaseCard | None) -> Changed:
        """``entry``'s case has been decided here: take it as it now is, and go to the next that waits if it waited."""
        waited = entry.over
        order = [one.key for one in self.waiting]
        entry.case = card or entry.case
        if not waited:
            return Changed.ALL
        index = order.index(entry.key) if entry.key in order else 0
        rest = [key for key in [*order[index + 1 :], *order[:index]] if key != entry.key]
        if rest:
            self.select(rest[0])
        return Changed.ALL


def _steady(shown: list[Said], stored: list[Said]) -> list[Said]:
    """What the store has, in the order in which it was shown: lines do not change places while somebody reads them.

    The store orders by when a voice began, live messages come when it ended. What only the messages had stays too.
    """
    by_identity = {(one.leg, one.sequence): one for one in stored}
    known = [by_identity.pop((one.leg, one.sequence), one) for one in shown]
    return [*known, *by_identity.values()][-LONGEST_WORDS:]


def _rung(entry: Entry) -> tuple[datetime, str]:
    return entry.rung_at, entry.key


def _completed(entry: Entry) -> tuple[datetime, str]:
    return (entry.case.created_at if entry.case is not None else entry.rung_at), entry.key


def runs(said: Said) -> list[tuple[str, bool]]:
    """An utterance as pieces of text, each with whether it was heard badly; together they are the text exactly.

    Falls back to the whole utterance and its own confidence where the words are not known or do not add up to the text.
    """
    whole = [(said.text, said.confidence < CONFIDENCE_LOW)]
    pieces: list[tuple[str, bool]] = []
    rest = said.text
    for text, confidence in said.words:
        at = rest.find(text)
        if at < 0 or rest[:at].strip(" ，。、？！,."):
            return whole
        low = confidence < CONFIDENCE_LOW
        piece, rest = rest[: at + len(text)], rest[at + len(text) :]
        if pieces and pieces[-1][1] == low:
            pieces[-1] = (pieces[-1][0] + piece, low)
        else:
            pieces.append((piece, low))
    if not pieces:
        return whole
    pieces[-1] = (pieces[-1][0] + rest, pieces[-1][1])
    return pieces
