"""Make a router version live, in a process of its own: ``python -m callcenter.insight.promotion FOLDER VERSION``
(``--back`` for VERSION: the one before).

A version is loaded and its files hashed before it goes live, which takes a second of computing that the process of the
line must not do. Prints one JSON object: ``{"live", "previous"}`` or ``{"error"}``.
"""

import json
import sys
from pathlib import Path

from classifier.model import ModelError
from classifier.registry import Registry


def main(arguments: list[str]) -> int:
    """Entry; exit code 1 where the version cannot be made live, which then is as it was."""
    folder, version = arguments
    registry = Registry(Path(folder))
    previous = registry.promoted() or ""
    try:
        if version == "--back":
            live = registry.rollback()
        else:
            registry.promote(version)
            live = version
    except (ModelError, OSError) as fault:
        sys.stdout.write(json.dumps({"error": str(fault)}))
        return 1
    sys.stdout.write(json.dumps({"live": live, "previous": previous}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
