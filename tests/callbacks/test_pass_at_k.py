"""pass@k of held-out programs: what is counted, under which names, and which failures are shown."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch.loggers import TensorBoardLogger

from lightning_marlhf.callbacks.pass_at_k import PassAtKCallback
from tests.callbacks.tiny import build_experience

TESTS = json.dumps({"inputs": ["1", "2"], "outputs": ["1", "2"]})


class Module:
    """Remembers what is logged."""

    device = torch.device("cpu")

    def __init__(self):
        self.logged = {}

    def log_metrics(self, metrics):
        self.logged |= metrics


class Board(TensorBoardLogger):
    """Remembers texts."""

    def __init__(self, texts):
        self.texts = texts

    @property
    def experiment(self):
        return SimpleNamespace(add_text=lambda tag, text, step: self.texts.append((tag, text)))


def programs(*rows, first=0):
    """Make an experience of programs, each given by its problem, its share of tests, and its kind."""
    made = build_experience(("ab",) * len(rows), first=first)
    references = tuple(
        {"problem_id": problem, "difficulty": "interview", "input_output": TESTS} for problem, _, _ in rows
    )
    details = tuple({"code": 0.0, "code_tests": share, f"code_{kind}": 1.0} for _, share, kind in rows)
    prompts = replace(made.rollout.prompts, references=references)
    return replace(made, rollout=replace(made.rollout, prompts=prompts), details=details)


def run(callback, *experiences):
    module, texts = Module(), []
    trainer = SimpleNamespace(sanity_checking=False, is_global_zero=True, loggers=[Board(texts)], global_step=4)
    callback.on_validation_start(trainer, module)
    for number, experience in enumerate(experiences):
        callback.on_validation_batch_end(trainer, module, {"experience": experience}, None, number)
    callback.on_validation_epoch_end(trainer, module)
    return module.logged, texts


def test_samples_of_a_problem_are_counted_together_over_batches():
    callback = PassAtKCallback(ks=(1, 2))
    logged, _ = run(
        callback,
        programs((7, 1.0, "passed"), (7, 0.5, "wrong")),
        programs((8, 0.0, "compile"), (8, 0.5, "wrong"), first=2),
    )
    assert logged["eval/pass_at_1"] == pytest.approx(0.25)
    assert logged["eval/pass_at_2"] == logged["eval/pass_at_2/interview"] == pytest.approx(0.5)
    assert logged["eval/test_case_average"] == pytest.approx(0.5)
    assert logged["eval/pass_at_1_low"] <= 0.25 <= logged["eval/pass_at_1_high"]
    assert (logged["eval/num_problems"], logged["eval/num_samples"]) == (2, 4)


def test_a_k_without_enough_samples_is_not_logged():
    logged, _ = run(PassAtKCallback(ks=(1, 5)), programs((7, 1.0, "passed")))
    assert "eval/pass_at_1" in logged
    assert "eval/pass_at_5" not in logged


def test_every_evaluation_counts_anew():
    callback = PassAtKCallback(ks=(1,))
    run(callback, programs((7, 0.0, "wrong")))
    logged, _ = run(callback, programs((7, 1.0, "passed")))
    assert logged["eval/pass_at_1"] == 1.0


def test_one_failure_of_a_problem_is_shown_as_text_that_is_no_markup():
    made = programs((7, 0.5, "wrong"), (7, 0.0, "compile"), (8, 1.0, "passed"))
    hostile = replace(made.rollout, texts=("<b>x</b>\n# y", "ab", "ab"))
    _, texts = run(PassAtKCallback(ks=(1,)), replace(made, rollout=hostile))
    assert texts == [("failures", "problem 7: wrong, 1 of 2 tests\n\n    <b>x</b>\n    # y")]


def test_responses_that_are_no_programs_log_nothing():
    logged, texts = run(PassAtKCallback(), build_experience())
    assert (logged, texts) == ({}, [])
