import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from factor_images import FactorImages, standardised
from hypothesis import given, settings
from hypothesis import strategies as st

from vae_jax.data.simulators import Simulator
from vae_jax.distributions import Normal
from vae_jax.errors import UserError
from vae_jax.evaluation.disentanglement import (
    PAPER_SIZES,
    MetricSizes,
    disentanglement_metrics,
    encoded,
    unsupervised,
)
from vae_jax.evaluation.disentanglement.beta_vae import beta_vae_score
from vae_jax.evaluation.disentanglement.binned_information import (
    bin_codes,
    entropy,
    mutual_information,
)
from vae_jax.evaluation.disentanglement.dci import completeness, dci, disentanglement
from vae_jax.evaluation.disentanglement.factor_vae import factor_vae_score, least_varying
from vae_jax.evaluation.disentanglement.irs import interventional_robustness
from vae_jax.evaluation.disentanglement.mig import mutual_information_gap
from vae_jax.evaluation.disentanglement.modularity import modularity
from vae_jax.evaluation.disentanglement.sap import separated_attribute_predictability

SIZES = (4, 6, 10)
TWO_ALIKE = (10, 10)
ROTATION = np.array([[1, 1], [1, -1]]) / np.sqrt(2)


def noise_of(factors, num_latents, seed=0):
    return np.random.default_rng([seed, len(factors)]).normal(size=(len(factors), num_latents))


# From standardised factors to codes.
CODES = {
    "perfect": lambda factors: factors,
    "permuted": lambda factors: factors[:, ::-1] * [-3.0, 0.5, 7.0] + [1.0, -5.0, 100.0],
    "with constants": lambda factors: np.pad(factors, ((0, 0), (1, 2)), constant_values=0.7),
    "duplicated": lambda factors: np.concatenate([factors, factors], axis=1),
    "noise": lambda factors: noise_of(factors, 5),
    "constant": lambda factors: np.full((len(factors), 4), 0.3),
}


def points(code, sizes=SIZES, num=4000, seed=0):
    """Codes in single precision, as encoders give them, and factors."""
    factors = np.random.default_rng(seed).integers(0, sizes, (num, len(sizes))).astype(np.int32)
    return code(standardised(factors, sizes)).astype(np.float32), factors


def grid(code, sizes=SIZES):
    """One point of every combination of values: factors that are independent to the digit."""
    factors = np.indices(sizes).reshape(len(sizes), -1).T.astype(np.int32)
    return code(standardised(factors, sizes)).astype(np.float32), factors


