from lightning_marlhf.display.document import cells
from lightning_marlhf.files import write_json
from lightning_marlhf.reporting.load import load_system
from lightning_marlhf.reporting.provenance import environment_table, run_table
from lightning_marlhf.reporting.spec import ReportRow, SystemReport

SPEC = SystemReport(rows=[ReportRow(stage="ppo"), ReportRow(stage="ma")])


def test_stages_show_their_state_and_time(tmp_path, make_run):
    make_run(tmp_path / "ppo/seed-1", done={}, seconds=130.0)
    table = run_table([load_system(SPEC, output=tmp_path, seeds=[1])])
    done = cells("ppo", "finished", "ppo/seed-1/config.yaml", "1", "240", "2 min 10 s")
    assert table.rows == (done, cells("ma", "not started", "–", "1", "–", "–"))  # noqa: RUF001
    assert "2 min 10 s" in table.caption


def test_what_all_runs_share_is_said_once_and_what_differs_with_its_runs(tmp_path, make_run):
    make_run(tmp_path / "ppo/seed-1")
    make_run(tmp_path / "ma/seed-1")
    environment = {"started": "later", "git_commit": "fff", "python": "3.12.1"}
    write_json(tmp_path / "ma/seed-1/environment.json", environment)
    table = environment_table([load_system(SPEC, output=tmp_path, seeds=[1])])
    values = {row[0].value: row[1].value for row in table.rows}
    assert values == {
        "git_commit": "0123abc (ppo 1); fff (ma 1)",
        "python": "3.12.1",
        "versions": "torch 2.13.0, lightning 2.6.6",
        "hardware": "cpu Some CPU, cpu_cores 2, gpus –",  # noqa: RUF001
    }


def test_without_any_environment_there_is_no_table(tmp_path):
    assert environment_table([load_system(SPEC, output=tmp_path, seeds=[1])]) is None
