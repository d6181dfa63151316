import pandas as pd
import pytest

from lightning_marlhf.files import write_text
from lightning_marlhf.reporting.curves import (
    final_level,
    score_metric,
    seed_curves,
    smooth,
    smoothing_window,
    updates_to_reach,
)
from lightning_marlhf.reporting.load import load_run


@pytest.mark.parametrize(("num_points", "window"), [(1, 1), (19, 1), (20, 3), (60, 7), (240, 25)])
def test_the_window_is_odd_and_about_a_tenth(num_points, window):
    assert smoothing_window(num_points) == window


def test_smoothing_is_a_centred_mean_of_what_is_there():
    curve = pd.Series([float(n**2) for n in range(20)], index=range(0, 80, 4))
    smoothed = smooth(curve)
    assert smoothed.loc[0] == pytest.approx((0 + 1) / 2)
    assert smoothed.loc[4] == pytest.approx((0 + 1 + 4) / 3)
    assert smoothed.loc[76] == pytest.approx((18**2 + 19**2) / 2)
    assert final_level(curve) == pytest.approx((18**2 + 19**2) / 2)


def test_a_level_is_reached_at_the_first_smoothed_point_at_or_above_it():
    curve = pd.Series({10: 0.0, 20: 2.0, 30: 1.0, 40: 3.0})  # four points: not smoothed
    assert updates_to_reach(curve, level=2.0) == 20
    assert updates_to_reach(curve, level=2.5) == 40
    assert updates_to_reach(curve, level=-1.0) == 10
    assert updates_to_reach(curve, level=3.5) is None


def test_one_noisy_value_does_not_count_as_reached():
    values = [0.0] * 20
    values[5] = 3.0  # smoothed over three points: 1.0
    assert updates_to_reach(pd.Series(values), level=2.0) is None
    assert updates_to_reach(pd.Series(values), level=1.0) == 4


def test_seeds_give_mean_and_range(tmp_path):
    for seed, value in ((1, 1.0), (2, 4.0)):
        lines = ["step,name,value,seconds", f"4,kl,{value},1", f"8,kl,{value + 1},2"]
        write_text(tmp_path / f"{seed}/metrics.csv", "\n".join(lines))
    runs = [load_run(tmp_path / str(seed), stage="ppo", seed=seed) for seed in (1, 2, 3)]
    curves = seed_curves(runs, "kl")
    assert curves.mean.to_dict() == {4: 2.5, 8: 3.5}
    assert curves.low.to_dict() == {4: 1.0, 8: 2.0}
    assert curves.high.to_dict() == {4: 4.0, 8: 5.0}
    assert len(curves.raw) == 2
    assert seed_curves(runs, "absent") is None


def test_the_trained_score_is_logged_as_scores_where_it_has_no_metric_of_its_own():
    assert score_metric("rm", logged={"objective/scores"}) == "objective/scores"
    assert score_metric("rm", logged={"objective/scores", "objective/rm"}) == "objective/rm"
    assert score_metric("gold", logged={"objective/scores"}) == "objective/gold"