def train_and_test(code, sizes=SIZES, num=3000):
    return *points(code, sizes, num, seed=0), *points(code, sizes, num // 2, seed=1)


def mig_of(code, sizes=SIZES):
    return mutual_information_gap(*grid(code, sizes))


def mig_of_draws(code, sizes=SIZES):
    return mutual_information_gap(*points(code, sizes, 20_000))


# Information from counts


def test_entropy_and_information_of_counts_by_hand():
    a = np.array([0, 0, 1, 1, 2, 2, 3, 3])
    b = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    c = np.array([0, 1, 0, 1, 0, 1, 0, 1])
    assert entropy(a) == pytest.approx(np.log(4))
    found = mutual_information(np.stack([a, b, c], axis=1), np.stack([b, c], axis=1))
    np.testing.assert_allclose(found, [[np.log(2), 0], [np.log(2), 0], [0, np.log(2)]], atol=1e-12)


def test_information_is_the_divergence_of_the_joint_from_the_product():
    rng = np.random.default_rng(0)
    joint = rng.integers(0, 5, (4, 7))
    a, b = np.repeat(np.stack(np.indices((4, 7)), axis=-1).reshape(-1, 2), joint.ravel(), axis=0).T
    share = joint / joint.sum()
    product = share.sum(axis=1, keepdims=True) * share.sum(axis=0)
    expected = sum(p * np.log(p / q) for p, q in zip(share.flat, product.flat, strict=True) if p)
    assert mutual_information(a[:, None], b[:, None])[0, 0] == pytest.approx(expected)


def test_bins_have_one_width_and_the_largest_code_is_in_the_last():
    codes = np.array([[0.0, 5.0], [0.24, 5.0], [0.26, 5.0], [0.99, 5.0], [1.0, 5.0]])
    np.testing.assert_array_equal(bin_codes(codes, 4).T, [[0, 0, 1, 3, 3], [0] * 5])


# Mutual information gap


@pytest.mark.parametrize("code", ["perfect", "permuted", "with constants"])
def test_mig_of_a_perfect_code_is_one(code):
    gap = mig_of(CODES[code])
    assert gap.score == pytest.approx(1)
    np.testing.assert_allclose(gap.information.max(axis=0), np.log(SIZES))
    assert mig_of_draws(CODES[code]).score == pytest.approx(1, abs=0.003)


def test_mig_of_a_factor_with_twice_as_many_values_as_bins_is_the_entropy_of_the_bins():
    gap = mig_of(CODES["perfect"], sizes=(40,))
    assert gap.score == pytest.approx(np.log(20) / np.log(40))


def test_mig_is_zero_where_a_factor_is_coded_twice_or_not_at_all():
    assert mig_of(CODES["duplicated"]).score == 0
    assert mig_of(CODES["constant"]).score == 0
    assert mig_of_draws(CODES["noise"]).score == pytest.approx(0, abs=0.002)


def test_mig_of_rotated_factors_is_about_zero():
    def rotated(factors):
        return factors @ ROTATION

    assert mig_of_draws(rotated, TWO_ALIKE).score == pytest.approx(0, abs=0.005)
    gap = mig_of(rotated, (9, 9))
    # The sum of two of nine values has a triangle's frequencies; their difference too.
    triangle = np.concatenate([np.arange(1, 10), np.arange(8, 0, -1)]) / 81
    information = -(triangle * np.log(triangle)).sum() - np.log(9)
    np.testing.assert_allclose(gap.information, information)
    assert gap.score == pytest.approx(0)


def test_a_factor_coded_twice_costs_its_own_gap_only():
    gap = mig_of(lambda factors: factors[:, [0, 1, 2, 1]])
    np.testing.assert_allclose(gap.gaps, [1, 0, 1], atol=1e-12)


def test_mig_of_a_single_latent_compares_it_with_one_that_knows_nothing():
    assert mig_of_draws(CODES["perfect"], sizes=(5,)).score == pytest.approx(1)


# Separated attribute predictability


def sap_of(code, sizes=SIZES):
    return separated_attribute_predictability(*train_and_test(code, sizes))


@pytest.mark.parametrize("code", ["perfect", "permuted", "with constants"])
def test_sap_of_a_perfect_code_is_what_a_guess_lacks(code):
    predictability = sap_of(CODES[code])
    assert predictability.accuracy.max(axis=0).tolist() == [1, 1, 1]
    assert predictability.score == pytest.approx(np.mean(1 - 1 / np.array(SIZES)), abs=0.03)


def test_sap_is_zero_where_a_factor_is_coded_twice_or_not_at_all():
    assert sap_of(CODES["duplicated"]).score == 0
    assert sap_of(CODES["constant"]).score == 0
    assert sap_of(CODES["noise"]).score == pytest.approx(0, abs=0.03)


def test_sap_of_rotated_factors_is_low_and_of_a_single_latent_the_lead_over_a_guess():
    rotated = sap_of(lambda factors: factors @ ROTATION, TWO_ALIKE)
    assert rotated.score == pytest.approx(0, abs=0.03)
    assert rotated.accuracy.min() > 0.15
    assert sap_of(CODES["perfect"], (5,)).score == pytest.approx(0.8, abs=0.03)


def test_thresholds_lie_half_way_between_the_means_of_the_values():
    codes = np.array([[1.0], [3.0], [8.0], [8.0], [-4.0]])
    values = np.array([[0], [0], [2], [2], [5]])
    test_codes = np.array([[4.9], [5.1], [-0.9], [-1.1], [100.0], [-100.0]])
    expected = np.array([[0], [2], [0], [5], [2], [5]])
    found = separated_attribute_predictability(codes, values, test_codes, expected)
    assert found.accuracy.tolist() == [[1.0]]


# Disentanglement, completeness, informativeness


def dci_of(code, sizes=SIZES, num=1500):
    return dci(*train_and_test(code, sizes, num), seed=0)


@pytest.mark.parametrize("code", ["perfect", "permuted", "with constants"])
def test_dci_of_a_perfect_code_is_one(code):
    scores = dci_of(CODES[code])
    assert scores.disentanglement == pytest.approx(1, abs=0.01)
    assert scores.completeness == pytest.approx(1, abs=0.01)
    assert scores.informativeness == 1
    np.testing.assert_allclose(scores.importance.sum(axis=0), 1)


def test_a_factor_coded_twice_costs_completeness_only():
    scores = dci_of(CODES["duplicated"])
    assert scores.disentanglement == pytest.approx(1, abs=0.01)
    assert scores.completeness == pytest.approx(1 - np.log(2) / np.log(6), abs=0.05)
    assert scores.informativeness == 1


def test_a_latent_that_holds_two_factors_costs_disentanglement_only():
    # The first latent codes both of the first two factors: every pair of values is a code.
    def joined(factors):
        return np.stack([factors[:, 0] + 10 * factors[:, 1], factors[:, 2]], axis=1)

    scores = dci_of(joined, sizes=(3, 3, 3))
    # Two thirds of all importance is in a latent whose shares are (1/2, 1/2, 0).
    assert scores.disentanglement == pytest.approx(1 - 2 / 3 * np.log(2) / np.log(3), abs=0.02)
    assert scores.completeness == pytest.approx(1, abs=0.02)
    assert scores.informativeness == 1


def test_dci_of_rotated_factors_and_of_noise_is_low():
    rotated = dci_of(lambda factors: factors @ ROTATION, TWO_ALIKE)
    noise = dci_of(CODES["noise"])
    for scores in (rotated, noise):
        assert scores.disentanglement == pytest.approx(0, abs=0.02)
        assert scores.completeness == pytest.approx(0, abs=0.02)
    assert rotated.informativeness > 0.9
    assert noise.informativeness == pytest.approx(np.mean(1 / np.array(SIZES)), abs=0.05)


def test_dci_of_a_constant_code_is_zero_and_a_guess():
    scores = dci_of(CODES["constant"])
    assert (scores.disentanglement, scores.completeness) == (0, 0)
    assert scores.informativeness == pytest.approx(np.mean(1 / np.array(SIZES)), abs=0.05)


def test_importance_gives_its_scores_by_hand():
    importance = np.array([[0.5, 0.5], [0.5, 0.0], [0.0, 0.5], [0.0, 0.0]])
    assert disentanglement(importance) == pytest.approx(0.5)
    assert completeness(importance) == pytest.approx(0.5)
    assert disentanglement(importance[:, :1]) is None
    assert completeness(importance[:1]) is None


# Modularity


def test_modularity_is_one_of_perfect_and_duplicated_codes_and_zero_of_rotated_ones():
    for code in ("perfect", "permuted", "with constants", "duplicated"):
        assert modularity(mig_of(CODES[code]).information) == pytest.approx(1)
    rotated = mig_of(lambda factors: factors @ ROTATION, (9, 9))
    assert modularity(rotated.information) == pytest.approx(0)


def test_a_latent_that_holds_two_factors_costs_modularity():
    def joined(factors):
        return np.stack([factors[:, 0] + 3 * factors[:, 1], factors[:, 2]], axis=1)

    # The nine values of the first latent are in bins of their own. One of the two other factors is
    # known as well as the first, 1/2; the second latent is pure, 1.
    found = modularity(mig_of(joined, sizes=(3, 3, 3)).information)
    assert found == pytest.approx(0.75)


def test_modularity_by_hand_leaves_out_uninformative_latents():
    information = np.array([[2.0, 1.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 3.0]])
    assert modularity(information) == pytest.approx((1 - 1 / 8 + 1) / 2)
    assert modularity(np.zeros((2, 3))) == 0
    assert modularity(np.ones((2, 1))) is None


def test_modularity_of_noise_is_near_zero_among_factors_of_one_size():
    assert modularity(mig_of_draws(CODES["noise"], TWO_ALIKE).information) < 0.35


# Interventional robustness


def irs_of(code, sizes=SIZES):
    return interventional_robustness(*points(code, sizes, num=8000))


def test_irs_is_one_of_perfect_and_duplicated_codes_half_of_rotated_ones_and_low_of_noise():
    for code in ("perfect", "permuted", "with constants", "duplicated"):
        assert irs_of(CODES[code]).score == pytest.approx(1)
    # Given one of two factors, what a latent still varies by is the half of what it varied by.
    rotated = irs_of(lambda factors: factors @ ROTATION, TWO_ALIKE)
    assert rotated.score == pytest.approx(0.5, abs=0.06)
    assert irs_of(CODES["noise"]).score == pytest.approx(0, abs=0.05)
    assert irs_of(CODES["constant"]).score == 0


def test_constant_latents_are_not_robust():
    robustness = irs_of(CODES["with constants"]).robustness
    np.testing.assert_array_equal(robustness[[0, 4, 5]], 0)
    np.testing.assert_allclose(robustness[1:4].diagonal(), 1)


# All metrics of arrays


def all_scores(codes, factors):
    half = len(codes) // 2
    parts = codes[:half], factors[:half], codes[half:], factors[half:]
    gap, trees = mutual_information_gap(codes, factors), dci(*parts, seed=0)
    covariance = unsupervised.covariance(codes)
    return {
        "mig": gap.score,
        "sap": separated_attribute_predictability(*parts).score,
        "disentanglement": trees.disentanglement,
        "completeness": trees.completeness,
        "informativeness": trees.informativeness,
        "modularity": modularity(gap.information),
        "irs": interventional_robustness(codes, factors).score,
        "total correlation": unsupervised.gaussian_total_correlation(covariance),
        "average information": unsupervised.average_mutual_information(codes),
    }


def entangled(factors):
    return np.tanh(factors @ [[1.0, 0.3, 0.0], [0.0, 0.7, 0.2], [0.5, 0.0, 0.9]]) + 0.1 * (
        noise_of(factors, 3)
    )


@functools.cache
def scores_of_entangled():
    return all_scores(*points(entangled, num=1000))


@settings(max_examples=3, deadline=None)
@given(
    order=st.permutations(range(3)),
    scales=st.lists(st.floats(0.01, 100), min_size=3, max_size=3),
    signs=st.lists(st.sampled_from([-1, 1]), min_size=3, max_size=3),
)
def test_scores_change_neither_with_the_order_nor_with_the_scale_of_latents(order, scales, signs):
    codes, factors = points(entangled, num=1000)
    factor = np.array(scales) * signs
    changed = (codes[:, order].astype(np.float64) * factor).astype(np.float32)
    expected, found = dict(scores_of_entangled()), all_scores(changed, factors)
    # Its latents are weighted by how far they reach.
    expected.pop("irs"), found.pop("irs")
    for name in ("disentanglement", "completeness", "informativeness"):
        # Other trees are drawn.
        assert found.pop(name) == pytest.approx(expected.pop(name), abs=0.06)
    # A mirrored latent's bins are closed at the other end, and rounding moves a code over an edge.
    assert found == pytest.approx(expected, rel=0.02, abs=0.004)


@settings(max_examples=10, deadline=None)
@given(scale=st.floats(0.001, 1000), shift=st.floats(-10, 10))
def test_irs_changes_neither_with_the_order_nor_with_the_common_scale(scale, shift):
    codes, factors = points(entangled, num=1000)
    expected = interventional_robustness(codes, factors)
    found = interventional_robustness(scale * (codes[:, ::-1] + shift), factors[:, ::-1])
    assert found.score == pytest.approx(expected.score, rel=1e-3)
    np.testing.assert_allclose(found.robustness[::-1, ::-1], expected.robustness, atol=1e-3)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32), num_latents=st.integers(1, 4), num_values=st.integers(1, 4))
