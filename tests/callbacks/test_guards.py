import pytest

from lightning_marlhf.callbacks.checkpoint import Checkpoint
from lightning_marlhf.callbacks.guards import KLExplosionError, KLGuard, NaNGuard, NonFiniteMetricError
from tests.callbacks.tiny import TinyData, TinyModule, build_trainer


def test_kl_past_the_limit_ends_training_in_good_order(tmp_path):
    trainer = build_trainer(tmp_path, KLGuard(limit=5, action="stop"), Checkpoint(), enable_checkpointing=True)
    with pytest.warns(UserWarning, match=r"update 12: objective/kl 6 exceeds 5; training stops here"):
        trainer.fit(TinyModule(), datamodule=TinyData())  # KL is half the step
    assert trainer.global_step == 12
    assert (tmp_path / "checkpoints" / "last.ckpt").exists()


def test_a_warning_is_given_once_for_each_crossing(tmp_path, recwarn):
    kl = {4: 1.0, 8: 6.0, 12: 7.0, 16: 1.0, 20: 8.0, 24: 9.0}
    trainer = build_trainer(tmp_path, KLGuard(limit=5, action="warn"))
    trainer.fit(TinyModule(lambda step: {"objective/kl": kl[step]}), datamodule=TinyData())
    assert trainer.global_step == 24
    texts = [str(w.message) for w in recwarn if "exceeds 5" in str(w.message)]
    assert [text.split(":")[0] for text in texts] == ["update 8", "update 20"]


@pytest.mark.parametrize(("name", "value"), [("objective/kl", 1001.0), ("policy/approxkl_avg", 10.5)])
def test_an_explosion_of_kl_ends_the_run_before_it_is_saved(tmp_path, name, value):
    saver = Checkpoint(every_n_train_steps=4)
    module = TinyModule(lambda step: {name: value if step == 12 else 0.1})
    trainer = build_trainer(tmp_path, KLGuard(), saver, enable_checkpointing=True)
    with pytest.raises(KLExplosionError, match=f"update 12: {name} .* exceeds .*lower the learning rate"):
        trainer.fit(module, datamodule=TinyData())
    assert saver._last_saved_at == 8


def test_a_limit_that_no_kl_could_keep_is_refused():
    with pytest.raises(ValueError, match="limit: expected more than 0, got 0"):
        KLGuard(limit=0)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_metric_that_is_not_finite_ends_the_run_before_it_is_saved(tmp_path, bad):
    module = TinyModule(lambda step: {"loss/value_avg": bad if step == 12 else 1.0})
    saver = Checkpoint(every_n_train_steps=4)
    trainer = build_trainer(tmp_path, NaNGuard(), saver, enable_checkpointing=True)
    with pytest.raises(NonFiniteMetricError, match=f"update 12: loss/value_avg is {bad}"):
        trainer.fit(module, datamodule=TinyData())
    assert saver._last_saved_at == 8


def test_metrics_that_may_be_undefined_are_ignored(tmp_path):
    module = TinyModule(lambda step: {"val/ratio": float("nan")})
    trainer = build_trainer(tmp_path, NaNGuard(ignore=["val/ratio"]))
    trainer.fit(module, datamodule=TinyData())
    assert trainer.global_step == 24
