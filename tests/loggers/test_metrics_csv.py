import csv
from pathlib import Path

import pytest

from lightning_marlhf.callbacks.run_directory import RunDirectory
from lightning_marlhf.loggers.metrics_csv import HEADER, MetricsCSV
from lightning_marlhf.run_folder import CUT_METRICS_FILE
from tests.callbacks.tiny import TinyData, TinyModule, build_trainer


def rows(folder: Path) -> list[tuple[int, str, float]]:
    with (folder / "metrics.csv").open(encoding="utf-8") as file:
        return [(int(r["step"]), r["name"], float(r["value"])) for r in csv.DictReader(file)]


def seconds(folder: Path) -> list[float]:
    with (folder / "metrics.csv").open(encoding="utf-8") as file:
        return [float(r["seconds"]) for r in csv.DictReader(file)]


def test_one_line_per_value_and_new_metrics_need_no_new_header(tmp_path):
    logger = MetricsCSV(tmp_path / "run")
    logger.log_metrics({"loss/train": 0.5}, step=4)
    logger.log_metrics({"loss/train": 0.25, "odd, name": 1e-7}, step=8)
    assert rows(tmp_path / "run") == [(4, "loss/train", 0.5), (8, "loss/train", 0.25), (8, "odd, name", 1e-7)]
    assert (tmp_path / "run" / "metrics.csv").read_text().startswith(HEADER)


def test_resuming_cuts_back_to_the_step_and_keeps_what_it_cut(tmp_path):
    logger = MetricsCSV(tmp_path)
    for step in (4, 8, 12):
        logger.log_metrics({"a": float(step)}, step=step)
    again = MetricsCSV(tmp_path)
    again.continue_from(8)
    again.log_metrics({"a": -12.0}, step=12)
    assert rows(tmp_path) == [(4, "a", 4.0), (8, "a", 8.0), (12, "a", -12.0)]
    assert (tmp_path / CUT_METRICS_FILE).read_text().startswith("12,a,12,")


@pytest.mark.parametrize("torn", ["16,a,0.5", "16,a", "1", "16,a,0.5,1.2"])
def test_a_line_that_a_kill_left_half_written_is_dropped(tmp_path, torn):
    MetricsCSV(tmp_path).log_metrics({"a": 1.0}, step=4)
    with (tmp_path / "metrics.csv").open("a") as file:
        file.write(torn)
    again = MetricsCSV(tmp_path)
    again.continue_from(100)
    again.log_metrics({"a": 2.0}, step=8)
    assert rows(tmp_path) == [(4, "a", 1.0), (8, "a", 2.0)]


def test_seconds_go_on_where_the_kept_rows_end(tmp_path):
    (tmp_path / "metrics.csv").write_text(HEADER + "4,a,1,100.00\n8,a,1,200.00\n")
    logger = MetricsCSV(tmp_path)
    logger.continue_from(4)
    logger.log_metrics({"a": 1.0}, step=8)
    assert seconds(tmp_path)[1] == pytest.approx(100.0, abs=5)


def test_a_run_that_is_resumed_has_each_step_once(tmp_path):
    straight = build_trainer(tmp_path / "a", RunDirectory(), logger=MetricsCSV(tmp_path / "a"))
    straight.fit(TinyModule(), datamodule=TinyData())
    first = build_trainer(tmp_path / "b", RunDirectory(), logger=MetricsCSV(tmp_path / "b"), max_steps=8)
    first.fit(TinyModule(), datamodule=TinyData())
    first.save_checkpoint(tmp_path / "at8.ckpt")
    MetricsCSV(tmp_path / "b").log_metrics({"objective/scores": 99.0}, step=12)  # then it was killed
    second = build_trainer(tmp_path / "b", RunDirectory(resuming=True), logger=MetricsCSV(tmp_path / "b"))
    second.fit(TinyModule(), datamodule=TinyData(), ckpt_path=tmp_path / "at8.ckpt")
    scores = [row for row in rows(tmp_path / "b") if row[1] == "objective/scores"]
    assert scores == [row for row in rows(tmp_path / "a") if row[1] == "objective/scores"]
    assert [step for step, _, _ in scores] == [4, 8, 12, 16, 20, 24]
