"""Win rates during training: what is compared, logged, kept, and what a judge cannot do to a run."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
from lightning.pytorch.loggers import TensorBoardLogger

from lightning_marlhf.callbacks.completion_records import gather_rows
from lightning_marlhf.callbacks.win_rate import WinRateCallback
from lightning_marlhf.records import Completion, Verdict, read_completions, read_verdicts, write_jsonl
from tests.callbacks.tiny import TinyData, TinyModule, build_experience, build_trainer

QUIET = {"limit_val_batches": 1.0, "val_check_interval": 1}


class Longer:
    """Prefers the longer response; looks at each text alone."""

    name = "longer"
    prompt_version = ""

    def __init__(self):
        self.seen = []

    def orders(self, pair):
        return ("",)

    def judge(self, pairs):
        self.seen.append(pairs)
        for pair in pairs:
            yield verdict(pair, "", winner(len(pair.a) - len(pair.b)))


class FirstShown(Longer):
    """Prefers whatever stands first."""

    def judge(self, pairs):
        for pair in pairs:
            yield verdict(pair, "ab", "a")
            yield verdict(pair, "ba", "b")


class Unreadable(Longer):
    """Says nothing that can be read of every second pair."""

    def judge(self, pairs):
        for number, pair in enumerate(pairs):
            yield verdict(pair, "", "invalid" if number % 2 else "a")


class Broken(Longer):
    """Gives one verdict, then fails."""

    def judge(self, pairs):
        yield verdict(pairs[0], "", "a")
        raise RuntimeError("no server\nat all")


def verdict(pair, order, says):
    return Verdict(pair.pair_id, pair.fingerprint, order, says, judge="fake")


def winner(difference):
    return "a" if difference > 0 else "b" if difference < 0 else "tie"


def completions(*responses):
    return [Completion(f"s{n}", f"prompt {n}", text, "m", 1, 0, len(text), True) for n, text in enumerate(responses)]


@pytest.fixture
def run(tmp_path):
    """Train the tiny module, whose response to prompt n is ``response(step, n)``: run(callback, response)."""

    def train(callback, response=lambda step, n: "ab", *, steps=8, ckpt_path=None, loggers=False, end=lambda t: None):
        class Module(TinyModule):
            sampling = None

            def validation_step(self, batch, batch_idx):
                numbers = (2 * batch_idx, 2 * batch_idx + 1)
                texts = tuple(response(self.global_step, n) for n in numbers)
                made = build_experience(texts, first=numbers[0])
                prompts = replace(made.rollout.prompts, texts=tuple(f"prompt {n}" for n in numbers))
                return {"experience": replace(made, rollout=replace(made.rollout, prompts=prompts))}

            def log_metrics(self, metrics):
                super().log_metrics(metrics)
                for name, value in metrics.items():
                    if "win_rate" in name:
                        logged.setdefault(self.global_step, {})[name] = value

        logged = {}
        trainer = build_trainer(tmp_path, callback, max_steps=steps, logger=loggers, **QUIET)
        trainer.fit(Module(), datamodule=TinyData(), ckpt_path=ckpt_path)
        end(trainer)
        return logged

    return train


def test_responses_are_compared_with_those_before_the_first_update(run, tmp_path):
    judge = Longer()
    logged = run(WinRateCallback(judge=judge), lambda step, n: "abc" if step and n else "ab")
    baseline = read_completions(tmp_path / "completions/baseline.jsonl")
    assert [(row.prompt, row.response, row.step) for row in baseline] == [(f"prompt {n}", "ab", 0) for n in range(4)]
    assert list(logged) == [4, 8]  # validations; none is logged at update 0
    # three of four are longer, one as long
    assert logged[8]["eval/win_rate"] == pytest.approx(3.5 / 4)
    assert logged[8]["eval/win_rate_low"] < 3.5 / 4 < logged[8]["eval/win_rate_high"]
    assert logged[8]["eval/win_rate_ties"] == 0.25
    assert logged[8]["eval/win_rate_invalid"] == 0
    assert "eval/win_rate_flips" not in logged[8]  # the judge sees each text alone
    assert [(pair.a, pair.b) for pair in judge.seen[1]] == [("ab", "ab")] + [("abc", "ab")] * 3
    verdicts = read_verdicts(tmp_path / "verdicts/step-000008.jsonl")
    assert [row.winner for row in verdicts] == ["tie", "a", "a", "a"]


def test_only_the_first_prompts_are_judged(run, tmp_path):
    judge = Longer()
    run(WinRateCallback(judge=judge, num_prompts=3))
    assert [pair.prompt for pair in judge.seen[0]] == ["prompt 0", "prompt 1", "prompt 2"]
    assert len(read_completions(tmp_path / "completions/baseline.jsonl")) == 3


def test_with_the_sides_changed_the_win_rate_is_the_rest(run, tmp_path):
    texts = {"theirs": ["a", "abc", "ab", "abcd"], "ours": ["ab", "ab", "ab", "a"]}
    rates = []
    for baseline, policy in (("theirs", "ours"), ("ours", "theirs")):
        write_jsonl(tmp_path / "b.jsonl", completions(*texts[baseline]))
        callback = WinRateCallback(judge=Longer(), baseline=str(tmp_path / "b.jsonl"))
        rates.append(run(callback, lambda _, n, policy=policy: texts[policy][n], steps=4)[4])
    assert rates[0]["eval/win_rate"] == pytest.approx(1.5 / 4)
    assert rates[0]["eval/win_rate"] + rates[1]["eval/win_rate"] == pytest.approx(1)
    assert rates[0]["eval/win_rate_ties"] == rates[1]["eval/win_rate_ties"] == 0.25


def test_a_judge_that_looks_at_the_order_alone_flips_always_and_prefers_nobody(run):
    logged = run(WinRateCallback(judge=FirstShown()), steps=4)[4]
    assert logged["eval/win_rate"] == 0.5
    assert logged["eval/win_rate_ties"] == logged["eval/win_rate_flips"] == 1


def test_what_cannot_be_read_counts_nowhere_else(run):
    logged = run(WinRateCallback(judge=Unreadable()), steps=4)[4]
    assert (logged["eval/win_rate"], logged["eval/win_rate_invalid"]) == (1.0, 0.5)


def test_a_judge_that_fails_costs_a_warning_an_evaluation_and_nothing_else(run, tmp_path):
    ended = []
    with pytest.warns(UserWarning, match=r"the judge failed \(RuntimeError: no server at all\)") as said:
        logged = run(WinRateCallback(judge=Broken()), end=lambda t: ended.append(t.global_step))
    assert ended == [8]
    ours = [str(each.message) for each in said if "win rate" in str(each.message)]
    assert [text.split(":")[0] for text in ours] == ["update 4", "update 8"]
    assert logged == {}
    assert not (tmp_path / "verdicts").exists()


def test_the_baseline_is_made_once_and_is_there_after_a_resume(run, tmp_path):
    judge, checkpoint = Longer(), tmp_path / "last.ckpt"
    save = lambda trainer: trainer.save_checkpoint(checkpoint)  # noqa: E731
    run(WinRateCallback(judge=judge), lambda step, n: f"{'a' * n} before {step}", steps=4, end=save)
    path = tmp_path / "completions/baseline.jsonl"
    before = path.read_text()
    path.unlink()  # the checkpoint has it, too
    logged = run(WinRateCallback(judge=judge), lambda step, n: f"after {step}", steps=8, ckpt_path=checkpoint)
    assert path.read_text() == before
    assert list(logged) == [8]
    assert [pair.b for pair in judge.seen[-1]] == [f"{'a' * n} before 0" for n in range(4)]
    assert {pair.a for pair in judge.seen[-1]} == {"after 8"}


def test_a_run_that_has_learnt_already_cannot_make_a_baseline(run, tmp_path):
    checkpoint = tmp_path / "last.ckpt"
    run(WinRateCallback(), steps=4, end=lambda trainer: trainer.save_checkpoint(checkpoint))
    assert not (tmp_path / "completions").exists()  # without a judge nothing is made
    with pytest.warns(UserWarning, match="nothing to compare with"):
        assert run(WinRateCallback(judge=Longer()), ckpt_path=checkpoint) == {}


def test_a_baseline_of_other_prompts_is_told(run, tmp_path):
    write_jsonl(tmp_path / "b.jsonl", [replace(completions("a")[0], prompt="another")])
    callback = WinRateCallback(judge=Longer(), baseline=str(tmp_path / "b.jsonl"))
    with pytest.warns(UserWarning, match="no validation prompt is in the baseline"):
        assert run(callback, steps=4) == {}


def test_examples_are_text_that_is_no_markup(run, tmp_path):
    texts = []
    board = TensorBoardLogger(tmp_path / "board")
    board.experiment.add_text = lambda tag, text, step: texts.append((tag, text, step))
    callback = WinRateCallback(judge=Longer(), num_examples=1)
    run(callback, lambda step, n: "<b>x</b>\n# y" if step else "a", steps=4, loggers=board)
    ((tag, text, step),) = [each for each in texts if each[0].startswith("win_rate")]
    assert (tag, step) == ("win_rate/examples", 4)
    assert text == (
        "**the policy wins**\n\nPrompt\n\n    prompt 0\n\nPolicy\n\n    <b>x</b>\n    # y\n\nBaseline\n\n    a"
    )


def test_rows_of_several_ranks_come_in_the_order_of_the_data_each_once(monkeypatch):
    first, second, third, fourth = completions("a", "b", "c", "d")

    def gather(parts, _):  # three ranks, of which the last begins anew to have as many
        parts[:] = [[first, fourth], [second, first], [third, second]]

    monkeypatch.setattr("torch.distributed.all_gather_object", gather)
    rows = gather_rows([first, fourth], SimpleNamespace(world_size=3))
    assert rows == [first, second, third, fourth]


def test_mistakes_are_told_before_a_run_begins(tmp_path):
    with pytest.raises(ValueError, match="num_prompts: expected at least 1, got 0"):
        WinRateCallback(num_prompts=0)
    with pytest.raises(FileNotFoundError):
        WinRateCallback(baseline=str(tmp_path / "missing.jsonl"))
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(ValueError, match=r"no completions in .*empty.jsonl"):
        WinRateCallback(baseline=str(tmp_path / "empty.jsonl"))
