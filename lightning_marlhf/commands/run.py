"""fit, validate, test, predict: LightningCLI with our callbacks and loggers, and with errors of one line."""

import os
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, ClassVar

from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import Logger
from lightning.pytorch.plugins.environments import LightningEnvironment
from lightning.pytorch.strategies import ModelParallelStrategy
from lightning.pytorch.utilities import rank_zero_only

from lightning_marlhf.callbacks.banner import StartBanner
from lightning_marlhf.callbacks.checkpoint import DirectCheckpointIO
from lightning_marlhf.callbacks.export import ExportHF
from lightning_marlhf.callbacks.interrupt import EXIT_STATUS, GracefulInterrupt, RunInterrupted, Signals
from lightning_marlhf.callbacks.order import OPTIONAL_SECTIONS, SECTIONS, in_order
from lightning_marlhf.callbacks.ranks import NameRanks, RollCall
from lightning_marlhf.callbacks.reward_model_pr_curve import RewardModelPRCurve
from lightning_marlhf.callbacks.run_directory import RunDirectory, SaveConfig, changes
from lightning_marlhf.callbacks.watchdog import Watchdog
from lightning_marlhf.commands import errors
from lightning_marlhf.commands.resume_checks import changed_settings, has_saved_nothing, updates_of_finished
from lightning_marlhf.commands.run_checks import apply_fast_dev_run, check_run, check_stage, tasks_without_srun
from lightning_marlhf.commands.run_parser import RunParser, import_named_classes
from lightning_marlhf.config import program_name
from lightning_marlhf.display.streams import mute_lightning, quiet_threads, survive_closed_output
from lightning_marlhf.loggers.metrics_csv import MetricsCSV
from lightning_marlhf.loggers.tensorboard import TensorBoard
from lightning_marlhf.models.find_checkpoint import find_checkpoint, resume_hint
from lightning_marlhf.ranges import Seed
from lightning_marlhf.run_folder import LAST_CHECKPOINT
from lightning_marlhf.run_lock import alone_in

SEEDED = ("data.init_args.seed", "model.init_args.seed")  # follow seed_everything if they exist
TRAINER_DEFAULTS = {
    "accelerator": "auto",
    "devices": 1,
    "enable_model_summary": False,  # the start banner shows more
    "use_distributed_sampler": False,  # our sampler is resumable; Lightning's shuffles even with shuffle=False
    "num_sanity_val_steps": 0,  # a rollout is expensive, and on_train_start dry-runs the largest shapes
}


