"""What is told about cases, by name, and which of it units may hear."""

from typing import Final

OPENED: Final = "case.opened"
COMPLETED: Final = "case.completed"
CANCELLED: Final = "case.cancelled"
CONFIRMED: Final = "case.confirmed"
CORRECTED: Final = "case.corrected"
FILED: Final = "case.filed"
UPDATED: Final = "case.updated"
"""A filed case has new words or another category."""
ERASED: Final = "case.erased"

FEED_KINDS: Final = (FILED, UPDATED, ERASED)
"""Kinds that enter the feed once their case is filed."""
