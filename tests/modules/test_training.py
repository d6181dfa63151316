"""What holds for every stage: micro-batches, steps, resuming, and numbers that are not finite."""

from dataclasses import replace

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.strategies import ModelParallelStrategy

from lightning_marlhf.callbacks.guards import NaNGuard
from lightning_marlhf.hub.reward_format import RewardInput
from lightning_marlhf.models.heads import RewardNetwork
from lightning_marlhf.models.loading import load_sequence_classifier
from lightning_marlhf.modules.base import refuse_other_networks
from lightning_marlhf.modules.optimization import NonFiniteError, Optimization
from lightning_marlhf.modules.ppo import PPO
from tests.modules.tiny_runs import FAST, data, fit
from tests.saved_tensors import SavedTensors


class SaveAndStop(Callback):
    """Saves at the end of a batch and ends the run, as an interrupt does."""

    def __init__(self, step):
        self.step = step

    def on_train_batch_end(self, trainer, *_):
        if trainer.global_step >= self.step:
            trainer.save_checkpoint(f"{trainer.default_root_dir}/last.ckpt")
            trainer.should_stop = True


STAGES = ("sft", "reward_model", "ppo")


@pytest.fixture
def make(make_sft, make_reward_model, make_ppo):
    makers = {"sft": make_sft, "reward_model": make_reward_model, "ppo": make_ppo}
    return lambda stage, **settings: makers[stage](**settings)


def weights(module):
    return torch.cat([w.detach().flatten() for net in module.networks().values() for w in net.parameters()])


@pytest.mark.parametrize(
    ("stage", "reduction"), [("sft", "token"), ("reward_model", "token"), ("ppo", "token"), ("ppo", "sequence")]
)
def test_eight_rows_at_once_or_one_by_one_make_the_same_update(make, stage, reduction, tmp_path):
    settings = {"ppo": PPO(minibatches=1, loss_reduction=reduction)} if stage == "ppo" else {}
    results = []
    for rows in (8, 1):
        module = make(stage, micro_batch_size=rows, **settings)
        fit(module, data(stage), tmp_path, steps=2)
        results.append(weights(module))
    torch.testing.assert_close(*results, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("stage", STAGES)
def test_checkpointed_activations_change_memory_and_no_weight(make, stage, tmp_path):
    kept, results = [], []
    for checkpoint in (False, True):
        module = make(stage, checkpoint_activations=checkpoint)
        fit(module, data(stage), tmp_path, steps=2)
        results.append(weights(module))
        ids = torch.ones(4, 50, dtype=torch.long)
        with SavedTensors() as saved:
            module.train().dry_run_loss(ids, ids.bool())
        kept.append(saved.bytes)
    torch.testing.assert_close(*results, atol=1e-7, rtol=0)
    assert kept[1] < 0.6 * kept[0]


@pytest.mark.parametrize("stage", STAGES)
def test_a_sharding_strategy_that_is_not_ours_is_refused(make, stage, tmp_path):
    with pytest.raises(ValueError, match="ModelParallelStrategy is none of the strategies that"):
        fit(make(stage), data(stage), tmp_path, steps=2, strategy=ModelParallelStrategy())


@pytest.mark.parametrize("stage", STAGES)
def test_one_update_is_one_step(make, stage, tmp_path):
    module = make(stage)
    trainer = fit(module, data(stage), tmp_path, steps=4)
    assert trainer.global_step == 4 == module.total_updates


@pytest.mark.parametrize("stage", STAGES)
def test_a_resumed_run_ends_where_an_uninterrupted_one_does(make, stage, tmp_path):
    """6 updates, or 2 and then 4 more in another process's place: data, schedule and sampling go on."""
    optimization = Optimization(lr=1e-3, schedule="linear", warmup_steps=2)
    whole = make(stage, optimization=optimization)
    fit(whole, data(stage), tmp_path, steps=6)

    first = make(stage, optimization=optimization)
    fit(first, data(stage), tmp_path, steps=6, callbacks=[SaveAndStop(2)])
    second = make(stage, optimization=optimization)
    fit(second, data(stage), tmp_path, steps=6, ckpt_path=tmp_path / "last.ckpt")
    torch.testing.assert_close(weights(second), weights(whole), atol=1e-6, rtol=0)


def test_a_resumed_run_takes_the_learning_rate_of_its_settings(make_sft, tmp_path):
    def sft(lr):
        return make_sft(optimization=Optimization(lr=lr, schedule="linear"))

    fit(sft(1e-3), data("sft"), tmp_path, steps=4, callbacks=[SaveAndStop(2)])
    resumed = fit(sft(1e-4), data("sft"), tmp_path, steps=4, ckpt_path=tmp_path / "last.ckpt")
    # the third of four updates: two quarters of the way down from the peak, then one more
    assert resumed.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.0)
    assert resumed.callback_metrics["lr"] == pytest.approx(1e-4 * 0.25)


