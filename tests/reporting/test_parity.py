import math
from dataclasses import replace

import pytest

from lightning_marlhf.display.document import Cell, Note, cells
from lightning_marlhf.reporting.load import load_system
from lightning_marlhf.reporting.parity import crossings, parity, share_cell
from lightning_marlhf.reporting.spec import ReportRow, SystemReport

SPEC = SystemReport(
    rows=[ReportRow(stage="ppo", label="PPO"), ReportRow(stage="ma", label="MA")],
    scores={"gold": "Gold"},
    reference_run="ppo",
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
        return load_system(SPEC, output=tmp_path, seeds=seeds)

    return load


def test_each_seed_is_compared_with_its_own_reference(study):
    loaded = study([1, 2])
    assert crossings(loaded, "ma", "objective/gold") == {1: (20, 0.5), 2: (None, math.inf)}
    assert crossings(loaded, "ppo", "objective/gold") == {1: (30, 0.75), 2: (40, 1.0)}


def test_the_table_says_how_much_sooner(study):
    (table,) = parity([study([1])])
    assert table.header == (*("Score", "Run", "Speed-up", "Fraction of PPO's updates", "Never", "Updates"),)
    assert table.rows == (
        cells("Gold", "PPO", "1.33 x", "75 %", "0 of 1", "30"),
        cells("Gold", "MA", "2.00 x", "50 %", "0 of 1", "20"),
    )


def test_a_seed_that_never_gets_there_is_censored_not_dropped(study):
    (table,) = parity([study([1, 2])])
    # shares 0.5 and "later than all": their mean is no number, and the interval is open
    share = Cell("not reached", "(50 % to not reached)")
    speed_up = Cell("1.00 x", "(less than 1 to 2.00)")
    never = Cell("1 of 2")
    assert table.rows[1] == (*cells("Gold", "MA"), speed_up, share, never, *cells("20", "not reached"))
    assert "50 % for 2 seeds" in table.caption


def test_the_median_outlives_one_censored_seed_of_three():
    assert share_cell([0.5, math.inf, 0.8]) == Cell("80 %", "(50 % to not reached)")
    assert share_cell([0.5]) == Cell("50 %")


def test_an_unfinished_reference_has_no_final_score_and_one_row_nothing_to_reach(study):
    (note,) = parity([study([1], finished=False)])
    assert isinstance(note, Note)
    alone = SystemReport(rows=[ReportRow(stage="ppo")], scores={"gold": "G"}, reference_run="ppo")
    assert parity([replace(study([1]), spec=alone)]) == []
