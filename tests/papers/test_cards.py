import dataclasses
import json

import pytest
from small_cards import small_card

from configs import imputation
from vae_jax import config as factory
from vae_jax.errors import UserError
from vae_jax.papers import card as cards
from vae_jax.papers import report as card_report
from vae_jax.papers import results as card_results
from vae_jax.papers.card import BUDGETS, Budget, Check, Expected, Row
from vae_jax.papers.results import _digest, settings
from vae_jax.papers.runs import num_training_images

CARD = small_card("bars.npz")
RESULTS = cards.FOLDER.parents[1] / "results"


def measurement(row, budget, card=CARD, **by_seed):
    """Return a measurement with these metrics by seed."""
    config = settings(card.config(row, budget))
    content = {
        "config": config,
        "seeds": list(range(len(next(iter(by_seed.values()))))),
        "diverged": [],
        "figures": {
            metric: {
                "by_seed": values,
                "mean": sum(values) / len(values),
                "std": 0.25 if len(values) > 1 else None,
                "standard_error": None,
            }
            for metric, values in by_seed.items()
        },
        "epochs": [3],
        "checkpoint": "last",
        "num_training_images": 192,
        "num_test_images": 70,
        "binarization": "dynamic",
        "latent_size": 2,
        "importance_samples": 5,
        "train_seconds": [3600.0] * len(next(iter(by_seed.values()))),
        "device": "1 x cpu",
        "num_cores": [2],
    }
    return {**content, "digest": _digest(card.name, row.name, budget, content)}


def measured(card=CARD, **by_row_and_budget):
    """Measurements of rows; keys such as weak_full."""
    found = {row.name: dict.fromkeys(BUDGETS) for row in card.rows}
    for key, by_seed in by_row_and_budget.items():
        name, budget = key.rsplit("_", 1)
        row = next(row for row in card.rows if row.name == name)
        found[name][budget] = measurement(row, budget, card, **by_seed)
    return found


def test_every_row_of_every_shipped_card_can_be_trained_at_every_budget():
    assert len(cards.names()) == 16
    for name in cards.names():
        card = cards.load(name)
        for budget in BUDGETS:
            seen = set()
            for row in card.rows:
                config = card.config(row, budget)
                assert json.loads(json.dumps(factory.resolve(config).to_dict())) == config
                seen.add(json.dumps(config))
            assert len(seen) == len(card.rows), f"{name} has rows that are the same"


def test_every_card_says_what_it_reproduces():
    for name in cards.names():
        text = (cards.FOLDER / f"{name}.py").read_text(encoding="utf-8")
        docstring = text.split('"""')[1]
        assert f"python -m experiments.reproduce --card={name} " in docstring
        assert any(source in docstring for source in ("arXiv", "google/flax", "NeurIPS 2015"))
        assert "Expect" in docstring
        assert "two cores" in " ".join(docstring.split())


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ([30.4], "within"),
        ([29.0, 31.0], "within"),
        ([31.5], "outside by 0.5"),
        ([28.75], "outside by 0.25"),
    ],
)
def test_a_value_is_within_its_tolerance_or_outside_by_the_rest(values, verdict):
    row = measured(weak_full={"nll": values})["weak"]
    assert card_report.value_verdict(CARD, "nll", Expected(30.0, 1.0), row) == verdict


def test_values_are_judged_at_the_full_budget_unless_the_card_says_otherwise():
    row = measured(weak_cpu={"nll": [30.0]})["weak"]
    expected = Expected(30.0, 1.0)
    assert card_report.value_verdict(CARD, "nll", expected, row) == "not measured"
    budgets = {**CARD.budgets, "cpu": Budget({"epochs": 3}, judged=True)}
    judged = dataclasses.replace(CARD, budgets=budgets)
    assert card_report.value_verdict(judged, "nll", expected, row) == "within"
    both = measured(weak_cpu={"nll": [30.0]}, weak_full={"nll": [33.0]})["weak"]
    assert card_report.value_verdict(judged, "nll", expected, both) == "outside by 2"


def test_without_a_value_or_a_tolerance_there_is_no_judgement():
    row = measured(weak_full={"nll": [30.25]})["weak"]
    assert card_report.value_verdict(CARD, "nll", Expected(), row) == ""
    assert card_report.value_verdict(CARD, "nll", Expected(30.0, 1.0, verified=False), row) == ""
    assert card_report.value_verdict(CARD, "nll", Expected(31.0), row) == "-0.75"


