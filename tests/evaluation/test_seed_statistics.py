import numpy as np
import pytest

from vae_jax.evaluation.seed_statistics import difference_of_means, gain_at_equal_cost


def test_the_interval_of_a_difference_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(15):
        interval = difference_of_means(rng.normal(0, 1, 30), rng.normal(1, 1, 30))
        assert interval.low <= interval.estimate <= interval.high
        covered += interval.low <= 1 <= interval.high
    assert 12 <= covered <= 15


def test_seeds_that_agree_leave_no_doubt():
    assert difference_of_means(np.full(5, 2.0), np.full(3, 5.0)) == (3.0, 3.0, 3.0)


def curve(cost, score):
    """[strengths, 4 seeds, 2] around a cost and a score, which are the means of the seeds."""
    noise = np.array([-0.1, 0.1, -0.05, 0.05])[:, None]
    return np.stack([cost, score], axis=-1)[:, None, :] + noise


def test_the_gain_is_the_height_between_the_curves_where_both_have_costs():
    cost = np.array([10.0, 20.0, 30.0])
    low = curve(cost, 0.1 * cost)
    # Only from 20 to 30 do both have costs; there the second lies 2 above.
    high = curve(cost + 10, 0.1 * (cost + 10) + 2)
    interval = gain_at_equal_cost(low, high)
    assert interval.estimate == pytest.approx(2)
    assert interval.low < 2 < interval.high
    assert gain_at_equal_cost(high, low).estimate == pytest.approx(-2)


def test_methods_without_a_common_cost_are_not_compared():
    cost = np.array([10.0, 20.0])
    assert gain_at_equal_cost(curve(cost, cost), curve(cost + 50, cost)) is None
