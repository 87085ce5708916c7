import statistics
from pathlib import Path

import pytest

import vae_jax
from vae_jax.errors import UserError
from vae_jax.evaluation import reports


@pytest.fixture
def template(tmp_path):
    path = tmp_path / "report.md"
    path.write_text("# Title\n\n{{num}} images of {{data}}.\n\n{{table}}\n\n{{plots}}\n")
    return path


def test_a_template_is_filled_and_what_is_empty_leaves_no_gap(template):
    table = reports.table(["a", "b"], [["1", "2"]])
    text = reports.fill(template, num=3, data="mnist", table=table, plots="")
    expected = "# Title\n\n3 images of mnist.\n\n| a | b |\n| --- | --- |\n| 1 | 2 |\n"
    assert text == expected
    assert reports.fill(template, num=3, data="mnist", table="", plots="").endswith("mnist.\n")


def test_a_value_is_never_filled_itself(template):
    text = reports.fill(template, num="{{data}}", data="mnist", table="", plots="")
    assert "{{data}} images of mnist" in text


def test_unknown_and_unused_names_are_errors(template):
    values = {"num": 3, "data": "mnist", "table": "", "plots": ""}
    with pytest.raises(UserError, match=r"report\.md has unused names: seeds"):
        reports.fill(template, **values, seeds=2)
    del values["num"], values["table"]
    with pytest.raises(UserError, match=r"report\.md has unknown names: num, table"):
        reports.fill(template, **values)


def test_only_plots_that_are_there_are_shown(tmp_path):
    folder = tmp_path / "uses" / "recovery"
    folder.mkdir(parents=True)
    captions = {"a.png": "First", "b.png": "Second", "c.png": "Third"}
    assert reports.plots(folder, captions, tmp_path) == ""
    for name in ("a.png", "c.png"):
        (folder / name).touch()
    expected = "![First](uses/recovery/a.png)\n\n![Third](uses/recovery/c.png)"
    assert reports.plots(folder, captions, tmp_path) == expected
    assert reports.plots(folder, captions, folder).startswith("![First](a.png)")


def test_the_deviation_is_shown_of_several_seeds_and_has_no_sign():
    assert reports.mean_and_deviation([]) == ""
    assert reports.mean_and_deviation([0.5]) == "0.500"
    deviation = f"{statistics.stdev([1, 2, 4]):.2f}"
    assert reports.mean_and_deviation([1.0, 2.0, 4.0], "+.2f") == f"+2.33 ± {deviation}"


def test_a_number_of_one_has_a_noun_in_the_singular():
    counts = [reports.counted(num, "seed") for num in (0, 1, 2)]
    assert counts == ["0 seeds", "1 seed", "2 seeds"]


def test_a_section_of_no_file_is_empty_and_a_damaged_file_is_named(tmp_path):
    section = reports.of_results_file(lambda measured, path: f"{path.stem}: {measured['rows']}")
    path = tmp_path / "use.json"
    assert section(path) == ""
    path.write_text('{"rows": 3}')
    assert section(path) == "use: 3"
    for content in ("{", "{}", "[]"):
        path.write_text(content)
        with pytest.raises(UserError, match=r"use\.json cannot be read"):
            section(path)


def test_every_template_is_packaged():
    root = Path(vae_jax.__file__).parent
    files = (*root.rglob("*.md"), *root.rglob("*.html"))
    templates = [path for path in files if "mnist" not in path.parts]
    assert len(templates) >= 10
    assert all((path.parent / "__init__.py").is_file() for path in templates)
    # setup.cfg takes the Markdown and HTML files of all packages.
    assert "* =\n    *.html\n    *.md\n" in (root.parent / "setup.cfg").read_text()


def test_a_seed_counts_once_however_many_rows_it_has():
    assert reports.num_seeds([{"seed": 0}, {"seed": 1}, {"seed": 0}]) == 2
    assert reports.num_seeds([{"name": "JPEG"}, {"name": "JPEG"}]) == 1