@pytest.mark.parametrize(
    ("check", "verdict"),
    [
        (Check("nll", ("strong", "weak"), least=0.5), "holds (+1.00; in 2 of 2 seeds)"),
        (Check("nll", ("strong", "weak"), least=1.5), "fails by 0.5 (+1.00; in 1 of 2 seeds)"),
        (Check("nll", ("weak", "strong")), "fails by 1 (-1.00; in 0 of 2 seeds)"),
        (
            Check("nll", ("strong", "weak"), least=-float("inf"), most=0.75),
            "fails by 0.25 (+1.00; in 1 of 2 seeds)",
        ),
        (Check("nll", ("strong", "weak", "wide")), "not measured"),
    ],
)
def test_an_ordering_is_judged_by_the_means_and_counted_by_seeds(check, verdict):
    rows = measured(weak_cpu={"nll": [30.0, 31.0]}, strong_cpu={"nll": [30.5, 32.5]})
    assert card_report.check_verdict(check, rows, "cpu") == verdict
    assert card_report.check_verdict(check, rows, "full") == "not measured"


def test_a_chain_holds_where_each_step_does():
    check = Check("nll", ("strong", "weak", "wide"), least=0.1)
    rows = measured(
        strong_full={"nll": [32.0]}, weak_full={"nll": [31.0]}, wide_full={"nll": [30.95]}
    )
    verdict = card_report.check_verdict(check, rows, "full")
    assert verdict == "fails by 0.05 (+1.00, +0.05; in 0 of 1 seed)"


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ([1.75], "holds (+1.75; in 1 of 1 seed)"),
        ([1.0, 1.5], "fails by 0.25 (+1.25; in 1 of 2 seeds)"),
    ],
)
def test_a_metric_of_one_row_is_bounded(values, verdict):
    check = Check("gain_for_image", ("weak",), least=1.5)
    rows = measured(weak_full={"gain_for_image": values})
    assert card_report.check_verdict(check, rows, "full") == verdict
    claim = "weak: gain on the image from the others (nats) at least 1.5"
    assert card_report._claim(check) == claim


@pytest.mark.parametrize(
    ("check", "claim"),
    [
        (Check("gain_over_iterative_imputer", ("weak",)), "at least 0"),
        (Check("gain_over_iterative_imputer", ("weak",), -float("inf"), 0.5), "less than 0.5"),
        (Check("gain_over_iterative_imputer", ("weak",), 0.25, 0.5), "0.25 to 0.5"),
    ],
)
def test_a_bound_of_one_row_is_said_also_where_it_is_zero(check, claim):
    whole = f"weak: gain over IterativeImputer (squared error) {claim}"
    assert card_report._claim(check) == whole


def test_a_metric_that_is_neither_better_high_nor_low_can_be_bounded_in_one_row():
    bounded = dataclasses.replace(CARD, checks=(Check("rate", ("weak",), 2.0, 4.0),))
    rows = measured(weak_cpu={"rate": [3.0, 5.0]})
    verdict = card_report.check_verdict(bounded.checks[0], rows, "cpu")
    assert verdict == "holds (+4.00; in 1 of 2 seeds)"


def test_more_accuracy_is_better():
    check = Check("knn_accuracy_100", ("strong",) * 2)
    assert card_report._gains(check, [70.0, 72.0]) == [2.0]


def test_the_table_shows_what_is_measured_and_says_what_is_not(tmp_path):
    rows = measured(
        weak_cpu={"nll": [30.0, 31.0], "rate": [3.0, 3.5]},
        strong_cpu={"nll": [33.0]},
        weak_full={"nll": [32.0], "rate": [3.0]},
    )
    card_results.write(CARD, tmp_path, rows)
    lines = card_report.render([CARD], tmp_path).splitlines()
    assert "| weak | NLL | 30 | ± 1 | 30.50 ± 0.25 (2 seeds) | 32.00 (1 seed) | outside by 1 |" in (
        lines
    )
    assert "| weak | rate |  |  | 3.25 ± 0.25 (2 seeds) | 3.00 (1 seed) |  |" in lines
    assert "| strong | NLL | unverified |  | 33.00 (1 seed) | not measured |  |" in lines
    assert "| wide | NLL | 29.50 |  | not measured | not measured | not measured |" in lines
    claim = "NLL gets better from strong to weak by at least 0.5"
    assert f"| {claim} | holds (+2.50; in 1 of 1 seed) | not measured |" in lines
    assert not any("31.00" in line for line in lines)
    assert any(line.startswith("CPU budget: 3 epochs; 192 training images") for line in lines)


