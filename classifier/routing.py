"""The router's answer for a text, as docs/route.schema.json publishes it. Frozen: what was answered stays as it was."""

from dataclasses import dataclass, field
from typing import Any, Literal

from classifier.taxonomy import Category, Domain, Kind

Disposition = Literal["case", "question", "none"]
Decision = Literal["auto", "confirm"]
Span = tuple[int, int]
"""Start and end in code points of the text as it was given."""

__all__ = ["Alternative", "Category", "Decision", "Disposition", "Domain", "Kind", "Routing", "Secondary", "Span"]


@dataclass(frozen=True, slots=True)
class Alternative:
    """Another category the text may belong to, with its calibrated probability."""

    category: Category
    probability: float

    def to_json(self) -> dict[str, Any]:
        """As in the schema."""
        return {"category": self.category.to_json(), "probability": round(self.probability, 6)}


@dataclass(frozen=True, slots=True)
class Secondary:
    """A second matter that stands on its own, and where in the text it stands."""

    domain: Domain
    category: Category
    probability: float
    span: Span

    def to_json(self) -> dict[str, Any]:
        """As in the schema."""
        return {
            "domain": self.domain,
            "category": self.category.to_json(),
            "probability": round(self.probability, 6),
            "span": list(self.span),
        }


@dataclass(frozen=True, slots=True)
class Routing:
    """What is to become of a text. ``probability`` is that of ``category``; ``domain_probability`` that of ``domain``.

    Both are 0 where there is neither. ``reasons`` are the stable identifiers of docs/router.md; empty means ``auto``.
    """

    text: str
    disposition: Disposition
    domain: Domain | None
    domain_probability: float
    category: Category | None
    probability: float
    decision: Decision
    model: str
    elapsed_ms: float
    alternatives: tuple[Alternative, ...] = ()
    reasons: tuple[str, ...] = ()
    emergency: tuple[str, ...] = ()
    """Who must be called now: 110, 119, 120, 122, and 12356 beside them where a life is in despair."""
    utilities: tuple[str, ...] = ()
    """Whose crews are wanted beside them: gas, power, water, heating."""
    intent: str | None = None
    address: str | None = None
    area: str | None = None
    """Code of the area the place lies in, where a gazetteer knows it."""
    accused: str | None = None
    secrecy: bool = False
    secondary: Secondary | None = None
    evidence: tuple[Span, ...] = field(default=())
    department: str | None = None
    """Who typically acts first on ``category``; a city's own responsibility list decides."""
    department_probability: float = 0.0
    """Calibrated; what ``auto`` rests on."""

    def to_json(self) -> dict[str, Any]:
        """The object of docs/route.schema.json."""
        return {
            "text": self.text,
            "disposition": self.disposition,
            "domain": self.domain,
            "domain_probability": round(self.domain_probability, 6),
            "category": self.category.to_json() if self.category else None,
            "probability": round(self.probability, 6),
            "alternatives": [alternative.to_json() for alternative in self.alternatives],
            "decision": self.decision,
            "reasons": list(self.reasons),
            "emergency": {"services": list(self.emergency), "utilities": list(self.utilities)}
            if self.emergency
            else None,
            "intent": self.intent,
            "address": self.address,
            "area": self.area,
            "accused": self.accused,
            "secrecy": self.secrecy,
            "secondary": self.secondary.to_json() if self.secondary else None,
            "evidence": [list(span) for span in self.evidence],
            "department": self.department,
            "department_probability": round(self.department_probability, 6),
            "model": self.model,
            "elapsed_ms": round(self.elapsed_ms, 3),
        }
