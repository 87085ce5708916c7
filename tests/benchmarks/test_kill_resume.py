import pytest

from benchmarks import kill_resume


# Four processes, each of which starts JAX, the first one without compiled programs.
@pytest.mark.slow
def test_a_run_killed_at_random_moments_ends_with_the_bits_of_one_that_never_was(tmp_path):
    # The moments of this seed lie early enough for both to hit one run.
    results = kill_resume.kill_and_compare(kills=2, seed=4574, epochs=4, scratch=tmp_path)
    assert results["kills"] == 2
    assert [series["differing"] for series in results["series"]] == [[]] * len(results["series"])
    assert results["equal"]
    assert results["checkpoints_set_aside"] == 0