def test_a_resumed_run_has_the_random_state_of_the_uninterrupted_one(make_sft, tmp_path):
    drawn = {}

    class Draw(Callback):
        def on_train_batch_end(self, trainer, *_):
            drawn.setdefault(trainer.global_step, []).append(torch.rand(()).item())

    torch.manual_seed(5)
    fit(make_sft(), data("sft"), tmp_path, steps=4, callbacks=[Draw(), SaveAndStop(2)])
    fit(make_sft(), data("sft"), tmp_path, steps=4, ckpt_path=tmp_path / "last.ckpt", callbacks=[Draw()])
    torch.manual_seed(5)
    fit(make_sft(), data("sft"), tmp_path, steps=4, callbacks=[Draw()])
    assert drawn[3][0] == drawn[3][1]
    assert drawn[4][0] == drawn[4][1]


class Poison(Callback):
    """Makes the gradient of one weight NaN in some batches, and notes all weights after each batch."""

    def __init__(self, batches):
        self.batches = batches
        self.weights = {}
        self.now = -1  # the first pass of the largest shape

    def on_train_start(self, trainer, module):
        self.weights[-1] = weights(module)
        self.name, weight = list(module.named_parameters())[-1]
        weight.register_hook(lambda x: x * float("nan") if self.now in self.batches else x)

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        self.now = batch_idx

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        self.weights[batch_idx] = weights(module)


@pytest.mark.parametrize("stage", STAGES)
def test_an_update_with_a_gradient_that_is_not_finite_is_skipped_and_counted(make, stage, tmp_path):
    module, poison = make(stage), Poison({1})
    steps = 3 * module.updates_per_batch
    trainer = fit(module, data(stage), tmp_path, steps=steps, callbacks=[poison, NaNGuard()])
    assert trainer.global_step == steps  # it counts as an update: schedules end where they should
    assert not torch.equal(poison.weights[0], poison.weights[-1])
    assert torch.equal(poison.weights[1], poison.weights[0])
    assert not torch.equal(poison.weights[2], poison.weights[1])
    assert trainer.callback_metrics["skipped/updates"] == module.updates_per_batch


def test_a_skipped_update_leaves_the_moments_of_the_optimizer_alone(make_sft, tmp_path):
    """Weights after updates 1, skipped, 3 are those after 1, 3: nothing but the update is missing."""
    constant = Optimization(lr=1e-3, schedule="constant")
    skipping, poison = make_sft(optimization=constant), Poison({1})
    trainer = fit(skipping, data("sft"), tmp_path, steps=2, callbacks=[poison])
    state = trainer.optimizers[0].state
    assert {int(each["step"]) for each in state.values()} == {1}


@pytest.mark.parametrize("stage", STAGES)
def test_too_many_skipped_updates_in_a_row_end_the_run_and_name_the_weight(make, stage, tmp_path):
    module, poison = make(stage, optimization=replace(FAST, max_skips_in_a_row=1)), Poison({1, 2})
    with pytest.raises(NonFiniteError, match=r"NaN or infinite, 2 updates in a row") as caught:
        fit(module, data(stage), tmp_path, steps=8, callbacks=[poison])
    assert poison.name in str(caught.value)
    assert torch.equal(weights(module), poison.weights[0])


def test_a_weight_that_is_not_finite_ends_the_run_at_once(make_sft, tmp_path):
    class Break(Callback):
        def on_train_batch_start(self, trainer, module, batch, batch_idx):
            with torch.no_grad():
                next(module.parameters()).fill_(float("nan"))

    with pytest.raises(NonFiniteError, match=r"update 1: weight policy.* is NaN or infinite"):
        fit(make_sft(), data("sft"), tmp_path, steps=2, callbacks=[Break()])


@pytest.mark.parametrize("stage", STAGES)
def test_warm_up_must_be_shorter_than_the_run(make, stage, tmp_path):
    module = make(stage, optimization=Optimization(warmup_steps=4))
    with pytest.raises(ValueError, match="warm-up of 4 updates in a run of 4"):
        fit(module, data(stage), tmp_path, steps=4)


@pytest.mark.parametrize("stage", STAGES)
def test_the_banner_counts_updates_and_parameters(make, stage, tmp_path):
    module = make(stage)
    fit(module, data(stage), tmp_path, steps=2)
    lines = module.describe()
    assert lines["updates"].startswith("2, warm-up 0")
    assert "parameters" in lines["learns"]


def test_a_run_without_an_end_is_refused(make_sft, tmp_path):
    with pytest.raises(ValueError, match=r"set trainer\.max_steps or trainer\.max_epochs"):
        fit(make_sft(), data("sft"), tmp_path, steps=-1, max_epochs=-1)


