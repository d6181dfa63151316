"""What the report says of programs: pass@k per row, and areas of kinds that are read from what was logged."""

from dataclasses import replace

import pytest
from matplotlib.axes import Axes

from lightning_marlhf.display.document import Cell, Note
from lightning_marlhf.display.text import MISSING
from lightning_marlhf.reporting.load import load_system
from lightning_marlhf.reporting.programs import KINDS, kinds_pictures, pass_at_k
from lightning_marlhf.reporting.spec import ReportRow, SystemReport
from tests.reporting.conftest import write_run

SPEC = SystemReport(
    rows=[ReportRow(stage="sft_eval", label="SFT"), ReportRow(stage="ppo", label="PPO")],
    scores={"code_passed": "pass@1"},
    baseline="sft_eval",
    programs="code",
)
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
                curves = {f"objective/code_{kind}": {0: first, 100: last} for kind, (first, last) in SHARES.items()}
                write_run(
                    tmp_path / stage / f"seed-{seed}",
                    metrics=curves if metrics and stage == "ppo" else {},
                    done=numbers(value) if done else None,
                )
        return load_system(SPEC, output=tmp_path, seeds=seeds)

    return load


def lines(table):
    """Return each line's value by run and measure."""
    run, measure, ours = (table.header.index(name) for name in ("Run", "Measure", "Ours (%)"))
    return {(row[run].value, row[measure].value): row[ours] for row in table.rows}


def test_one_seed_shows_pass_at_k_in_percent_with_its_interval_over_problems(study):
    table = pass_at_k([study([1])])[0]
    found = lines(table)
    assert list(dict.fromkeys(measure for _, measure in found)) == [
        *("pass@1", "pass@5", "pass@10", "test case average")
    ]
    assert found["PPO", "pass@1"] == Cell("50.0", "(40.0 to 60.0)")
    assert found["PPO", "pass@5"] == Cell("70.0")
    assert {row[table.header.index("Problems")].value for row in table.rows} == {"40"}


def test_several_seeds_show_their_mean_and_spread(study):
    found = lines(pass_at_k([study([1, 2])])[0])
    assert found["PPO", "pass@1"] == Cell("55.0", "± 7.1")  # of 50 and 60


def test_a_row_without_numbers_has_dashes_and_no_row_with_any_no_table(study, tmp_path):
    study([1])
    (tmp_path / "ppo/seed-1/done.json").unlink()
    found = lines(pass_at_k([load_system(SPEC, output=tmp_path, seeds=[1])])[0])
    assert {cell.value for (run, _), cell in found.items() if run == "PPO"} == {MISSING}
    (tmp_path / "sft_eval/seed-1/done.json").unlink()
    assert isinstance(pass_at_k([load_system(SPEC, output=tmp_path, seeds=[1])])[0], Note)


def test_the_areas_are_the_shares_that_were_logged_and_begin_with_what_passes(study, monkeypatch):
    drawn = {}

    def stackplot(axes, x, *shares, labels, **look):
        drawn.update(zip(labels, shares, strict=True))

    monkeypatch.setattr(Axes, "stackplot", stackplot)
    assert [picture.name for picture in kinds_pictures(study([1]))] == ["program-kinds"]
    labels = [label for label, _ in KINDS.values()]
    assert drawn == dict(zip(labels, [list(share) for share in SHARES.values()], strict=True))


def test_runs_that_logged_no_kinds_have_no_picture(study):
    assert kinds_pictures(study([1], metrics=False)) == []


def test_a_study_without_programs_has_no_section_of_them(study):
    plain = SystemReport(rows=SPEC.rows, scores=SPEC.scores)
    assert pass_at_k([replace(study([1], done=False), spec=plain)]) == []