def test_scores_of_any_codes_are_numbers_from_zero_to_one(seed, num_latents, num_values):
    rng = np.random.default_rng(seed)
    factors = rng.integers(0, [2, num_values], (40, 2)).astype(np.int32)
    codes = rng.integers(0, 3, (40, num_latents)) * rng.choice([0, 1e-6, 1, 1e6], num_latents)
    gap = mutual_information_gap(codes, factors)
    parts = codes[:20], factors[:20], codes[20:], factors[20:]
    scores = [
        gap.score,
        modularity(gap.information),
        separated_attribute_predictability(*parts).score,
        interventional_robustness(codes, factors).score,
        unsupervised.gaussian_wasserstein_correlation(unsupervised.covariance(codes)),
    ]
    for score in scores:
        assert score is None or 0 <= score <= 1 + 1e-9
    total_correlation = unsupervised.gaussian_total_correlation(unsupervised.covariance(codes))
    assert total_correlation is None or 0 <= total_correlation < np.inf


def test_a_factor_with_one_value_is_left_out_and_named():
    codes, factors = points(lambda factors: factors, sizes=(4, 1, 6), num=600)
    parts = codes[:400], factors[:400], codes[400:], factors[400:]
    results = [
        mutual_information_gap(codes, factors),
        separated_attribute_predictability(*parts),
        dci(*parts, seed=0),
        interventional_robustness(codes, factors),
    ]
    for result in results:
        assert result.factors == [0, 2]
    assert results[0].score == pytest.approx(1, abs=0.02)
    assert results[0].information.shape == (3, 2)
    assert results[2].disentanglement == pytest.approx(1, abs=0.01)


