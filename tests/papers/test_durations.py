import pytest

from vae_jax.papers.durations import (
    CardTime,
    Costs,
    Record,
    described,
    fastest,
    filled,
    lines,
    unhindered,
)


def test_the_fastest_record_has_the_least_work_per_multiplication():
    records = [Record(100.0, 300.0), Record(50.0, 100.0), Record(10.0, 90.0)]
    assert fastest(records) == Record(50.0, 100.0)
    assert Record(50.0, 100.0).pace == 2.0
    assert fastest([]) is None


def test_a_smaller_network_has_at_most_the_work_of_a_larger_one():
    # The second seems to be slower than the third, which is larger.
    records = {"a": Record(1.0, 5.0), "b": Record(2.0, 90.0), "c": Record(3.0, 8.0)}
    bounded = {"a": Record(1.0, 5.0), "b": Record(2.0, 8.0), "c": Record(3.0, 8.0)}
    assert unhindered(records) == bounded
    assert unhindered({"a": Record(1.0, 5.0), "b": Record(1.0, 4.0)})["a"].work == 4.0
    assert unhindered({}) == {}


def test_a_row_without_a_record_has_the_median_pace_of_the_others():
    paces = {"a": 2.0, "b": None, "c": 8.0, "d": 3.0}
    assert filled(paces) == {"a": 2.0, "b": 3.0, "c": 8.0, "d": 3.0}
    assert filled({"a": None, "b": None}) == {"a": None, "b": None}


def test_a_machine_of_twice_the_speed_takes_half_as_long():
    # 1,000 multiplications took 20 s where the standard trains at 50 examples per second.
    of_row = Record(1000.0, 20.0 * 50).pace
    costs = Costs(training=4000.0, evaluation=500.0)
    for speed, seconds in ((50, 80.0), (100, 40.0), (25, 160.0)):
        assert costs.times(of_row / speed, 0.0) == (pytest.approx(seconds), 0.0)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (89.0, "1 min"),
        (41 * 60.0, "41 min"),
        (3599.0, "1 h 0 min"),
        (6 * 3600 + 40 * 60.0, "6 h 40 min"),
        (30 * 3600.0, "30 h 0 min"),
    ],
)
def test_durations_are_hours_minutes_or_seconds(seconds, text):
    assert described(seconds) == text


def test_there_is_a_line_per_card_and_one_for_all():
    cards = [
        CardTime("first", 9, 2460.0),
        CardTime("done", 0, 0.0),
        CardTime("half_known", 4, 600.0, ("deep", "deeper")),
        CardTime("unknown", 1, 0.0, ("only",)),
    ]
    assert lines(cards, 1.26).splitlines() == [
        "first: 9 runs, 41 min",
        "half_known: 4 runs, 10 min; not estimated: deep, deeper",
        "unknown: 1 run; not estimated: only",
        "all: 14 runs, 51 min on this machine (1.3 times the speed of one core of the one that "
        "made the results); 3 rows not estimated",
    ]


def test_without_any_estimate_no_machine_is_named():
    assert lines([CardTime("unknown", 2, 0.0, ("a", "b"))], None).splitlines() == [
        "unknown: 2 runs; not estimated: a, b",
        "all: 2 runs; 2 rows not estimated",
    ]
