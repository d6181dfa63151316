"""TensorBoard events in the run directory itself, with dashboards grouped by subject."""

from argparse import Namespace
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

# The "custom scalars" tab: group -> chart -> metrics drawn in it, by regular expression.
LAYOUT: dict[str, dict[str, list[str]]] = {
    "objective": {
        "scores": [
            "objective/scores",
            "objective/gold",
            "objective/rm",
            "eval/scores",
            "eval/gold",
            "eval/rm",
        ],
        "KL per response (nats)": ["objective/kl", "eval/kl"],
        "reward": ["objective/rlhf_reward", "objective/non_score_reward"],
        "response length (tokens)": ["response_length/(mean|max|min)", "eval/response_length"],
        "share cut off or ended": ["response_length/clip_ratio", "eval/ended"],
        "entropy": ["objective/entropy", "policy/entropy_avg"],
        "accuracy of the reward model": ["reward_model/accuracy", "eval/accuracy"],
    },
    "policy": {
        "loss": ["loss/policy_avg", "loss/sft", "loss/reward_model", "eval/loss"],
        "approximate KL of an update": ["policy/approxkl_avg"],
        "share of clipped ratios": ["policy/clipfrac_avg"],
        "ratio": ["val/ratio", "val/ratio_var"],
        "gradient norm": ["policy/grad_norm"],
        "learning rate": ["lr", "lr_critic"],
        "price of KL": ["objective/kl_coefficient"],
    },
    "critic": {
        "loss": ["loss/value_avg"],
        "explained variance": ["critic/vf_explained_var"],
        "share of clipped values": ["val/clipfrac_avg"],
        "gradient norm": ["critic/grad_norm"],
    },
    "macro actions": {
        "length (tokens)": ["macro/length_mean", "macro/length_max"],
        "per response": ["macro/count_mean"],
        "variance of advantages": ["macro/advantage_var"],
    },
    "timing": {
        "seconds": ["timing_s/.*"],
        "tokens per second": ["perf/throughput"],
    },
}
HPARAM_METRICS = (
    "objective/scores",
    "objective/kl",
    "eval/gold",
    "eval/kl",
    "eval/accuracy",
    "eval/loss",
)


class TensorBoard(TensorBoardLogger):
    """A TensorBoardLogger without folders of its own, which knows how to be resumed.

    Args:
        folder: the run directory, where the event files go.
        flush_secs: seconds after which events are on disk.
    """

    def __init__(self, folder: str | Path, *, flush_secs: int = 10) -> None:
        super().__init__(
            save_dir=folder, name="", version="", default_hp_metric=False, flush_secs=flush_secs
        )

    @property
    @rank_zero_experiment
    def experiment(self) -> SummaryWriter:
        """The event writer, made with the dashboards when it is first asked for."""
        new = self._experiment is None
        writer: SummaryWriter = super().experiment
        if new:
            layout = {
                group: {
                    chart: ["Multiline", [_whole(tag) for tag in tags]]
                    for chart, tags in charts.items()
                }
                for group, charts in LAYOUT.items()
            }
            writer.add_custom_scalars(layout)
        return writer

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Write one scalar per metric."""
        for name, value in metrics.items():
            self.experiment.add_scalar(name, float(value), step)

    @rank_zero_only
    def log_hyperparams(
        self,
        params: dict[str, Any] | Namespace,
        metrics: dict[str, Any] | None = None,
        step: int | None = None,
    ) -> None:
        """Write the hyper-parameters, nested ones as dotted names, beside the metrics they will be compared by."""
        values = vars(params) if isinstance(params, Namespace) else params
        flat = {
            name: v if isinstance(v, bool | int | float | str) else str(v)
            for name, v in _leaves(values)
        }
        for summary in hparams(flat, metrics or dict.fromkeys(HPARAM_METRICS, 0.0)):
            self.experiment._get_file_writer().add_summary(summary)

    @rank_zero_only
    def continue_from(self, step: int) -> None:
        """Make TensorBoard forget what was logged after ``step`` updates (the writer's `purge_step`)."""
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


def writers_of(trainer: Trainer) -> list[SummaryWriter]:
    """Return the event writers of a run's TensorBoard loggers; none on other ranks than 0."""
    loggers = trainer.loggers if trainer.is_global_zero else []
    return [logger.experiment for logger in loggers if isinstance(logger, TensorBoardLogger)]


def _whole(pattern: str) -> str:
    return f"^{pattern}$"


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