METRICS_OF_POINTS = {
    "mig": mutual_information_gap,
    "irs": interventional_robustness,
    "sap": lambda codes, factors: separated_attribute_predictability(
        codes, factors, codes, factors
    ),
    "dci": lambda codes, factors: dci(codes, factors, codes, factors, seed=0),
}


@pytest.mark.parametrize("metric", METRICS_OF_POINTS)
def test_no_factor_to_measure_and_codes_that_are_not_finite_are_refused(metric):
    compute, codes = METRICS_OF_POINTS[metric], noise_of(np.zeros(30), 3)
    for factors in (np.zeros((30, 2), np.int32), np.zeros((30, 0), np.int32)):
        with pytest.raises(UserError, match="at least 2 values"):
            compute(codes, factors)
    codes[3, 1] = np.nan
    with pytest.raises(UserError, match=r"latents \[1\] are not finite"):
        compute(codes, np.arange(60, dtype=np.int32).reshape(30, 2))


def test_more_bins_than_points_are_refused():
    codes, factors = points(CODES["perfect"], num=19)
    for compute in (
        lambda: mutual_information_gap(codes, factors),
        lambda: unsupervised.average_mutual_information(codes),
    ):
        with pytest.raises(UserError, match="num_bins=20 exceeds the 19 points"):
            compute()
    assert mutual_information_gap(codes, factors, num_bins=19).score > 0


