import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from vae_jax.models.latent_paths import (
    linear_interpolation,
    normal_quantile_grid,
    spherical_interpolation,
    traversal,
)

# Few examples of one fixed shape: every new shape compiles anew. XLA rounds subnormal numbers to 0.
few = settings(max_examples=30, deadline=None)
codes = hnp.arrays(
    np.float32, (2, 3, 5), elements=st.floats(-4, 4, width=32, allow_subnormal=False)
)
DEGREES = np.linspace(0, 1, 9, dtype=np.float32)


@pytest.mark.parametrize("interpolation", [linear_interpolation, spherical_interpolation])
@few
@given(pair=codes)
def test_paths_begin_and_end_exactly_at_their_codes(interpolation, pair):
    path = interpolation(pair[0], pair[1], DEGREES)
    assert path.shape == (9, 3, 5)
    np.testing.assert_array_equal(path[0], pair[0])
    np.testing.assert_array_equal(path[-1], pair[1])
    assert np.isfinite(path).all()


@few
@given(pair=codes)
def test_the_path_never_leaves_the_ball_of_the_longer_code(pair):
    start, end = np.linalg.norm(pair, axis=-1)
    norms = np.linalg.norm(spherical_interpolation(pair[0], pair[1], DEGREES), axis=-1)
    # No lower bound holds for every pair: opposite codes are joined through the origin.
    assert (norms <= np.maximum(start, end) * (1 + 1e-3) + 1e-6).all()


def test_codes_of_one_norm_are_joined_on_their_sphere():
    pair = np.random.default_rng(0).normal(size=(2, 200, 16)).astype(np.float32)
    pair *= 3 / np.linalg.norm(pair, axis=-1, keepdims=True)
    path = spherical_interpolation(pair[0], pair[1], DEGREES)
    np.testing.assert_allclose(np.linalg.norm(path, axis=-1), 3, rtol=1e-5)
    # At an even pace: every step turns by the same angle.
    cosines = np.sum(np.asarray(path[1:]) * np.asarray(path[:-1]), axis=-1) / 9
    np.testing.assert_allclose(cosines, cosines[:1].repeat(8, axis=0), atol=1e-5)


def test_the_quarter_circle_is_the_known_one_and_the_norm_grows_along_it():
    path = spherical_interpolation(jnp.array([1.0, 0.0]), jnp.array([0.0, 3.0]), DEGREES)
    angle, norm = DEGREES * np.pi / 2, 1 + 2 * DEGREES
    expected = norm[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    np.testing.assert_allclose(path, expected, atol=1e-6)


@pytest.mark.parametrize("factor", [2.0, -2.0, 1.0, -1.0, 0.0])
def test_codes_that_span_no_plane_are_joined_by_the_line(factor):
    start = np.array([0.3, -1.2, 2.0], np.float32)
    end = np.float32(factor) * start
    np.testing.assert_allclose(
        spherical_interpolation(start, end, DEGREES),
        linear_interpolation(start, end, DEGREES),
        atol=1e-6,
    )


def test_the_path_passes_into_the_line_without_a_jump_as_codes_come_to_oppose_each_other():
    offsets = np.linspace(0, 3e-3, 301, dtype=np.float32)
    start = np.tile(np.array([1, 0], np.float32), (301, 1))
    end = np.stack([-np.cos(offsets), np.sin(offsets)], axis=-1).astype(np.float32)
    path = np.asarray(spherical_interpolation(start, end, DEGREES))
    assert np.abs(path[4, 0]).max() < 1e-6
    np.testing.assert_allclose(np.linalg.norm(path[4, -1]), 1, rtol=1e-3)
    assert np.abs(np.diff(path, axis=1)).max() < 0.05


def test_a_traversal_changes_one_dimension_and_no_other():
    latents = np.arange(6, dtype=np.float32).reshape(2, 3)
    values = np.array([-2.0, 0.0, 5.0, 7.0], np.float32)
    walk = np.asarray(traversal(latents, 1, values))
    assert walk.shape == (4, 2, 3)
    np.testing.assert_array_equal(walk[..., 1], values[:, None].repeat(2, axis=1))
    np.testing.assert_array_equal(walk[..., [0, 2]], latents[None, :, [0, 2]].repeat(4, axis=0))


@pytest.mark.parametrize("dimension", [-1, 3])
def test_a_traversal_of_a_dimension_that_is_not_there_is_refused(dimension):
    with pytest.raises(IndexError, match="3 latents"):
        traversal(np.zeros(3, np.float32), dimension, np.zeros(2, np.float32))


@pytest.mark.parametrize("size", [1, 2, 7, 20])
def test_the_quantile_grid_is_symmetric_monotone_and_laid_out_as_a_picture(size):
    grid = np.asarray(normal_quantile_grid(size))
    assert grid.shape == (size, size, 2)
    assert np.isfinite(grid).all()
    np.testing.assert_allclose(grid, -grid[::-1, ::-1], atol=1e-6)
    assert (np.diff(grid[0, :, 0]) > 0).all()
    assert (np.diff(grid[:, 0, 1]) < 0).all()
    # z1 is one value down a column, z2 along a row.
    assert np.ptp(grid[..., 0], axis=0).max() == 0
    assert np.ptp(grid[..., 1], axis=1).max() == 0


def test_every_cell_of_the_quantile_grid_holds_the_same_mass():
    from statistics import NormalDist

    z1 = np.asarray(normal_quantile_grid(10))[0, :, 0]
    mass_below = [NormalDist().cdf(float(value)) for value in z1]
    np.testing.assert_allclose(mass_below, np.arange(10) / 10 + 0.05, atol=1e-6)


def test_a_grid_without_points_is_refused():
    with pytest.raises(ValueError, match="size=0"):
        normal_quantile_grid(0)
