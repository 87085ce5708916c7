"""Write what comes out of a sweep: results.json, results.csv, plots and TensorBoard's HParams."""

import contextlib
import csv
import io
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vae_jax import plots, workdir
from vae_jax.errors import UserError
from vae_jax.evaluation import reports
from vae_jax.plots.style import METRIC_LABELS
from vae_jax.sweeps import fields
from vae_jax.sweeps.space import Choice, Setting, Sweep
from vae_jax.training.records import TensorBoardWriter, read_records

Row = dict[str, Any]

_RESULTS = "results.json"
_MAX_HEAT_MAPS = 6


def member_row(folder: Path, known: Mapping[str, Any], setting: Setting) -> Row:
    """Return the row of a member that has ended here.

    Args:
      folder: the sweep's workdir.
      known: its member.json.
      setting: its own; a section gets a column for its choice, and one for each of its settings.
    """
    row = {name: known[name] for name in ("member", "trial", "seed")}
    row |= fields.expanded(setting)
    row |= {name: known[name] for name in ("status", "epoch", "best_epoch", "train_seconds")}
    for part in ("valid", "test"):
        for name, value in known.get(part, {}).items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                row[f"{part}_{name}"] = value
    row["problem"] = known["problem"]
    row["workdir"] = str(workdir.member_folder(folder, known["member"]))
    return row


def curve(row: Row, objective: str) -> dict[int, float]:
    """Return a member's validation metric by epoch; empty of one trained on another machine."""
    return {
        int(record["epoch"]): record[objective]
        for record in read_records(Path(row["workdir"]) / "metrics.jsonl")
        if record["split"] == "valid" and record.get(objective) is not None
    }


def columns_of(rows: Sequence[Row], axes: Sequence[str]) -> list[str]:
    """Return the columns of settings in the order of the sweep's axes, sections by their parts."""
    names = dict.fromkeys(name for row in rows for name in row)
    return list(
        dict.fromkeys(
            name
            for field in axes
            for name in names
            if name == field or name.startswith(f"{field}.")
        )
    )


def over_seeds(rows: Sequence[Row], axes: Sequence[str]) -> list[Row]:
    """Return mean and standard deviation over the seeds of each trial, of members run to the end.

    The deviation is that of the sample (n - 1), None for a single seed.

    Args:
      rows: of the members.
      axes: the fields of the sweep's axes.
    """
    settings = []
    for trial, group in itertools.groupby(sorted(rows, key=_order), key=lambda row: row["trial"]):
        members = list(group)
        whole = [row for row in members if row["status"] in ("finished", "stopped_early")]
        names = [
            name for name in (whole[0] if whole else {}) if name.startswith(("valid_", "test_"))
        ]
        # A metric that was not finite is left out of a member's row.
        columns = {
            name: np.array([row.get(name, np.nan) for row in whole], float) for name in names
        }
        settings.append(
            {
                "trial": trial,
                "setting": {name: members[0][name] for name in columns_of(members[:1], axes)},
                "members": [row["member"] for row in members],
                "num_seeds": len(whole),
                "mean": {name: float(values.mean()) for name, values in columns.items()},
                "std": {
                    name: float(values.std(ddof=1)) if len(values) > 1 else None
                    for name, values in columns.items()
                },
            }
        )
    return settings


def _order(row: Row) -> tuple[int, int]:
    return row["trial"], row["member"]


def check_results(folder: Path) -> None:
    """Refuse to begin a sweep beside the results of another one.

    Raises:
      UserError: there is a results.json, and no sweep that it could be of.
    """
    if (folder / _RESULTS).is_file() and workdir.read_sweep(folder) is None:
        raise UserError(
            f"{folder / _RESULTS} is of another sweep; move it away or use another workdir"
        )


