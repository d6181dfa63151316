"""A run killed at any moment goes on as if nothing had happened: by the command line, as a user has it."""

from tests.soak import Soak, soak


def test_a_run_killed_five_times_ends_as_the_one_that_nobody_killed(tmp_path):
    *kills, result = soak(Soak(tmp_path, kills=5), seed=1)
    assert len(kills) == 1 + 5
    assert result.startswith("5 kills")