class RunCLI(LightningCLI):
    """Parses the command line of a run, builds it, and runs it.

    Args:
        command: "fit", "validate", "test" or "predict".
        arguments: The command line after the command.
        build: False only parses.
        signals: Signal handlers of the process, if installed.

    Raises:
        ConfigError: The command line or a YAML is wrong; nothing was built.
    """

    trainer: Trainer | None = None
    _parsers: ClassVar[dict[str, LightningArgumentParser]] = {}

    def __init__(
        self, command: str, arguments: Sequence[str], *, build: bool = True, signals: Signals | None = None
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
                "prog": f"{program_name()} {command}",
                "description": "",
                "dump_header": [],
                "default_env": True,
            },
            save_config_callback=None,
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,  # `export` rebuilds a model from config.yaml
            args=list(arguments),
            run=False,
        )

    def setup_parser(self, *args: Any) -> None:
        """Build the parser once per process: a study checks dozens of command lines."""
        if self.command not in self._parsers:
            import_named_classes()
            super().setup_parser(*args)
            self.parser.try_integers_first()
            self._parsers[self.command] = self.parser
        self.parser = self._parsers[self.command]

    def add_default_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the seed, with its range."""
        parser.add_argument(
            "--seed_everything",
            type=bool | Seed,
            default=self.seed_everything_default,
            help="seed of every random choice; model and data follow it",
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the options other than trainer, model and data."""
        parser.add_argument(
            "--ckpt_path", type=str | None, default=None, help="'last', 'best', or a .ckpt to resume from"
        )
        parser.add_argument("--overwrite", action="store_true", help="replace a run that is in the directory")
        parser.add_argument("--test_after_fit", type=bool, default=False, help="test the model that fit leaves")
        parser.add_argument("--debug", action="store_true", help="show tracebacks of user errors too")
        for key, callback in SECTIONS.items():
            parser.add_lightning_class_args(callback, key)
        for key, callback in OPTIONAL_SECTIONS.items():
            parser.add_argument(f"--{key}", type=callback | None, default=None)
            parser.callback_keys.append(key)
        for path in SEEDED:
            parser.link_arguments("seed_everything", path)

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse, then check constraints across options."""
        self.config = parser.parse_args(args)
        check_run(self.config, args, linked=SEEDED, here=self.build)
        if self.command != "preview":  # which shows data of any stage
            check_stage(self.config)

    @property
    def run_dir(self) -> Path:
        """The folder that everything of this run is written to."""
        return Path(self.config.trainer.default_root_dir)

    @property
    def config_text(self) -> str:
        """The resolved config as YAML, as `config.yaml` holds it."""
        return self.parser.dump(self.config, skip_unset=False, skip_validation=True)

    def before_instantiate_classes(self) -> None:
        """Resolve the checkpoint before the model is built; do nothing for a finished run."""
        if not self.build:
            return
        if self.command == "fit" and self.config.trainer.fast_dev_run:
            apply_fast_dev_run(self.config)
        elif self.command == "fit" and self.config.ckpt_path == "last":
            self._resolve_last()
        elif self.command != "fit" and (self.run_dir / LAST_CHECKPOINT).exists():
            # else the untrained model would overwrite the results
            self.config.ckpt_path = self.config.ckpt_path or "last"
        if self.build and self.config.ckpt_path is not None:
            self.config.ckpt_path = str(find_checkpoint(self.run_dir, self.config.ckpt_path))
            if self.command == "fit":
                self._report_changes()

    def _resolve_last(self) -> None:
        """Start from scratch if no checkpoint was saved yet; do nothing if the run is finished.

        So a job that is requeued may always be given `--ckpt_path last`.
        """
        changed = bool(changes(self.run_dir, self.config_text))
        max_steps = self.config.trainer.max_steps
        done = updates_of_finished(self.run_dir, max_steps=max_steps, changed=changed)
        if done is not None:
            self.build = False
            print_once(f"{self.run_dir} is finished, after {done} updates: nothing to do")
        elif has_saved_nothing(self.run_dir):
            self.config.ckpt_path = None
            print_once(f"{self.run_dir} has no checkpoint yet: starting from scratch")

    def _report_changes(self) -> None:
        """Print the settings changed since the run was started; refuse a changed number of workers."""
        changed = changed_settings(self.run_dir, self.config_text)
        if changed:
            lines = "".join(f"\n  {line}" for line in changed)
            print_once(f"resuming with settings that have changed:{lines}")

    def instantiate_classes(self) -> None:
        """Build model, data and trainer, unless only the command line was to be checked."""
        if not self.build:
            return
        try:  # Lightning 2.6's own call is deprecated
            self.config_init = self.parser.instantiate(self.config)
        except ValueError as error:
            raise constructor_error(error) from None
        self.model, self.datamodule = self.config_init.model, self.config_init.data
        self.trainer = self.instantiate_trainer()

    def _instantiate_trainer(self, config: dict[str, Any], callbacks: list[Callback]) -> Trainer:
        """Add our callbacks to those of the YAML, and our loggers."""
        self.roll_call = RollCall()
        fit = self.command == "fit"
        configured = [callback for callback in callbacks if callback is not None]
        ours = [
            NameRanks(),
            self.roll_call,
            RunDirectory(
                overwrite=self.config.overwrite,
                resuming=fit and self.config.ckpt_path is not None,
                test_follows=fit and self.config.test_after_fit,
            ),
            SaveConfig(self.command, self.config_text),
            StartBanner(),
            RewardModelPRCurve(),
            GracefulInterrupt(self.signals),
            ExportHF(),
        ]
        config["callbacks"] = in_order([*ours, *as_list(config["callbacks"]), *configured])
        config["logger"] = all_loggers(config["logger"], self.run_dir)
        tasks = tasks_without_srun()
        if tasks is not None:
            config["plugins"] = [LightningEnvironment(), *as_list(config["plugins"])]
        if tasks is not None and tasks > 1:
            print_once(
                f"SLURM allocated {tasks} tasks, but this process was not started by srun: running as one task, on "
                f"trainer.devices; `srun {program_name()} fit ...` starts all tasks"
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
                callback.set_collective_timeout(trainer)
        return trainer

    def run(self) -> int:
        """Run the command, and the test after a fit that asks for it; return the exit status.

        Raises:
            InUseError: Another process writes to the run directory.
        """
        if not self.build or self.trainer is None:
            return 0
        writes = rank_zero_only.rank == 0 and not self.trainer.fast_dev_run
        with alone_in(self.run_dir) if writes else nullcontext():
            return self._run(self.trainer)

    def _run(self, trainer: Trainer) -> int:
        try:
            trainer.ckpt_path = self.config.ckpt_path  # not an argument: callbacks see it in `setup`
            only_records = {"return_predictions": False} if self.command == "predict" else {}
            getattr(trainer, self.command)(self.model, datamodule=self.datamodule, **only_records)
            if self.command == "fit" and self.config.test_after_fit:
                trainer.ckpt_path = None
                trainer.test(self.model, datamodule=self.datamodule, verbose=False)
            if self.command in ("validate", "test") and trainer.is_global_zero:
                show_metrics(trainer)
        except SystemExit as end:  # Lightning ends a process with status 1 after Ctrl-C
            if isinstance(end, RunInterrupted) or not trainer.interrupted:
                raise
            return EXIT_STATUS
        except RuntimeError as error:
            lost = self.roll_call.explain(error)
            if lost is None:
                raise
            raise lost from error
        return 0


def all_loggers(setting: Any, run_dir: Path) -> list[Logger]:
    """Return `metrics.csv`, TensorBoard, and the loggers of `trainer.logger`; none at all if it is false."""
    if setting is False:
        return []
    others = [] if setting is True else as_list(setting)
    return [MetricsCSV(run_dir), TensorBoard(run_dir), *others]


def as_list(value: Any) -> list[Any]:
    """Normalise a Trainer argument to a list."""
    return list(value) if isinstance(value, list | tuple) else [value] if value else []


def print_once(text: str) -> None:
    """Print to stderr on rank 0."""
    if rank_zero_only.rank == 0:
        sys.stderr.write(f"{text}\n")


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


def check(arguments: Sequence[str]) -> None:
    """Parse a command line without building anything.

    Raises:
        ConfigError: It is wrong.
    """
    RunCLI(arguments[0], arguments[1:], build=False)


def main(arguments: Sequence[str]) -> int:
    """Run `fit`, `validate`, `test` or `predict`; ``arguments`` begin with the command."""
    mute_lightning()
    if "--debug" in arguments:
        os.environ[errors.DEBUG_VARIABLE] = "1"
    cli: list[RunCLI] = []

    def run() -> int:
        cli.append(RunCLI(arguments[0], arguments[1:], signals=signals))
        return cli[0].run()

    def resume_suffix() -> str:
        began = cli and arguments[0] == "fit" and cli[0].trainer and cli[0].trainer.global_step
        return resume_hint(cli[0].run_dir) if began else ""

    with Signals() as signals, quiet_threads(), survive_closed_output():
        try:
            return errors.call(run, resume_hint=resume_suffix)
        except RunInterrupted as end:
            if not end.reported:
                print_once("; ".join(filter(None, ["interrupted", resume_suffix()])))
            raise
