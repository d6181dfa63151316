"""fit, validate, test, predict: LightningCLI with our callbacks, loggers and one-line errors."""

import logging
import os
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Annotated, Any

from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.plugins.environments import LightningEnvironment
from lightning.pytorch.strategies import ModelParallelStrategy
from lightning.pytorch.utilities import rank_zero_only

from lightning_marlhf.callbacks.banner import StartBanner
from lightning_marlhf.callbacks.checkpoint import Checkpoint, DirectCheckpointIO
from lightning_marlhf.callbacks.continue_logs import ContinueLogs
from lightning_marlhf.callbacks.evaluated_step import EvaluatedStep
from lightning_marlhf.callbacks.export import ExportHF
from lightning_marlhf.callbacks.guards import KLGuard, NaNGuard
from lightning_marlhf.callbacks.interrupt import (
    EXIT_STATUS,
    GracefulInterrupt,
    Interrupted,
    Signals,
)
from lightning_marlhf.callbacks.metrics_csv import MetricsCSV
from lightning_marlhf.callbacks.pass_at_k import PassAtKCallback
from lightning_marlhf.callbacks.progress import UpdateProgress
from lightning_marlhf.callbacks.ranks import NameRanks, RollCall
from lightning_marlhf.callbacks.reward_model_pr_curve import RewardModelPRCurve
from lightning_marlhf.callbacks.rollouts import RolloutWriter
from lightning_marlhf.callbacks.run_directory import RunDirectory
from lightning_marlhf.callbacks.saved_config import SaveConfig, changes, dump
from lightning_marlhf.callbacks.tensorboard import TensorBoard
from lightning_marlhf.callbacks.tensorboard_samples import TensorBoardSamples
from lightning_marlhf.callbacks.watchdog import Watchdog
from lightning_marlhf.callbacks.win_rate import WinRateCallback
from lightning_marlhf.commands import errors
from lightning_marlhf.commands.finished_run import updates_of_finished
from lightning_marlhf.commands.lasting_output import lasting_output
from lightning_marlhf.commands.slurm import tasks_without_srun
from lightning_marlhf.commands.smoke_run import shorten
from lightning_marlhf.commands.trainer_check import check_trainer
from lightning_marlhf.config.config_check import Group
from lightning_marlhf.config.config_parser import RunParser
from lightning_marlhf.models.checkpoints import find_checkpoint, resume_hint
from lightning_marlhf.ranges import Range
from lightning_marlhf.run_folder import CHECKPOINTS, DONE_FILE, LAST_CHECKPOINT
from lightning_marlhf.run_lock import alone_in

