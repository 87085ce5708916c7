"""The bilinear game min over x, max over y of x y: gradient steps that circle its equilibrium."""

from typing import TYPE_CHECKING, Literal

import numpy as np
from jaxtyping import Float

from vae_jax.plots.style import ACCENT, CLASS_COLOURS, INK, QUIET, styled

if TYPE_CHECKING:
    # At run time only functions that draw import it, to spare other commands the time.
    import matplotlib.figure

Turns = Literal["simultaneous", "alternating"]


def bilinear_steps(
    start: tuple[float, float], learning_rate: float, num_steps: int, turns: Turns
) -> Float[np.ndarray, "points 2"]:
    """Return the points x, y of gradient steps in the game x y, from `start` on.

    x descends by its gradient y, and y ascends by its gradient x. Simultaneous steps take both
    gradients at one point; each multiplies the distance from the equilibrium (0, 0) by
    sqrt(1 + learning_rate^2). In alternating steps y sees the new x; they keep
    x^2 + y^2 - learning_rate x y, and so stay on an ellipse if the learning rate is below 2.
    """
    points = [np.array(start, float)]
    for _ in range(num_steps):
        x, y = points[-1]
        moved = x - learning_rate * y
        seen = x if turns == "simultaneous" else moved
        points.append(np.array([moved, y + learning_rate * seen]))
    return np.stack(points)


@styled
def bilinear_game(
    learning_rate: float = 0.2, num_steps: int = 40, start: tuple[float, float] = (1.0, 0.0)
) -> "matplotlib.figure.Figure":
    """Return the paths of both kinds of steps on the gradients' field, and their distances.

    The circle is the exact solution for an infinitely small learning rate.
    """
    from matplotlib.figure import Figure

    paths = {
        turns: bilinear_steps(start, learning_rate, num_steps, turns)
        for turns in ("simultaneous", "alternating")
    }
    colours = {"simultaneous": CLASS_COLOURS[4], "alternating": ACCENT}
    radius = float(np.hypot(*start))
    figure = Figure(figsize=(6.6, 3.1), layout="constrained")
    plane, distances = figure.subplots(1, 2)
    reach = 1.08 * max(np.abs(path).max() for path in paths.values())
    grid = np.linspace(-reach, reach, 13)
    x, y = np.meshgrid(grid, grid)
    plane.quiver(x, y, -y, x, color=QUIET, width=0.003, alpha=0.6)
    angles = np.linspace(0, 2 * np.pi, 200)
    circle = radius * np.stack([np.cos(angles), np.sin(angles)])
    plane.plot(*circle, color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
    plane.plot(0, 0, "+", color=INK, markersize=8)
    steps = np.arange(num_steps + 1)
    distances.axhline(
        radius, color=INK, linewidth=0.8, linestyle=(0, (4, 3)), label="infinitely small steps"
    )
    for turns, path in paths.items():
        plane.plot(*path.T, ".-", color=colours[turns], linewidth=0.8)
        length = np.hypot(*path.T)
        distances.plot(steps, length, ".", color=colours[turns], label=f"{turns} steps")
    predicted = radius * (1 + learning_rate**2) ** (steps / 2)
    distances.plot(steps, predicted, color=colours["simultaneous"], linewidth=0.8)
    plane.set_aspect("equal")
    plane.set_xlim(-reach, reach)
    plane.set_ylim(-reach, reach)
    plane.set_xlabel("x, which descends")
    plane.set_ylabel("y, which ascends")
    distances.set_ylim(0, None)
    distances.set_xlabel("step")
    distances.set_ylabel("distance from the equilibrium")
    distances.legend()
    return figure
