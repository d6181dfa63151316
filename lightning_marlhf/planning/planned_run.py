"""What a config would run, as numbers: read from its files alone, without data, weights or GPUs."""

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from lightning_marlhf.commands.run import RunCLI
from lightning_marlhf.config.raw_config import look_up, read_yaml
from lightning_marlhf.data.base import RLHFDataModule
from lightning_marlhf.data.mixture import Mixture
from lightning_marlhf.data.text import TextData
from lightning_marlhf.hub import vocabulary
from lightning_marlhf.models.architectures import build_on_meta
from lightning_marlhf.models.configs import ModelConfig, ModelSource
from lightning_marlhf.models.lora import adapt
from lightning_marlhf.models.policy import Policy
from lightning_marlhf.modules import MAPPO, SFT, RewardModel
from lightning_marlhf.modules.base import TrainingModule
from lightning_marlhf.modules.updates import count_updates
from lightning_marlhf.planning.memory import Pass, Precision, Shape
from lightning_marlhf.planning.planned_networks import precision_of, shape_of
from lightning_marlhf.rollout.scoring import RewardModelScorer

_SHARDED = "ShardedStrategy"
CHUNK: int = inspect.signature(Policy).parameters["chunk"].default


@dataclass(frozen=True)
class Network:
    """A network of a run."""

    shape: Shape
    precision: Precision
    learns: bool
    micro_batch_size: int
    learning: int | None = None  # weights that learn, if not all


@dataclass(frozen=True)
class PlannedRun:
    """A run in numbers; rows and tokens are one process's, unless it says otherwise."""

    folder: str
    accelerator: str
    stage: str  # "sft", "reward_model" or "ppo"
    precision: str  # in words
    networks: dict[str, Network]
    processes: int
    sharded: bool
    train_rows: int  # of all processes
    batch_size: int  # of all processes
    updates: int
    updates_per_batch: int
    ppo_epochs: int
    prompt: int  # tokens: the longest prompt (ppo), or the longest row
    response: int  # tokens; 0 without generation
    update: Pass
    reference_passes: int
    gathers_whole: bool = True  # the policy, to generate
    offloads: bool = False  # what does not learn

    @property
    def rows(self) -> int:
        """Rows of a batch."""
        return self.batch_size // self.processes

    @property
    def rows_trained(self) -> int:
        """Rows of a batch that training passes read, over all processes; a pair is two."""
        return 2 * self.batch_size if self.stage == "reward_model" else self.batch_size

    @property
    def batches(self) -> float:
        """Batches of the whole run."""
        return self.updates / self.updates_per_batch


def read_run(arguments: Sequence[str], *, config_files: Sequence[Path]) -> PlannedRun:
    """Read what a command line of `fit` would run.

    Args:
        arguments: the command line after `fit`.
        config_files: beside these are the files of the runs that export what this one starts from.

    Raises:
        ConfigError: the command line is wrong.
        ValueError: the run cannot be planned.
    """
    module, data, trainer = _objects(arguments)
    sharded = str(look_up(trainer, "strategy.class_path")).endswith(_SHARDED)
    processes = _count(trainer["devices"]) * trainer["num_nodes"]
    if data.batch_size % processes:
        raise ValueError(
            f"a batch of {data.batch_size} rows cannot be shared by {processes} processes evenly"
        )
    response = module.sampling.max_new_tokens if isinstance(module, MAPPO) else 0
    ppo = module.ppo if isinstance(module, MAPPO) else None
    train_rows = data.planned_train_rows()
    return PlannedRun(
        folder=trainer["default_root_dir"],
        accelerator=str(trainer["accelerator"]),
        stage=data.stage,
        precision=f"{trainer['precision'] or '32-true'}, weights in {module.load_dtype}",
        networks=dict(_networks(module, data, trainer["precision"], sharded, config_files)),
        processes=processes,
        sharded=sharded,
        train_rows=train_rows,
        batch_size=data.batch_size,
        updates=count_updates(
            max_steps=trainer["max_steps"],
            max_epochs=trainer["max_epochs"],
            batches=lambda: train_rows // data.batch_size,
            updates_per_batch=module.updates_per_batch,
        ),
        updates_per_batch=module.updates_per_batch,
        ppo_epochs=ppo.epochs if ppo else 1,
        prompt=_longest(data),
        response=response,
        update=_update_pass(module, data, processes, response),
        reference_passes=2 if ppo and module.termination.needs_logprobs else 1,
        gathers_whole=look_up(trainer, "strategy.init_args.gathering") != "block",
        offloads=sharded and bool(look_up(trainer, "strategy.init_args.offload_frozen")),
    )


