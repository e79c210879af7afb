"""Is a router's card what training gives? Fits the rows that were not held back again, here, and compares.

Float sums may part a row or two on another machine: shares within 0.003 are the same.
"""

import sys
import time

from classifier import corpus, training
from classifier.registry import Registry

SAME = 0.003


def main() -> int:
    """Exit code 1 where a share of the card is not found again."""
    registry = Registry()
    version = sys.argv[1] if len(sys.argv) > 1 else registry.promoted() or ""
    card = registry.card(version)["figures"]["hard"]["raw"]
    begun = time.perf_counter()
    again = training.held_back_shares(corpus.load())
    wrong = 0
    for name, share in card.items():
        wrong += abs(again[name] - share) > SAME
        print(f"{version} {name}: card {share:.4f}, again {again[name]:.4f}")
    print(f"{time.perf_counter() - begun:.0f} s")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
