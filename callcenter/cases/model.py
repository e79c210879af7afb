"""The case as the store keeps it: the work order, its log, what people decided about it, and the row that can be
erased.

Knows nothing of telephones: ``call_id`` is where a case came from, no more. States are those of the national standard's
flow (上报 → 待派遣 …); later steps of the flow add theirs.
"""

from datetime import datetime
from hashlib import sha256
from typing import Any, Final
from uuid import UUID

from sqlalchemy import BigInteger, ForeignKey, Index, String, UniqueConstraint, false, text, true
from sqlalchemy.orm import Mapped, mapped_column

from callcenter.storage.base import Base, BigId

DRAFT: Final = "draft"
"""The citizen is still speaking; no unit sees it. 草稿"""
REPORTED: Final = "reported"
"""Complete, numbered, not yet filed. 上报"""
PENDING_DISPATCH: Final = "pending_dispatch"
"""Filed: in the feed, waiting for a unit. 待派遣"""
PENDING_VERIFY: Final = "pending_verify"
"""A collector is asked to look. 待核实"""
PENDING_FILING: Final = "pending_filing"
"""Looked at; to be filed or not. 待立案"""
PENDING_HANDLE: Final = "pending_handle"
"""A unit has the order and has not signed for it. 待处置"""
HANDLING: Final = "handling"
"""Signed for. 处置中"""
SUSPENDED: Final = "suspended"
"""挂账: waits for what nobody can hasten; comes back by itself."""
PENDING_CHECK: Final = "pending_check"
"""The unit says it is done. 待核查"""
CHECKING: Final = "checking"
"""A collector is asked to look whether it is. 核查中"""
PENDING_CLOSE: Final = "pending_close"
"""It is done; the citizen is asked, then it is closed. 待结案"""
CLOSED: Final = "closed"
"""结案"""
NOT_ACCEPTED: Final = "not_accepted"
"""不予立案: with a reason that the citizen hears."""
CANCELLED: Final = "cancelled"
"""There was no matter in it. 作废"""
STATES: Final = (
    DRAFT,
    REPORTED,
    PENDING_VERIFY,
    PENDING_FILING,
    PENDING_DISPATCH,
    PENDING_HANDLE,
    HANDLING,
    SUSPENDED,
    PENDING_CHECK,
    CHECKING,
    PENDING_CLOSE,
    CLOSED,
    NOT_ACCEPTED,
    CANCELLED,
)
ENDED: Final = frozenset({CLOSED, NOT_ACCEPTED, CANCELLED})

SYSTEM: Final = "system"
"""The actor of what the machine does by itself; such log rows name a rule."""


LOTS: Final = 65_536
SMALLEST_BLIND_SAMPLE: Final = 20
"""At most one case in twenty is shown without the router's suggestion: the index on the sample ends there."""
COMPLETE_WHERE: Final = "completed_at IS NOT NULL"
LIT: Final = "lamp <> 'none'"
BLIND_WHERE: Final = f"draw < {LOTS // SMALLEST_BLIND_SAMPLE + 1} AND confirmed_by IS NULL"


def lot(case_id: UUID) -> int:
    """The lot of a case, evenly spread over 0 to 65,535 and the same in every process: nobody can choose it."""
    return int.from_bytes(sha256(case_id.bytes).digest()[:2])


def in_blind_sample(case_id: UUID, every: int) -> bool:
    """Whether the case is one of ``every`` (at least SMALLEST_BLIND_SAMPLE) that are decided without the router's
    answer being shown; ``every`` 0: there is no sample."""
    return every > 0 and lot(case_id) < LOTS // every