def write_results(folder: Path, rows: Sequence[Row], axes: Sequence[str]) -> None:
    """Write results.json and results.csv, one row per member, in the order of the members."""
    rows = sorted(rows, key=_order)
    content = {"members": rows, "settings": over_seeds(rows, axes)}
    workdir.write_json(folder / _RESULTS, workdir.finite(content))
    # A choice has settings that another lacks; a member that diverged lacks metrics.
    first = ["member", "trial", "seed", *columns_of(rows, axes)]
    columns = list(dict.fromkeys([*first, *(name for row in rows for name in row)]))
    columns.sort(key=lambda name: name in ("problem", "workdir"))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    workdir.write_atomically(folder / "results.csv", text.getvalue())


def _metric(rows: Sequence[Row]) -> tuple[str, str, bool] | None:
    """Return the metric that judges settings: its column, its label, whether more is better."""
    for name, label, maximize in (
        ("test_elbo", "test ELBO (nats)", True),
        ("test_reconstruction_error", "test squared error per pixel", False),
    ):
        if any(np.isfinite(row.get(name, np.nan)) for row in rows):
            return name, label, maximize
    return None


def draw(folder: Path, sweep: Sweep, rows: Sequence[Row]) -> None:
    """Draw every plot that the rows allow, into plots/."""
    rows, out = sorted(rows, key=_order), folder / "plots"
    judged = _metric(rows)
    if judged is None:
        return
    metric, label, maximize = judged
    # Members without metrics, which diverged or were pruned, are counted in the plots.
    values = [row.get(metric) for row in rows]
    by_axis = {field: _drawn_columns(rows, field) for field in sweep.fields}
    columns = {name: own for drawn in by_axis.values() for name, own in drawn.items()}
    names = list(columns)
    headings = dict(zip(names, _headings(names), strict=True))
    # A rate-distortion plane is read by the weight of the rate, which comes first.
    by_heading = {
        headings[name]: columns[name]
        for name in sorted(names, key=lambda name: _file_name(name) != "beta")
    }
    if any("test_rate" in row for row in rows):
        plane = plots.rate_distortion(
            [row.get("test_rate") for row in rows],
            [row.get("test_distortion") for row in rows],
            by_heading,
        )
        plots.save(plane, out / "rate_distortion.png")
    for name, own in columns.items():
        figure = plots.metric_by_value(
            own,
            values,
            field=headings[name],
            label=label,
            others={other: by_heading[other] for other in by_heading if other != headings[name]},
            joined=sweep.method == "grid",
        )
        plots.save(figure, out / f"{metric}_by_{_file_name(name)}.png")
    if len(names) > 1:
        figure = plots.parallel_coordinates(
            {headings[name]: own for name, own in columns.items()}, values, label, maximize
        )
        plots.save(figure, out / "parallel_coordinates.png")
    listed = [
        name
        for axis_fields, axis in sweep.axes
        if isinstance(axis, Choice)
        for field in axis_fields
        for name in by_axis[field]
    ]
    for x, y in itertools.islice(itertools.combinations(listed, 2), _MAX_HEAT_MAPS):
        pair = headings[x], headings[y]
        figure = plots.heat_map(
            columns[x],
            columns[y],
            values,
            x_field=headings[x],
            y_field=headings[y],
            label=label,
            maximize=maximize,
            others={other: own for other, own in by_heading.items() if other not in pair},
        )
        name = f"heat_map_of_{metric}_by_{_file_name(x)}_and_{_file_name(y)}.png"
        plots.save(figure, out / name)
    _draw_curves(out, rows, sweep, by_heading)
    if sweep.method != "grid":
        _draw_history(out, rows, sweep)


def _drawn_columns(rows: Sequence[Row], field: str) -> dict[str, list[Any]]:
    """Return the values of the members that are drawn for a field, by the columns' names.

    Of a part these are the settings that vary, if all its choices have them, or else one text.
    """
    names = columns_of(rows, [field])
    varying = [n for n in names if len({str(row[n]) for row in rows if n in row}) > 1] or names[:1]
    if all(name in row for name in varying for row in rows):
        return {name: [row[name] for row in rows] for name in varying}

    def described(row: Row) -> str:
        own = [name for name in varying if name in row]
        texts = [
            _number(row[n]) if n == field else f"{n.removeprefix(f'{field}.')}={_number(row[n])}"
            for n in own
        ]
        return " ".join(texts)

    return {field: [described(row) for row in rows]}


