from lightning.pytorch import Callback

from lightning_marlhf.callbacks.checkpoint import Checkpoint
from lightning_marlhf.callbacks.export import ExportHF
from tests.callbacks.tiny import TinyData, TinyModule, build_trainer


def test_a_fit_leaves_an_export_with_metrics_and_configuration(tmp_path):
    (tmp_path / "config.yaml").write_text("seed_everything: 7\n")
    build_trainer(tmp_path, ExportHF()).fit(TinyModule(), datamodule=TinyData())
    card = (tmp_path / "export" / "card.txt").read_text()
    for expected in ("'objective/scores': 24.0", "'updates': 24", "seed_everything: 7"):
        assert expected in card


def test_a_run_cut_off_after_its_last_update_exports_when_resumed(tmp_path):
    saver = Checkpoint()
    build_trainer(tmp_path, saver, enable_checkpointing=True).fit(TinyModule(), datamodule=TinyData())
    again = build_trainer(tmp_path, ExportHF(), Checkpoint(), enable_checkpointing=True)
    again.fit(TinyModule(), datamodule=TinyData(), ckpt_path="last")
    assert (tmp_path / "export" / "card.txt").exists()


def test_it_exports_once(tmp_path):
    calls = []
    module = TinyModule()
    module.export = lambda folder, card: calls.append(folder)
    build_trainer(tmp_path, ExportHF(), Callback()).fit(module, datamodule=TinyData())
    assert calls == [tmp_path / "export"]