# Unsupervised metrics


def test_correlations_of_two_latents_have_their_closed_forms():
    r = 0.6
    matrix = np.array([[4.0, 2 * r], [2 * r, 1.0]])
    total = unsupervised.gaussian_total_correlation(matrix)
    assert total == pytest.approx(-0.5 * np.log(1 - r**2))
    equal = np.array([[1.0, r], [r, 1.0]])
    wasserstein = unsupervised.gaussian_wasserstein_correlation(equal)
    assert wasserstein == pytest.approx(2 - np.sqrt(1 + r) - np.sqrt(1 - r))


def test_uncorrelated_and_constant_latents_have_no_correlation_and_a_copy_an_infinite_one():
    uncorrelated = unsupervised.covariance(points(CODES["with constants"], num=20_000)[0])
    assert unsupervised.gaussian_total_correlation(uncorrelated) == pytest.approx(0, abs=1e-3)
    assert unsupervised.gaussian_wasserstein_correlation(uncorrelated) < 1e-3
    constant = unsupervised.covariance(points(CODES["constant"])[0])
    assert unsupervised.gaussian_total_correlation(constant) == 0
    assert unsupervised.gaussian_wasserstein_correlation(constant) == 0
    doubled = unsupervised.covariance(points(CODES["duplicated"])[0])
    assert unsupervised.gaussian_total_correlation(doubled) is None
    # A latent and its copy have r = 1.
    assert unsupervised.gaussian_wasserstein_correlation(doubled) == pytest.approx(
        2 - np.sqrt(2), abs=0.01
    )