def _headings(names: Sequence[str]) -> list[str]:
    """Return the last parts of dotted names; the whole names where these are not different."""
    short = [_short(name) for name in names]
    return short if len(set(short)) == len(short) else list(names)


def _short(field: str) -> str:
    return field.split(".")[-1].replace("_", " ")


def _file_name(field: str) -> str:
    return field.split(".")[-1]


def _draw_curves(
    out: Path, rows: Sequence[Row], sweep: Sweep, columns: Mapping[str, Sequence[Any]]
) -> None:
    """Draw the validation curves of the members that were trained on this machine."""
    objective = sweep.objective
    by_epoch = [curve(row, objective) for row in rows]
    drawn = [index for index, own in enumerate(by_epoch) if own]
    if drawn:
        figure = plots.member_curves(
            [{"epoch": list(by_epoch[i]), objective: list(by_epoch[i].values())} for i in drawn],
            objective,
            {name: [own[i] for i in drawn] for name, own in columns.items()},
            maximize=sweep.maximize,
        )
        plots.save(figure, out / "training_curves.png")


def _draw_history(out: Path, rows: Sequence[Row], sweep: Sweep) -> None:
    """Draw the objective of each trial in the order of the search, the mean over its seeds."""
    column, values, pruned = f"valid_{sweep.objective}", [], []
    for _, group in itertools.groupby(rows, key=lambda row: row["trial"]):
        members = list(group)
        values.append(float(np.mean([row.get(column, np.nan) for row in members])))
        pruned.append(any(row["status"] == "pruned" for row in members))
    if np.isfinite(values).any():
        figure = plots.search_history(
            values,
            label=f"validation {METRIC_LABELS.get(sweep.objective, sweep.objective)}",
            pruned=pruned,
            maximize=sweep.maximize,
        )
        plots.save(figure, out / "search_history.png")


def write_tensorboard(folder: Path, rows: Sequence[Row], axes: Sequence[str]) -> None:
    """Write each member as a session of TensorBoard's HParams, with its curves."""
    for row in rows:
        target = workdir.member_folder(folder, row["member"])
        # Sweeps of earlier versions have a folder per member in one of their own.
        earlier = folder / "tensorboard" / target.name
        if earlier.exists() or any(target.glob("events.out.*")):
            continue
        with contextlib.closing(TensorBoardWriter(target, 0)) as writer:
            records = read_records(Path(row["workdir"]) / "metrics.jsonl")
            for record in records:
                writer.write(record)
            metrics = {
                f"final/{name}": float(value)
                for name, value in row.items()
                if name.startswith(("valid_", "test_"))
            }
            last_step = records[-1]["step"] if records else 0
            values = {name: row[name] for name in (*columns_of([row], axes), "seed")}
            writer.write_hyperparameters(values, metrics, last_step)


def table(
    settings: Sequence[Row], axes: Sequence[str], metrics: Mapping[str, str], top: int
) -> str:
    """Return the first settings as Markdown, with mean and standard deviation over the seeds.

    Args:
      settings: as `over_seeds` gives them.
      axes: the fields of the sweep's axes.
      metrics: the columns, and their headings.
      top: how many rows.
    """
    if not settings:
        return ""

    def cell(entry: Row, name: str) -> str:
        if name not in entry["mean"]:
            return ""
        deviation = entry["std"][name]
        return f"{entry['mean'][name]:.2f}" + (
            f" ± {deviation:.2f}" if deviation is not None else ""
        )

    names = columns_of([entry["setting"] for entry in settings[:top]], axes)
    rows = []
    for entry in settings[:top]:
        setting = entry["setting"]
        shown = [_number(setting[name]) if name in setting else "" for name in names]
        rows.append([*shown, str(entry["num_seeds"]), *(cell(entry, name) for name in metrics)])
    return reports.table([*_headings(names), "seeds", *metrics.values()], rows)


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
