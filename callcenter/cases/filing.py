"""May a completed case be filed (立案) without anyone looking at it? Pure: no clock, no store.

``intake`` carries it out. Whether the matter is looked at first is the city's rule (``responsibility.verification``).
"""

from typing import Final

BY_AUTO: Final = "filing.auto"
"""The router's decision was ``auto``: P(unit right) ≥ 0.98 as it judges itself."""
BY_CONFIRMATION: Final = "filing.confirmed"
"""A person confirmed or chose the category."""
VERIFY_BEFORE: Final = "verification.first"
"""先核后立: somebody looks before it is filed."""
DISPATCH_BY_LIST: Final = "dispatch.responsibility"
"""The responsibility list, or who owns or governs the place, names the unit."""


def may_file(*, disposition: str, decision: str, confirmed: bool, category_code: str | None) -> str | None:
    """The id of the rule under which a completed case goes on now; None: it waits for a person.

    Only a ``case`` with a category is ever filed: a question is answered, not handled.
    """
    if disposition != "case" or category_code is None:
        return None
    if confirmed:
        return BY_CONFIRMATION
    if decision == "auto":
        return BY_AUTO
    return None
