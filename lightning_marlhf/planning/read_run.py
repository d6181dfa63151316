"""Reads a `PlannedRun` from the configuration of a run alone: no data, no weights and no GPU are needed."""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from torch import nn
from transformers import PreTrainedModel

from lightning_marlhf.config.yaml_files import look_up, read_yaml
from lightning_marlhf.data.base import RLHFDataModule
from lightning_marlhf.data.mixture import Mixture
from lightning_marlhf.data.text_data import TextData
from lightning_marlhf.hub import vocabulary
from lightning_marlhf.models.configs import ModelConfig, ModelSource, torch_dtype
from lightning_marlhf.models.lora import adapt
from lightning_marlhf.models.policy import Policy
from lightning_marlhf.modules import MAPPO, SFT, RewardModel
from lightning_marlhf.modules.base import TrainingModule
from lightning_marlhf.modules.manual_optimization import count_updates
from lightning_marlhf.planning.meta_models import build_on_meta
from lightning_marlhf.planning.planned_run import Network, Pass, PlannedRun, Precision, Shape
from lightning_marlhf.rollout.scoring import RewardModelScorer

_SHARDED = "ShardedStrategy"
_HALF = 2  # bytes of a number
CHUNK: int = inspect.signature(Policy).parameters["chunk"].default


@dataclass(frozen=True)
class RunParts:
    """The parts of a run, which have loaded nothing yet."""

    module: TrainingModule
    data: RLHFDataModule
    trainer: Mapping[str, Any]  # settings


Build = Callable[[Sequence[str]], RunParts]
"""Builds the parts of a run from the command line after `fit`; raises `ConfigError` where it is wrong."""


def read_run(arguments: Sequence[str], *, config_files: Sequence[Path], build: Build) -> PlannedRun:
    """Read what a command line of `fit` would run.

    Args:
        arguments: The command line after `fit`.
        config_files: Its config files; the runs whose exports this one starts from are looked for next to them.
        build: Parses a command line and builds module and data.

    Raises:
        ConfigError: The command line is wrong.
        ValueError: The run cannot be planned.
    """
    parts = build(arguments)
    module, data, trainer = cast(Any, parts.module), parts.data, parts.trainer
    sharded = str(look_up(trainer, "strategy.class_path")).endswith(_SHARDED)
    processes = _count(trainer["devices"]) * trainer["num_nodes"]
    if data.batch_size % processes:
        raise ValueError(f"a batch of {data.batch_size} rows cannot be shared by {processes} processes evenly")
    response = module.sampling.max_new_tokens if isinstance(module, MAPPO) else 0
    ppo = module.ppo if isinstance(module, MAPPO) else None
    train_rows = data.planned_train_rows()
    return PlannedRun(
        folder=trainer["default_root_dir"],
        accelerator=str(trainer["accelerator"]),
        stage=data.stage,
        precision=f"{trainer['precision'] or '32-true'}, weights in {module.load_dtype}",
        networks=dict(_networks(parts, sharded, config_files, build)),
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
        gathers_full_policy=look_up(trainer, "strategy.init_args.gathering") != "block",
        offloads=sharded and bool(look_up(trainer, "strategy.init_args.offload_frozen")),
    )


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
    """Return the largest pass of an update; the two responses of a pair are two rows."""
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


def _networks(parts: RunParts, sharded: bool, files: Sequence[Path], build: Build) -> Iterator[tuple[str, Network]]:
    """Yield the networks of a run by name; the sources of their weights are looked up, not loaded."""
    module = cast(Any, parts.module)

    def network(source: ModelSource, *, scalar: bool, learns: bool = True, scorer: Any = None) -> Network:
        model = _model(source, parts.data, files, build, scalar=scalar)
        shape, learning = shape_of(model, scalar=scalar), None
        if learns and module.lora is not None:
            adapt(model, module.lora)
            learning = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
        return Network(
            shape=shape,
            learning=learning,
            precision=precision_of(scorer.dtype if scorer else module.load_dtype, parts.trainer["precision"], sharded),
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
                yield (f"scorer {scorer.name}", network(scorer.model, scalar=True, learns=False, scorer=scorer))


def _model(
    source: ModelSource, data: RLHFDataModule, files: Sequence[Path], build: Build, *, scalar: bool
) -> PreTrainedModel:
    """Build a model on meta; the export of a run that has not been made yet is what that run starts from."""
    exporter = _exporter(source, files) if isinstance(source, str) else None
    if exporter is not None:
        parts = build(["--config", str(exporter)])
        module = cast(Any, parts.module)
        start = module.starts_from
        return _model(start, parts.data, [exporter], build, scalar=scalar)
    rows = vocabulary.rows_needed(data.tokenizer) if isinstance(source, ModelConfig) else None
    return build_on_meta(source, classifier=scalar, vocab_size=rows)


def _exporter(source: str, files: Sequence[Path]) -> Path | None:
    """Find the file, next to those given, of the run that will write the folder ``source``; None if it is there."""
    folder = Path(source)
    if folder.is_dir():
        return None
    neighbours = (path for file in files for path in sorted(file.parent.glob("*.yaml")))
    wanted = str(folder.parent)
    return next((p for p in neighbours if look_up(read_yaml(p), "trainer.default_root_dir") == wanted), None)


def precision_of(dtype: str, trainer_precision: Any, sharded: bool) -> Precision:
    """Return the bytes per number from the weights' dtype and `trainer.precision`; sharded layers compute in bf16."""
    weight = torch_dtype(dtype).itemsize
    words = str(trainer_precision)
    if sharded:
        return Precision(weight, _HALF, autocast=False)
    if words.endswith("mixed") or words in ("16", "bf16"):
        return Precision(weight, _HALF, autocast=True)
    if words.endswith("16-true"):
        return Precision(_HALF, _HALF, autocast=False)
    return Precision(weight, weight, autocast=False)


def shape_of(model: PreTrainedModel, *, scalar: bool) -> Shape:
    """Measure a model, which may be on the meta device.

    Args:
        model: A causal language model or a classifier.
        scalar: It has a scalar head.

    Raises:
        ValueError: the formulas do not cover its family.
    """
    config = model.config
    if not hasattr(config, "intermediate_size") or not hasattr(config, "num_key_value_heads"):
        raise ValueError(
            f"{config.model_type} models cannot be planned: expected a family such as Gemma, Gemma-2 or Llama"
        )
    body = getattr(model, model.base_model_prefix)
    norms = sum(type(part).__name__.endswith("RMSNorm") for part in body.layers[0].modules())
    return Shape(
        parameters=sum(weight.numel() for weight in model.parameters()),
        matrices=sum(part.weight.numel() for part in body.modules() if isinstance(part, nn.Linear)),
        vocabulary=0 if scalar else config.vocab_size,
        layers=config.num_hidden_layers,
        hidden=config.hidden_size,
        intermediate=config.intermediate_size,
        heads=config.num_attention_heads,
        key_value_heads=config.num_key_value_heads,
        head_dim=getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads,
        norms=norms,
        soft_capped=getattr(config, "attn_logit_softcapping", None) is not None,
        final_soft_capped=getattr(config, "final_logit_softcapping", None) is not None,
    )
