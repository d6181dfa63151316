"""One rollout, from prompts to advantages and returns: the algorithm of MA-RLHF on one screen.

Follows arXiv 2410.02743, section 3. Where paper and released code differ, `settings.py` has an option. Step 10, the
updates of policy and critic, is in `modules/ppo.py`.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from lightning_marlhf.models.heads import Critic
from lightning_marlhf.models.lora import WithoutAdapter
from lightning_marlhf.models.policy import Policy
from lightning_marlhf.ops import gae, kl, macro, masking, segmentation
from lightning_marlhf.rollout.generation import SamplingSettings, generate
from lightning_marlhf.rollout.retries import require_scores, wait_for_all
from lightning_marlhf.rollout.scoring import Scorer, Scores
from lightning_marlhf.rollout.settings import Credit, Shaping
from lightning_marlhf.rollout.termination import Termination
from lightning_marlhf.types import Experience, MacroActions, Prompts, Rollout

TensorFunction = Callable[[Tensor], Tensor]
NormalizeScores = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Actors:
    """The networks and components of a rollout; only policy and critic are trained."""

    policy: Policy
    reference: Policy | WithoutAdapter
    critic: Critic
    scorer: Scorer
    auxiliary_scorers: Sequence[Scorer]  # logged only, not part of the reward
    termination: Termination
    tokenizer: PreTrainedTokenizerBase


class Stopwatch:
    """Adds up the wall time of named parts; queued CUDA kernels count for the part that synchronises."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.part = ""  # the running one

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        """Count the time inside the ``with`` block for ``part``."""
        start = time.perf_counter()
        self.part = part
        try:
            yield
        finally:
            self.seconds[part] += time.perf_counter() - start
            self.part = ""


@dataclass(frozen=True)
class Execution:
    """Runtime settings of a rollout; the defaults fit single-process training."""

    micro_batch_size: int = 64  # rows per forward pass of policy, reference and critic
    evaluating: bool = False  # True for held-out prompts, on which scorers may be more thorough
    all_reduce_sum: TensorFunction = lambda x: x  # over ranks
    normalize_scores: NormalizeScores = lambda scores, valid: scores
    stopwatch: Stopwatch = field(default_factory=Stopwatch)


@torch.no_grad()
def collect_experience(
    prompts: Prompts,
    actors: Actors,
    *,
    sampling: SamplingSettings,
    credit: Credit,
    shaping: Shaping,
    kl_coefficient: float,
    seeds: Int[Tensor, " batch"],
    execution: Execution,
) -> Experience:
    """Sample a response to each prompt, and compute advantages and returns: steps 1 to 9.

    Args:
        prompts: 1. left-padded to the longest in the batch.
        actors: Networks, scorers and termination condition.
        sampling: How the policy samples.
        credit: How credit is assigned.
        shaping: How scores and KL become rewards.
        kl_coefficient: Beta, the weight of the KL penalty.
        seeds: One int64 per row; decides the row's sampling and random terminations, whatever else is in the batch.
        execution: Micro-batch size, reductions over ranks, and the stopwatch.

    Returns:
        The experience, on the device of ``prompts``; detached from every graph.

    Raises:
        ScoringError: a scorer failed, on this rank or another one; in training also if it gave NaN to all responses.
    """
    timed, all_reduce_sum = execution.stopwatch, execution.all_reduce_sum
    # 2. The policy samples responses. Slow scorers and parsers run concurrently with the forward passes.
    with timed("generation"):
        rollout = generate(actors.policy, prompts, tokenizer=actors.tokenizer, settings=sampling, seeds=seeds)
    micro_batches = list(rollout.micro_batches(execution.micro_batch_size))
    if actors.termination.needs_logprobs:
        with timed("logprobs"):
            at_one = policy_logprobs(actors.reference, micro_batches, temperature=1.0)
            rollout = replace(rollout, perplexity_logprobs=at_one)
    with timed("termination"):
        pending_actions = actors.termination.submit(rollout, seeds=seeds)
    with timed("scoring"):
        scorers = (actors.scorer, *actors.auxiliary_scorers)
        pending = [scorer.submit(rollout, evaluating=execution.evaluating) for scorer in scorers]

    # 3. Log-probabilities under policy and reference, and the critic's values, of the state before each token.
    with timed("logprobs"):
        temperature = shaping.temperature(sampling)
        logprobs = policy_logprobs(actors.policy, micro_batches, temperature=temperature)
        ref_logprobs = policy_logprobs(actors.reference, micro_batches, temperature=temperature)
        values = state_values(actors.critic, micro_batches)

    # 4. One score per response.
    with timed("scoring"):
        scores, *auxiliary = wait_for_all(pending, all_reduce_sum=all_reduce_sum, device=seeds.device)
        if not execution.evaluating:
            require_scores(scores, all_reduce_sum=all_reduce_sum)
    rows = zip(scores.details, *(each.details for each in auxiliary), strict=True)
    details = tuple({name: x for numbers in row for name, x in numbers.items()} for row in rows)
    final_scores, clamped = shape_scores(scores, rollout.ended, shaping=shaping, normalize=execution.normalize_scores)

    # 5. Token rewards: -beta * KL on every token, the score on the last.
    mask = rollout.response_mask
    token_kl = kl.estimate(logprobs, ref_logprobs, estimator="k1") * mask
    penalty = kl.estimate(logprobs, ref_logprobs, estimator=shaping.kl_estimator) * mask
    token_rewards = kl.token_rewards(penalty, final_scores, mask, coefficient=kl_coefficient)

    # 6. Macro actions, row by row.
    with timed("termination"):
        actions = pending_actions.result()
    if credit.isolate_last_token:
        actions = segmentation.isolate_last_token(mask, actions)

    # 7. Rewards and values of macro actions.
    macro_rewards = macro.pool_tokens(
        token_rewards,
        actions,
        weights=credit.reward_pooling,
        discount=credit.gamma if credit.gamma_per == "token" else 1.0,
    )
    macro_values = macro.pool_tokens(values, actions, weights=credit.value_pooling)

    # 8. GAE over macro actions.
    outcome = gae.advantages_and_returns(
        macro_rewards, macro_values, actions, gamma=discounts(credit, actions), lam=credit.lam
    )
    advantages = outcome.advantages
    if credit.whiten_advantages:
        advantages = whiten_over_tokens(advantages, actions, scores.valid, all_reduce_sum)

    # 9. Advantages and returns spread back to tokens.
    return Experience(
        rollout=rollout,
        old_logprobs=logprobs,
        ref_logprobs=ref_logprobs,
        old_values=values,
        scores=final_scores,
        raw_scores=scores.values,
        valid=scores.valid,
        details=details,
        kl=token_kl,
        token_rewards=token_rewards,
        macro_actions=actions,
        macro_rewards=macro_rewards,
        macro_values=macro_values,
        macro_returns=outcome.returns,
        macro_advantages=advantages,
        advantages=macro.spread(advantages, actions),
        returns=macro.spread(outcome.returns, actions),
        clamped=clamped,
    )


