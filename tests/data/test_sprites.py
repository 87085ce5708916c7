import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vae_jax import data
from vae_jax.data.sprites.dataset import SpritesDataset, render_rows
from vae_jax.data.sprites.rendering import draw_within_cells, render
from vae_jax.data.sprites.variants import SHAPES, VARIANTS
from vae_jax.errors import UserError

BINARY, SMOOTH, COLOR = VARIANTS.values()
compiled = jax.jit(render, static_argnums=(1, 2))
SIDE = 64


def images_of(variant=SMOOTH, size=SIDE, **values):
    """Images; what is not named is in the middle of the grid, upright and large."""
    middle = {"shape": 2, "scale": 5, "orientation": 0, "x": 16, "y": 16, "hue": 0, "background": 0}
    columns = [values.get(name, middle[name]) for name in variant.names]
    rows = np.stack(np.broadcast_arrays(*map(np.atleast_1d, columns)), axis=1)
    return render_rows(variant, rows.astype(np.uint8), size).astype(np.float64)


def image_of(variant=SMOOTH, size=SIDE, **values):
    (image,) = images_of(variant, size, **values)
    return image


def radius_of(scale):
    """Return the radius in units of the image's side."""
    return 480 / 2048 * (0.5 + 0.1 * scale)


def moments(image):
    """Area in pixels, centroid (x, y) and angle of the longer axis, counter-clockwise."""
    weights = image[..., 0] / 255
    area = weights.sum()
    rows, columns = np.mgrid[: len(image), : len(image)]
    x, y = (weights * columns).sum() / area, (weights * rows).sum() / area
    right, up = columns - x, y - rows
    xx, yy, xy = ((weights * part).sum() for part in (right * right, up * up, right * up))
    return area, (x, y), 0.5 * np.arctan2(2 * xy, xx - yy)


def reference(factors, size):
    """Return how far inside the sprite each pixel is, in pixels, from the shape's equation.

    Exact at the edge of a square, of the first order at the others'.
    """
    shape, scale, orientation, x, y = factors[:5]
    radius, angle = radius_of(scale), 2 * np.pi * orientation / 40
    centres = (np.arange(size) + 0.5) / size
    right = centres[None, :] - (0.25 + (x + 0.5) / 64)
    up = (0.25 + (y + 0.5) / 64) - centres[:, None]
    u = np.abs(np.cos(angle) * right + np.sin(angle) * up)
    v = np.cos(angle) * up - np.sin(angle) * right
    if SHAPES[int(shape)] == "square":
        return (radius / np.sqrt(2) - np.maximum(u, np.abs(v))) * size
    if SHAPES[int(shape)] == "ellipse":
        inside, slopes = radius**2 - u**2 - 4 * v**2, (2 * u, 8 * v)
    else:
        w = v + 0.2807 * radius
        inside = 7 * radius**2 - (18 * u**2 - 24 * u * w + 16 * w**2)
        slopes = (36 * u - 24 * w, 32 * w - 24 * u)
    return inside / np.maximum(np.hypot(*slopes), 1e-9) * size


continuous_factors = st.tuples(
    st.integers(0, 2),
    *(st.floats(-0.5, num - 0.5, width=32) for num in (6, 40, 32, 32)),
)


@given(continuous_factors, st.sampled_from([16, 32, 50, 64, 128]))
@settings(deadline=None, max_examples=60)
def test_an_image_is_what_the_shapes_equation_says(factors, size):
    factors = np.float32(factors)
    (binary,), (smooth,) = (
        np.asarray(compiled(jnp.asarray(factors[None]), variant, size)).astype(int)[..., 0]
        for variant in (BINARY, SMOOTH)
    )
    distance = reference(factors, size)
    # In pixels: the unit of length is 1/2048 of the side; radii and positions are rounded to it.
    blurred = 0.002 * size
    assert (binary[distance > blurred] == 255).all()
    assert (binary[distance < -blurred] == 0).all()
    expected = np.clip(127.5 + 255 * distance, 0, 255)
    near = np.abs(distance) < 0.5
    np.testing.assert_allclose(smooth[near], expected[near], atol=0.08 * 128 + 255 * blurred + 2)
    assert (smooth[distance > 0.6 + blurred] == 255).all()
    assert (smooth[distance < -0.6 - blurred] == 0).all()


