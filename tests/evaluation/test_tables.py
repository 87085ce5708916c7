import json
import shutil

import pytest

from experiments import report
from vae_jax.errors import UserError
from vae_jax.evaluation import tables

RESULTS = report.ROOT / "results" / "experiments"
BENCHMARKS = report.ROOT / "benchmarks" / "results"


@pytest.mark.parametrize(
    ("table", "source", "file"),
    [
        (tables.runs_table, RESULTS, "vanilla.json"),
        (tables.face_runs_table, RESULTS.with_name("faces"), "seed_0.json"),
        (tables.faces_tables, BENCHMARKS, "face_likelihoods_cpu.json"),
        (tables.speed_table, BENCHMARKS, "likelihood_cpu.json"),
        (tables.speed_table, BENCHMARKS, "mishaps_cpu.json"),
        (tables.table_speed, BENCHMARKS, "table_speed_cpu.json"),
        (tables.sweeps_table, BENCHMARKS, "search_quality_cpu.json"),
    ],
)
@pytest.mark.parametrize(
    ("content", "message"),
    [("{}", "has no"), ("[1, 2]", "must hold a JSON object"), ("{", "cannot")],
)
def test_a_damaged_results_file_is_named(tmp_path, table, source, file, content, message):
    folder = shutil.copytree(source, tmp_path / "results")
    assert table(folder) == table(source)
    (folder / file).write_text(content)
    with pytest.raises(UserError, match=f"{file} .*{message}"):
        table(folder)


def test_a_value_of_the_wrong_kind_is_reported(tmp_path):
    folder = shutil.copytree(RESULTS, tmp_path / "results")
    summary = json.loads((folder / "vanilla.json").read_text())
    summary["test"]["elbo"] = "x"
    (folder / "vanilla.json").write_text(json.dumps(summary))
    with pytest.raises(UserError, match="holds an unusable value"):
        tables.runs_table(folder)


def test_a_mishap_that_was_not_answered_well_is_counted(tmp_path):
    folder = shutil.copytree(BENCHMARKS, tmp_path / "results")
    measured = json.loads((folder / "mishaps_cpu.json").read_text())
    tried = measured["signals"]["tried"]
    for failed in ([], ["SIGINT [1.0]: code 1"]):
        measured["signals"]["not_answered_well"] = failed
        (folder / "mishaps_cpu.json").write_text(json.dumps(measured))
        row = f"traceback or loss | {tried - len(failed)} of {tried} |"
        assert row in tables.speed_table(folder)


def test_faces_on_a_device_show_its_memory_beside_the_hosts(tmp_path):
    folder = shutil.copytree(BENCHMARKS, tmp_path / "results")
    shutil.rmtree(folder / "accelerator", ignore_errors=True)
    assert tables.faces_tables(folder)["cost_on_device"] == "Not measured.\n"
    costs = {"images_per_second": 9e4, "peak_memory_gib": 3, "peak_device_memory_gib": 1.25}
    measured = {"device": "NVIDIA H200", "variants": {"dense": costs}}
    (folder / "accelerator").mkdir()
    (folder / "accelerator" / "faces.json").write_text(json.dumps(measured))
    table = tables.faces_tables(folder)["cost_on_device"]
    assert "| images/s | peak memory of NVIDIA H200, GiB | of the host, GiB |" in table
    assert "| dense | 90,000 | 1.25 | 3.00 |" in table
