from dataclasses import replace

import pandas as pd
import pytest

from lightning_marlhf.display.document import Cell
from lightning_marlhf.files import write_text
from lightning_marlhf.reporting.curves import (
    DIAGNOSTICS,
    curve_pictures,
    draw_curves,
    final_level,
    last_values,
    row_curves,
    score_metric,
    seed_curves,
    small_multiples,
    smooth,
    smoothing_window,
    updates_to_reach,
)
from lightning_marlhf.reporting.layout import row_styles
from lightning_marlhf.reporting.load import load_run, load_system
from lightning_marlhf.reporting.overoptimization import frontier_pictures
from lightning_marlhf.reporting.spec import ReportRow, SystemReport


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


@pytest.fixture
def study(fake_study, report_section):
    def load(seeds):
        output = fake_study(seeds=seeds, prompts=6)
        return load_system(report_section, output=output, seeds=seeds)

    return load


def test_each_score_and_kl_have_their_pictures(study):
    loaded = study([1, 2])
    names = [picture.name for picture in curve_pictures(loaded)]
    assert names == ["curve-gold", "curve-rm", "curve-kl"]
    assert [p.name for p in frontier_pictures(loaded)] == ["frontier-gold", "frontier-rm"]
    (picture,) = small_multiples(loaded, DIAGNOSTICS, name="diagnostics")
    assert picture.png.startswith(b"\x89PNG")
    assert b"<svg" in picture.svg
    assert b"dc:date" not in picture.svg


def test_rows_keep_their_own_colour_and_the_baseline_is_grey(report_section):
    styles = row_styles(report_section)
    assert len({style.color for style in styles.values()}) == 4
    assert styles["ppo"].color == "#0072B2"
    turned = replace(report_section, rows=report_section.rows[::-1])
    assert row_styles(turned)["ppo"] == styles["ppo"]


def test_ten_rows_can_be_told_apart():
    spec = SystemReport(rows=[ReportRow(stage=f"run-{n}") for n in range(10)])
    looks = {(style.color, style.line) for style in row_styles(spec).values()}
    assert len(looks) == 10


def test_several_seeds_have_a_band_and_one_seed_has_none(study, report_section):
    from matplotlib.figure import Figure

    styles = row_styles(report_section)
    for seeds, num_bands in (([1, 2], 3), ([1], 0)):
        axes = Figure().subplots()
        draw_curves(axes, row_curves(study(seeds), "objective/gold"), styles)
        assert len(axes.collections) == num_bands
        assert len(axes.lines) == 3 * len(seeds) + 3


def test_without_logged_metrics_there_are_no_pictures(tmp_path, report_section):
    study = load_system(report_section, output=tmp_path, seeds=[1])
    assert curve_pictures(study) == ()
    assert frontier_pictures(study) == ()
    assert small_multiples(study, DIAGNOSTICS, name="diagnostics") == []


def test_what_an_untested_run_logged_last_is_told_with_its_update(tmp_path, make_run, report_section):
    for seed, last in ((1, 2.0), (2, 3.0)):
        metrics = {"loss/sft": {1: 9.0, 8 * seed: last}, "lr": {1: 1.0}}
        make_run(tmp_path / f"ppo/seed-{seed}", metrics=metrics)
    (table,) = last_values([load_system(report_section, output=tmp_path, seeds=[1, 2])])
    assert [row[0].value for row in table.rows] == ["loss/sft"]
    assert table.rows[0][table.header.index("PPO (n = 1)")] == Cell("2.5", "(8 to 16)")