def test_the_rows_of_a_table_are_called_rows():
    content = {**measurement(CARD.rows[0], "cpu", nll=[30.0]), "binarization": None}
    line = card_report.conditions(CARD, {"weak": {"cpu": content, "full": None}}, "cpu")
    assert "192 training rows; 70 test rows; latent size 2" in line
    assert "binarisation" not in line


def test_a_measurement_of_a_table_is_read_back(tmp_path):
    card = cards.load("miwae_tables")
    rows = measured(
        card, iris_mask_1_full={"imputation_error": [0.25], "interval_coverage": [91.0]}
    )
    card_results.write(card, tmp_path, rows)
    assert card_results.read(card, tmp_path) == rows
    text = card_report.section(card, tmp_path)
    assert "| iris_mask_1 | squared error of hidden cells | 0.440 | ± 0.04 |" in text
    assert "85 to 95 | not measured | holds (+91.0; in 1 of 1 seed) |" in text


def test_the_first_masks_of_the_tables_are_those_of_the_config_of_imputation():
    card = cards.load("miwae_tables")
    rows = {row.name: row for row in card.rows}
    for table in ("breast_cancer", "iris"):
        expected = factory.digest(imputation.get_config(table))
        for budget in BUDGETS:
            config = card.config(rows[f"{table}_mask_0"], budget)
            assert factory.digest(config) == expected
    # All 150 but those that evaluation needs.
    assert num_training_images(config) == 145


def test_a_card_that_nobody_measured_is_rendered_too(tmp_path):
    text = card_report.render([CARD], tmp_path)
    assert text.count("not measured") >= 7
    assert "budget: " not in text


def test_measurements_are_read_back_as_they_were_written(tmp_path):
    rows = measured(weak_cpu={"nll": [30.0, 31.0]}, wide_full={"nll": [1 / 3]})
    card_results.write(CARD, tmp_path, rows)
    assert card_results.read(CARD, tmp_path) == rows
    content = json.loads((tmp_path / "bars.json").read_text())
    assert content["rows"]["strong"] == {"cpu": None, "full": None}


def test_a_results_file_of_no_card_is_refused(tmp_path):
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(UserError, match=r"other\.json is the results file of no card"):
        card_report.render([CARD], tmp_path)


def spoil_metric(content):
    content["rows"]["weak"]["cpu"]["figures"]["nll"]["mean"] -= 1


def spoil_seeds(content):
    content["rows"]["weak"]["cpu"]["seeds"].append(2)


def exchange_rows(content):
    rows = content["rows"]
    rows["weak"], rows["strong"] = rows["strong"], rows["weak"]


def exchange_budgets(content):
    row = content["rows"]["weak"]
    row["cpu"], row["full"] = row["full"], row["cpu"]


@pytest.mark.parametrize("edit", [spoil_metric, spoil_seeds, exchange_rows, exchange_budgets])
def test_a_file_that_was_edited_by_hand_is_refused(tmp_path, edit):
    card_results.write(CARD, tmp_path, measured(weak_cpu={"nll": [30.0, 31.0]}))
    path = tmp_path / "bars.json"
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))
    for use in (card_results.read, card_report.section):
        with pytest.raises(UserError, match=r"bars\.json: the row .* was edited by hand"):
            use(CARD, tmp_path)


def test_a_file_that_is_no_results_file_is_refused(tmp_path):
    for content in ("{torn", "[]", '{"card": "other", "rows": {}}', '{"card": "bars"}'):
        (tmp_path / "bars.json").write_text(content)
        with pytest.raises(UserError, match=r"bars\.json"):
            card_results.read(CARD, tmp_path)


def changed(row_settings=None, budgets=None, config=None, metrics=None):
    """The card with other settings in the row `weak`, its budgets or its base config."""
    base = factory.with_values(CARD.base, config or {})
    weak, *rest = CARD.rows
    weak = Row("weak", row_settings or weak.settings, metrics or weak.metrics)
    return dataclasses.replace(
        CARD, base=base, rows=(weak, *rest), budgets={**CARD.budgets, **(budgets or {})}
    )


@pytest.mark.parametrize(
    ("card", "message"),
    [
        (changed({"objective.beta": 2.0}), r"objective\.beta=1\.0, and the card has 2\.0"),
        (changed(budgets={"cpu": Budget({"epochs": 4})}), "epochs=3, and the card has 4"),
        (
            changed(config={"model.encoder.widths": (8,)}),
            r"model\.encoder\.widths=\[16\], and the card has \[8\]",
        ),
        (
            changed({"objective": {"name": "tc", "beta": 1.0}}),
            r"objective\.\w+=.*, and the card has ",
        ),
    ],
)
def test_what_was_measured_of_other_settings_is_refused(tmp_path, card, message):
    card_results.write(CARD, tmp_path, measured(weak_cpu={"nll": [30.0]}))
    with pytest.raises(
        UserError, match=f"the row 'weak' at the cpu budget was measured .*{message}"
    ):
        card_results.read(card, tmp_path)


