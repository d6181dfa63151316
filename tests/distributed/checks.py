"""What processes started by `launch` do; each check returns what the test looks at."""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback
from torch import Tensor
from torch.distributed import init_process_group
from torch.distributed.device_mesh import init_device_mesh

from lightning_marlhf.hub.sources import SourceError
from lightning_marlhf.models import fsdp
from lightning_marlhf.models import policy as policy_module
from lightning_marlhf.models.fsdp import Sharding
from lightning_marlhf.models.lora import LoRA
from lightning_marlhf.models.network_factory import NetworkFactory
from lightning_marlhf.models.policy import Policy
from lightning_marlhf.models.weight_files import WeightFiles
from lightning_marlhf.modules import ShardedStrategy
from lightning_marlhf.modules.optimization import Optimization
from lightning_marlhf.rollout.generation import SamplingSettings, generate, row_seeds
from lightning_marlhf.rollout.retries import ScoringError
from tests.distributed.runs import Stop, epochs, losses, make, part, unscored
from tests.modules.tiny_runs import data, fit

CPU = torch.device("cpu")
RANK, RANKS = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
LORA = LoRA(r=2, alpha=8.0)
STAGES = ("sft", "reward_model", "ppo")


def sharded(**settings: Any) -> dict[str, Any]:
    """Give the trainer's settings; fp32 unless asked for otherwise, so that numbers can be compared."""
    strategy = ShardedStrategy(**{"compute_dtype": "float32"} | settings)
    return {"strategy": strategy, "devices": RANKS}


def place(**settings: Any) -> NetworkFactory:
    """Place networks on a mesh of all processes."""
    return NetworkFactory(CPU, Sharding(init_device_mesh("cpu", (RANKS,)), **settings))


def sft_losses(folder: Path) -> list[Any]:
    """Train on demonstrations."""
    return losses(make("sft", folder), "sft", folder / f"sft-{RANKS}", **sharded())


def reward_model_losses(folder: Path) -> list[Any]:
    """Train on preferences."""
    module = make("reward_model", folder)
    return losses(module, "reward_model", folder / f"reward_model-{RANKS}", **sharded())


def ppo_losses(folder: Path) -> list[Any]:
    """Train by MA-PPO."""
    return losses(make("ppo", folder), "ppo", folder / f"ppo-{RANKS}", **sharded())


def unscored_losses(folder: Path) -> list[Any]:
    """Train by MA-PPO where some answers have no score, in any process."""
    return unscored(folder, folder / f"unscored-{RANKS}", **sharded())


def one_scorer_fails(folder: Path) -> dict[str, Any]:
    """Let the scorer of one process raise: after it had answered, then before."""
    broken = RANK == RANKS - 1
    later = unscored(folder, folder / "later", broken=broken, rollout=2, **sharded())
    try:
        unscored(folder, folder / "first", broken=broken, rollout=1, **sharded())
    except ScoringError as error:
        return {"skipped": later[-1]["skipped/rollouts"], "said": str(error)}
    raise AssertionError("the run went on")


def lora_losses(folder: Path) -> list[Any]:
    """Train MA-PPO with adapters, and export."""
    module = make("ppo", folder, lora=LORA)
    found = losses(module, "ppo", folder / f"lora-{RANKS}", **sharded())
    module.trainer.save_checkpoint(folder / "lora.ckpt")
    module.export(folder / "lora-live", card={})
    return found


def lora_reward_model_losses(folder: Path) -> list[Any]:
    """Train a reward model with adapters, and export."""
    module = make("reward_model", folder, lora=LORA)
    found = losses(module, "reward_model", folder / f"lora-reward-{RANKS}", **sharded())
    module.export(folder / "lora-reward-live", card={})
    return found


def lora_null_losses(folder: Path) -> list[Any]:
    """Train MA-PPO with adapters, and a critic that starts from the policy."""
    module = make("ppo", folder, lora=LORA, critic=None)
    return losses(module, "ppo", folder / f"lora-null-{RANKS}", **sharded())


