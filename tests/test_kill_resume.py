from benchmarks import kill_resume


def test_a_run_killed_at_random_moments_ends_with_the_bits_of_one_that_never_was(tmp_path):
    results = kill_resume.kill_and_compare(kills=3, seed=1, epochs=3, scratch=tmp_path)
    assert results["kills"] == 3
    assert [series["differing"] for series in results["series"]] == [[]] * len(results["series"])
    assert results["equal"]
    assert results["checkpoints_set_aside"] == 0