def test_the_covariance_of_samples_is_that_of_draws():
    rng = np.random.default_rng(0)
    codes = rng.normal(size=(50_000, 2)) @ [[1.0, 0.5], [0.0, 0.3]]
    scales = rng.uniform(0.1, 2, codes.shape)
    expected = np.cov(codes + scales * rng.normal(size=codes.shape), rowvar=False)
    found = unsupervised.sample_covariance(codes, scales)
    np.testing.assert_allclose(found, expected, atol=0.03)


def test_average_information_is_that_of_the_pairs():
    codes, _ = points(lambda factors: factors[:, [0, 0, 1]], sizes=(4, 6), num=20_000)
    found = unsupervised.average_mutual_information(codes)
    assert found == pytest.approx(np.log(4) / 3, abs=0.005)
    assert unsupervised.average_mutual_information(codes[:, :1]) is None


# Metrics on a simulator


def encoder(code, sizes):
    """Codes of images that are their factors."""
    return lambda images: code(standardised(images[:, 0, :, 0], sizes)).astype(np.float32)


def several_valued(sizes):
    return [index for index, size in enumerate(sizes) if size > 1]


def new_images(code, sizes):
    return functools.partial(encoded.encode_groups, encoder(code, sizes), FactorImages(sizes))


def points_at_hand(code, sizes):
    return functools.partial(encoded.choose_groups, *points(code, sizes))


def beta_of(code, sizes=SIZES, groups=new_images):
    return beta_vae_score(
        groups(code, sizes),
        several_valued(sizes),
        jax.random.key(0),
        num_train=150,
        num_test=300,
        num_pairs=64,
    )


def vote_of(code, sizes=SIZES, groups=new_images):
    return factor_vae_score(
        groups(code, sizes),
        several_valued(sizes),
        jax.random.key(0),
        variance=np.diag(unsupervised.covariance(points(code, sizes)[0])),
        num_train=150,
        num_test=300,
        group_size=64,
    )


def vote_score(*arguments):
    return vote_of(*arguments).score


def test_the_simulator_of_the_tests_keeps_to_the_protocol():
    simulator = FactorImages(SIZES)
    assert isinstance(simulator, Simulator)
    groups = simulator.sample_sharing(jax.random.key(0), np.array([2, 0]), 5).factors
    assert len(set(groups[:5, 2])) == len(set(groups[5:, 0])) == 1
    assert len(set(groups[:5, 0])) > 1


both_scores = pytest.mark.parametrize("score", [beta_of, vote_score])
both_groups = pytest.mark.parametrize("groups", [new_images, points_at_hand])


@both_scores
@both_groups
@pytest.mark.parametrize("code", ["perfect", "permuted", "with constants", "duplicated"])
def test_shared_factors_are_predicted_by_perfect_and_duplicated_codes(score, groups, code):
    assert score(CODES[code], SIZES, groups) == 1


@both_scores
@both_groups
def test_shared_factors_are_guessed_from_noise_and_from_rotated_factors(score, groups):
    assert score(CODES["noise"], SIZES, groups) == pytest.approx(1 / 3, abs=0.1)
    rotated = score(lambda factors: factors @ ROTATION, TWO_ALIKE, groups)
    assert rotated == pytest.approx(0.5, abs=0.1)


@both_scores
def test_points_at_hand_serve_as_well_as_new_images(score):
    def half_entangled(factors):
        return factors @ [[1.0, 0.9, 0.0], [0.8, 1.0, 0.9], [0.0, 0.7, 1.0]]

    drawn, chosen = (
        score(half_entangled, SIZES, groups) for groups in (new_images, points_at_hand)
    )
    assert 0.4 < drawn < 0.99
    assert chosen == pytest.approx(drawn, abs=0.1)


@pytest.mark.parametrize("spread", [0.1, 1e-3])
def test_latents_that_are_almost_copies_leave_the_classifier_well_behaved(spread):
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(3, 1)) + spread * rng.normal(size=(3, 8))
    assert 1 / 3 < beta_of(lambda factors: 30 * factors @ mixing) <= 1


