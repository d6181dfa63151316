"""Every form in which a data set may be stored is found, and what is missing is told in one line."""

import pytest
from datasets import Dataset, DatasetDict

from lightning_marlhf.data import source
from lightning_marlhf.data.source import HubData, load_source
from lightning_marlhf.hub.sources import SourceError

HUB = HubData("someone/things", {"train": 3, "test": 1})
ROWS = [{"n": 1}, {"n": 2}]


def refused(name):
    with pytest.raises(SourceError) as raised:
        load_source(name, hub=HUB)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_json_lines_stay_lines_of_text(write):
    write("train.jsonl", ROWS)
    found = load_source(write("valid.jsonl", ROWS[:1]), hub=HUB)
    assert found.train["text"][:] == ['{"n": 1}', '{"n": 2}']
    assert len(found.held_out) == 1


def test_files_with_another_middle_name_are_not_taken_for_splits(write):
    write("train.jsonl", ROWS)
    found = load_source(write("train.raw.jsonl", [{"n": 3}]), hub=HUB)
    assert len(found.train) == 2
    assert found.held_out is None


def test_parquet_and_saved_folders_keep_their_columns(tmp_path):
    rows = Dataset.from_list(ROWS)
    (tmp_path / "parquet").mkdir()
    rows.to_parquet(str(tmp_path / "parquet" / "train.parquet"))
    DatasetDict({"train": rows, "test": rows}).save_to_disk(str(tmp_path / "saved"))
    rows.save_to_disk(str(tmp_path / "alone"))
    for folder in ("parquet", "saved", "alone"):
        found = load_source(str(tmp_path / folder), hub=HUB)
        assert found.train["n"][:] == [1, 2]
        assert (found.held_out is None) is (folder != "saved")


def test_one_file_is_all_training_rows_by_its_name_or_its_folder(write):
    folder = write("sample.jsonl", ROWS)
    for name in (folder, f"{folder}/sample.jsonl"):
        found = load_source(name, hub=HUB)
        assert len(found.train) == 2
        assert found.held_out is None


def test_what_cannot_be_read_is_told_in_one_line(write, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "expected train.jsonl" in refused(str(tmp_path / "empty"))
    assert "does not exist: expected a Hub id" in refused("./nowhere")
    assert "does not exist: expected a Hub id" in refused("data/train.jsonl")
    folder = write("train.jsonl", [])
    assert "train.jsonl is empty" in refused(folder)
    (tmp_path / "data" / "train.jsonl").write_bytes(b'{"n": "\xff"}\n')
    assert "row 1: expected text in UTF-8, got the byte 0xff" in refused(folder)
    (tmp_path / "data" / "rows.csv").write_text("n\n1\n")
    assert "expected a file that ends with .jsonl" in refused(f"{folder}/rows.csv")


def hub(monkeypatch, responses):
    """Let the Hub response each way of loading by what ``responses`` says: splits, or an error."""
    asked = []

    def load_dataset(name, *arguments, **options):
        asked.append((name, *arguments, *options))
        response = responses[len(asked) - 1]
        if isinstance(response, Exception):
            raise response
        return response

    monkeypatch.setattr(source.datasets, "load_dataset", load_dataset)
    return asked


def test_a_data_set_with_a_loading_script_comes_from_the_hubs_conversion(monkeypatch):
    rows = DatasetDict({"train": Dataset.from_list([{"n": 1}] * 3), "test": Dataset.from_list([{"n": 1}])})
    asked = hub(monkeypatch, [RuntimeError("Dataset scripts are no longer supported"), rows])
    assert len(load_source("someone/things", hub=HUB).held_out) == 1
    assert asked[1] == ("someone/things", "data_dir", "revision")


def test_other_counts_than_those_of_the_paper_are_said_loudly(monkeypatch, caplog):
    rows = DatasetDict({"train": Dataset.from_list([{"n": 1}] * 2), "test": Dataset.from_list([{"n": 1}])})
    hub(monkeypatch, [rows])
    load_source("someone/things", hub=HUB)
    assert "has 2 rows in train, where 3 were known" in caplog.text
    assert "in test" not in caplog.text


def test_a_data_set_that_the_hub_has_not_is_told_with_every_way_that_was_tried(monkeypatch):
    hub(monkeypatch, [RuntimeError("no script"), OSError("not there"), ValueError("no files")])
    message = refused("someone/things")
    assert "as published: no script; converted to Parquet by the Hub: not there" in message
    assert "give a folder with train.jsonl and valid.jsonl as data.init_args.source" in message


def test_without_network_one_way_is_tried(monkeypatch):
    asked = hub(monkeypatch, [ConnectionError("no network")])
    assert "(as published: no network): check the id, the network" in refused("someone/things")
    assert len(asked) == 1


def test_a_split_in_two_formats_is_refused(write):
    folder = write("train.jsonl", [{"a": "x"}])
    write("train.jsonl.gz", [{"a": "y"}])
    with pytest.raises(SourceError, match=r"train\.jsonl and train\.jsonl\.gz are both there"):
        load_source(folder, hub=HUB)