Seed = Annotated[int, Range(at_least=0, at_most=2**32 - 1)]  # numpy's
SEEDED = ("data.init_args.seed", "model.init_args.seed")  # follow seed_everything where they exist
# Sections of the YAML: callbacks that every run has, with settings of their own
CALLBACKS: dict[str, type[Callback]] = {
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
OPTIONAL_CALLBACKS: dict[str, type[Callback]] = {
    "win_rate": WinRateCallback,
}
TRAINER_DEFAULTS = {
    "accelerator": "auto",
    "devices": 1,
    "enable_model_summary": False,  # the start banner says more
    "use_distributed_sampler": False,  # ours resumes; the injected one shuffles even where told not to
    "num_sanity_val_steps": 0,  # a rollout is no small check, and the first step runs at the largest shapes
}


class RunCLI(LightningCLI):
    """Parses the command line of a run, builds it, and runs it.

    Args:
        command: "fit", "validate", "test" or "predict".
        arguments: the command line after the command.
        build: False only parses.
        signals: of the process, where somebody listens.

    Raises:
        ConfigError: the command line or a YAML is wrong; nothing was built.
    """

    trainer: Trainer | None = None

    def __init__(
        self,
        command: str,
        arguments: Sequence[str],
        *,
        build: bool = True,
        signals: Signals | None = None,
    ) -> None:
        self.command = command
        self.build = build
        self.signals = signals
        super().__init__(
            LightningModule,
            LightningDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            seed_everything_default=1,
            trainer_defaults=TRAINER_DEFAULTS,
            parser_class=RunParser,
            parser_kwargs={
                "prog": f"python -m lightning_marlhf {command}",
                "description": "",
                "dump_header": [],
            },
            save_config_callback=None,
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,  # `export` rebuilds a model from config.yaml
            args=list(arguments),
            run=False,
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add what a run has beside its trainer, model and data."""
        parser.add_argument(
            "--ckpt_path", type=str | None, default=None, help="'last', or a .ckpt to go on from"
        )
        parser.add_argument(
            "--overwrite", action="store_true", help="replace a run that is in the directory"
        )
        parser.add_argument(
            "--test_after_fit", type=bool, default=False, help="test the model that fit leaves"
        )
        parser.add_argument(
            "--debug", action="store_true", help="show tracebacks of user errors too"
        )
        for key, callback in CALLBACKS.items():
            parser.add_lightning_class_args(callback, key)
        for key, callback in OPTIONAL_CALLBACKS.items():
            parser.add_argument(f"--{key}", type=callback | None, default=None)
            parser.callback_keys.append(key)
        for path in SEEDED:
            parser.link_arguments("seed_everything", path)

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Refuse wrong keys before anything heavy is imported, then parse."""
        assert isinstance(parser, RunParser)
        parser.schema = {
            "seed_everything": bool | Seed,
            "trainer": Group(Trainer),
            "model": LightningModule,
            "data": LightningDataModule,
            "ckpt_path": str | None,
            "overwrite": bool,
            "test_after_fit": bool,
            "debug": bool,
            **{
                key: Group(callback)
                for key, callback in {**CALLBACKS, **OPTIONAL_CALLBACKS}.items()
            },
        }
        if {"-h", "--help"} & set(args):
            parser.parse_args(["--help"])
        self.config = parser.read(args, linked=SEEDED)
        check_trainer(self.config.trainer.as_dict(), here=self.build)
        if "--print_config" in args:
            sys.stdout.write(dump(parser, self.config))
            sys.exit(0)

    @property
    def run_dir(self) -> Path:
        """The folder that everything of this run is written to."""
        return Path(self.config.trainer.default_root_dir)

    def before_instantiate_classes(self) -> None:
        """Find the checkpoint, so that a wrong name fails before the model is built, and a finished run ends here."""
        if self.build and self.command == "fit":
            if self.config.trainer.fast_dev_run:
                shorten(self.config)
            elif self.config.ckpt_path == "last":
                self._look_for_the_last()
        finished = self.command != "fit" and (self.run_dir / LAST_CHECKPOINT).exists()
        if self.build and self.config.ckpt_path is None and finished:
            self.config.ckpt_path = (
                "last"  # not the untrained model, over the trained one's results
            )
        if self.build and self.config.ckpt_path is not None:
            self.config.ckpt_path = str(find_checkpoint(self.run_dir, self.config.ckpt_path))
            if self.command == "fit":
                self._say_what_changed()

    def _look_for_the_last(self) -> None:
        """Start anew where no checkpoint was saved yet, and do nothing where nothing is left to do.

        So a job that is requeued may always be given `--ckpt_path last`.
        """
        done = updates_of_finished(
            self.run_dir,
            max_steps=self.config.trainer.max_steps,
            changed=bool(changes(self.run_dir, dump(self.parser, self.config))),
        )
        if done is not None:
            self.build = False
            say(f"{self.run_dir} is finished, after {done} updates: nothing is left to do")
        elif not (self.run_dir / DONE_FILE).exists() and not any(
            (self.run_dir / CHECKPOINTS).glob("*.ckpt")
        ):
            self.config.ckpt_path = None
            say(f"{self.run_dir} has no checkpoint yet: the run starts anew")

    def _say_what_changed(self) -> None:
        """Name the settings that differ from those with which the run went so far, and refuse what cannot work."""
        changed = changes(self.run_dir, dump(self.parser, self.config))
        for line in changed:
            if line.startswith("data.init_args.num_workers:"):
                raise ValueError(
                    f"{line}: a run goes on with as many workers as it had, by which its place in the data is kept"
                )
        if changed:
            lines = "".join(f"\n  {line}" for line in changed)
            say(f"resuming with settings that were others before:{lines}")

    def instantiate_classes(self) -> None:
        """Build model, data and trainer, unless only the command line was to be checked."""
        if not self.build:
            return
        try:
            self.config_init = self.parser.instantiate(
                self.config
            )  # Lightning 2.6's own call is deprecated
        except ValueError as error:
            raise constructor_error(error) from None
        self.model, self.datamodule = self.config_init.model, self.config_init.data
        self.trainer = self.instantiate_trainer()

    def _instantiate_trainer(self, config: dict[str, Any], callbacks: list[Callback]) -> Trainer:
        """Put our callbacks around those of the YAML, and our loggers where it names none."""
        tests = self.command == "fit" and self.config.test_after_fit
        self.roll_call = RollCall()
        first = [
            NameRanks(),
            self.roll_call,
            RunDirectory(
                overwrite=self.config.overwrite,
                resuming=self.command == "fit" and self.config.ckpt_path is not None,
                test_follows=tests,
            ),
            SaveConfig(self.command, self.parser, self.config),
            ContinueLogs(),
            EvaluatedStep(),
            StartBanner(),
        ]
        configured = [callback for callback in callbacks if callback is not None]
        config["callbacks"] = [
            *first,
            *as_list(config.get("callbacks")),
            *configured,
            RewardModelPRCurve(),
            GracefulInterrupt(self.signals),
            ExportHF(),
        ]
        if config.get("logger") in (None, True):
            config["logger"] = [MetricsCSV(self.run_dir), TensorBoard(self.run_dir)]
        tasks = tasks_without_srun()
        if tasks is not None:
            config["plugins"] = [LightningEnvironment(), *as_list(config.get("plugins"))]
        if tasks is not None and tasks > 1:
            say(
                f"SLURM has room for {tasks} tasks, but srun has not started this process: it runs by itself, on "
                "trainer.devices; `srun python -m lightning_marlhf fit ...` starts all tasks"
            )
        try:
            trainer = Trainer(**config)
        except RuntimeError as error:  # variables of SLURM that contradict each other
            if "SLURM" not in str(error):
                raise
            raise ValueError(str(error)) from error
        if not isinstance(trainer.strategy, ModelParallelStrategy):  # which writes folders
            trainer.strategy.checkpoint_io = DirectCheckpointIO()
        for callback in configured:
            if isinstance(callback, Watchdog):
                callback.bound_collectives(trainer)
        return trainer

    def run(self) -> int:
        """Run the command, and the test after a fit that asks for it; return the exit status.

        Raises:
            InUseError: another process writes to the run directory.
        """
        if not self.build or self.trainer is None:
            return 0
        writes = rank_zero_only.rank == 0 and not self.trainer.fast_dev_run
        with alone_in(self.run_dir) if writes else nullcontext():
            return self._run()

    def _run(self) -> int:
        assert self.trainer is not None
        try:
            self.trainer.ckpt_path = (
                self.config.ckpt_path
            )  # not as an argument: callbacks see this one in `setup`
            only_records = {"return_predictions": False} if self.command == "predict" else {}
            getattr(self.trainer, self.command)(
                self.model, datamodule=self.datamodule, **only_records
            )
            if self.command == "fit" and self.config.test_after_fit:
                self.trainer.ckpt_path = None
                self.trainer.test(self.model, datamodule=self.datamodule, verbose=False)
            if self.command in ("validate", "test") and self.trainer.is_global_zero:
                show_metrics(self.trainer)
        except SystemExit as end:  # Lightning's answer to Ctrl-C is status 1
            if isinstance(end, Interrupted) or not self.trainer.interrupted:
                raise
            return EXIT_STATUS
        except RuntimeError as error:
            lost = self.roll_call.explain(error)
            if lost is None:
                raise
            raise lost from error
        return 0


def say(text: str) -> None:
    """Tell people something about a run, once for all its processes."""
    if rank_zero_only.rank == 0:
        sys.stderr.write(f"{text}\n")


def as_list(value: Any) -> list[Any]:
    """Give what the Trainer takes as one object, several, or none."""
    return list(value) if isinstance(value, list | tuple) else [value] if value else []


def constructor_error(error: BaseException) -> BaseException:
    """Return what a constructor raised, which jsonargparse hides in one error per member of a union."""
    while str(error).startswith("Does not validate against any of the Union") and error.__cause__:
        error = error.__cause__
    return error


def show_metrics(trainer: Trainer) -> None:
    """Print what an evaluation found, one metric a line."""
    metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
    width = max(map(len, metrics), default=0)
    for name, value in sorted(metrics.items()):
        sys.stdout.write(f"{name:<{width}}  {value:.4g}\n")


def main(arguments: Sequence[str]) -> int:
    """Run `fit`, `validate`, `test` or `predict`; ``arguments`` begin with the command."""
    quieten_lightning()
    if "--debug" in arguments:
        os.environ[errors.DEBUG_VARIABLE] = "1"
    cli: list[RunCLI] = []

    def run() -> int:
        cli.append(RunCLI(arguments[0], arguments[1:], signals=signals))
        return cli[0].run()

    def and_then() -> str:
        began = cli and arguments[0] == "fit" and cli[0].trainer and cli[0].trainer.global_step
        return resume_hint(cli[0].run_dir) if began else ""

    with Signals() as signals, quiet_threads(), lasting_output():
        try:
            return errors.call(run, and_then=and_then)
        except Interrupted as end:
            if not end.told:
                say("; ".join(filter(None, ["interrupted", and_then()])))
            raise


@contextmanager
def quiet_threads() -> Iterator[None]:
    """Leave it to the main thread to tell of files that cannot be written: the event writer's thread hands it on."""
    loud = threading.excepthook

    def tell(args: threading.ExceptHookArgs) -> None:
        if not issubclass(args.exc_type, OSError):
            loud(args)

    threading.excepthook = tell
    try:
        yield
    finally:
        threading.excepthook = loud


def check(arguments: Sequence[str]) -> None:
    """Parse a command line without building anything.

    Raises:
        ConfigError: it is wrong.
    """
    RunCLI(arguments[0], arguments[1:], build=False)


def quieten_lightning() -> None:
    """Silence Lightning's tips and hints; warnings about a run stay."""
    for name in ("lightning.pytorch", "lightning.fabric", "lightning"):
        logging.getLogger(name).setLevel(logging.WARNING)
    hints = (
        "'set_vital' is deprecated",  # torchdata 0.11 on torch 2.13
        "does not have many workers",
        "is smaller than the logging interval",  # we log every update
        "`isinstance\\(treespec, LeafSpec\\)`",  # Lightning 2.6 on torch 2.13
        "returned a view tensor",  # fully_shard warns of writing in place to log-probabilities, which nobody does
        "torch.distributed.nn.functional.all_gather is deprecated",  # Lightning 2.6 on torch 2.13
        "DTensor random operators may not",  # on CPUs; ours draw on none
    )
    for hint in hints:
        warnings.filterwarnings("ignore", message=f".*{hint}.*")