def _objects(arguments: Sequence[str]) -> tuple[Any, RLHFDataModule, dict[str, Any]]:
    """Make module and data, which load nothing yet, and give the trainer's settings."""
    parsed = RunCLI("fit", arguments, build=False)
    settings = parsed.config.trainer.as_dict()
    parsed.config.trainer.strategy = "auto"  # a GPU strategy needs no GPU to be planned
    made = parsed.parser.instantiate(parsed.config)
    if not isinstance(made.model, TrainingModule) or not isinstance(made.data, RLHFDataModule):
        raise ValueError(
            "only runs of SFT, RewardModel and MAPPO on this package's data can be planned"
        )
    return made.model, made.data, settings


def _count(devices: Any) -> int:
    """Count the devices of a node; "auto" counts as one."""
    if isinstance(devices, list):
        return len(devices)
    return max(1, int(devices)) if str(devices).lstrip("-").isdigit() else 1


def _longest(data: RLHFDataModule) -> int:
    """Count the tokens that a row may have, from the settings where the rows are not at hand."""
    if isinstance(data, Mixture):
        return max(map(_longest, data.parts))
    if isinstance(data, TextData):
        encoding = data.encoding
        return encoding.max_prompt_length if data.stage == "ppo" else encoding.max_length
    return data.longest


def _update_pass(module: Any, data: RLHFDataModule, processes: int, response: int) -> Pass:
    """Give the largest pass of an update; the two answers of a pair are two rows."""
    minibatches = module.ppo.minibatches if isinstance(module, MAPPO) else 1
    rows = min(module.micro_batch_size, data.batch_size // processes // minibatches)
    width = _longest(data) + response
    return Pass(
        rows=2 * rows if isinstance(module, RewardModel) else rows,
        width=width,
        targets=response or width - 1,
        chunk=CHUNK,
        checkpoint=module.checkpoint_activations,
    )


def _networks(
    module: Any, data: RLHFDataModule, precision: Any, sharded: bool, files: Sequence[Path]
) -> Iterator[tuple[str, Network]]:
    def network(
        source: ModelSource, *, scalar: bool, learns: bool = True, scorer: Any = None
    ) -> Network:
        model = _build(source, data, files, scalar=scalar)
        shape, learning = shape_of(model, scalar=scalar), None
        if learns and module.lora is not None:
            adapt(model, module.lora)
            learning = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
        return Network(
            shape=shape,
            learning=learning,
            precision=precision_of(
                scorer.dtype if scorer else module.load_dtype, precision, sharded
            ),
            learns=learns,
            micro_batch_size=scorer.batch_size if scorer else module.micro_batch_size,
        )

    if isinstance(module, SFT):
        yield "policy", network(module.starts_from, scalar=False)
    elif isinstance(module, RewardModel):
        yield "reward_model", network(module.starts_from, scalar=True)
    else:
        yield "policy", network(module.starts_from, scalar=False)
        yield "critic", network(module.critic_source or module.starts_from, scalar=True)
        if module.lora is None or module.reference_source != module.starts_from:
            yield "reference", network(module.reference_source, scalar=False, learns=False)
        for scorer in (module.scorer, *module.auxiliary_scorers):
            if isinstance(scorer, RewardModelScorer):
                yield (
                    f"scorer {scorer.name}",
                    network(scorer.model, scalar=True, learns=False, scorer=scorer),
                )


def _build(
    source: ModelSource, data: RLHFDataModule, files: Sequence[Path], *, scalar: bool
) -> PreTrainedModel:
    """Build a model on meta; the export of a run that has not been made yet is what that run starts from."""
    exporter = _exporter(source, files) if isinstance(source, str) else None
    if exporter is not None:
        module, data, _ = _objects(["--config", str(exporter)])
        start = module.starts_from
        return _build(start, data, [exporter], scalar=scalar)
    rows = vocabulary.rows_needed(data.tokenizer) if isinstance(source, ModelConfig) else None
    return build_on_meta(source, classifier=scalar, vocab_size=rows)


def _exporter(source: str, files: Sequence[Path]) -> Path | None:
    """Find the file, beside those given, of the run that will write the folder ``source``; None if it is there."""
    folder = Path(source)
    if folder.is_dir():
        return None
    neighbours = (path for file in files for path in sorted(file.parent.glob("*.yaml")))
    wanted = str(folder.parent)
    return next(
        (p for p in neighbours if look_up(read_yaml(p), "trainer.default_root_dir") == wanted), None
    )