class Case(Base):
    """The work order. ``version`` grows whenever what people decide on (state, category, decision) changes."""

    __tablename__ = "cases"
    __table_args__ = (
        UniqueConstraint("number"),
        Index(None, "created_at", "id"),
        Index(None, "state", "created_at", "id"),
        Index(None, "domain", "created_at", "id"),
        Index(None, "decision", "created_at", "id"),
        Index(None, "category_code", "created_at", "id"),
        Index(None, "call_id"),
        Index(None, "lead_unit_id", "state", "created_at", "id"),
        Index(None, "lead_unit_id", "created_at", "id"),
        # A unit's late ones: one case in ten.
        Index(
            "ix_cases_unit_lit",
            *("lead_unit_id", "lamp", "created_at", "id"),
            postgresql_where=text(LIT),
            sqlite_where=text(LIT),
        ),
        Index(None, "area_id", "created_at", "id"),
        Index(
            "ix_cases_cell",
            *("cell", "created_at"),
            postgresql_where=text("cell IS NOT NULL"),
            sqlite_where=text("cell IS NOT NULL"),
        ),
        Index(None, "lamp", "created_at", "id"),
        # What the share of auto decisions is counted from, without touching the rows.
        Index(
            "ix_cases_complete",
            *("created_at", "disposition", "decision", "completed_at"),
            postgresql_where=text(COMPLETE_WHERE),
            sqlite_where=text(COMPLETE_WHERE),
        ),
        # Of the blind sample only: a fiftieth of the cases, less those that somebody has decided.
        Index("ix_cases_blind", "created_at", "id", postgresql_where=text(BLIND_WHERE), sqlite_where=text(BLIND_WHERE)),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    number: Mapped[str | None] = mapped_column(String(20))
    """YYYYMMDD (Asia/Shanghai) and at least five digits; given when the case is completed."""
    call_id: Mapped[UUID | None] = mapped_column(ForeignKey("calls.id"))
    source: Mapped[str] = mapped_column(String(16))
    state: Mapped[str] = mapped_column(String(24))
    disposition: Mapped[str] = mapped_column(String(16))
    domain: Mapped[str | None] = mapped_column(String(16))
    category_standard: Mapped[str | None] = mapped_column(String(40))
    category_code: Mapped[str | None] = mapped_column(String(16))
    category_kind: Mapped[str | None] = mapped_column(String(16))
    category_major: Mapped[str | None] = mapped_column(String(80))
    category_minor: Mapped[str | None] = mapped_column(String(80))
    probability: Mapped[float | None]
    domain_probability: Mapped[float | None]
    decision: Mapped[str] = mapped_column(String(16))
    intent: Mapped[str | None] = mapped_column(String(24))
    emergency: Mapped[list[Any]]
    """Services to be told at once (110, 119 …); empty for nearly all."""
    secrecy: Mapped[bool]
    routing_id: Mapped[UUID | None]
    """The routing in force. No foreign key: routings already point at their case, and a circle of keys can be neither
    created nor dropped in one order on both databases."""
    routing_sequence: Mapped[int | None]
    model: Mapped[str | None] = mapped_column(String(80))
    """Version of the router whose answer is in force."""
    confirmed_by: Mapped[UUID | None]
    """The person who confirmed or corrected the category; from then on the router no longer moves it."""
    version: Mapped[int]
    created_at: Mapped[datetime]
    completed_at: Mapped[datetime | None]
    filed_at: Mapped[datetime | None]
    pulled_at: Mapped[datetime | None]
    """When a dispatch system first pulled it."""
    anonymous: Mapped[bool] = mapped_column(server_default=false())
    wants_reply: Mapped[bool] = mapped_column(server_default=true())
    happened_at: Mapped[datetime | None]
    urgency: Mapped[str] = mapped_column(String(16), server_default="ordinary")
    """一般 ordinary, 紧急 urgent, 特急 critical."""
    line: Mapped[str | None] = mapped_column(String(16))
    """The management line: city, society, security, traffic."""
    level: Mapped[int | None]
    """How far up it is handled: 1 grid, 2 district part, 3 street, 4 city."""
    area_id: Mapped[UUID | None] = mapped_column(ForeignKey("areas.id"))
    lat: Mapped[float | None]
    """WGS84, as ``lon``."""
    lon: Mapped[float | None]
    cell: Mapped[int | None] = mapped_column(BigInteger)
    """Of ``lon``, ``lat`` (``city.cells``): what happens near is found by it."""
    located_by: Mapped[str | None] = mapped_column(String(8))
    """Whose ``lon``, ``lat`` are: ``spoken`` (found from the words), ``person``, ``asset``, ``device``."""
    asset_code: Mapped[str | None] = mapped_column(String(17))
    """The registered city part it is about."""
    asset_owner_id: Mapped[UUID | None] = mapped_column(ForeignKey("units.id"))
    """The unit that owns the thing, where that is known."""
    accused_unit_id: Mapped[UUID | None] = mapped_column(ForeignKey("units.id"))
    """被反映对象, where it is a unit: it never gets the order."""
    verification: Mapped[str | None] = mapped_column(String(16))
    """verify_first, exempt, dispatch_first: settled when it is filed or sent to be verified."""
    item_id: Mapped[UUID | None] = mapped_column(ForeignKey("responsibility_items.id"))
    """The responsibility item it was filed by; its list has a version."""
    lead_unit_id: Mapped[UUID | None] = mapped_column(ForeignKey("units.id"))
    due_at: Mapped[datetime | None]
    """Of the limit that runs now for whoever must act; None: none does."""
    lamp: Mapped[str] = mapped_column(String(8), server_default="none")
    """The highest lamp lit on it while it was open: none, warned, yellow, red."""
    monitored: Mapped[bool] = mapped_column(server_default=false())
    """In the box of the inspectors (电子监察箱): once in, never out."""
    reworks: Mapped[int] = mapped_column(server_default="0")
    returns: Mapped[int] = mapped_column(server_default="0")
    extensions: Mapped[int] = mapped_column(server_default="0")
    suspensions: Mapped[int] = mapped_column(server_default="0")
    self_handled: Mapped[bool] = mapped_column(server_default=false())
    closed_at: Mapped[datetime | None]
    outcome: Mapped[str | None] = mapped_column(String(16))
    """answered, solved, forced, not_accepted, cancelled, handed_over."""
    draw: Mapped[int | None]
    """The case's lot, 0 to 65,535, drawn from its id (``lot``): the lowest are the blind sample. None: older than
    that."""


class CaseParticulars(Base):
    """What the citizen said, where, and how to reach them. Blank after erasure."""

    __tablename__ = "case_particulars"

    case_id: Mapped[UUID] = mapped_column(ForeignKey("cases.id"), primary_key=True)
    text: Mapped[str | None]
    address: Mapped[str | None]
    reporter_number: Mapped[str | None] = mapped_column(String(32))
    reporter_name: Mapped[str | None] = mapped_column(String(40))
    callback_number: Mapped[str | None] = mapped_column(String(32))
    wish: Mapped[str | None] = mapped_column(String(400))
    accused: Mapped[str | None] = mapped_column(String(120))
    erased_at: Mapped[datetime | None]


class CaseLog(Base):
    """What happened to a case, by whom, under which rule. Append only: the database itself refuses changes.

    ``detail`` holds references and codes, never words of a citizen. ``version`` is the case's after the step.
    """

    __tablename__ = "case_log"
    __table_args__ = (UniqueConstraint("case_id", "seq"),)

    id: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=True)
    case_id: Mapped[UUID] = mapped_column(ForeignKey("cases.id"))
    seq: Mapped[int]
    actor: Mapped[str] = mapped_column(String(64))
    """``system`` or the UUID of a user."""
    action: Mapped[str] = mapped_column(String(32))
    from_state: Mapped[str | None] = mapped_column(String(24))
    to_state: Mapped[str] = mapped_column(String(24))
    rule: Mapped[str | None] = mapped_column(String(64))
    version: Mapped[int]
    detail: Mapped[dict[str, Any]]
    at: Mapped[datetime]


