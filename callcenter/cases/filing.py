"""May a completed case be filed (立案) without anyone looking at it? Pure: no clock, no store.

A seam. Today the router's own decision or an agent's word is enough; the verification rules (place known, no
duplicate, unit found, limits by the filing conditions of GB/T 30428.8) replace the body of ``may_file``, not its
callers.
"""

from typing import Final

BY_AUTO: Final = "filing.auto"
"""The router's decision was ``auto``: P(unit right) ≥ 0.98 as it judges itself."""
BY_CONFIRMATION: Final = "filing.confirmed"
"""A person confirmed or chose the category."""


def may_file(*, disposition: str, decision: str, confirmed: bool, category_code: str | None) -> str | None:
    """The id of the rule under which a completed case is filed now; None: it waits for a person.

    Only a ``case`` with a category is ever filed: a question is answered, not handled.
    """
    if disposition != "case" or category_code is None:
        return None
    if confirmed:
        return BY_CONFIRMATION
    if decision == "auto":
        return BY_AUTO
    return None