def test_groups_chosen_among_points_share_a_factor_whose_values_are_as_frequent_as_in_the_points():
    factors = np.random.default_rng(0).choice([0, 1, 1, 1, 3], (2000, 3)).astype(np.int32)
    shared = np.resize([2, 0], 3000)
    groups = encoded.choose_groups(factors / 1.0, factors, jax.random.key(0), shared, 5)
    assert groups.shape == (3000, 5, 3)
    fixed = np.take_along_axis(groups, shared[:, None, None], axis=2)[..., 0]
    assert (fixed == fixed[:, :1]).all()
    for values in (fixed[:, 0], groups[:, 0, 1], groups[::2, 4, 0]):
        assert (values == 1).mean() == pytest.approx(0.6, abs=0.05)
    assert np.corrcoef(groups[:, 0, 1], groups[:, 1, 1])[0, 1] == pytest.approx(0, abs=0.06)


def test_a_constant_code_predicts_no_shared_factor():
    assert beta_of(CODES["constant"]) == pytest.approx(1 / 3)
    vote = vote_of(CODES["constant"])
    assert vote.score == 0
    np.testing.assert_array_equal(vote.votes, 0)


def test_votes_are_counted_by_latent_and_factor():
    vote = vote_of(lambda factors: factors[:, [2, 0, 1]])
    np.testing.assert_array_equal(vote.votes, 50 * np.eye(3, dtype=int)[[2, 0, 1]])


@pytest.mark.parametrize(("deviation", "score"), [(0.06, 1), (0.04, 2 / 3)])
def test_a_weak_latent_of_a_perfect_code_votes_from_a_deviation_of_5_percent_on(deviation, score):
    assert vote_score(lambda factors: factors * [1, deviation, 1]) == pytest.approx(score, abs=0.01)


def test_latents_that_hardly_vary_have_no_vote():
    groups = np.stack([np.zeros((10, 4)), np.random.default_rng(0).normal(size=(10, 4))], axis=-1)
    # By the deviation, not the variance.
    assert least_varying(groups, np.array([0.06**2, 1.0])).tolist() == [0] * 10
    assert least_varying(groups, np.array([0.04**2, 1.0])).tolist() == [1] * 10


def test_one_factor_gives_nothing_to_predict_and_single_valued_ones_are_left_out():
    assert beta_of(CODES["perfect"], (5, 1)) is None
    assert vote_of(CODES["perfect"], (5, 1)).score is None
    assert beta_of(CODES["perfect"], (5, 1, 3)) == 1
    vote = vote_of(CODES["perfect"], (5, 1, 3))
    assert vote.score == 1
    np.testing.assert_array_equal(vote.votes, [[75, 0], [0, 0], [0, 75]])


def test_points_and_groups_do_not_depend_on_how_many_images_a_call_takes(monkeypatch):
    # Values enough that no two draws of five are all alike.
    many, shared = (100, 200, 250), np.array([0, 1, 2, 2, 0, 1, 1])

    def draw():
        encode, simulator = encoder(CODES["perfect"], many), FactorImages(many)
        shapes = set()

        def watched(images):
            shapes.add(images.shape)
            return encode(images)

        codes, factors = encoded.encode_points(watched, simulator, jax.random.key(0), 29)
        np.testing.assert_allclose(codes, standardised(factors, many), atol=1e-6)
        assert codes.shape == (29, 3)
        groups = encoded.encode_groups(watched, simulator, jax.random.key(0), shared, 5)
        assert groups.shape == (7, 5, 3)
        for group, factor in zip(groups, shared, strict=True):
            assert np.ptp(group[:, factor]) == 0
        assert (np.ptp(groups, axis=1) > 0).sum() == 14
        assert len(np.unique(groups[:, 0], axis=0)) > 1
        return shapes

    assert len(draw()) == 2
    monkeypatch.setattr(encoded, "_NUM_IMAGES", 12)
    assert {shape[0] for shape in draw()} == {12, 10}


# All of them

SMALL = MetricSizes(
    num_train=1500, num_test=500, beta_train=60, beta_test=60, factor_train=60, factor_test=60
)