def half_precision(folder: Path) -> dict[str, Any]:
    """Train in bf16 at a tiny rate for 4 updates, once in one go and once in two; compare what learnt in fp32."""
    slow = Optimization(lr=1e-6, schedule="constant")

    class Save(Stop):
        def on_train_batch_end(self, trainer, *_):
            super().on_train_batch_end(trainer)
            if trainer.global_step == 2:
                trainer.save_checkpoint(folder / "half.ckpt")

    def masters(stop: int, resume: Path | None = None) -> dict[str, Tensor]:
        module = make("sft", folder, optimization=slow, dtype="bfloat16")
        trainer = fit(module, data("sft"), folder / "half", steps=4, callbacks=[Save(stop)],
                      ckpt_path=resume, **sharded())  # fmt: skip
        state = trainer.optimizers[0].state
        return {n: state[w]["master"].full_tensor() for n, w in module.named_parameters()}

    whole, _ = masters(4), masters(2)
    resumed = masters(4, folder / "half.ckpt")
    return {
        "dtypes": sorted({str(master.dtype) for master in whole.values()}),
        "equal": all(torch.equal(whole[name], resumed[name]) for name in whole),
        "unrounded": sum((m != m.bfloat16()).sum().item() for m in whole.values()),
    }


def prompts() -> Any:
    """Give six prompts of different lengths."""
    rows = data("ppo", batch_size=6)
    return next(iter(rows.val_dataloader())), rows.tokenizer


def answer(policy: Policy, rows: Sequence[int]) -> list[list[int]]:
    """Sample responses to some of the prompts."""
    batch, tokenizer = prompts()
    some = batch.rows(rows)
    rollout = generate(
        policy,
        some,
        tokenizer=tokenizer,
        settings=SamplingSettings(max_new_tokens=40),
        seeds=row_seeds(1, some.sample_ids, 0),
    )
    rows_of_ids = zip(rollout.response_ids, rollout.response_mask, strict=True)
    return [ids[mask].tolist() for ids, mask in rows_of_ids]


def responses(folder: Path) -> dict[str, Any]:
    """Sample with all ways of gathering, each process other rows, so that some are done before others."""
    shares = [[0], [1, 2, 3, 4, 5]] if RANKS == 2 else [[0], [1], [2, 3], [4, 5]]
    found: dict[str, Any] = {}
    for gathering in ("rollout", "block"):
        policy = place(gathering=gathering).build(Policy, str(folder / "policy"), prompts()[1])
        passes = count_passes(policy)
        mine = answer(policy, shares[RANK])
        parts: list[Any] = [None] * RANKS
        torch.distributed.all_gather_object(parts, (mine, len(passes)))
        found[gathering] = [row for rows, _ in parts for row in rows]
        found[f"passes_{gathering}"] = [number for _, number in parts]
    still_sharded = [x.numel() < p.numel() for p in policy.parameters() if (x := p.to_local()).numel()]
    return found | {"given_back": all(still_sharded)}


def count_passes(policy: Policy) -> list[int]:
    """Note every pass through the first block."""
    passes: list[int] = []
    fsdp.blocks(policy)[0].register_forward_hook(lambda *_: passes.append(1))
    return passes


def precision(folder: Path) -> dict[str, Any]:
    """Train under the default precision; tell the dtypes of what is kept, and of what is computed."""
    module = make("sft", folder)
    computed = set()

    class Watch(Callback):
        def on_train_start(self, trainer, module):
            layer = fsdp.blocks(module.policy)[0].mlp.down_proj
            layer.register_forward_hook(lambda layer, *_: computed.add(str(layer.weight.dtype)))

    trainer = fit(module, data("sft"), folder / "bf16", steps=2, callbacks=[Watch()],
                  strategy=ShardedStrategy(), devices=RANKS)  # fmt: skip
    weights = list(module.policy.parameters())
    moments = [state["exp_avg"] for state in trainer.optimizers[0].state.values()]
    return {
        "computed": sorted(computed),
        "weights": sorted({str(w.dtype) for w in weights}),
        "moments": sorted({str(m.dtype) for m in moments}),
        "share": sum(m.to_local().numel() for m in moments) / sum(m.numel() for m in moments),
        "loss": float(trainer.callback_metrics["loss/sft"]),
    }


