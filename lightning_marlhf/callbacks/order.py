"""The callbacks of a run: which have a section in its YAML, and their order with its reasons."""

from collections.abc import Iterable

from lightning.pytorch import Callback

from lightning_marlhf.callbacks.banner import StartBanner
from lightning_marlhf.callbacks.checkpoint import Checkpoint
from lightning_marlhf.callbacks.export import ExportHF
from lightning_marlhf.callbacks.guards import KLGuard, NaNGuard
from lightning_marlhf.callbacks.interrupt import GracefulInterrupt
from lightning_marlhf.callbacks.pass_at_k import PassAtKCallback
from lightning_marlhf.callbacks.progress import UpdateProgress
from lightning_marlhf.callbacks.ranks import NameRanks, RollCall
from lightning_marlhf.callbacks.reward_model_pr_curve import RewardModelPRCurve
from lightning_marlhf.callbacks.rollouts import RolloutWriter
from lightning_marlhf.callbacks.run_directory import RunDirectory, SaveConfig
from lightning_marlhf.callbacks.tensorboard_samples import TensorBoardSamples
from lightning_marlhf.callbacks.watchdog import Watchdog
from lightning_marlhf.callbacks.win_rate import WinRateCallback

# Sections of the YAML: callbacks that every run has, with settings of their own
SECTIONS: dict[str, type[Callback]] = {
    "nan_guard": NaNGuard,
    "kl_guard": KLGuard,
    "watchdog": Watchdog,
    "rollouts": RolloutWriter,
    "samples": TensorBoardSamples,
    "pass_at_k": PassAtKCallback,
    "progress": UpdateProgress,
    "checkpoint": Checkpoint,
}
# null, unless the YAML has the section
OPTIONAL_SECTIONS: dict[str, type[Callback]] = {"win_rate": WinRateCallback}
# Lightning calls each hook of all callbacks in this order, except that those which save checkpoints always come last.
ORDER: tuple[type[Callback], ...] = (
    NameRanks,  # first: prefixes the errors of all others
    RollCall,  # the first collective of a run
    RunDirectory,  # claims the run directory and truncates its logs before anything is written
    SaveConfig,  # after the directory is claimed
    StartBanner,  # before training starts
    Callback,  # those of `trainer.callbacks`
    NaNGuard,  # the guards end a run before its last batch is recorded, exported or saved
    KLGuard,
    Watchdog,
    RolloutWriter,
    TensorBoardSamples,
    PassAtKCallback,
    UpdateProgress,  # shows metrics that those before it have logged
    Checkpoint,
    WinRateCallback,
    RewardModelPRCurve,
    GracefulInterrupt,  # ends the run at the end of a batch, when the others have written theirs
    ExportHF,  # last: a fit that is interrupted is not exported
)


def in_order(callbacks: Iterable[Callback]) -> list[Callback]:
    """Sort callbacks by `ORDER`; several of one place keep their order."""
    places = {cls: place for place, cls in enumerate(ORDER)}
    return sorted(callbacks, key=lambda each: places.get(type(each), places[Callback]))
