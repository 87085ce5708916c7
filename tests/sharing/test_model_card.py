import small_runs
from small_configs import small_experiment

from vae_jax.sharing import card

TEST = {
    "num_examples": 10000,
    "elbo": -94.9076,
    "rate": 30.307,
    "iwae_bound": None,
    "num_samples": 1000,
    "active_units": 30,
    "log_likelihood": {"image": -81.25},
    "kl_by_dimension": [0.5, 0.5],
}


def test_a_card_has_the_address_the_config_and_the_metrics_with_their_units():
    changes = {"data.dir": "/home/me/data", "objective": "iwae"}
    model = small_runs.make_model((4, 3, 1), **changes)
    text = card.render(model, "hf://me/digits", {"test": TEST, "epochs": 60})
    assert text.startswith("---\nlibrary_name: vae_jax\n")
    assert "# digits\n" in text
    assert 'vae_jax.load("hf://me/digits")' in text
    assert "for 60\nepochs" in text
    assert "| elbo | -94.91 | nats |" in text
    assert "| active_units | 30 | latent dimensions |" in text
    assert "| log_likelihood (image) | -81.25 | nats |" in text
    assert "Means over 10,000 test examples; 1,000 importance samples each." in text
    assert "iwae_bound" not in text
    assert '"widths": [\n' in text
    assert "/home/me" not in text


def test_a_run_that_was_not_measured_says_so():
    model = small_runs.make_model((4, 3, 1))
    text = card.render(model, "hf://me/digits", None)
    assert "have not been measured" in text
    assert f"for {small_experiment().epochs}\nepochs" in text
