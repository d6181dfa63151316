from lightning.pytorch import Callback

from lightning_marlhf.callbacks.checkpoint import Checkpoint
from lightning_marlhf.callbacks.export import ExportHF


def test_a_fit_leaves_an_export_with_metrics_and_configuration(
    tmp_path, tiny_module, tiny_data, make_trainer
):
    (tmp_path / "config.yaml").write_text("seed_everything: 7\n")
    make_trainer(tmp_path, ExportHF()).fit(tiny_module(), datamodule=tiny_data())
    card = (tmp_path / "export" / "card.txt").read_text()
    for expected in ("'objective/scores': 24.0", "'updates': 24", "seed_everything: 7"):
        assert expected in card


def test_a_run_cut_off_after_its_last_update_exports_when_resumed(
    tmp_path, tiny_module, tiny_data, make_trainer
):
    saver = Checkpoint()
    make_trainer(tmp_path, saver, enable_checkpointing=True).fit(
        tiny_module(), datamodule=tiny_data()
    )
    again = make_trainer(tmp_path, ExportHF(), Checkpoint(), enable_checkpointing=True)
    again.fit(tiny_module(), datamodule=tiny_data(), ckpt_path="last")
    assert (tmp_path / "export" / "card.txt").exists()


def test_it_exports_once(tmp_path, tiny_module, tiny_data, make_trainer):
    calls = []
    module = tiny_module()
    module.export = lambda folder, card: calls.append(folder)
    make_trainer(tmp_path, ExportHF(), Callback()).fit(module, datamodule=tiny_data())
    assert calls == [tmp_path / "export"]
