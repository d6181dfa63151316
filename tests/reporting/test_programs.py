"""What the report says of programs: pass@k per row, and areas of kinds that are read from what was logged."""

import pytest
from lightning_marlhf.reporting.old_spec import ReportSpec
from matplotlib.axes import Axes

from lightning_marlhf.reporting import programs
from lightning_marlhf.reporting.load import load_study
from lightning_marlhf.reporting.programs import kinds_picture, pass_at_k_table
from lightning_marlhf.reporting.report import build_sections
from tests.reporting.conftest import write_run

REPORT = {
    "baseline": "sft_eval",
    "rows": [{"stage": "sft_eval", "label": "SFT"}, {"stage": "ppo", "label": "PPO"}],
    "scores": {"code_passed": "pass@1"},
    "programs": "code",
}
SHARES = {"passed": (0.2, 0.6), "wrong": (0.3, 0.3), "runtime": (0.3, 0.1), "compile": (0.2, 0.0)}


def numbers(value):
    ends = {"eval/pass_at_1_low": value - 0.1, "eval/pass_at_1_high": value + 0.1}
    return {
        "eval/pass_at_1": value,
        "eval/pass_at_10": value + 0.3,
        "eval/pass_at_5": value + 0.2,
        "eval/test_case_average": 0.5,
        "eval/num_problems": 40.0,
        **ends,
    }


@pytest.fixture
def study(tmp_path):
    def load(seeds, *, metrics=True, done=True):
        for seed in seeds:
            for stage, value in {"sft_eval": 0.2, "ppo": 0.4 + 0.1 * seed}.items():
                curves = {
                    f"objective/code_{kind}": {0: first, 100: last}
                    for kind, (first, last) in SHARES.items()
                }
                write_run(
                    tmp_path / stage / f"seed-{seed}",
                    metrics=curves if metrics and stage == "ppo" else {},
                    done=numbers(value) if done else None,
                )
        return load_study(ReportSpec.from_mapping(REPORT), output=tmp_path, seeds=seeds)

    return load


def text(row):
    return [(cell.value, cell.detail) for cell in row]


def test_one_seed_shows_pass_at_k_in_percent_with_its_interval_over_problems(study):
    table = pass_at_k_table(study([1]))
    assert table.header == ("Row", "Problems", "pass@1", "pass@5", "pass@10", "test case average")
    assert text(table.rows[1])[:4] == [
        ("PPO", ""),
        ("40", ""),
        ("50.0", "[40.0, 60.0]"),
        ("70.0", ""),
    ]


def test_several_seeds_show_their_mean_and_spread(study):
    table = pass_at_k_table(study([1, 2]))
    assert table.rows[1][2].value.startswith("55.0")
    assert "7.1" in table.rows[1][2].value + table.rows[1][2].detail  # of 50 and 60


def test_a_row_without_numbers_has_dashes_and_no_row_with_any_no_table(study, tmp_path):
    loaded = study([1])
    (tmp_path / "ppo/seed-1/done.json").unlink()
    loaded = load_study(loaded.spec, output=tmp_path, seeds=[1])
    assert [cell.value for cell in pass_at_k_table(loaded).rows[1]][1:] == ["–"] * 5  # noqa: RUF001
    (tmp_path / "sft_eval/seed-1/done.json").unlink()
    assert pass_at_k_table(load_study(loaded.spec, output=tmp_path, seeds=[1])) is None


def test_the_areas_are_the_shares_that_were_logged_and_begin_with_what_passes(study, monkeypatch):
    drawn = {}

    def stackplot(axes, x, *shares, labels, **look):
        drawn.update(zip(labels, shares, strict=True))

    monkeypatch.setattr(Axes, "stackplot", stackplot)
    assert kinds_picture(study([1]), "code").name == "program-kinds"
    labels = [label for label, _ in programs.KINDS.values()]
    assert drawn == dict(zip(labels, [list(share) for share in SHARES.values()], strict=True))


def test_runs_that_logged_no_kinds_have_no_picture(study):
    assert kinds_picture(study([1], metrics=False), "code") is None


def test_the_report_has_the_section_only_where_it_is_asked_for(study):
    loaded = study([1])
    assert "Programs" in [section.title for section in build_sections(loaded)]
    spec = ReportSpec.from_mapping({key: REPORT[key] for key in ("rows", "scores")})
    plain = load_study(spec, output=loaded.output, seeds=[1])
    assert "Programs" not in [section.title for section in build_sections(plain)]
