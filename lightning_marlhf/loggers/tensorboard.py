"""TensorBoard events in the run directory itself: charts grouped by subject, each metric with a description."""

import re
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import DATA_CLASS_SCALAR, Summary
from tensorboard.plugins.hparams.api_pb2 import DATA_TYPE_FLOAT64
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from lightning_marlhf.config.yaml_files import leaves

# The "custom scalars" tab: group -> chart -> metrics drawn in it, by regular expression. The metrics of a chart have
# one unit, and shares in it count the same thing.
LAYOUT: dict[str, dict[str, list[str]]] = {
    "objective": {
        "training score": ["objective/scores", "eval/scores"],
        "gold score": ["objective/gold", "eval/gold"],
        "reward model score": ["objective/rm", "eval/rm"],
        "fraction of clamped scores": ["objective/scores_clamped"],
        "fraction of responses without a score": ["(objective|eval)/(?!win_rate).*_invalid"],
        "KL per response (nats)": ["objective/kl", "eval/kl"],
        "reward per response": ["objective/rlhf_reward", "objective/non_score_reward"],
        "response length (tokens)": ["response_length/(mean|max|min)", "eval/response_length"],
        "fraction of responses cut off": ["response_length/clip_ratio"],
        "fraction of held-out responses that end": ["eval/ended"],
        "entropy per response (nats)": ["objective/entropy"],
        "accuracy of the reward model": ["reward_model/accuracy", "eval/accuracy", "eval/best_possible_accuracy"],
    },
    "policy": {
        "policy loss": ["loss/policy_avg"],
        "SFT loss (nats per token)": ["loss/sft"],
        "reward model loss (nats per pair)": ["loss/reward_model"],
        "held-out loss (nats)": ["eval/loss"],
        "approximate KL of an update (nats per token)": ["policy/approxkl_avg"],
        "entropy per token (nats)": ["policy/entropy_avg"],
        "fraction of clipped ratios": ["policy/clipfrac_avg"],
        "ratio": ["val/ratio"],
        "variance of the ratio": ["val/ratio_var"],
        "gradient norm": ["(policy|reward_model)/grad_norm"],
        "learning rate": ["lr", "lr_critic"],
        "KL coefficient": ["objective/kl_coefficient"],
    },
    "critic": {
        "loss": ["loss/value_avg"],
        "explained variance": ["critic/vf_explained_var"],
        "fraction of clipped values": ["val/clipfrac_avg"],
        "gradient norm": ["critic/grad_norm"],
    },
    "macro actions": {
        "length (tokens)": ["macro/length_(mean|max)"],
        "per response": ["macro/count_mean"],
        "variance of advantages": ["macro/advantage_var"],
        "fraction of parse failures": ["macro/parse_failures"],
    },
    "timing": {"seconds": ["timing_s/.*"], "tokens per second": ["perf/throughput"]},
}
# Descriptions of tags by regular expression; the first match is used
_DESCRIPTIONS = {
    "objective/scores": "Mean score of the rollout's responses, in the scorer's unit, before it is clamped.",
    "eval/scores": "Mean score of the responses to held-out prompts, in the scorer's unit.",
    "objective/gold": "Mean score of the rollout's responses by the true rules of a synthetic task.",
    "eval/gold": "Mean gold score of the responses to held-out prompts.",
    "objective/rm": "Mean score of the rollout's responses by the reward model.",
    "eval/rm": "Mean score of the responses to held-out prompts by the reward model.",
    "objective/scores_clamped": "Fraction of the rollout's responses whose score is outside [-clamp, clamp].",
    "(objective|eval)/(?!win_rate).*_invalid": "Fraction of the responses that this scorer gave no finite number.",
    "objective/kl": "KL of policy to reference in nats, summed over a response's tokens; mean of the rollout.",
    "eval/kl": "KL of policy to reference in nats, summed over a response's tokens; mean of held-out prompts.",
    "objective/rlhf_reward": "Score and penalties together, per response, in the scorer's unit.",
    "objective/non_score_reward": "The KL penalty of a response: -coefficient * KL, in the scorer's unit.",
    "response_length/(mean|max|min)": "Tokens of the rollout's responses, EOS included.",
    "eval/response_length": "Mean tokens of the responses to held-out prompts, EOS included.",
    "response_length/clip_ratio": "Fraction of the rollout's responses that reached the limit of new tokens.",
    "eval/ended": "Fraction of the responses to held-out prompts that end before the limit of new tokens.",
    "objective/entropy": "-log p of a response under the policy that sampled it, in nats per response.",
    "reward_model/accuracy": "Fraction of the batch's pairs whose chosen response scores higher.",
    "eval/accuracy": "Fraction of the held-out pairs whose chosen response scores higher.",
    "eval/best_possible_accuracy": "Accuracy of a judge who knows the true scores, as labels are noisy.",
    "loss/policy_avg": "Clipped policy loss (advantages times ratios).",
    "loss/sft": "Cross-entropy of the batch's demonstrations, in nats per response token.",
    "loss/reward_model": "-log sigmoid(chosen - rejected) of the batch, in nats per pair.",
    "eval/loss": "Loss of held-out rows: nats per response token (SFT) or per pair (reward model).",
    "policy/approxkl_avg": "KL of the policy to the one that sampled: half the squared log-ratio, in nats per token.",
    "policy/entropy_avg": "Entropy of the policy's next-token distribution, in nats per token.",
    "policy/clipfrac_avg": "Fraction of tokens (or macro actions) whose ratio was clipped.",
    "val/ratio": "Mean ratio of the policy to the one that sampled, over tokens.",
    "val/ratio_var": "Variance of that ratio over tokens.",
    ".*/grad_norm": "Norm of the gradient before clipping.",
    "lr": "Learning rate of the update.",
    "lr_critic": "Learning rate of the critic's update.",
    "objective/kl_coefficient": "Factor of KL in the token rewards (score units per nat).",
    "loss/value_avg": "Clipped value loss (half the squared error of returns).",
    "critic/vf_explained_var": "Fraction of the returns' variance that the values explain; 1 is perfect.",
    "val/clipfrac_avg": "Fraction of tokens whose value loss was clipped.",
    "macro/length_(mean|max)": "Tokens of the rollout's macro actions.",
    "macro/count_mean": "Mean number of macro actions in a response.",
    "macro/advantage_var": "Variance of the macro actions' advantages before whitening.",
    "macro/parse_failures": "Fraction of responses that could not be parsed and fell back to fixed n-grams.",
    "timing_s/.*": "Seconds of this part of a step, on rank 0.",
    "perf/throughput": "Prompt and response tokens of all ranks per second of a step.",
    "episode": "Responses sampled since the run began.",
    "val/num_eos_tokens": "Responses of the rollout that end before the limit of new tokens.",
    "reward_model/margin": "Mean score of the chosen response minus that of the rejected one, of the batch.",
    "eval/margin": "Mean score of the chosen response minus that of the rejected one, of held-out pairs.",
    "eval/perplexity": "exp(loss per response token) of held-out demonstrations.",
    "eval/win_rate": "Fraction of held-out pairs in which the judge prefers the policy; ties count half.",
    "eval/win_rate_(low|high)": "95 % interval of the win rate.",
    "eval/win_rate_invalid": "Fraction of the pairs without a valid verdict.",
    "eval/win_rate_ties": "Fraction of the judged pairs that are ties.",
    "eval/win_rate_flips": "Fraction of the pairs on which the verdict changes with the order of the responses.",
    "eval/pass_at_.*": "Probability that one of k programs passes all tests of a held-out problem (and 95 % interval).",
    "eval/strict_accuracy.*": "Fraction of the held-out programs that pass all tests (and 95 % interval).",
    "eval/test_case_average.*": "Mean fraction of tests passed by a held-out program (and 95 % interval).",
    "skipped/.*": "Number of skipped updates or rollouts since the run began.",
    "samples/text_summary": "Sample responses: numbers, prompt, and text with bars between macro actions.",
    "samples/response_.*": "A response in macro actions, with the advantage, value and KL of its tokens.",
    "macro/advantage_var_by_length": "Variance of advantages before whitening, by tokens of the macro action.",
    "macro/lengths": "Tokens of the rollout's macro actions, on rank 0.",
    "scores/rollout": "Scores of the rollout's responses on rank 0, before clamping.",
    "scores/held_out": "Scores of the responses to held-out prompts, on rank 0.",
    "advantages/rollout": "Advantages of the rollout's response tokens on rank 0, as used in the loss.",
    "reward_model/first_is_better.*": "Held-out pairs in both orders: is the first response the better one?",
    "win_rate/examples/text_summary": "Pairs with the judge's verdicts.",
    "failures/text_summary": "Held-out programs that fail a test.",
    "objective/(.*)": r"Mean of the scorers' number `\1` over the rollout's responses.",
    "eval/(.*)": r"Mean of `\1` over held-out rows.",
}
_PLUGINS = {"simple_value": "scalars", "histo": "histograms", "image": "images"}
# The first columns of the "HParams" tab, by the settings they are taken from
_FIRST_HPARAMS = {"lr": r"(.*\.)?lr", "n": r"(.*\.)?termination\.init_args\.n", "seed": r"seed|seed_everything"}
HPARAM_METRICS = ("objective/scores", "objective/kl", "eval/gold", "eval/kl", "eval/accuracy", "eval/loss")


