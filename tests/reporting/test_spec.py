from dataclasses import replace
from typing import get_args

import pytest

from lightning_marlhf.reporting.report import SECTIONS
from lightning_marlhf.reporting.spec import ReportRow, ReportSpec, SectionName, SystemReport


def test_rows_and_systems_are_called_like_their_folders_where_they_have_no_label():
    system = SystemReport(rows=[ReportRow(stage="ppo")], name="tldr/gemma-2b")
    assert (system.label, system.label_of("ppo"), system.label_of("sft")) == ("tldr/gemma-2b", "ppo", "sft")


def test_trained_rows_are_all_but_the_baseline(report_section):
    assert [row.stage for row in report_section.trained_rows] == ["ppo", "ppo_matched", "ma_ppo_fixed10"]


def test_every_section_that_may_be_named_is_made():
    assert set(SECTIONS) == set(get_args(SectionName))


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"rows": []}, "rows"),
        ({"rows": [ReportRow(stage="ppo"), ReportRow(stage="ppo")]}, "rows"),
        ({"rows": [ReportRow(stage="a", label="x"), ReportRow(stage="b", label="x")]}, "rows"),
        ({"scores": {"rm": "Score", "gold": "Score"}}, "scores"),
        ({"baseline": "sft"}, "baseline"),
        ({"reference_run": "dpo"}, "reference_run"),
    ],
)
def test_a_mistake_names_its_key(report_section, changes, key):
    with pytest.raises(ValueError, match=f"^{key}: expected"):
        replace(report_section, **changes)


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"systems": []}, "systems"),
        ({"systems": [SystemReport(rows=[ReportRow(stage="a")])] * 2}, "systems"),
        ({"sections": ["scores", "score"]}, "sections"),
        ({"sections": ["scores", "scores"]}, "sections"),
    ],
)
def test_a_mistake_of_the_whole_names_its_key(report_section, changes, key):
    with pytest.raises(ValueError, match=f"^{key}: expected"):
        replace(ReportSpec(systems=[report_section]), **changes)
