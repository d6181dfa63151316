"""Time the macro-action arithmetic of one PPO step against the released code's loops, on one core.

    python -m benchmarks.ops

Segmentation, pooling of rewards and values, GAE, spreading, and both clipped losses with their
gradients, for 64 responses of 512 tokens with n = 5 in float32, in the released configuration. Both
ways get the same inputs and must give the same losses. The loops are those of
`tests/reference/released_loops.py`; they can only take one row at a time.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from lightning_marlhf.ops import gae, losses, macro, masking, segmentation
from tests.reference import released_loops

SETTINGS = released_loops.Settings(gamma=1.0, lam=0.95, kl_coef=0.05, clip=0.2, value_clip=0.2, reward_clip=2.5)
Inputs = dict[str, Tensor]


def make_inputs(batch: int, response: int) -> Inputs:
    """Draw rewards, values and log-probabilities; what a gradient is taken of is marked."""
    generator = torch.Generator().manual_seed(0)
    names = ("rewards", "old_values", "values", "old_logprobs", "logprobs")
    inputs = {name: torch.randn(batch, response, generator=generator) for name in names}
    inputs["logprobs"] = inputs["old_logprobs"] + 0.2 * inputs["logprobs"]
    inputs["values"].requires_grad_()
    inputs["logprobs"].requires_grad_()
    return inputs


def run_package(inputs: Inputs, mask: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Do it for the whole batch at once."""
    cut = segmentation.isolate_last_token(mask, segmentation.fixed_ngram(mask, n=n))
    macro_rewards = macro.pool_tokens(inputs["rewards"], cut, weights="equal")
    macro_values = macro.pool_tokens(inputs["old_values"], cut, weights="equal")
    result = gae.advantages_and_returns(macro_rewards, macro_values, cut, gamma=SETTINGS.gamma, lam=SETTINGS.lam)
    policy_terms = losses.policy_terms(
        inputs["logprobs"], inputs["old_logprobs"], macro.spread(result.advantages, cut), clip_range=SETTINGS.clip
    )
    value_terms = losses.value_terms(
        inputs["values"], inputs["old_values"], macro.spread(result.returns, cut), clip_range=SETTINGS.value_clip
    )
    policy_loss = masking.reduce_mean(policy_terms, mask, reduction="sequence")
    value_loss = masking.reduce_mean(value_terms, mask, reduction="sequence")
    torch.autograd.grad(policy_loss + value_loss, [inputs["logprobs"], inputs["values"]])
    return policy_loss.detach(), value_loss.detach()


def run_loops(inputs: Inputs, mask: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Do it row by row, as the released code would with one row per micro-batch."""
    rows = [_run_row(inputs, mask, n, slice(row, row + 1)) for row in range(len(mask))]
    policy_losses, value_losses = zip(*rows, strict=True)
    return torch.stack(policy_losses).mean(), torch.stack(value_losses).mean()


def _run_row(inputs: Inputs, mask: Tensor, n: int, rows: slice) -> tuple[Tensor, Tensor]:
    old_values, old_logprobs = inputs["old_values"][rows], inputs["old_logprobs"][rows]
    starts = sorted(set(released_loops.fixed_starts(mask[rows].long(), n)))  # none empty
    macro_values = released_loops.pool(old_values, starts, "equal")
    macro_rewards = released_loops.pool(inputs["rewards"][rows], starts, "equal")
    advantages, returns = released_loops.advantages_and_returns(macro_values, macro_rewards, SETTINGS)
    logprobs, values = inputs["logprobs"][rows], inputs["values"][rows]
    policy_loss = released_loops.policy_loss(logprobs, old_logprobs, advantages, starts, SETTINGS)
    value_loss = released_loops.value_loss(values, old_values, returns, starts, SETTINGS)
    torch.autograd.grad(policy_loss + value_loss, [inputs["logprobs"], inputs["values"]])
    return policy_loss.detach(), value_loss.detach()


def time_ms(run: Callable[[], object], repeats: int) -> list[float]:
    """Time each of ``repeats`` runs, after one that does not count."""
    run()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(1e3 * (time.perf_counter() - start))
    return times


def main() -> None:
    """Time both, compare their losses, print one line each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--response", type=int, default=512, help="tokens per response")
    parser.add_argument("--n", type=int, default=5, help="tokens per macro action")
    parser.add_argument("--repeats", type=int, default=200, help="runs of the package's way")
    parser.add_argument("--loop-repeats", type=int, default=3, help="runs of the loops")
    options = parser.parse_args()

    torch.set_num_threads(1)
    inputs = make_inputs(options.batch, options.response)
    mask = torch.ones(options.batch, options.response, dtype=torch.bool)
    torch.testing.assert_close(run_package(inputs, mask, options.n), run_loops(inputs, mask, options.n))
    package = time_ms(lambda: run_package(inputs, mask, options.n), options.repeats)
    loops = time_ms(lambda: run_loops(inputs, mask, options.n), options.loop_repeats)
    ratio = statistics.median(loops) / statistics.median(package)
    print(f"{options.batch} x {options.response} tokens, n = {options.n}, one core, float32")
    for name, times in (("package", package), ("released-style loops", loops)):
        print(f"{name:>22}: median {statistics.median(times):9.2f} ms, best {min(times):9.2f} ms")
    print(f"{'ratio of the medians':>22}: {ratio:.0f}x")


if __name__ == "__main__":
    main()
