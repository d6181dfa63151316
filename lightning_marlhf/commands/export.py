"""`export RUN_DIR`: turns a checkpoint of a run into a Hugging Face directory, and publishes it on the Hub."""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from lightning_marlhf.commands import errors
from lightning_marlhf.config.raw_config import read_yaml
from lightning_marlhf.display.text import printable
from lightning_marlhf.inference.model_folder import EXPORT, find_export
from lightning_marlhf.models.checkpoints import find_checkpoint
from lightning_marlhf.run_folder import CONFIG_FILE
from lightning_marlhf.run_lock import InUseError, alone_in


def main(arguments: Sequence[str]) -> int:
    """Export a checkpoint; see `export --help`."""
    options = _parser().parse_args(arguments[1:])
    return errors.call(lambda: _run(options))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m lightning_marlhf export",
        description="Turn a checkpoint of a run into a Hugging Face directory, as a finished run leaves in export/; "
        "or publish that on the Hub.",
    )
    parser.add_argument(
        "run_dir",
        type=Path,
        help="the run directory, with config.yaml and checkpoints/; with --push-to-hub and without --out, one with "
        "export/, or a Hugging Face folder",
    )
    parser.add_argument("--ckpt", help="last (default), best, or a path")
    parser.add_argument(
        "--out",
        type=Path,
        help="the new directory (default: export/ in the run directory; --push-to-hub publishes what is in it)",
    )
    parser.add_argument(
        "--push-to-hub",
        metavar="OWNER/NAME",
        help="publish with the model card; needs `hf auth login`",
    )
    parser.add_argument("--private", action="store_true", help="make a new repository private")
    parser.add_argument(
        "--overwrite", action="store_true", help="replace the directory if it exists"
    )
    return parser


def _run(options: argparse.Namespace) -> int:
    repository = options.push_to_hub
    if options.out is None and repository is None:
        options.out = options.run_dir / EXPORT
    if options.out is None and options.ckpt is not None:
        raise ValueError("expected --out DIR beside --ckpt, or --push-to-hub OWNER/NAME alone")
    folder = _finished(options.run_dir) if options.out is None else _vacant(options)
    checkpoint = options.out and find_checkpoint(options.run_dir, options.ckpt or "last")
    from lightning_marlhf.hub import publish

    if repository is not None:  # before the work, as this is where most goes wrong
        publish.create_repository(repository, private=options.private)
    if checkpoint is not None:
        with _reading(options.run_dir, writes=folder):
            step = export_checkpoint(options.run_dir, checkpoint, folder)
        sys.stdout.write(printable(f"{folder}: the model of {checkpoint} after {step} updates\n"))
    if repository is not None:
        sys.stdout.write(f"{publish.upload(folder, repository)}: published {folder}\n")
    return 0


def _finished(run_dir: Path) -> Path:
    """Find the export that a finished run left."""
    folder = find_export(run_dir)
    if folder is None:
        raise ValueError(
            f"{run_dir} has no export/: --out DIR makes a Hugging Face directory from a checkpoint"
        )
    return folder


def _vacant(options: argparse.Namespace) -> Path:
    """Return the directory that is to be written, if it may be."""
    out: Path = options.out
    if out.exists() and not options.overwrite:
        raise ValueError(f"{out} exists; --overwrite replaces it")
    return out


@contextmanager
def _reading(run_dir: Path, *, writes: Path) -> Iterator[None]:
    """Keep others from removing the checkpoints of a run meanwhile; a run that trains may be read.

    Raises:
        InUseError: the export would go into the folder of a run that another process writes.
    """
    inside = writes.resolve().is_relative_to(run_dir.resolve())
    with ExitStack() as stack:
        try:
            stack.enter_context(alone_in(run_dir))
        except (InUseError, OSError):
            if inside:
                raise
        yield


def export_checkpoint(run_dir: Path, checkpoint: Path, folder: Path) -> int:
    """Rebuild a run's module, load its weights and export it.

    Args:
        run_dir: holds the `config.yaml` that the module is rebuilt from.
        checkpoint: a file, or a sharded checkpoint's folder, whose weights are streamed: the model is never held whole
            (but for a reward model whose scores are centred, as that takes passes).
        folder: where the Hugging Face directory is written.

    Returns:
        The updates that the checkpoint had seen.

    Raises:
        ValueError: no config.yaml, a broken checkpoint, or weights that are not this module's.
    """
    config = run_dir / CONFIG_FILE
    if not config.is_file():
        raise ValueError(f"{run_dir} has no config.yaml, so its model cannot be rebuilt")
    read_yaml(config)
    import torch

    from lightning_marlhf.models.network_factory import NetworkFactory

    sharded = checkpoint.is_dir()
    step, weights = (_open_sharded if sharded else _open_file)(checkpoint)
    module = _build(run_dir, config)
    card = {"run": {"updates": step}, "configuration": config.read_text(encoding="utf-8")}
    if sharded and module.streams_export:
        module.build_networks(NetworkFactory(torch.device("meta")))
        module.export(folder, card=card, weights=weights)
    else:
        module.build_networks(NetworkFactory(torch.device("cpu")))
        if sharded:
            weights = weights.read([name for name in module.state_dict() if name in weights])
        _load_weights(module, weights, checkpoint)
        module.export(folder, card=card)
    return step


def _open_file(checkpoint: Path) -> tuple[int, Any]:
    """Read updates and weights of a checkpoint of one file."""
    from lightning_marlhf.models.checkpoint_data import broken, read_checkpoint

    state = read_checkpoint(checkpoint)
    if not isinstance(state.get("state_dict"), dict):
        raise broken(checkpoint, "holds no weights")
    return state["global_step"], state["state_dict"]


def _open_sharded(checkpoint: Path) -> tuple[int, Any]:
    """Read the updates of a sharded checkpoint, and open its weights."""
    from lightning_marlhf.models.sharded_checkpoint import ShardedWeights, read_rest

    weights = ShardedWeights(checkpoint)
    return read_rest(checkpoint)["global_step"], weights


def _build(run_dir: Path, config: Path) -> Any:
    """Make the module of a run, on the CPU; networks it has none yet."""
    from lightning_marlhf.commands.run import RunCLI, quieten_lightning

    quieten_lightning()
    here = ["accelerator=cpu", "devices=1", "num_nodes=1", "strategy=auto", "precision=32-true"]
    where = [f"default_root_dir={run_dir}", "logger=false", *here]
    cli = RunCLI("test", ["--config", str(config), *(f"--trainer.{word}" for word in where)])
    cli.model.data = cli.datamodule
    return cli.model


def _load_weights(module: Any, weights: Mapping[str, Any], checkpoint: Path) -> None:
    frozen = module.frozen_weights() if hasattr(module, "frozen_weights") else set()
    try:
        missing, unknown = module.load_state_dict(weights, strict=False)
    except RuntimeError as error:  # shapes differ
        raise ValueError(
            f"{checkpoint} is not of this config: {' '.join(str(error).split())}"
        ) from None
    lost = [name for name in missing if name not in frozen]
    if lost or unknown:
        names = ", ".join([*lost, *unknown][:3])
        raise ValueError(
            f"{checkpoint} is not of this config: weights without a counterpart, such as {names}"
        )
