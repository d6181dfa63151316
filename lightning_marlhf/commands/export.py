"""`export RUN_DIR`: turns a checkpoint of a run into a Hugging Face directory, and publishes it on the Hub."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning_marlhf.commands import errors
from lightning_marlhf.config.options import positional, read_options
from lightning_marlhf.config.yaml_files import read_yaml
from lightning_marlhf.display.text import printable
from lightning_marlhf.models.find_checkpoint import find_checkpoint
from lightning_marlhf.run_folder import CONFIG_FILE, EXPORT
from lightning_marlhf.run_lock import InUseError, alone_in


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """Turn a checkpoint of a run into a Hugging Face directory, and publish it on the Hub.

    Args:
        run_dir: Run directory, with config.yaml and checkpoints/; with --push-to-hub and without --out, one with
            export/, or a Hugging Face folder.
        ckpt: last (default), best, or a path.
        out: New directory. Default: export/ in the run directory; with --push-to-hub, its content is published.
        push_to_hub: Hub repository, OWNER/NAME, to publish to, model card included; needs `hf auth login`.
        private: Make a new repository private.
        overwrite: Replace --out.
    """

    run_dir: Path = positional()
    ckpt: str | None = None
    out: Path | None = None
    push_to_hub: str | None = None
    private: bool = False
    overwrite: bool = False


def main(arguments: Sequence[str]) -> int:
    """Export a checkpoint; see `export --help`."""
    return errors.call(lambda: _run(read_options(ExportOptions, arguments[1:], command="export")))


def _run(options: ExportOptions) -> int:
    from lightning_marlhf.hub import publish
    from lightning_marlhf.inference.loading import find_export

    run_dir, repository = options.run_dir, options.push_to_hub
    if repository is not None and options.out is None:
        if options.ckpt is not None:
            raise ValueError("expected --out DIR with --ckpt, or --push-to-hub OWNER/NAME alone")
        folder, checkpoint = find_export(run_dir), None
        if folder is None:
            raise ValueError(f"{run_dir} has no export/: --out DIR makes a Hugging Face directory from a checkpoint")
    else:
        folder = options.out or run_dir / EXPORT
        if folder.exists() and not options.overwrite:
            raise ValueError(f"{folder} exists; --overwrite replaces it")
        checkpoint = find_checkpoint(run_dir, options.ckpt or "last")
    if repository is not None:  # first, as it fails most often
        publish.create_repository(repository, private=options.private)
    if checkpoint is not None:
        with _reading(run_dir, writes=folder):
            step = export_checkpoint(run_dir, checkpoint, folder)
        sys.stdout.write(printable(f"{folder}: the model of {checkpoint} after {step} updates\n"))
    if repository is not None:
        sys.stdout.write(f"{publish.upload(folder, repository)}: published {folder}\n")
    return 0


@contextmanager
def _reading(run_dir: Path, *, writes: Path) -> Iterator[None]:
    """Lock a run against removal of its checkpoints; a run in training is read without the lock.

    Raises:
        InUseError: The export would go into the folder of a run that another process writes.
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
        run_dir: Holds the `config.yaml` that the module is rebuilt from.
        checkpoint: A file, or a sharded checkpoint's folder, whose weights are streamed: the full model is in memory
            only for a reward model whose scores are centred, which takes forward passes.
        folder: The Hugging Face directory to write.

    Returns:
        The optimizer updates before the checkpoint.

    Raises:
        ValueError: No config.yaml, a broken checkpoint, or weights of another module.
    """
    config = run_dir / CONFIG_FILE
    if not config.is_file():
        raise ValueError(f"{run_dir} has no config.yaml, so its model cannot be rebuilt")
    read_yaml(config)
    import torch

    from lightning_marlhf.models.network_factory import NetworkFactory
    from lightning_marlhf.models.safe_checkpoint import broken, read_checkpoint
    from lightning_marlhf.models.sharded_checkpoint import ShardedWeights, read_metadata_file

    weights: Any
    if sharded := checkpoint.is_dir():
        weights, step = ShardedWeights(checkpoint), read_metadata_file(checkpoint)["global_step"]
    else:
        state = read_checkpoint(checkpoint)
        weights, step = state.get("state_dict"), state["global_step"]
        if not isinstance(weights, dict):
            raise broken(checkpoint, "holds no weights")
    module = _build(run_dir, config)
    card = {"run": {"updates": step}, "configuration": config.read_text(encoding="utf-8")}
    if sharded and module.streams_export:
        module.build_networks(NetworkFactory(torch.device("meta")))
        module.export(folder, card=card, weights=weights)
    else:
        module.configure_model()
        if sharded:
            weights = weights.read([name for name in module.state_dict() if name in weights])
        _load_weights(module, weights, checkpoint)
        module.export(folder, card=card)
    return step


def _build(run_dir: Path, config: Path) -> Any:
    """Build the module of a run on the CPU, without its networks yet."""
    from lightning_marlhf.commands.run import RunCLI, mute_lightning

    mute_lightning()
    cpu = ["accelerator=cpu", "devices=1", "num_nodes=1", "strategy=auto", "precision=32-true"]
    settings = [f"default_root_dir={run_dir}", "logger=false", *cpu]
    cli = RunCLI("test", ["--config", str(config), *(f"--trainer.{each}" for each in settings)])
    cli.model.data = cli.datamodule
    return cli.model


def _load_weights(module: Any, weights: Mapping[str, Any], checkpoint: Path) -> None:
    frozen = module.frozen_weights() if hasattr(module, "frozen_weights") else set()
    try:
        missing, unknown = module.load_state_dict(weights, strict=False)
    except RuntimeError as error:  # shapes differ
        raise ValueError(f"{checkpoint} is not of this config: {' '.join(str(error).split())}") from None
    lost = [name for name in missing if name not in frozen]
    if lost or unknown:
        names = ", ".join([*lost, *unknown][:3])
        raise ValueError(f"{checkpoint} is not of this config: weights without a counterpart, such as {names}")
