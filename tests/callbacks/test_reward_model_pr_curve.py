import math

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule

from lightning_marlhf.callbacks.reward_model_pr_curve import TAG, RewardModelPRCurve, explain, in_both_orders
from lightning_marlhf.loggers.tensorboard import TensorBoard
from tests.callbacks.events import events, texts
from tests.callbacks.tiny import TinyData, TinyModule, build_trainer

MARGINS = [math.log(9), math.log(3), 0.0, -math.log(3)]  # P(chosen is better): 0.9, 0.75, 0.5, 0.25


class Judging(LightningModule):
    """Gives two batches of two pairs."""

    def validation_step(self, batch, batch_idx):
        return {
            "margins": torch.tensor(MARGINS[2 * batch_idx : 2 * batch_idx + 2]),
            "agreement": torch.tensor([0.9, 0.5]),
        }


@pytest.fixture
def validate(tmp_path):
    def run(module):
        logger = TensorBoard(tmp_path)
        trainer = build_trainer(tmp_path, RewardModelPRCurve(), logger=logger, limit_val_batches=2)
        trainer.validate(module, datamodule=TinyData(), verbose=False)
        logger.finalize("success")
        return tmp_path

    return run


def curve(folder):
    """The rows of TensorBoard's tensor: true and false positives, true and false negatives, precision, recall."""
    (event,) = events(folder).Tensors(f"{TAG}/validate")
    shape = [dimension.size for dimension in event.tensor_proto.tensor_shape.dim]
    numbers = event.tensor_proto.float_val or np.frombuffer(event.tensor_proto.tensor_content, dtype=np.float32)
    return np.array(numbers).reshape(shape)


def test_each_pair_is_judged_in_both_orders_and_half_the_labels_are_positive():
    labels, predictions = in_both_orders(torch.tensor(MARGINS))
    assert labels.tolist() == [True] * 4 + [False] * 4
    expected = [0.9, 0.75, 0.5, 0.25, 0.1, 0.25, 0.5, 0.75]
    torch.testing.assert_close(predictions, torch.tensor(expected))


def test_precision_is_the_accuracy_of_judgements_that_are_as_sure(validate):
    positives_right, positives_wrong, _, missed, precision, recall = curve(validate(Judging()))

    def at(threshold):
        return round(threshold * 126)  # 127 thresholds from 0 to 1

    # at 0.5: right 0.9, 0.75 and the tie; wrong the tie and 0.75 (for the pair judged wrongly)
    assert (positives_right[at(0.5)], positives_wrong[at(0.5)]) == (3, 2)
    # at 0.7: right 0.9 and 0.75, wrong 0.75
    assert precision[at(0.7)] == pytest.approx(2 / 3)
    assert recall[at(0.7)] == pytest.approx(2 / 4)
    # at 0.8: the one judgement that is so sure is right
    assert (precision[at(0.8)], recall[at(0.8)], missed[at(0.8)]) == (1.0, 0.25, 3)
    # at 0: everything is called better, and half of it is
    assert (precision[0], recall[0]) == (0.5, 1.0)


def test_a_judge_that_knows_nothing_has_precision_one_half_wherever_it_says_anything(validate):
    class Ignorant(Judging):
        def validation_step(self, batch, batch_idx):
            return super().validation_step(batch, batch_idx) | {"margins": torch.zeros(2)}

    _, _, _, _, precision, recall = curve(validate(Ignorant()))
    assert set(precision[recall > 0]) == {0.5}


def test_the_text_says_what_the_labels_are_worth(validate):
    folder = validate(Judging())
    (shown,) = texts(folder, f"{TAG}/validate").values()
    assert shown.splitlines()[0].startswith("4 held-out pairs, each in both orders")
    assert "the accuracy, 50.0%, but for pairs of equal scores (1)" in shown
    assert "agree with 70.0% of the labels; 2 pairs have equal true scores" in shown
    (margins,) = events(folder).Histograms(f"{TAG}/validate/margins")
    assert margins.histogram_value.num == 4


def test_labels_of_unknown_worth_are_said_to_be_so():
    shown = explain(torch.tensor(MARGINS), torch.full((4,), math.nan))
    assert "perfect judge" in shown
    assert shown.endswith("not known.")


def test_test_pairs_have_a_curve_of_their_own(tmp_path):
    class Testing(Judging):
        test_step = Judging.validation_step

    logger = TensorBoard(tmp_path)
    trainer = build_trainer(tmp_path, RewardModelPRCurve(), logger=logger)
    trainer.test(Testing(), datamodule=TinyData(), verbose=False)
    logger.finalize("success")
    assert events(tmp_path).summary_metadata[f"{TAG}/test"].plugin_data.plugin_name == "pr_curves"


def test_a_module_that_judges_no_pairs_has_no_curve(validate):
    module = TinyModule()
    module.on_validation_epoch_end = lambda: None
    assert not any(TAG in tag for tag in events(validate(module)).Tags()["tensors"])