def policy_logprobs(
    policy: Policy | WithoutAdapter, micro_batches: Sequence[Rollout], *, temperature: float
) -> Float[Tensor, "batch response"]:
    """Compute the log-probabilities of the sampled tokens in nats, one forward pass per micro-batch; 0 on padding."""
    parts = []
    for part in micro_batches:
        output = policy(
            part.input_ids,
            part.attention_mask,
            num_targets=part.response_ids.shape[1],
            temperature=temperature,
            with_entropy=False,
        )
        parts.append(masking.zero_padding(output.logprobs, part.response_mask))
    return torch.cat(parts)


def state_values(critic: Critic, micro_batches: Sequence[Rollout]) -> Float[Tensor, "batch response"]:
    """Estimate the value of the state before each sampled token, one forward pass per micro-batch; 0 on padding."""
    parts = []
    for part in micro_batches:
        width = part.response_ids.shape[1]
        values = critic(part.input_ids, part.attention_mask, num_targets=width)
        parts.append(masking.zero_padding(values.float(), part.response_mask))
    return torch.cat(parts)


def shape_scores(
    scores: Scores, ended: Bool[Tensor, " batch"], *, shaping: Shaping, normalize: NormalizeScores
) -> tuple[Float[Tensor, " batch"], Bool[Tensor, " batch"] | None]:
    """Normalise scores, clamp them, and subtract the penalty of responses that did not end.

    Returns:
        The scores, 0 for invalid rows; and True where the clamp changed one, None without a clamp.
    """
    values, clamped = masking.zero_padding(scores.values, scores.valid), None
    if shaping.normalize:
        values = normalize(values, scores.valid)
    if shaping.clamp is not None:
        clamped = values.abs() > shaping.clamp
        values = values.clamp(-shaping.clamp, shaping.clamp)
    penalised = values - shaping.missing_eos_penalty * ~ended
    return masking.zero_padding(penalised, scores.valid), clamped


def discounts(credit: Credit, actions: MacroActions) -> float | Float[Tensor, "batch macro"]:
    """Return gamma per macro action: constant, or gamma to the power of its length (semi-Markov)."""
    if credit.gamma_per == "macro" or credit.gamma == 1.0:
        return credit.gamma
    return gae.semi_markov_discounts(actions, gamma=credit.gamma)


def whiten_over_tokens(
    macro_advantages: Float[Tensor, "batch macro"],
    actions: MacroActions,
    valid: Bool[Tensor, " batch"],
    all_reduce_sum: TensorFunction,
) -> Float[Tensor, "batch macro"]:
    """Shift and scale advantages so that over the tokens of all valid rows their mean is 0 and their variance 1.

    Statistics are global over ranks; invalid rows get 0.
    """
    rows = valid.unsqueeze(1)
    tokens, mask = macro.spread(macro_advantages, actions), (actions.index >= 0) & rows
    found = masking.moments(tokens, mask, all_reduce_sum=all_reduce_sum)
    return masking.whiten(macro_advantages, actions.mask & rows, mean=found.mean, var=found.var)
