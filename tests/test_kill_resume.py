import pytest

from benchmarks import kill_resume


# Six processes, each of which starts JAX.
@pytest.mark.slow
def test_a_run_killed_at_random_moments_ends_with_the_bits_of_one_that_never_was(tmp_path):
    # This seed's moments lie in the first half of a run.
    results = kill_resume.kill_and_compare(kills=3, seed=199, epochs=4, scratch=tmp_path)
    assert results["kills"] == 3
    assert [series["differing"] for series in results["series"]] == [[]] * len(results["series"])
    assert results["equal"]
    assert results["checkpoints_set_aside"] == 0
