import pytest
from lightning_marlhf.reporting.old_spec import ReportSpec
from lightning_marlhf.reporting.plots import (
    curve_pictures,
    diagnostics_picture,
    draw_curves,
    frontier_pictures,
    row_curves,
)

from lightning_marlhf.reporting.load import load_study
from lightning_marlhf.reporting.style import row_styles


@pytest.fixture
def study(fake_study, report_section):
    def load(seeds):
        output = fake_study(seeds=seeds, posts=6)
        return load_study(ReportSpec.from_mapping(report_section), output=output, seeds=seeds)

    return load


def test_each_score_and_kl_have_their_pictures(study):
    loaded = study([1, 2])
    names = [picture.name for picture in curve_pictures(loaded)]
    assert names == ["curve-gold", "curve-rm", "curve-kl"]
    assert [p.name for p in frontier_pictures(loaded)] == ["frontier-gold", "frontier-rm"]
    picture = diagnostics_picture(loaded)
    assert picture.png.startswith(b"\x89PNG")
    assert b"<svg" in picture.svg
    assert b"dc:date" not in picture.svg


def test_rows_keep_their_own_colour_and_the_baseline_is_grey(report_section):
    styles = row_styles(ReportSpec.from_mapping(report_section))
    assert len({style.color for style in styles.values()}) == 4
    assert styles["ppo"].color == "#0072B2"
    report_section["rows"].reverse()
    assert row_styles(ReportSpec.from_mapping(report_section))["ppo"] == styles["ppo"]


def test_ten_rows_can_be_told_apart():
    spec = ReportSpec.from_mapping({"rows": [{"stage": f"run-{n}"} for n in range(10)]})
    looks = {(style.color, style.line) for style in row_styles(spec).values()}
    assert len(looks) == 10


def test_several_seeds_have_a_band_and_one_seed_has_none(study, report_section):
    from matplotlib.figure import Figure

    styles = row_styles(ReportSpec.from_mapping(report_section))
    for seeds, num_bands in (([1, 2], 3), ([1], 0)):
        axes = Figure().subplots()
        draw_curves(axes, row_curves(study(seeds), "objective/gold"), styles)
        assert len(axes.collections) == num_bands
        assert len(axes.lines) == 3 * len(seeds) + 3


def test_without_logged_metrics_there_are_no_pictures(tmp_path, report_section):
    study = load_study(ReportSpec.from_mapping(report_section), output=tmp_path, seeds=[1])
    assert curve_pictures(study) == ()
    assert frontier_pictures(study) == ()
    assert diagnostics_picture(study) is None
