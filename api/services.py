"""What the HTTP face is given by the runtime: the parts it may call, and nothing else.

Everything is handed in (``runtime`` alone builds), so that the same application runs in a test with a real database
and no telephone. A part that this process does not have is None, and ``/readyz`` says so.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from callcenter.settings import Settings

if TYPE_CHECKING:
    from callcenter.access.service import AccessService
    from callcenter.bus import Bus
    from callcenter.calls.desk import Desk
    from callcenter.city.city import City
    from callcenter.dispatch.feed import FeedSequencer
    from callcenter.insight.drift import DriftWatch
    from callcenter.storage.engine import Database


class Hearing(Protocol):
    """What the pages and ``/readyz`` ask of the compute child (``callcenter.compute.ComputeClient``)."""

    @property
    def ready(self) -> bool: ...
    @property
    def capacity(self) -> int: ...
    @property
    def live(self) -> int: ...


class Journal(Protocol):
    """What ``/readyz`` and ``/metrics`` ask of the ledger (``callcenter.calls.ledger.CallLedger``)."""

    @property
    def pending(self) -> int:
        """Commands in the spool that the store has not taken yet."""
        ...

    @property
    def fault(self) -> str | None:
        """What is wrong with the spool itself, such as a full disk; None when nothing is."""
        ...


def no_line() -> dict[str, Any]:
    """The line's state in a process that has no telephone."""
    return {"asterisk": "none", "ami": False, "up": False}


@dataclass(frozen=True)
class Services:
    """The parts behind the HTTP face."""

    settings: Settings
    db: "Database"
    bus: "Bus"
    access: "AccessService"
    compute: Hearing | None = None
    ledger: Journal | None = None
    sequencer: "FeedSequencer | None" = None
    drift: "DriftWatch | None" = None
    """Whether what people call about is still what the router knows; None: not measured here."""
    desk: "Desk | None" = None
    """The desk that the line asks who is signed in; None: the pages make one of their own."""
    city: "City | None" = None
    """Maps and names of the city; None: a route that needs them makes one of its own."""
    line_status: Callable[[], Mapping[str, Any]] = no_line
    """Asterisk and AMI: {"asterisk": "own"|"external"|"none", "ami": bool, "up": bool, …}; cheap, no I/O."""