class Confirmation(Base):
    """An agent's word on a routing: a label for quality and training. ``blind``: given without seeing the router's."""

    __tablename__ = "confirmations"
    __table_args__ = (
        Index(None, "case_id"),
        Index(None, "at", "id"),
        # Everything that the figures of quality are counted from: 100,000 labels in one scan of the index take a tenth
        # of a second; the rows themselves, fetched one by one, half a second.
        Index(
            "ix_confirmations_quality",
            *("at", "repeated", "verdict", "blind", "seconds_to_decide", "decision_before"),
            *("domain_before", "domain_after", "model", "user_id", "code_before", "kind_before", "standard_before"),
            *("probability_before", "domain_probability_before", "code_after", "kind_after", "standard_after"),
        ),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    case_id: Mapped[UUID] = mapped_column(ForeignKey("cases.id"))
    routing_id: Mapped[UUID | None]
    user_id: Mapped[UUID]
    verdict: Mapped[str] = mapped_column(String(16))
    """``confirmed`` or ``corrected``."""
    domain_before: Mapped[str | None] = mapped_column(String(16))
    standard_before: Mapped[str | None] = mapped_column(String(40))
    code_before: Mapped[str | None] = mapped_column(String(16))
    domain_after: Mapped[str | None] = mapped_column(String(16))
    standard_after: Mapped[str | None] = mapped_column(String(40))
    code_after: Mapped[str | None] = mapped_column(String(16))
    model: Mapped[str | None] = mapped_column(String(80))
    """Version of the router that gave the answer."""
    blind: Mapped[bool]
    at: Mapped[datetime]
    disposition_before: Mapped[str | None] = mapped_column(String(16))
    kind_before: Mapped[str | None] = mapped_column(String(16))
    """part, event or social: a code names a category only together with it."""
    decision_before: Mapped[str | None] = mapped_column(String(16))
    probability_before: Mapped[float | None]
    domain_probability_before: Mapped[float | None]
    disposition_after: Mapped[str | None] = mapped_column(String(16))
    kind_after: Mapped[str | None] = mapped_column(String(16))
    seconds_to_decide: Mapped[float | None]
    """From the moment the agent's page showed what was decided on; None: not known."""
    repeated: Mapped[bool] = mapped_column(server_default=false())
    """A person had decided before: "before" is that person's word, and nothing is learned about the router."""


class CaseCounter(Base):
    """The next case number of a day (Asia/Shanghai), taken in the transaction that completes the case: no gaps."""

    __tablename__ = "case_counters"

    day: Mapped[str] = mapped_column(String(8), primary_key=True)
    next: Mapped[int]
