import pytest
from lightning_marlhf.reporting.old_spec import ReportSpec, RowSpec


def test_the_section_is_read(report_section):
    spec = ReportSpec.from_mapping(report_section)
    assert spec.rows[1] == RowSpec("ppo", "PPO (n = 1)")
    assert [row.stage for row in spec.trained_rows] == ["ppo", "ppo_matched", "ma_ppo_fixed10"]
    assert spec.label("ppo") == "PPO (n = 1)"
    assert spec.label("reward_model") == "reward_model"


def test_a_row_without_a_label_is_called_like_its_stage():
    assert ReportSpec.from_mapping({"rows": [{"stage": "ppo"}]}).label("ppo") == "ppo"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"colour": "red"}, r"got \['colour'\]"),
        ({"rows": []}, "at least one row"),
        ({"rows": [{"label": "SFT"}]}, "got {'label': 'SFT'}"),
        ({"rows": [{"stage": "ppo"}, {"stage": "ppo"}]}, "each stage once"),
        ({"baseline": "sft"}, "report.baseline: expected one of .* got 'sft'"),
        ({"reference_run": "dpo"}, "report.reference_run: expected one of .* got 'dpo'"),
    ],
)
def test_mistakes_are_named(report_section, changes, message):
    with pytest.raises(ValueError, match=message):
        ReportSpec.from_mapping(report_section | changes)
