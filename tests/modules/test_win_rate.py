"""A real policy against itself before training."""

import torch

from lightning_marlhf.callbacks.win_rate import WinRateCallback
from lightning_marlhf.records import Verdict, read_completions, read_verdicts
from lightning_marlhf.tasks.tiny_tldr import gold_score
from tests.modules.tiny_runs import data, fit


class Gold:
    """Prefers the higher gold score."""

    name = "gold"

    def judge(self, pairs):
        for pair in pairs:
            a, b = (gold_score(text, pair.reference) for text in (pair.a, pair.b))
            says = "tie" if a == b else "a" if a > b else "b"
            yield Verdict(pair.pair_id, pair.fingerprint, "", says, judge=self.name)


def run(make_ppo, folder, *callbacks, steps=2):
    module = make_ppo()
    validate = {"limit_val_batches": 1.0, "val_check_interval": 1}
    trainer = fit(module, data("ppo"), folder, steps=steps, callbacks=[*callbacks], **validate)
    return module, trainer


def test_a_policy_is_compared_with_itself_and_learns_as_if_nobody_had_looked(make_ppo, tmp_path):
    module, trainer = run(make_ppo, tmp_path, WinRateCallback(judge=Gold(), num_prompts=5))
    baseline = read_completions(tmp_path / "completions/baseline.jsonl")
    assert [row.sample_id for row in baseline] == [f"tiny-tldr/validate/{n}" for n in range(5)]
    assert baseline[0].settings["max_new_tokens"] == 8
    assert len(read_verdicts(tmp_path / "verdicts/step-000002.jsonl")) == 5
    assert 0 <= trainer.callback_metrics["eval/win_rate"] <= 1
    alone, _ = run(make_ppo, tmp_path / "alone")
    for ours, theirs in zip(module.policy.parameters(), alone.policy.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


def test_before_any_update_a_policy_ties_with_itself(make_ppo, tmp_path):
    callback = WinRateCallback(judge=Gold(), num_prompts=8)
    run(make_ppo, tmp_path, callback)
    before = {row.prompt: row.response for row in callback.baseline}
    assert len(before) == 8
    fresh = WinRateCallback(judge=Gold(), num_prompts=8)
    fresh.load_state_dict(callback.state_dict())
    untrained = make_ppo()
    again = fit(untrained, data("ppo"), tmp_path / "again", steps=0, limit_val_batches=1.0)
    again.callbacks.append(fresh)
    again.validate(untrained, datamodule=data("ppo"), verbose=False)
    assert again.callback_metrics["eval/win_rate"] == 0.5
    assert again.callback_metrics["eval/win_rate_ties"] == 1
