"""The page on the two-player game: its code runs, and its picture shows what it says."""

import re
from pathlib import Path

import numpy as np
import pytest

from vae_jax.plots.bilinear_game import bilinear_game, bilinear_steps

PAGE = Path(__file__).parents[2] / "docs" / "two_player_game.md"


def test_the_code_of_the_page_runs_and_draws_its_picture(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 7
    names = {}
    for number, block in enumerate(blocks):
        exec(compile(block, f"{PAGE.name}, block {number}", "exec"), names)
    drawn = (tmp_path / "docs" / "two_player_game.png").read_bytes()
    assert (
        drawn[:8] == PAGE.with_name("two_player_game.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    )


@pytest.mark.parametrize("eta", [0.05, 0.5, 1.5])
def test_simultaneous_steps_leave_and_alternating_ones_stay_on_an_ellipse(eta):
    start = (0.6, -0.8)
    x, y = bilinear_steps(start, eta, 60, "simultaneous").T
    np.testing.assert_allclose(np.hypot(x, y), (1 + eta**2) ** (np.arange(61) / 2))
    x, y = bilinear_steps(start, eta, 60, "alternating").T
    np.testing.assert_allclose(x**2 + y**2 - eta * x * y, 1 + eta * 0.48)
    assert np.hypot(x, y).max() < np.sqrt((1 + eta * 0.48) / (1 - eta / 2)) + 1e-9


def test_small_steps_follow_the_circle():
    eta, num_steps = 1e-4, 10_000
    angles = eta * np.arange(num_steps + 1)
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    for turns in ("simultaneous", "alternating"):
        path = bilinear_steps((1.0, 0.0), eta, num_steps, turns)
        np.testing.assert_allclose(path, circle, atol=2e-4)


def test_the_picture_has_both_paths_the_circle_and_the_distances():
    plane, distances = bilinear_game(0.1, 7).axes
    assert [len(line.get_xdata()) for line in plane.lines] == [200, 1, 8, 8]
    labels = [text.get_text() for text in distances.get_legend().get_texts()]
    assert labels == ["infinitely small steps", "simultaneous steps", "alternating steps"]
    measured = next(line for line in distances.lines if line.get_label() == "simultaneous steps")
    np.testing.assert_allclose(measured.get_ydata(), 1.01 ** (np.arange(8) / 2))
