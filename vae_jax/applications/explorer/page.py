"""The page of a run: what it draws, and what happens when something on it is moved.

Every control ends in `Page.show`, which decodes a latent vector and moves all other controls there.
"""

from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from bokeh.document import Document
from bokeh.events import Pan, PanStart, Tap
from bokeh.layouts import column, row
from bokeh.models import (
    Button,
    Checkbox,
    ColumnDataSource,
    CustomJS,
    Div,
    FileInput,
    FreehandDrawTool,
    HoverTool,
    Legend,
    LegendItem,
    RadioButtonGroup,
    Range1d,
    Select,
    Slider,
    WheelZoomTool,
)
from bokeh.plotting import figure

from vae_jax.applications.explorer import pictures
from vae_jax.applications.explorer.explored import Explored, Image, Latents
from vae_jax.applications.explorer.runs import Run
from vae_jax.errors import UserError
from vae_jax.plots.rate_distortion_plane import lower_convex_hull
from vae_jax.plots.style import ACCENT, CLASS_COLOURS, INK, METRIC_LABELS, QUIET
from vae_jax.settings import name_of
from vae_jax.training.records import read_records
from vae_jax.workdir import read_summary

# Images of the strip between two images, and test images to choose from, in rows.
STEPS = 9
_CHOICE = 40
_CHOICE_COLUMNS = 10

# Pixels of a figure before it is scaled to the page.
_WIDTH = 400
_TEMPLATE = jinja2.Template(Path(__file__).with_suffix(".html").read_text(encoding="utf-8"))