def metrics_of(code, sizes=SIZES, metric_sizes=SMALL, **options):
    return disentanglement_metrics(
        encoder(code, sizes), FactorImages(sizes), jax.random.key(0), metric_sizes, **options
    )


def test_all_metrics_of_a_perfect_code():
    def posterior(images):
        mean = encoder(CODES["perfect"], SIZES)(images)
        return Normal(jnp.asarray(mean), jnp.zeros(mean.shape))

    found = metrics_of(CODES["perfect"], posterior=posterior)
    ones = ["beta_vae_score", "factor_vae_score", "mig", "modularity", "irs"]
    ones += ["dci_disentanglement", "dci_completeness", "dci_informativeness"]
    for name in ones:
        assert found[name] == pytest.approx(1, abs=0.01), name
    assert found["sap"] == pytest.approx(np.mean(1 - 1 / np.array(SIZES)), abs=0.05)
    assert 0 <= found["sampled_gaussian_total_correlation"] < 0.01
    assert found["gaussian_total_correlation"] < 0.01
    assert found["factors"] == ["factor 0", "factor 1", "factor 2"]
    matrices = [value for name, value in found.items() if name.endswith(("_matrix", "_votes"))]
    assert len(matrices) == 5
    for matrix in matrices:
        assert np.shape(matrix) == (3, 3)
        assert np.argmax(matrix, axis=0).tolist() == [0, 1, 2]
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize("code", ["constant", "noise", "duplicated"])
def test_no_metric_is_nan(code):
    found = metrics_of(CODES[code])
    json.dumps(found, allow_nan=False)
    undefined = {name for name, value in found.items() if value is None}
    expected = {"sampled_gaussian_total_correlation", "sampled_gaussian_wasserstein_correlation"}
    assert undefined == expected | (
        {"gaussian_total_correlation"} if code == "duplicated" else set()
    )


def test_with_one_factor_what_compares_factors_is_none():
    found = metrics_of(CODES["perfect"], sizes=(5, 1))
    assert found["factors"] == ["factor 0"]
    names = ["beta_vae_score", "factor_vae_score", "dci_disentanglement", "modularity"]
    assert [found[name] for name in names] == [None] * 4
    assert found["mig"] == pytest.approx(1)
    json.dumps(found, allow_nan=False)


def test_points_that_are_reused_are_all_that_is_encoded():
    simulator = FactorImages(SIZES)
    found = disentanglement_metrics(
        encoder(CODES["perfect"], SIZES), simulator, jax.random.key(0), SMALL, reuse_points=True
    )
    assert simulator.num_drawn == SMALL.num_train + SMALL.num_test
    assert (found["beta_vae_score"], found["factor_vae_score"]) == (1, 1)


def test_metrics_are_a_function_of_the_key():
    first, second = metrics_of(entangled), metrics_of(entangled)
    assert first == second


@pytest.mark.parametrize(
    ("sizes", "change", "message"),
    [
        ((1, 1), {}, r"\[1, 1\] values"),
        ((), {}, r"\[\] values"),
        (SIZES, {"num_train": 19}, "num_train=19 .* at least 20"),
        (SIZES, {"beta_train": 2}, "beta_train=2 .* 3 factors.* at least 3"),
        (SIZES, {"group_size": 1}, "group_size=1 .* at least 2"),
        (SIZES, {"num_test": 0}, "num_test=0 .* at least 1"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_anything_is_encoded(sizes, change, message):
    def encode(images):
        raise AssertionError

    with pytest.raises(UserError, match=message):
        disentanglement_metrics(
            encode, FactorImages(sizes), jax.random.key(0), SMALL._replace(**change)
        )


def test_an_encoder_that_diverged_is_refused():
    with pytest.raises(UserError, match="not finite"):
        metrics_of(lambda factors: factors * [1.0, 1.0, np.inf])


def test_the_sizes_of_the_paper_are_those_of_its_appendix():
    assert PAPER_SIZES.beta_train == PAPER_SIZES.factor_train == PAPER_SIZES.num_train == 10_000
    assert PAPER_SIZES.beta_test == PAPER_SIZES.factor_test == PAPER_SIZES.num_test == 5_000
