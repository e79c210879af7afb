"""The arithmetic of quality, pure: shares with their intervals, calibration, percentiles, distances between mixes."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Final

Z95: Final = 1.959963984540054
"""The normal distribution's 97.5 % point."""

BINS: Final = 15
"""Bins of equal width in the expected calibration error, as usual since Guo et al. 2017."""


@dataclass(frozen=True, slots=True)
class Share:
    """``part`` of ``n``. ``low`` and ``high`` are its 95 % interval (Wilson 1927, which holds for few and for none)."""

    part: int
    n: int

    def __post_init__(self) -> None:
        if not 0 <= self.part <= self.n:
            raise ValueError(f"{self.part} of {self.n} is no share")

    @property
    def share(self) -> float | None:
        """None for nothing of nothing."""
        return self.part / self.n if self.n else None

    @property
    def interval(self) -> tuple[float, float]:
        """Low and high; (0, 1) where nothing is known."""
        return wilson(self.part, self.n)

    def __add__(self, other: "Share") -> "Share":
        return Share(self.part + other.part, self.n + other.n)


def wilson(part: int, n: int, z: float = Z95) -> tuple[float, float]:
    """The interval of a share of ``part`` in ``n``; (0, 1) for n = 0."""
    if n == 0:
        return 0.0, 1.0
    share = part / n
    scale = 1 + z * z / n
    middle = (share + z * z / (2 * n)) / scale
    half = z * sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / scale
    # Rounding must not leave the share outside of its own interval at 0 and n.
    return max(0.0, min(middle - half, share)), min(1.0, max(middle + half, share))


def bin_of(probability: float, bins: int = BINS) -> int:
    """The bin of a probability in [0, 1]; 1.0 belongs to the last one."""
    return min(int(probability * bins), bins - 1)


@dataclass(frozen=True, slots=True)
class Bin:
    """Answers of about the same probability: how many, the sum of their probabilities, how many were right."""

    n: int
    probability_sum: float
    right: int


def calibration_error(bins: Iterable[Bin]) -> float | None:
    """The expected calibration error: mean distance of probability and accuracy over the bins, weighted by their
    size. None without answers."""
    filled = [one for one in bins if one.n]
    total = sum(one.n for one in filled)
    if not total:
        return None
    return sum(abs(one.probability_sum - one.right) for one in filled) / total


def percentile(values: Sequence[float], share: float) -> float | None:
    """The smallest value that at least ``share`` (0 < share ≤ 1) of ``values`` do not exceed; None for none."""
    if not 0 < share <= 1:
        raise ValueError(f"share {share} of a percentile must lie in (0, 1]")
    if not values:
        return None
    ordered = sorted(values)
    rank = -int(-share * len(ordered) // 1)  # ceiling
    return ordered[min(max(rank, 1), len(ordered)) - 1]


def distance(one: Mapping[Hashable, float], other: Mapping[Hashable, float]) -> float | None:
    """Total variation distance of two mixes given as counts or shares: 0 the same, 1 nothing in common; the share of
    cases that would have to change their class. None where one of the two is empty."""
    ones, others = sum(one.values()), sum(other.values())
    if not ones or not others:
        return None
    return 0.5 * sum(abs(one.get(key, 0) / ones - other.get(key, 0) / others) for key in one.keys() | other.keys())


def distance_by_chance(n: int, m: int, mix: Mapping[Hashable, float]) -> float:
    """About the distance that two samples of ``n`` and ``m`` cases from one and the same ``mix`` have by chance.

    The mean absolute difference of two binomial shares, √(2/π) of its standard deviation, summed over the classes: what
    an alarm must stand clear of, since a few cases over many classes are always far apart.
    """
    total = sum(mix.values())
    if not total or not n or not m:
        return 1.0
    spread = sum(sqrt(share * (1 - share)) for share in (count / total for count in mix.values()))
    return min(1.0, 0.5 * sqrt(2 / 3.141592653589793) * sqrt(1 / n + 1 / m) * spread)
