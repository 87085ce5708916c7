import pytest

from benchmarks import kill_resume

SMALL = {
    "data.train_split": "train[:600]",
    "data.validation_split": "train[55000:55050]",
    "data.test_split": "test[:50]",
    "model.encoder.widths": "(16,)",
    "evaluation.num_samples": 2,
}


# Three processes, each of which starts JAX, the first one without compiled programs.
@pytest.mark.slow
def test_a_run_killed_at_a_random_moment_ends_with_the_bits_of_one_that_never_was(tmp_path):
    # This seed's moment is in the middle of the run; many kills are a campaign's.
    results = kill_resume.kill_and_compare(
        kills=1, seed=9, epochs=2, scratch=tmp_path, overrides={**kill_resume.OVERRIDES, **SMALL}
    )
    assert results["kills"] == 1
    assert [series["differing"] for series in results["series"]] == [[]] * len(results["series"])
    assert results["equal"]
    assert results["checkpoints_set_aside"] == 0
