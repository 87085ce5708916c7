r"""Train a sweep over objectives, strengths and seeds; compare how they disentangle.

    python -m experiments.disentanglement --config=configs/disentanglement.py \
        --sweep=configs/sweeps/disentanglement.py --workdir=runs/disentanglement

The flags are those of experiments.sweep, and a stopped study is continued as there. Writes
study.json, with a row per run, and plots into results/disentanglement/ of the workdir. With
--results=results they are published; `python -m experiments.report` then writes the tables.
"""

from pathlib import Path
from typing import Any

from absl import flags

from experiments import command_line, sweep
from experiments import flags as shared
from vae_jax import workdir
from vae_jax.applications.disentanglement import study as disentanglement_results
from vae_jax.applications.disentanglement import study_plots
from vae_jax.config import Experiment, resolve
from vae_jax.errors import UserError
from vae_jax.papers import results as card_results
from vae_jax.settings import to_dict
from vae_jax.sweeps import fields
from vae_jax.sweeps import space as search_space

shared.define("format", "config", "workdir", "results")
flags.adopt_module_key_flags(sweep)


def check_study(config: Experiment, settings: search_space.Sweep) -> None:
    """Refuse a sweep without anything to compare.

    Raises:
      UserError: no run is measured, or a study cannot compare one of the objectives.
    """
    if not config.evaluation.disentanglement:
        raise UserError(
            "evaluation.disentanglement=False leaves nothing to compare; use True, with data whose "
            "factors are known"
        )
    base = fields.resolved(config)
    names = {
        resolve(fields.with_values(base, setting)).objective.name
        for setting in search_space.settings(settings)
    }
    disentanglement_results.check_objectives(sorted(names))


def _objective(folder: Path, member: int) -> dict[str, Any]:
    config = resolve(workdir.read_config(workdir.member_folder(folder, member)))
    return dict(to_dict(config.objective))


def _write(folder: Path, config: Experiment, out: Path) -> None:
    results = workdir.read_json(folder / "results.json", {"members": list})
    rows = sorted(results["members"], key=lambda row: row["member"])
    runs = [
        disentanglement_results.study_run({**row, "objective": _objective(folder, row["member"])})
        for row in rows
    ]
    summaries = (workdir.read_summary(workdir.member_folder(folder, r["member"])) for r in rows)
    summary = next(filter(None, summaries), None)
    if summary is None:
        raise UserError(f"{folder}: no run of the study has finished; see results.json")
    study = {
        "command": f"python -m experiments.disentanglement --config={shared.config_path()} "
        f"--sweep={flags.FLAGS.sweep}",
        "config": card_results.settings(config.to_dict()),
        "steps": summary["step"],
        **{name: summary[name] for name in ("device", "num_cores", "versions")},
        "runs": runs,
    }
    path = disentanglement_results.write(out, study)
    study_plots.draw(out, runs)
    study_plots.draw_models(out, folder, runs)
    print(f"{path} and the plots beside it are written")


@shared.in_formats
def main() -> None:
    """Check the config and the sweep, train its remaining runs and write the study."""
    folder, config = shared.required_workdir(), shared.required_config()
    settings = sweep.named_sweep()
    check_study(config, settings)
    sweep.run_sweep(config, settings, folder)
    _write(folder, config, shared.results_folder(folder) / "disentanglement")


if __name__ == "__main__":
    command_line.run(main)