def reading(folder: Path) -> dict[str, Any]:
    """Load a policy; tell how many numbers this process read from the files, and at most at once."""
    read: list[int] = []
    assign = fsdp.assign

    def counting(tensor: Tensor, rows: Any) -> None:
        def count(which: slice) -> Tensor:
            part = rows(which)
            read.append(part.numel())
            return part

        assign(tensor, count)

    fsdp.assign = counting
    WeightFiles.read = None  # type: ignore[assignment, method-assign]  # nothing is read whole
    try:
        policy = place().build(Policy, str(folder / "policy"), prompts()[1])
    finally:
        fsdp.assign = assign
    parts: list[Any] = [None] * RANKS
    torch.distributed.all_gather_object(parts, sum(read))
    return {"read": parts, "numbers": sum(w.numel() for w in policy.parameters())}


def offloaded(folder: Path) -> dict[str, Any]:
    """Take log-probabilities of a reference that is kept on the host, and of one that is not."""
    batch, tokenizer = prompts()
    found = [
        place(offload_frozen=offload)
        .build(Policy, str(folder / "policy"), tokenizer, learns=False)(
            batch.input_ids, batch.attention_mask, num_targets=3, temperature=1.0
        )
        .logprobs.tolist()
        for offload in (False, True)
    ]
    return {"sharded": found[0], "offloaded": found[1]}


def refused(folder: Path) -> list[str]:
    """Place policies of which something unknown is taken for granted; tell what is said."""
    states, said = policy_module.hidden_states, []
    for name, broken in (
        ("_after_head", lambda config: (2.0, None)),
        ("hidden_states", lambda lm, ids, mask: states(lm, ids, torch.ones_like(mask))),
    ):
        right = getattr(policy_module, name)
        setattr(policy_module, name, broken)
        try:
            place().build(Policy, str(folder / "policy"), prompts()[1])
        except SourceError as error:
            said.append(str(error))
        finally:
            setattr(policy_module, name, right)
    return said


def second_part(folder: Path) -> list[Any]:
    """Go on with a run, from 4 updates to 8, and export."""
    return part(folder, folder / "resumed", stop=8, resume=True, export=folder / "live", **sharded())


def stopped(folder: Path) -> dict[str, list[Any]]:
    """Stop every stage inside its second epoch, and go on with it."""
    return {
        stage: [
            *epochs(stage, folder, folder / f"stopped-{stage}", batches=4, **sharded()),
            *epochs(stage, folder, folder / f"stopped-{stage}", batches=5, resume=True, **sharded()),
        ]
        for stage in STAGES
    }


def third_part(folder: Path) -> list[Any]:
    """Go on with it to 12."""
    return part(folder, folder / "resumed", stop=12, resume=True, **sharded())


def killed_while_saving(folder: Path) -> None:
    """Save twice; the last process is killed when it has written half of its share the second time."""
    write = torch.distributed.checkpoint.FileSystemWriter.write_data

    def written_half(self: Any, plan: Any, planner: Any) -> Any:
        if RANK == RANKS - 1 and (folder / "killed/checkpoints/last.ckpt").exists():
            (Path(self.path) / f"__{RANK}_0.distcp").write_bytes(b"half a checkpoi")
            os.kill(os.getpid(), 9)
        return write(self, plan, planner)

    torch.distributed.checkpoint.FileSystemWriter.write_data = written_half  # type: ignore[method-assign]
    part(folder, folder / "killed", stop=8, resume=False, **sharded())


def main(folder: Path, names: Sequence[str]) -> None:
    """Run checks, and let the first process write what they return."""
    torch.set_num_threads(1)
    if not torch.distributed.is_initialized():
        init_process_group("gloo")
    for name in names:
        found = globals()[name](folder)
        if RANK == 0:
            (folder / f"{name}-{RANKS}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
