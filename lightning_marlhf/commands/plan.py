"""`plan`: updates, memory per GPU, FLOPs and hours of a run, before anything is downloaded."""

import json
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from lightning_marlhf.commands import errors
from lightning_marlhf.config.options import read_options, split_options
from lightning_marlhf.planning.flops import Machine
from lightning_marlhf.ranges import Positive, Range

if TYPE_CHECKING:
    from lightning_marlhf.planning.read_run import RunParts

_A100 = Machine()
_CAPACITY = re.compile(r"(\d+)gb")  # in the name of an overlay


@dataclass(frozen=True, kw_only=True)
class PlanOptions:
    """Estimate updates, memory per GPU, FLOPs and hours of a run. Accepts all options of `fit`.

    Args:
        config: YAML files of the run, as for `fit`.
        gpu_memory: Memory of one GPU in GB; by default that of an overlay named like `8x80gb.yaml`.
        mean_length: Mean row length as a fraction of the longest row, for FLOPs and hours.
        machine: Assumptions about each GPU.
        json: Print one JSON object, with sizes in bytes.
    """

    config: list[Path] = field(default_factory=list)
    gpu_memory: Positive | None = None
    mean_length: Annotated[float, Range(above=0, at_most=1)] = 1.0
    machine: Machine = _A100
    json: bool = False


def main(arguments: Sequence[str]) -> int:
    """Plan a run; see `plan --help`."""

    def run() -> int:
        ours, settings = split_options(PlanOptions, arguments[1:])
        return _run(read_options(PlanOptions, ours, command="plan"), settings)

    return errors.call(run)


def _run(options: PlanOptions, settings: Sequence[str]) -> int:
    from rich.console import Console

    from lightning_marlhf.planning import summary
    from lightning_marlhf.planning.read_run import read_run

    words = [word for path in options.config for word in ("--config", str(path))]
    run = read_run([*words, *settings], config_files=options.config, build=build_parts)
    sizes = [match for path in options.config if (match := _CAPACITY.search(path.stem))]
    capacity = options.gpu_memory or (float(sizes[0][1]) if sizes else None)
    facts = summary.facts(run, options.machine, capacity=capacity, mean_length=options.mean_length)
    if options.json:
        sys.stdout.write(json.dumps(facts, indent=2) + "\n")
    else:
        summary.show(facts, Console(highlight=False))
    return 0


def build_parts(arguments: Sequence[str]) -> "RunParts":
    """Build module and data of a run, which load nothing yet.

    Args:
        arguments: The command line after `fit`.

    Raises:
        ConfigError: The command line is wrong.
        ValueError: Module or data are not of this package.
    """
    from lightning_marlhf.commands import run as cli
    from lightning_marlhf.data.base import RLHFDataModule
    from lightning_marlhf.modules.base import TrainingModule
    from lightning_marlhf.planning.read_run import RunParts

    cli.mute_lightning()
    parsed = cli.RunCLI("fit", arguments, build=False)
    trainer = parsed.config.trainer.as_dict()
    parsed.config.trainer.strategy = "auto"  # a GPU strategy needs no GPU to be planned
    made = parsed.parser.instantiate(parsed.config)
    if not isinstance(made.model, TrainingModule) or not isinstance(made.data, RLHFDataModule):
        raise ValueError("only runs of SFT, RewardModel and MAPPO on this package's data can be planned")
    return RunParts(made.model, made.data, trainer)
