import pytest

from benchmarks import kill_resume

SMALL = {
    "data.train_split": "train[:600]",
    "data.validation_split": "train[55000:55050]",
    "data.test_split": "test[:50]",
    "model.encoder.widths": "(16,)",
    "evaluation.num_samples": 2,
    # Three calls an epoch, so that a kill in the middle of training comes between checkpoints.
    "steps_per_call": 4,
}


# Three processes, each of which starts JAX, the first one without compiled programs.
@pytest.mark.slow
def test_a_run_killed_at_a_random_moment_ends_with_the_bits_of_one_that_never_was(tmp_path):
    # This seed's moment is a little before the middle of a whole run's life. These epochs take long
    # enough that the run is most likely training by then. Many kills are a campaign's.
    results = kill_resume.kill_and_compare(
        kills=1, seed=9, epochs=8, scratch=tmp_path, overrides={**kill_resume.OVERRIDES, **SMALL}
    )
    assert results["kills"] == 1
    assert [series["differing"] for series in results["series"]] == [[]] * len(results["series"])
    assert results["equal"]
    assert results["checkpoints_set_aside"] == 0
