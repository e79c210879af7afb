"""The machine's side of an unattended call: it asks, listens until the citizen has finished, and says the case number.

Runs in the call's own AGI thread and is written as it is heard; what it needs of the call it asks of the event loop.
A caller on a bad line decides the tone: short sentences, two chances, never a menu (GB/T 33358), nothing spoken that
is not true yet.
"""

import time
from collections.abc import Awaitable, Callable
from typing import Protocol

from callcenter.calls.session import CallSession, Outcome

# Names of dialplans/prompts.toml, as Asterisk finds them.
INVITE = "hotline/statement"
AGAIN = "hotline/statement-again"
RECORD = "hotline/statement-record"
BEEP = "hotline/beep"
NOTHING_HEARD = "hotline/nothing-heard"
CASE_NUMBER = "hotline/case-number"
CASE_NUMBER_AGAIN = "hotline/case-number-again"
NOTED = "hotline/noted"
EMERGENCY = "hotline/emergency"
MORE = "hotline/more"
ADDED = "hotline/added"
GOODBYE = "hotline/goodbye"

POLL_MS = 100
"""The thread looks this often whether the citizen has finished; a tenth of a second is not heard."""
MORE_WITHIN_S = 5.0
"""Silence after "you may add something" that ends the call."""
COMPLETE_WITHIN_S = 4.0
"""The citizen waits no longer than this for their number (the promise is 5 s); later it is "we will tell you"."""
ADDITIONS = 3
"""So often may a citizen add something; more is for an agent."""


class Telephone(Protocol):
    """What the conversation needs of the AGI session (``telephony.agi.AgiSession``)."""

    def play(self, *prompts: str, escape_digits: str = "") -> str: ...
    def say_digits(self, digits: str, escape_digits: str = "") -> object: ...
    def pause(self, milliseconds: int, /) -> str: ...


class Loop(Protocol):
    """Runs a coroutine on the event loop from this thread and waits for its result; TimeoutError when it is late."""

    def __call__(self, work: Callable[[], Awaitable[Outcome]], timeout: float) -> Outcome: ...


class Conversation:
    """One statement to the machine.

    ``statement_max_s`` bounds one statement, ``start_s`` the silence before the machine asks again. Raises
    ``telephony.agi.AgiHangup`` when the citizen hangs up: what they said until then is handled by the call's end.
    """

    def __init__(
        self, telephone: Telephone, session: CallSession, loop: Loop, *, statement_max_s: float, start_s: float
    ) -> None:
        self._telephone = telephone
        self._session = session
        self._loop = loop
        self._statement_max_s = statement_max_s
        self._start_s = start_s

    def hold(self) -> None:
        """The whole conversation, from the invitation to speak until goodbye."""
        leg = self._session.citizen
        if leg is None or not leg.live:
            self._unheard()
            return
        outcome = self._ask(INVITE, BEEP)
        if outcome is not None and not outcome.usable:
            outcome = self._ask(AGAIN, BEEP)
        if outcome is not None and not outcome.heard_words:
            self._telephone.play(NOTHING_HEARD)
            return
        before = self._turns()
        self._announce(outcome)
        for _ in range(ADDITIONS):
            if not self._listen(MORE_WITHIN_S, since=before):
                break
            before = self._turns()
            added = self._complete()
            if added is None:
                break
            self._telephone.play(ADDED)
        self._telephone.play(GOODBYE)

    def _ask(self, *prompts: str) -> Outcome | None:
        """Invite, listen, complete. None: the store did not answer in time. Words said over the greeting count too."""
        before = self._turns()
        if self._telephone.play(*prompts, escape_digits="#") != "#":
            self._listen(self._start_s, since=before)
        return self._complete()

    def _turns(self) -> int:
        leg = self._session.citizen
        return leg.turns if leg is not None else 0

    def _listen(self, start_s: float, *, since: int) -> bool:
        """Wait until the citizen has spoken and stopped, pressed #, or never began. Whether they spoke.

        ``since`` is the number of statements finished before the invitation: one that ended while it was being
        played is an answer to it.
        """
        leg = self._session.citizen
        if leg is None:
            return False
        began = time.monotonic()
        while True:
            if leg.turns > since and not leg.speaking:
                return True
            if self._telephone.pause(POLL_MS) == "#":
                return True
            waited = time.monotonic() - began
            if not leg.speaking and leg.turns == since and waited > start_s:
                return False
            if waited > self._statement_max_s:
                return leg.speaking or leg.turns > since

    def _complete(self) -> Outcome | None:
        try:
            return self._loop(self._session.complete, COMPLETE_WITHIN_S)
        except TimeoutError:
            return None

    def _announce(self, outcome: Outcome | None) -> None:
        """Say what is true: the number once it is committed, else that the matter is recorded."""
        telephone = self._telephone
        if outcome is not None and outcome.emergency:
            telephone.play(EMERGENCY)
        if outcome is None or outcome.number is None:
            telephone.play(NOTED)
        else:
            telephone.play(CASE_NUMBER)
            telephone.say_digits(outcome.number)
            telephone.play(CASE_NUMBER_AGAIN)
            telephone.say_digits(outcome.number)
        telephone.play(MORE)

    def _unheard(self) -> None:
        """Nobody hears this line live (speech down, or full): the recording is transcribed after the call."""
        self._telephone.play(RECORD, BEEP)
        began = time.monotonic()
        while time.monotonic() - began < self._statement_max_s:
            if self._telephone.pause(1000) == "#":
                break
        self._telephone.play(NOTED, GOODBYE)
