import numpy as np

from vae_jax.plots import labels


def test_labels_cover_neither_dots_nor_each_other():
    rng = np.random.default_rng(0)
    dots = rng.uniform((100, 100), (300, 250), (18, 2))
    sizes = np.stack([rng.uniform(30, 90, 18), np.full(18, 18.0)], axis=1)
    corners = labels.free_corners(dots, sizes, np.array([0.0, 0.0, 700.0, 500.0]))
    boxes = np.concatenate([corners, corners + sizes], axis=1)
    assert (boxes[:, :2] >= 0).all()
    shared = labels._overlaps(boxes, boxes)
    np.testing.assert_allclose(shared[~np.eye(18, dtype=bool)], 0)
    np.testing.assert_allclose(labels._overlaps(boxes, np.concatenate([dots, dots], axis=1)), 0)


def test_labels_cover_no_obstacle():
    dots = np.array([[100.0, 100.0]])
    angles = np.linspace(0, 1.5 * np.pi, 40)
    ring = dots + 20 * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    size = np.array([[30.0, 18.0]])
    corner = labels.free_corners(dots, size, np.array([0.0, 0.0, 300.0, 300.0]), ring)
    box = np.concatenate([corner, corner + size], axis=1)
    assert labels._overlaps(box, np.concatenate([ring, ring], axis=1)).sum() == 0
    inside = ((ring >= corner) & (ring <= corner + size)).all(axis=1)
    assert not inside.any()
