"""Shares and their intervals, calibration, percentiles, distances: what must hold for any counts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callcenter.insight.arithmetic import (
    BINS,
    Bin,
    Share,
    bin_of,
    calibration_error,
    distance,
    distance_by_chance,
    percentile,
    wilson,
)

pytestmark = pytest.mark.unit

counts = st.integers(0, 100_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
mixes = st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 1000), max_size=6)


@pytest.mark.parametrize(
    ("part", "n", "low", "high"),
    # Newcombe, Statistics in Medicine 17 (1998), table I: the score method without continuity correction.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_agrees_with_the_published_intervals(part: int, n: int, low: float, high: float) -> None:
    assert wilson(part, n) == pytest.approx((low, high), abs=5e-5)


@given(counts)
def test_an_interval_holds_its_share_and_stays_within_0_and_1(found: tuple[int, int]) -> None:
    part, n = found
    low, high = wilson(part, n)
    assert 0 <= low <= (part / n if n else 0.5) <= high <= 1
    mirrored = wilson(n - part, n)
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=1e-9)


@given(counts.filter(lambda found: found[1] > 0))
def test_ten_times_as_much_makes_the_interval_narrower(found: tuple[int, int]) -> None:
    part, n = found
    low, high = wilson(part, n)
    lower, higher = wilson(part * 10, n * 10)
    assert higher - lower < high - low


def test_more_than_all_is_no_share() -> None:
    with pytest.raises(ValueError, match="5 of 4"):
        Share(5, 4)
    assert (Share(1, 2) + Share(2, 3)) == Share(3, 5)
    assert Share(0, 0).share is None


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1))
def test_the_calibration_error_lies_between_the_overall_gap_and_1(answers: list[tuple[float, bool]]) -> None:
    bins = [Bin(0, 0.0, 0)] * BINS
    for probability, right in answers:
        at = bin_of(probability)
        bins[at] = Bin(bins[at].n + 1, bins[at].probability_sum + probability, bins[at].right + right)
    error = calibration_error(bins)
    assert error is not None
    gap = abs(sum(p for p, _ in answers) - sum(right for _, right in answers)) / len(answers)
    assert gap - 1e-9 <= error <= 1 + 1e-9


def test_a_router_that_is_right_as_often_as_it_says_has_no_error() -> None:
    assert calibration_error([Bin(10, 8.0, 8), Bin(4, 1.0, 1)]) == 0
    assert calibration_error([Bin(10, 10.0, 5), Bin(0, 0.0, 0)]) == 0.5
    assert calibration_error([]) is None
    assert [bin_of(p) for p in (0.0, 0.0667, 0.999, 1.0)] == [0, 1, 14, 14]


@given(st.lists(st.floats(-1e6, 1e6), min_size=1), st.floats(0.001, 1))
def test_a_percentile_is_one_of_the_values_and_covers_its_share(values: list[float], share: float) -> None:
    found = percentile(values, share)
    assert found in values
    assert sum(value <= found for value in values) >= share * len(values) - 1e-9
    assert sum(value < found for value in values) < share * len(values) + 1e-9


def test_a_percentile_needs_a_share() -> None:
    assert percentile([], 0.5) is None
    assert percentile([1, 2, 3, 4], 0.5) == 2
    with pytest.raises(ValueError, match="share 0"):
        percentile([1], 0)


@given(mixes, mixes)
def test_a_distance_is_symmetric_and_within_0_and_1(one: dict[str, int], other: dict[str, int]) -> None:
    found = distance(one, other)
    mirrored = distance(other, one)
    if found is None or mirrored is None:
        assert found is mirrored is None
        assert not sum(one.values()) or not sum(other.values())
    else:
        assert found == pytest.approx(mirrored)
        assert -1e-9 <= found <= 1 + 1e-9
        scaled = distance({key: 3 * count for key, count in one.items()}, other)
        assert scaled == pytest.approx(found)


def test_distances_at_their_ends() -> None:
    assert distance({"a": 5}, {"a": 9}) == 0
    assert distance({"a": 5}, {"b": 9}) == 1
    assert distance({"a": 1, "b": 1}, {"a": 1}) == 0.5


def test_chance_alone_moves_few_cases_far_and_many_hardly() -> None:
    mix = {name: 1 for name in "abcdefghij"}
    few, many = distance_by_chance(20, 20, mix), distance_by_chance(20_000, 20_000, mix)
    assert few > 0.2
    assert many < 0.02
    assert distance_by_chance(0, 5, mix) == 1