class TensorBoard(TensorBoardLogger):
    """A resumable TensorBoardLogger that writes into the run directory.

    Args:
        folder: the run directory, where the event files go.
        flush_secs: seconds after which events are on disk.
    """

    def __init__(self, folder: str | Path, *, flush_secs: int = 10) -> None:
        super().__init__(save_dir=folder, name="", version="", default_hp_metric=False, flush_secs=flush_secs)

    @property
    @rank_zero_experiment
    def experiment(self) -> SummaryWriter:
        """The event writer, created with its charts on first use."""
        new = self._experiment is None
        writer: SummaryWriter = super().experiment
        if new:
            events = writer._get_file_writer()
            add_summary = events.add_summary
            events.add_summary = lambda summary, *a, **k: add_summary(add_descriptions(summary), *a, **k)
            charts = {
                group: {chart: ["Multiline", [f"^{tag}$" for tag in tags]] for chart, tags in charts.items()}
                for group, charts in LAYOUT.items()
            }
            writer.add_custom_scalars(charts)
        return writer

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Write one scalar per metric."""
        for name, value in metrics.items():
            self.experiment.add_scalar(name, float(value), step)

    @rank_zero_only
    def log_hyperparams(
        self, params: dict[str, Any] | Namespace, metrics: dict[str, Any] | None = None, step: int | None = None
    ) -> None:
        """Write the hyper-parameters with the metrics of the HParams tab.

        The learning rate, n and the seed come first, under these names; then all by their dotted names. TensorBoard
        sorts the columns by name, and shows those first that are said to differ between runs.
        """
        settings = dict(leaves(vars(params) if isinstance(params, Namespace) else params))
        first = {
            name: value
            for name, pattern in _FIRST_HPARAMS.items()
            for value in [v for key, v in settings.items() if re.fullmatch(pattern, key)][:1]
        }
        flat = {
            name: v if isinstance(v, bool | int | float | str) else str(v) for name, v in (first | settings).items()
        }
        experiment, *session = hparams(flat, metrics or dict.fromkeys(HPARAM_METRICS, 0.0))
        plugin = experiment.value[0].metadata.plugin_data
        content = HParamsPluginData.FromString(plugin.content)
        others = [each for each in content.experiment.hparam_infos if each.name not in first]
        del content.experiment.hparam_infos[:]
        for name in _FIRST_HPARAMS:  # in all runs, as TensorBoard takes the columns of one run for all
            content.experiment.hparam_infos.add(name=name, type=DATA_TYPE_FLOAT64, differs=True)
        content.experiment.hparam_infos.extend(others)
        plugin.content = content.SerializeToString()
        for summary in (experiment, *session):
            self.experiment._get_file_writer().add_summary(summary)

    @rank_zero_only
    def continue_from(self, step: int) -> None:
        """Purge events after ``step`` updates (the writer's `purge_step`)."""
        if step == 0:
            return
        events = self.experiment._get_file_writer()
        events.add_event(Event(step=step + 1, file_version="brain.Event:2"))
        events.add_event(Event(step=step + 1, session_log=SessionLog(status=SessionLog.START)))

    @rank_zero_only
    def save(self) -> None:
        """Flush; the hyper-parameters are in `config.yaml`, so no `hparams.yaml` is written."""
        self.experiment.flush()

    @rank_zero_only
    def restart(self) -> None:
        """Begin a new event file, since the old one was removed for a new run."""
        if self._experiment is not None:
            self._experiment.close()
            self._experiment = None


def describe(tag: str) -> str:
    """Return a tag's description with its unit; "" for an unknown tag.

    >>> describe("objective/my_scorer")
    "Mean of the scorers' number `my_scorer` over the rollout's responses."
    """
    found = (match.expand(text) for pattern, text in _DESCRIPTIONS.items() if (match := re.fullmatch(pattern, tag)))
    return next(found, "")


def add_descriptions(summary: Summary) -> Summary:
    """Attach descriptions to the values of a summary, in place.

    Only metadata that says which plugin a value belongs to is shown by both of TensorBoard's readers.
    """
    for value in summary.value:
        if text := describe(value.tag):
            value.metadata.summary_description = text
            kind = value.WhichOneof("value")
            if kind in _PLUGINS:
                value.metadata.plugin_data.plugin_name = _PLUGINS[kind]
            if kind == "simple_value":
                value.metadata.data_class = DATA_CLASS_SCALAR
    return summary


def writers_of(trainer: Trainer) -> list[SummaryWriter]:
    """Return the event writers of a run's TensorBoard loggers; none on other ranks than 0."""
    loggers = trainer.loggers if trainer.is_global_zero else []
    return [logger.experiment for logger in loggers if isinstance(logger, TensorBoardLogger)]


def add_texts(trainer: Trainer, tag: str, texts: Sequence[str]) -> None:
    """Write texts below each other, in Markdown, to a run's TensorBoard; nothing if there are none."""
    for writer in writers_of(trainer) if texts else ():
        writer.add_text(tag, "\n\n---\n\n".join(texts), trainer.global_step)