@pytest.mark.parametrize(
    "card",
    [
        changed(metrics={"nll": Expected(20.0, 3.0)}),
        changed(budgets={"full": Budget({"epochs": 70})}),
        changed(config={"steps_per_call": 7, "data.dir": "elsewhere", "seed": 3}),
    ],
)
def test_other_expectations_and_what_has_no_effect_leave_a_measurement_valid(tmp_path, card):
    rows = measured(weak_cpu={"nll": [30.0]})
    card_results.write(CARD, tmp_path, rows)
    assert card_results.read(card, tmp_path) == rows


def test_a_setting_that_is_newer_than_the_measurement_had_its_default(tmp_path):
    rows = measured(weak_cpu={"nll": [30.0]})
    for budgets in rows.values():
        if budgets["cpu"]:
            assert budgets["cpu"]["config"].pop("objective.free_nats") == 0.0
            content = {k: v for k, v in budgets["cpu"].items() if k != "digest"}
            budgets["cpu"]["digest"] = _digest("bars", "weak", "cpu", content)
    card_results.write(CARD, tmp_path, rows)
    assert card_results.read(CARD, tmp_path) == rows
    with pytest.raises(UserError, match=r"objective\.free_nats=0\.0, and the card has 0\.5"):
        card_results.read(changed(config={"objective.free_nats": 0.5}), tmp_path)


def test_measurements_of_an_earlier_schema_are_those_of_the_cards_rows():
    """The cards of the project have measurements with flat configs."""
    measured = [name for name in cards.names() if (RESULTS / f"{name}.json").is_file()]
    assert len(measured) > 9
    for name in measured:
        card, content = cards.load(name), json.loads((RESULTS / f"{name}.json").read_text())
        read = card_results.read(card, RESULTS)
        for row, budgets in content["rows"].items():
            assert read[row] == budgets


def test_a_measurement_of_an_earlier_schema_of_other_settings_is_refused(tmp_path):
    card = cards.load("iwae_mnist_1layer")
    content = json.loads((RESULTS / f"{card.name}.json").read_text())
    measured = content["rows"]["iwae_5"]["cpu"]
    assert measured["config"]["hparams.beta"] == 1.0
    assert measured["config"]["objective.name"] == "iwae"
    measured["config"]["objective.num_samples"] = 6
    measured["digest"] = _digest(card.name, "iwae_5", "cpu", measured)
    (tmp_path / f"{card.name}.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"objective\.num_samples=6, and the card has 5"):
        card_results.read(card, tmp_path)


def test_a_measurement_of_more_seeds_is_kept():
    three = measured(weak_cpu={"nll": [30.0, 31.0, 32.0]})
    one, other = (measurement(CARD.rows[0], "cpu", nll=[v] * n) for v, n in ((29.0, 1), (28.0, 3)))
    assert card_results.with_measurement(three, CARD.rows[0], "cpu", one) == three
    replaced = card_results.with_measurement(three, CARD.rows[0], "cpu", other)
    assert replaced["weak"] == {"cpu": other, "full": None}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rows": CARD.rows[:1] * 2}, "different names"),
        ({"rows": ()}, "one or more"),
        ({"budgets": {"full": Budget({})}}, "cpu and full"),
        (
            {"checks": (Check("nll", ("weak", "stong")),)},
            "'stong' is not a row; did you mean strong",
        ),
        ({"checks": (Check("rate", ("weak", "strong")),)}, "'rate' cannot order rows"),
        ({"checks": (Check("knn_accuracy_100", ("weak", "strong")),)}, "'weak' lacks the metric"),
        ({"rows": (Row("a", {}, {"nil": Expected()}), *CARD.rows)}, "'nil' is not a metric"),
        ({"budgets": {**CARD.budgets, "cpu": Budget({"epoch": 3})}}, "did you mean epochs"),
        ({"manifold": "flat"}, "'flat' is not a row"),
    ],
)
def test_a_card_that_does_not_fit_together_is_refused(changes, message):
    with pytest.raises(UserError, match=message):
        small_card("bars.npz", **{"manifold": "", **changes})