def test_the_shapes_have_their_areas_which_grow_with_scale():
    for shape, area in enumerate((2, np.pi / 2, 7 * np.pi / 12)):
        scales = np.arange(6)
        measured = [moments(image)[0] for image in images_of(shape=shape, scale=scales)]
        expected = [area * (radius_of(scale) * SIDE) ** 2 for scale in range(6)]
        np.testing.assert_allclose(measured, expected, rtol=0.02)
        counted = [moments(image)[0] for image in images_of(BINARY, shape=shape, scale=scales)]
        np.testing.assert_allclose(counted, expected, rtol=0.08)
        assert np.all(np.diff(counted) > 0)


def test_no_sprite_is_cut_off_at_the_border():
    shapes, orientations = (axis.ravel() for axis in np.mgrid[:3, :40])

    def areas(x, y, scale):
        others = (np.full(120, value) for value in (x, y))
        rows = np.stack([shapes, np.full(120, scale), orientations, *others], axis=1)
        images = compiled(jnp.asarray(rows, jnp.float32), BINARY, 128)
        return np.asarray(images > 0).sum(axis=(1, 2, 3))

    for x, y in itertools.product((-0.5, 31.5), repeat=2):
        np.testing.assert_array_equal(areas(x, y, 5.5), areas(15.5, 15.5, 5.5))


@pytest.mark.parametrize("variant", [BINARY, SMOOTH])
@pytest.mark.parametrize("shape", range(3))
def test_x_and_y_move_the_same_sprite_by_a_pixel_each(variant, shape):
    places = np.array([(0, 0), (1, 0), (0, 1), (31, 17)])
    first, *others = images_of(variant, shape=shape, orientation=3, x=places[:, 0], y=places[:, 1])
    for moved, (x, y) in zip(others, places[1:], strict=True):
        np.testing.assert_array_equal(moved, np.roll(first, (y, x), axis=(0, 1)))
    _, centroid, _ = moments(image_of(shape=shape, orientation=3, x=5, y=20))
    np.testing.assert_allclose(centroid, (21, 36), atol=0.1)


def test_orientation_turns_counter_clockwise_by_nine_degrees_a_step():
    upright = moments(image_of(shape=1))[0]
    for step, image in enumerate(images_of(shape=1, orientation=np.arange(40))):
        area, centroid, angle = moments(image)
        off = (angle - 2 * np.pi * step / 40 + np.pi / 2) % np.pi - np.pi / 2
        assert abs(off) < 0.01
        np.testing.assert_allclose(centroid, (32, 32), atol=0.1)
        np.testing.assert_allclose(area, upright, rtol=0.02)


@pytest.mark.parametrize("shape", range(3))
def test_ten_steps_of_orientation_are_a_quarter_turn(shape):
    around = slice(14, 51)  # Centred on the middle of pixel 32, as the sprite is.
    for step in (0, 3):
        before = image_of(shape=shape, orientation=step)[around, around]
        after = image_of(shape=shape, orientation=step + 10)[around, around]
        assert np.abs(np.rot90(before) - after).mean() < 1
        if SHAPES[shape] == "heart":
            assert np.abs(before - after).mean() > 20


def test_an_upright_heart_has_its_tip_below_and_two_lobes_above():
    heart = image_of(BINARY, size=128)[..., 0] > 0
    rows = np.flatnonzero(heart.any(axis=1))
    np.testing.assert_array_equal(heart[:, 65:], heart[:, 64:0:-1][:, : 128 - 65])
    assert np.diff(heart[rows[1]].astype(int)).tolist().count(1) == 2
    assert heart[rows[-1]].sum() <= 3


def test_hue_and_background_change_colours_and_leave_the_form():
    cover = image_of(SMOOTH) / 255
    colors = [(255, 0, 0), (255, 255, 0), (0, 255, 0), (0, 255, 255), (0, 0, 255), (255, 0, 255)]
    for hue, color in enumerate(colors):
        images = images_of(COLOR, hue=hue, background=np.arange(4))
        for image, grey in zip(images, (16, 48, 80, 112), strict=True):
            expected = (1 - cover) * grey + cover * np.array(color)
            np.testing.assert_allclose(image, expected, atol=0.501)


def test_a_hue_between_two_is_a_mixture():
    factors = jnp.array([[0, 5, 0, 16, 16, hue, 0] for hue in (0.5, 5.25, -0.25)], jnp.float32)
    middle = np.asarray(compiled(factors, COLOR, 32))[:, 16, 16]
    np.testing.assert_allclose(middle, [(255, 128, 0), (255, 0, 191), (255, 0, 64)], atol=1)