def test_epochs_count_their_updates(make_ppo, tmp_path):
    module = make_ppo(ppo=PPO(epochs=2, minibatches=2))
    trainer = fit(module, data("ppo", train_rows=16), tmp_path, steps=-1, max_epochs=2)
    # 16 rows are 2 rollouts of 8; 2 epochs, and 2 x 2 updates each
    assert trainer.global_step == module.total_updates == 2 * 2 * 4


@pytest.mark.parametrize("stage", ["sft", "reward_model"])
def test_another_seed_starts_from_other_weights(make, stage, tmp_path):
    modules = [make(stage, seed=seed) for seed in (1, 1, 2)]
    for module in modules:
        fit(module, data(stage), tmp_path, steps=0)
    first, same, other = (weights(module) for module in modules)
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


def test_sft_learns(make_sft, tmp_path):
    module = make_sft(optimization=Optimization(lr=3e-2, schedule="constant"))
    trainer = fit(module, data("sft"), tmp_path, steps=1)
    first = trainer.callback_metrics["loss/sft"]
    trainer = fit(module, data("sft"), tmp_path, steps=12)
    assert trainer.callback_metrics["loss/sft"] < 0.8 * first


def test_an_exported_reward_model_scores_demonstrations_0_on_average(make_reward_model, tmp_path):
    module = make_reward_model(optimization=FAST)
    datamodule = data("reward_model")
    fit(module, datamodule, tmp_path, steps=2)
    module.export(tmp_path / "export", card={})
    batch = datamodule.demonstrations(8)
    exported = load_sequence_classifier(str(tmp_path / "export"), datamodule.tokenizer)
    scores = RewardNetwork(exported)(batch.input_ids, batch.attention_mask)
    assert exported.config.reward_offset != 0
    assert RewardInput.of(exported.config) == RewardInput(joined=False, chat_template=False)
    assert scores.mean().item() == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize(("loss", "steps"), [("last", 20), ("tokens", 60)])
def test_the_reward_model_learns_its_pairs_by_heart_with_either_loss(make_reward_model, tmp_path, loss, steps):
    module = make_reward_model(loss=loss, optimization=Optimization(lr=1e-2, schedule="constant"))
    few = data("reward_model", batch_size=16, train_rows=16)
    trainer = fit(module, few, tmp_path, steps=steps, max_epochs=-1)
    assert trainer.callback_metrics["loss/reward_model"] < 0.5  # log 2 = 0.69: no learning


def test_a_perfect_judge_s_accuracy_stands_beside_the_reward_model_s(make_reward_model, tmp_path):
    trainer = fit(
        make_reward_model(), data("reward_model"), tmp_path, steps=1, limit_val_batches=1, val_check_interval=1
    )
    assert 0.5 < trainer.callback_metrics["eval/best_possible_accuracy"] <= 1
    assert 0 <= trainer.callback_metrics["eval/accuracy"] <= 1


@pytest.mark.parametrize("stage", STAGES)
def test_rows_longer_than_the_context_are_refused_before_the_first_update(make, stage, tmp_path, monkeypatch):
    module, rows = make(stage), data(stage)
    monkeypatch.setattr(type(rows), "longest", 9_000)
    with pytest.raises(ValueError, match=r"may take 90\d\d tokens, and the \w+ has 8192 positions"):
        fit(module, rows, tmp_path, steps=2)


def test_a_checkpoint_of_another_model_is_refused_by_name_and_shape():
    own = {"a.weight": torch.ones(2, 3), "b.weight": torch.ones(1)}
    refuse_other_networks({**own}, own)
    refuse_other_networks({}, own)  # sharded
    wider = {**own, "a.weight": torch.ones(2, 4)}
    with pytest.raises(ValueError, match=r"a\.weight is \[2, 4\] in the checkpoint and \[2, 3\]"):
        refuse_other_networks(wider, own)
    with pytest.raises(ValueError, match=r"c is \[\] in the checkpoint and missing here"):
        refuse_other_networks({**own, "c": torch.ones(())}, own)
    with pytest.raises(ValueError, match=r"b\.weight is missing in the checkpoint and \[1\] here"):
        refuse_other_networks({"a.weight": own["a.weight"]}, own)


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("found", [*STAGES, "evaluation"])
def test_data_of_another_stage_is_refused_before_the_first_batch(make, stage, found, tmp_path):
    if stage == found or (stage, found) == ("ppo", "evaluation"):
        return
    with pytest.raises(ValueError, match=rf"data\.init_args\.stage: \w+ reads .*{stage}.*, got {found}"):
        fit(make(stage), data(found), tmp_path, steps=1)