class Page:
    """The controls of one visitor, and where they are in latent space.

    Attributes:
      explored: the run.
      latents: what is decoded.
      roots: the parts of the page by name.
    """

    def __init__(self, explored: Explored, runs: Sequence[Run] = (), chosen: int = 0) -> None:
        self.explored = explored
        self.latents = explored.centre
        # An attribute is added to where the other controls left the latents.
        self._start = explored.centre
        self._moving = False
        self._num_drawn = 0
        self._ends = [0, min(1, len(explored.examples.images) - 1)]
        self.roots: dict[str, Any] = {
            "head": Div(text=_head(explored, runs, chosen), sizing_mode="stretch_width")
        }
        for add in (
            self._add_picture,
            self._add_map,
            self._add_sliders,
            self._add_between,
            self._add_attributes,
            self._add_own,
            self._add_curves,
        ):
            add()
        if len(runs) > 1:
            self._add_runs(runs, chosen)
        self.show(explored.centre)
        self._show_between()

    def show(self, latents: Latents, *, moved: Any = None) -> None:
        """Decode a latent vector, and move the controls there.

        Args:
          latents: what to decode.
          moved: the control that asks for it, which stays where it is.
        """
        explored = self.explored
        self.latents = np.asarray(latents, np.float32)
        self.picture.data = _drawable(explored.decode(self.latents))
        nearest = explored.nearest(self.latents)
        self.neighbour.data = _drawable(explored.examples.images[nearest])
        across, up = explored.plane.points(self.latents)
        self.mark.data = {"x": [across], "y": [up]}
        length = float(np.linalg.norm(self.latents))
        label = _class_of(explored, nearest)
        self.caption.text = f"|z| = {length:.2f} &middot; nearest: test image {nearest}{label}"
        self._moving = True
        for index, slider in zip(explored.order, self.sliders, strict=True):
            if slider is not moved:
                slider.value = float(np.clip(self.latents[index], slider.start, slider.end))
        if moved not in self.degrees:
            self._start = self.latents
            for slider in self.degrees:
                slider.value = 0
        if moved is not self.degree:
            # The latents have left the path.
            self.degree.value = 0
        self._moving = False

    def _when_moved(self, control: Any, react: Callable[[], None], *properties: str) -> None:
        """Let a control call `react` when the visitor moves it, not when `show` does."""

        def changed(attribute: str, old: Any, new: Any) -> None:
            if not self._moving:
                react()

        for name in properties or ("value",):
            control.on_change(name, changed)

    def _add_picture(self) -> None:
        shape = self.explored.model.image_shape
        self.picture, decoded = _picture("picture", shape)
        self.neighbour, nearest = _picture("neighbour", shape)
        self.caption = Div(text="", sizing_mode="stretch_width")
        self.roots["picture"] = column(
            row(
                _titled("decoded", decoded),
                _titled("nearest test image", nearest),
                sizing_mode="stretch_width",
            ),
            self.caption,
            sizing_mode="stretch_width",
        )

    def _add_map(self) -> None:
        explored = self.explored
        points = explored.plane.points(explored.latents)
        plot = _plot("map", *explored.plane.labels, aspect=0.95, match_aspect=True)
        plot.add_tools(WheelZoomTool())
        plot.toolbar.active_scroll = plot.toolbar.tools[-1]
        labels = explored.examples.labels
        colours, classes = _colours(labels, len(points))
        source = ColumnDataSource({"x": points[:, 0], "y": points[:, 1], "colour": colours})
        dots = plot.scatter("x", "y", size=4, color="colour", alpha=0.6, line_width=0)
        dots.data_source = source
        if classes:
            # Below the plot, where a narrow page has room.
            items = [
                LegendItem(label=name, renderers=[dots], index=index) for name, index in classes
            ]
            plot.add_layout(
                Legend(
                    items=items,
                    orientation="horizontal",
                    border_line_width=0,
                    glyph_width=12,
                    label_standoff=1,
                    spacing=4,
                    padding=2,
                    margin=2,
                    label_text_font_size="9pt",
                ),
                "below",
            )
        self.mark = ColumnDataSource({"x": [0.0], "y": [0.0]}, name="mark")
        cross = {"x": "x", "y": "y", "source": self.mark, "marker": "circle_cross"}
        plot.scatter(**cross, size=17, fill_alpha=0, line_color="white", line_width=5)
        plot.scatter(**cross, size=16, fill_alpha=0, line_color=INK, line_width=2)
        for event in (Tap, PanStart, Pan):
            plot.on_event(event, lambda at: self.show_point(at.x, at.y))
        self.roots["map"] = plot

    def show_point(self, across: float | None, up: float | None) -> None:
        """Decode a point of the map."""
        # Outside the frame an event has no coordinates.
        if across is not None and up is not None:
            self.show(self.explored.plane.latents(np.array([across, up], float)))

    def _add_sliders(self) -> None:
        explored = self.explored
        low, high = explored.ranges
        unit = " nats" if explored.in_nats else " variance"
        self.sliders = [
            Slider(
                start=float(low[index]),
                end=float(high[index]),
                value=float(np.clip(explored.centre[index], low[index], high[index])),
                step=0.05,
                title=f"z{index}  ({explored.importance[index]:.2g}{unit})",
                name=f"latent_{index}",
                sizing_mode="stretch_width",
            )
            for index in explored.order
        ]
        for slider in self.sliders:
            self._when_moved(slider, lambda slider=slider: self._take_latents(slider))  # type: ignore[misc]
        halves = self.sliders[::2], self.sliders[1::2]
        centre = Button(label="centre", name="centre", width=80)
        centre.on_click(lambda: self.show(explored.centre))
        drawn = Button(label="draw from the prior", name="draw", width=150)
        drawn.disabled = not explored.model.has_samples
        drawn.on_click(self._draw)
        total = explored.model.latent_size
        rest = total - len(self.sliders)
        text = (
            f"{rest} of {total} latents have no slider; they stay where they are." if rest else ""
        )
        self.roots["sliders"] = column(
            row(centre, drawn),
            row(
                *(column(*half, sizing_mode="stretch_width") for half in halves if half),
                sizing_mode="stretch_width",
            ),
            Div(text=text, sizing_mode="stretch_width", styles={"color": QUIET}),
            sizing_mode="stretch_width",
        )

    def _take_latents(self, slider: Slider) -> None:
        latents = self.latents.copy()
        latents[self.explored.order[self.sliders.index(slider)]] = slider.value
        self.show(latents, moved=slider)

    def _draw(self) -> None:
        self._num_drawn += 1
        self.show(self.explored.sample(self._num_drawn))

    def _add_between(self) -> None:
        images = self.explored.examples.images[:_CHOICE]
        height, width, _ = self.explored.model.image_shape
        columns = min(_CHOICE_COLUMNS, len(images))
        self.which = RadioButtonGroup(labels=["choose first", "choose second"], active=0)
        self.degree = Slider(
            start=0, end=1, step=0.01, value=0, title="degree", sizing_mode="stretch_width"
        )
        self.degree.name = "degree"
        self._when_moved(self.degree, self._take_degree)
        mosaic = pictures.mosaic(images, columns)
        _, chooser = _picture("choice", mosaic.shape, mosaic)
        self._frames = ColumnDataSource({"x": [], "y": [], "colour": []})
        chooser.rect(
            "x", "y", width, height, fill_alpha=0, line_color="colour", line_width=3,
            source=self._frames,
        )  # fmt: skip
        rows = mosaic.shape[0] // height

        def choose(at: Tap) -> None:
            if at.x is not None and at.y is not None:
                index = int(rows - 1 - at.y // height) * columns + int(at.x // width)
                self.choose(index)

        chooser.on_event(Tap, choose)
        self.strip, strip = _picture("strip", (height, width * STEPS, 1))
        self.roots["between"] = column(
            self.which, chooser, strip, self.degree, sizing_mode="stretch_width"
        )

    def choose(self, index: int) -> None:
        """Take a test image as the first or second end, whichever is being chosen."""
        if not 0 <= index < min(_CHOICE, len(self.explored.examples.images)):
            return
        self._ends[int(self.which.active or 0)] = index
        self.which.active = 1
        self._show_between()
        self._take_degree()

    def _show_between(self) -> None:
        explored, (first, second) = self.explored, self._ends
        height, width, _ = explored.model.image_shape
        num = min(_CHOICE, len(explored.examples.images))
        columns = min(_CHOICE_COLUMNS, num)
        rows = -(-num // columns)
        self._frames.data = {
            "x": [(end % columns + 0.5) * width for end in self._ends],
            "y": [(rows - 0.5 - end // columns) * height for end in self._ends],
            "colour": CLASS_COLOURS[:2],
        }
        latents = explored.between(first, second, np.linspace(0, 1, STEPS))
        images = explored.model.decode(latents)
        self.strip.data = _drawable(pictures.mosaic(images, STEPS))

    def _take_degree(self) -> None:
        degrees = np.array([self.degree.value], np.float32)
        first, second = self._ends
        self.show(self.explored.between(first, second, degrees)[0], moved=self.degree)

    def _add_attributes(self) -> None:
        found = self.explored.directions
        measured = [name for name in found if not name.startswith("class ")]
        classes = [name for name in found if name.startswith("class ")]
        self._degrees_of = {
            name: Slider(start=-3, end=3, step=0.05, value=0, title=name) for name in measured
        }
        self.towards = Select(options=classes, value=classes[0] if classes else "", width=110)
        self._when_moved(self.towards, self._take_attributes)
        if classes:
            self._degrees_of[""] = Slider(start=-1, end=2, step=0.05, value=0, title="towards")
        for name, slider in self._degrees_of.items():
            slider.sizing_mode, slider.name = "stretch_width", f"attribute_{name or 'class'}"
            self._when_moved(slider, lambda slider=slider: self._take_attributes(slider))  # type: ignore[misc]
        parts: list[Any] = [self._degrees_of[name] for name in measured]
        if classes:
            parts.append(row(self._degrees_of[""], self.towards, sizing_mode="stretch_width"))
        if not parts:
            parts = [Div(text="The training images do not differ in an attribute that is known.")]
        self.roots["attributes"] = column(*parts, sizing_mode="stretch_width")

    @property
    def degrees(self) -> list[Slider]:
        """The sliders of the attributes."""
        return list(self._degrees_of.values())

    def _take_attributes(self, slider: Slider | None = None) -> None:
        moved = self._start.copy()
        for name, own in self._degrees_of.items():
            moved = moved + own.value * self.explored.directions[name or self.towards.value]
        self.show(moved, moved=slider or self._degrees_of[""])

    def _add_own(self) -> None:
        shape = self.explored.model.image_shape
        self._given = np.zeros(shape, np.float32)
        self.drawn = ColumnDataSource({"xs": [], "ys": []}, name="drawn")
        _, board = _picture("board", shape)
        lines = board.multi_line(
            "xs", "ys", source=self.drawn, line_color="white", line_width=24, line_cap="round"
        )
        board.background_fill_color = "black"
        pen = FreehandDrawTool(renderers=[lines])
        board.add_tools(pen)
        board.toolbar.active_drag = pen
        self.given, given = _picture("given", shape)
        self.restored, restored = _picture("restored", shape)
        self.file = FileInput(accept=".png,.jpg,.jpeg,.bmp,.gif,.webp", name="file")
        self.inverted = Checkbox(label="dark on light", active=False)
        clear = Button(label="clear", width=70)
        take = Button(label="go there", name="take", width=90)
        self.problem = Div(text="", sizing_mode="stretch_width", styles={"color": "#bd1f01"})
        self.drawn.on_change("data", lambda attr, old, new: self._take_strokes())
        self.file.on_change("value", lambda attr, old, new: self._take_file())
        self.inverted.on_change("active", lambda attr, old, new: self._take_file())
        clear.on_click(self.clear)
        take.on_click(lambda: self.show(self.explored.encode(self._corrupted())))
        parts = [
            row(
                _titled("draw here", board, share=2),
                column(
                    _titled("given", given, None),
                    _titled("reconstructed", restored, None),
                    sizing_mode="stretch_width",
                    styles=_flex(1),
                ),
                sizing_mode="stretch_width",
            ),
            row(clear, take, self.inverted),
            self.file,
            self.problem,
        ]
        level = self.explored.corruption_level
        self.level = Slider(
            start=0, end=max(1.0, 2 * (level or 0)), step=0.01, value=0, name="level",
            title=f"{name_of(self.explored.model.corruption)}, level (trained at {level or 0:g})",
            sizing_mode="stretch_width",
        )  # fmt: skip
        self._when_moved(self.level, self._restore)
        if level is not None and getattr(self.explored.model.corruption, "levels_around", 0) == 0:
            parts.insert(2, self.level)
        self.roots["own"] = column(*parts, sizing_mode="stretch_width")

    def clear(self) -> None:
        """Remove what is drawn."""
        self.drawn.data = {"xs": [], "ys": []}

    def _take_strokes(self) -> None:
        xs, ys = (list(self.drawn.data[name]) for name in ("xs", "ys"))
        self._take_image(pictures.strokes(xs, ys, self.explored.model.image_shape))

    def _take_file(self) -> None:
        if not self.file.value:
            return
        try:
            shape = self.explored.model.image_shape
            image = pictures.uploaded(self.file.value, shape, inverted=self.inverted.active)
        except UserError as error:
            self.problem.text = escape(str(error))
            return
        self._take_image(image)

    def _take_image(self, image: Image) -> None:
        self.problem.text, self._given = "", image
        self._restore()

    def _corrupted(self) -> Image:
        level = float(self.level.value)
        return self.explored.corrupted(self._given, level) if level else self._given

    def _restore(self) -> None:
        given = self._corrupted()
        self.given.data = _drawable(given)
        self.restored.data = _drawable(self.explored.decode(self.explored.encode(given)))

    def _add_curves(self) -> None:
        records = read_records(self.explored.folder / "metrics.jsonl")
        names = [name for name in ("elbo", "rate", "distortion") if any(name in r for r in records)]
        if not names:
            self.roots["curves"] = Div(text="This run has no records.")
            return
        plot = _plot("curves", "epoch", METRIC_LABELS[names[0]], aspect=1.6)
        lines = {}
        for split, colour in (("train", QUIET), ("valid", ACCENT)):
            source = ColumnDataSource(_series(records, split, names[0]), name=split)
            line = plot.line("x", "y", source=source, color=colour, line_width=2)
            line.name, lines[split] = split, source
            if source.data["x"]:
                plot.add_layout(Legend(items=[(split, [line])], **_IN_CORNER[split]))
        plot.add_tools(HoverTool(tooltips=[("epoch", "@x{0.##}"), ("nats", "@y{0.00}")]))
        self.metric = RadioButtonGroup(labels=names, active=0)

        def choose(attr: str, old: Any, new: Any) -> None:
            name = names[self.metric.active or 0]
            plot.yaxis.axis_label = METRIC_LABELS[name]
            for split, source in lines.items():
                source.data = _series(records, split, name)

        self.metric.on_change("active", choose)
        self.roots["curves"] = column(self.metric, plot, sizing_mode="stretch_width")

    def _add_runs(self, runs: Sequence[Run], chosen: int) -> None:
        go = "const url = new URL(window.location); url.searchParams.set('run', {}); url.toString()"
        options = [
            (str(index), f"{run.name}: {run.settings}" if run.settings else run.name)
            for index, run in enumerate(runs)
        ]
        menu = Select(options=options, value=str(chosen), name="run", sizing_mode="stretch_width")
        code = go.format("cb_obj.value").replace("url.toString()", "window.location = url")
        menu.js_on_change("value", CustomJS(code=code))
        placed = [i for i, run in enumerate(runs) if None not in (run.rate, run.distortion)]
        parts: list[Any] = [menu]
        if placed:
            plot = _plot("plane", METRIC_LABELS["rate"], METRIC_LABELS["distortion"], aspect=1.3)
            rates, distortions = (
                np.array([getattr(runs[i], name) for i in placed])
                for name in ("rate", "distortion")
            )
            hull = lower_convex_hull(rates, distortions)
            plot.line(rates[hull], distortions[hull], color=INK)
            source = ColumnDataSource(
                {
                    "x": rates,
                    "y": distortions,
                    "run": placed,
                    "name": [options[i][1] for i in placed],
                    "colour": [CLASS_COLOURS[1] if i == chosen else ACCENT for i in placed],
                },
                name="plane",
            )
            dots = plot.scatter(
                "x", "y", source=source, size=11, color="colour", line_color="white"
            )
            dots.nonselection_glyph = None
            plot.add_tools(HoverTool(renderers=[dots], tooltips=[("", "@name")]), "tap")
            code = go.format("source.data.run[cb_obj.indices[0]]")
            code = "if (cb_obj.indices.length) {" + code.replace(
                "url.toString()", "window.location = url}"
            )
            source.selected.js_on_change("indices", CustomJS(args={"source": source}, code=code))
            parts.append(plot)
        self.roots["runs"] = column(*parts, sizing_mode="stretch_width")


_IN_CORNER: dict[str, dict[str, Any]] = {
    "train": {"location": "bottom_right", "border_line_width": 0, "background_fill_alpha": 0},
    "valid": {"location": "bottom_center", "border_line_width": 0, "background_fill_alpha": 0},
}


def build(
    document: Document, explored: Explored, runs: Sequence[Run] = (), chosen: int = 0
) -> Page:
    """Add the page of a run to a document.

    Args:
      document: of one visitor.
      explored: the run.
      runs: all that can be chosen, this one among them.
      chosen: its index among them.
    """
    page = Page(explored, runs, chosen)
    for name, root in page.roots.items():
        root.name = name
        document.add_root(root)
    document.title = f"{explored.folder.resolve().name} - vae_jax"
    document.template = _TEMPLATE
    document.template_variables["parts"] = list(page.roots)
    return page


def build_refusal(document: Document, message: str) -> None:
    """Add a page that only says why there is none."""
    document.add_root(Div(text=escape(message), name="head", sizing_mode="stretch_width"))
    document.title = "vae_jax"
    document.template = _TEMPLATE
    document.template_variables["parts"] = ["head"]


def _head(explored: Explored, runs: Sequence[Run], chosen: int) -> str:
    model = explored.model
    parts = [f"model {model.name}", f"objective {name_of(model.config.objective)}"]
    parts += [f"data {explored.data_name}", f"{model.latent_size} latents"]
    test = (read_summary(explored.folder) or {}).get("test", {})
    if test.get("elbo") is not None:
        parts.append(f"test ELBO {test['elbo']:.2f} nats")
    if runs and runs[chosen].settings:
        parts.append(runs[chosen].settings)
    name = runs[chosen].name if runs else explored.folder.resolve().name
    return f"<h1>{escape(name)}</h1>{escape(', '.join(parts))}"


def _drawable(image: Image) -> dict[str, list[np.ndarray]]:
    return {"image": [pictures.rgba(image)]}


def _picture(
    name: str, shape: tuple[int, ...], image: np.ndarray | None = None
) -> tuple[ColumnDataSource, figure]:
    """Return the source of an image, and a figure that shows it and nothing else."""
    height, width = shape[:2]
    image = np.zeros((height, width, 1)) if image is None else image
    source = ColumnDataSource(_drawable(image), name=f"{name}_image")
    plot = figure(
        x_range=Range1d(0, width),
        y_range=Range1d(0, height),
        width=_WIDTH,
        height=round(_WIDTH * height / width),
        sizing_mode="scale_width",
        tools="",
        toolbar_location=None,
        min_border=0,
        outline_line_color=None,
        name=f"{name}_figure",
    )
    plot.image_rgba("image", x=0, y=0, dw=width, dh=height, source=source)
    plot.axis.visible = False
    plot.grid.visible = False
    return source, plot


def _titled(title: str, plot: figure, share: int | None = 1) -> Any:
    """Return a figure below its title, which takes nothing from its height.

    Args:
      title: its text.
      plot: the figure.
      share: of the width of a row, among others; None in a column.
    """
    styles = {} if share is None else _flex(share)
    return column(Div(text=title), plot, sizing_mode="stretch_width", styles=styles)


def _flex(share: int) -> dict[str, str]:
    # Of the whole width, not of what the contents leave.
    return {"flex": f"{share} 1 0", "min-width": "0"}


def _plot(name: str, across: str, up: str, aspect: float, **options: Any) -> figure:
    plot = figure(
        width=_WIDTH,
        height=round(_WIDTH / aspect),
        sizing_mode="scale_width",
        tools="reset",
        toolbar_location="above",
        x_axis_label=across or None,
        y_axis_label=up or None,
        name=f"{name}_figure",
        **options,
    )
    plot.toolbar.logo = None
    plot.toolbar.autohide = True
    plot.axis.axis_label_text_font_style = "normal"
    plot.grid.grid_line_alpha = 0.4
    plot.outline_line_color = None
    return plot


def _colours(labels: np.ndarray | None, num: int) -> tuple[list[str], list[tuple[str, int]]]:
    """Return a colour per image, and the name and an image of each class that has its own."""
    colours = pictures.class_colours(labels)
    if labels is None or not colours:
        return [ACCENT] * num, []
    named = [(f"{label:g}", int(np.argmax(labels == label))) for label in colours]
    return [colours[label] for label in labels.tolist()], named


def _class_of(explored: Explored, index: int) -> str:
    labels = explored.examples.labels
    return "" if labels is None else f", class {labels[index]}"


def _series(records: Sequence[dict[str, Any]], split: str, metric: str) -> dict[str, list[Any]]:
    """Return a metric against the epoch, without the first tenth of the training."""
    found = [
        (record["epoch"], record[metric])
        for record in records
        if record["split"] == split and record.get(metric) is not None
    ]
    last = max((epoch for epoch, _ in found), default=0)
    kept = [pair for pair in found if pair[0] >= last / 10]
    return {"x": [epoch for epoch, _ in kept], "y": [value for _, value in kept]}
