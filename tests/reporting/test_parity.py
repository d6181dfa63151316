import math

import pytest
from lightning_marlhf.reporting.old_spec import ReportSpec

from lightning_marlhf.display.blocks import Cell, cells
from lightning_marlhf.reporting.load import load_study
from lightning_marlhf.reporting.parity import parity_table, share_cell, updates_to_parity

SPEC = ReportSpec.from_mapping(
    {
        "reference_run": "ppo",
        "rows": [{"stage": "ppo", "label": "PPO"}, {"stage": "ma", "label": "MA"}],
        "scores": {"gold": "Gold"},
    }
)
CURVES = {  # at updates 10, 20, 30, 40; too few points to be smoothed
    ("ppo", 1): (0.0, 1.0, 2.0, 2.0),
    ("ma", 1): (1.0, 2.5, 3.0, 3.0),
    ("ppo", 2): (0.0, 1.0, 2.0, 3.0),
    ("ma", 2): (1.0, 2.0, 2.5, 2.9),
}


@pytest.fixture
def study(tmp_path, make_run):
    def load(seeds, *, finished=True):
        for (stage, seed), values in CURVES.items():
            curve = dict(zip((10, 20, 30, 40), values, strict=True))
            done = {} if finished else None
            folder = tmp_path / stage / f"seed-{seed}"
            make_run(folder, metrics={"objective/gold": curve}, done=done)
        return load_study(SPEC, output=tmp_path, seeds=seeds)

    return load


def test_each_seed_is_compared_with_its_own_reference(study):
    loaded = study([1, 2])
    assert updates_to_parity(loaded, "ma", "objective/gold") == {1: 20, 2: None}
    assert updates_to_parity(loaded, "ppo", "objective/gold") == {1: 30, 2: 40}


def test_the_table_says_how_much_sooner(study):
    table = parity_table(study([1]))
    assert table.header == ("Score", "Row", "Share of PPO's updates", "Updates")
    assert table.rows == (cells("Gold", "PPO", "75 %", "30"), cells("Gold", "MA", "50 %", "20"))


def test_a_seed_that_never_gets_there_is_censored_not_dropped(study):
    table = parity_table(study([1, 2]))
    # shares 0.5 and "later than all": their mean is no number, and the interval is open
    share = Cell("not reached", "(50 % to not reached)")
    assert table.rows[1] == (*cells("Gold", "MA"), share, *cells("20", "not reached"))
    assert "a seed that never gets there is censored" in table.caption
    assert "50 % for 2 seeds" in table.caption


def test_the_median_outlives_one_censored_seed_of_three():
    assert share_cell([0.5, math.inf, 0.8]) == Cell("80 %", "(50 % to not reached)")
    assert share_cell([0.5]) == Cell("50 %")


def test_an_unfinished_reference_has_no_final_score(study):
    assert parity_table(study([1], finished=False)) is None