@pytest.mark.parametrize("name", VARIANTS)
def test_the_same_bits_come_out_of_every_program(name):
    variant = VARIANTS[name]
    dataset = SpritesDataset(name, [("train", 100, 130)], 32)
    rows, images = jnp.asarray(dataset.factor_rows), dataset.read(np.arange(30)).images
    programs = {
        "mapped": jax.jit(jax.vmap(lambda row: render(row[None], variant, 32)[0])),
        "scanned": jax.jit(
            lambda rows: jax.lax.map(lambda row: render(row[None], variant, 32)[0], rows)
        ),
        "fused": jax.jit(lambda rows: (render(rows, variant, 32) / 255 * 255).astype(jnp.uint8)),
    }
    if variant is COLOR:
        # Eagerly each operation is a program: only the variant that has them all.
        programs["eager"] = lambda rows: render(rows, variant, 32)
    for program in programs.values():
        np.testing.assert_array_equal(program(rows), images)


def test_no_sine_or_cosine_of_the_grid_is_near_to_being_rounded_otherwise():
    angles = 2 * np.pi * np.arange(40) / 40
    scaled = 2**14 * np.concatenate([np.sin(angles), np.cos(angles)])
    # The errors of floats are below 0.003.
    assert np.abs(scaled % 1 - 0.5).min() > 0.01


def test_the_examples_are_the_points_of_the_grid_each_once():
    dataset = SpritesDataset("sprites", [("train", 0, 737_280)])
    assert dataset.shape == (737_280, 64, 64, 1)
    rows = dataset.factor_rows
    assert (rows.dtype, rows.shape, rows.nbytes) == (np.uint8, (737_280, 5), 5 * 737_280)
    points = np.ravel_multi_index(tuple(rows.T.astype(int)), BINARY.sizes)
    np.testing.assert_array_equal(np.sort(points), np.arange(737_280))
    # Pinned: what was trained on train[:90%] was not trained on the rest.
    assert points[:4].tolist() == [125674, 436028, 227828, 625170]


def test_a_slice_has_every_value_of_every_factor_about_as_often():
    rows = SpritesDataset("sprites", [("train", 0, 20_000)]).factor_rows
    for column, size in zip(rows.T, BINARY.sizes, strict=True):
        counts = np.bincount(column, minlength=size)
        expected = 20_000 / size
        assert np.abs(counts - expected).max() < 5 * np.sqrt(expected)


@pytest.mark.parametrize("name", VARIANTS)
def test_what_is_loaded_are_images_shapes_and_factors(name):
    both = data.load(name, "train[:300]+train[-3:]", "", 16)
    assert both.images.shape == (303, 16, 16, VARIANTS[name].num_channels)
    assert (both.images.dtype, both.labels.dtype) == (np.uint8, np.int32)
    np.testing.assert_array_equal(both.labels, both.factors.values[:, 0])
    assert (both.factors.names, both.factors.sizes) == VARIANTS[name][:2]
    part = data.open_lazily(name, "train[250:]", "", 16).read(np.array([7, 0]))
    np.testing.assert_array_equal(part.images, both.images[[257, 250]])
    np.testing.assert_array_equal(part.factors.values, both.factors.values[[257, 250]])


def test_an_image_size_out_of_range_is_refused():
    for size in (8, 512):
        with pytest.raises(UserError, match=rf"^data\.image_size={size} must be from 16 to 256"):
            data.load("sprites", "train[:10]", "", size)


def test_continuous_factors_cover_the_cells_of_the_grid_evenly():
    rows = SpritesDataset("sprites_color", [("train", 0, 4000)]).factor_rows
    drawn = draw_within_cells(jax.random.key(0), jnp.asarray(rows), COLOR)
    moves = np.asarray(drawn) - rows
    assert not moves[:, 0].any()
    assert np.abs(moves).max() <= 0.5
    for move in moves[:, 1:].T:
        counts, _ = np.histogram(move, 10, (-0.5, 0.5))
        assert np.abs(counts - 400).max() < 5 * 20
    other = draw_within_cells(jax.random.key(1), jnp.asarray(rows), COLOR)
    assert not np.array_equal(other, drawn)
