"""MA-PPO: proximal policy optimisation that assigns credit to macro actions. With n = 1 it is PPO."""

import itertools
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import torch
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn
from transformers import PreTrainedModel

from lightning_marlhf.hub.end_tokens import response_ends
from lightning_marlhf.models.configs import ModelSource
from lightning_marlhf.models.heads import Critic
from lightning_marlhf.models.lora import WithoutAdapter
from lightning_marlhf.models.network_factory import NetworkFactory
from lightning_marlhf.models.policy import Policy
from lightning_marlhf.modules import metrics
from lightning_marlhf.modules.base import TrainingModule
from lightning_marlhf.modules.gather_experience import all_gather_rows
from lightning_marlhf.modules.kl_controller import KLControl, KLController, ScoreNormalizer
from lightning_marlhf.modules.metrics import WeightedMeans
from lightning_marlhf.modules.ppo import PPO, policy_loss, value_loss
from lightning_marlhf.ops import masking
from lightning_marlhf.ranges import checked
from lightning_marlhf.rollout.experience import Actors, Execution, Stopwatch, collect_experience
from lightning_marlhf.rollout.generation import SamplingSettings, row_seeds
from lightning_marlhf.rollout.retries import RetryingScorer, RetryPolicy, ScoringError, check_names
from lightning_marlhf.rollout.scoring import Scorer
from lightning_marlhf.rollout.settings import Credit, Shaping
from lightning_marlhf.rollout.termination import Termination
from lightning_marlhf.types import Experience, Prompts

_EVALUATION_SEED = 20241002  # held-out prompts get the same random numbers at every evaluation


@checked
class MAPPO(TrainingModule):
    """Trains a policy against a scorer by PPO over macro actions.

    Args:
        policy: Model to train, usually an SFT export: folder or Hub id.
        scorer: Scores whole responses; training maximises it.
        termination: Where macro actions end; fixed n = 1 is token-level PPO.
        sampling: How the policy samples.
        critic: Reward model from which the critic starts (its weights, with a value for every token); null initialises
            it from the policy's body with a zero head, for scorers without a network.
        reference: Model that KL is measured against; null takes ``policy``.
        auxiliary_scorers: Scorers whose scores are only reported.
        credit: How credit is assigned to macro actions.
        shaping: How scores and KL become rewards.
        kl: KL coefficient.
        ppo: Settings of the PPO updates.
        retry_policy: How failing scorers are retried.
        **shared: Arguments of `TrainingModule`.
    """

    monitor = "objective/scores"
    stages = ("ppo", "evaluation")
    episodes: Tensor

    def __init__(
        self,
        *,
        policy: ModelSource,
        scorer: Scorer,
        termination: Termination,
        sampling: SamplingSettings,
        critic: ModelSource | None = None,
        reference: ModelSource | None = None,
        auxiliary_scorers: Sequence[Scorer] = (),
        credit: Credit = Credit(),  # noqa: B008 - frozen
        shaping: Shaping = Shaping(),  # noqa: B008
        kl: KLControl = KLControl(),  # noqa: B008
        ppo: PPO = PPO(),  # noqa: B008
        retry_policy: RetryPolicy = RetryPolicy(),  # noqa: B008
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        check_names([scorer, *auxiliary_scorers])
        self.starts_from = policy
        self.critic_source = critic
        self.reference_source = policy if reference is None else reference
        self.scorer = scorer
        self.auxiliary_scorers = auxiliary_scorers
        self.termination = termination
        self.sampling = sampling
        self.credit = credit
        self.shaping = shaping
        self.ppo = ppo
        self.retry_policy = retry_policy
        self.updates_per_batch = ppo.epochs * ppo.minibatches
        self.kl_controller = KLController(kl)
        self.score_normalizer = ScoreNormalizer()
        self.register_buffer("episodes", torch.zeros((), dtype=torch.long))
        self.actors: Actors | None = None
        self._stopwatch = Stopwatch()

    # The data flow: a rollout, and the updates that learn from it

    def training_step(self, prompts: Prompts, batch_idx: int) -> dict[str, Experience] | None:
        """Sample responses to a batch of prompts and learn from them: steps 1 to 10 of the algorithm."""
        stopwatch = Stopwatch()
        seeds = row_seeds(self.seed, prompts.sample_ids, visit=self.current_epoch)
        try:
            experience = self._collect(prompts, seeds, stopwatch, evaluating=False)
        except ScoringError as error:
            self._skip_rollout(error)
            return None
        self.skipped.rollouts_in_a_row = 0
        means = WeightedMeans()
        metrics.add_rollout(means, experience)
        with stopwatch("update"):
            ranks, rank = self.trainer.world_size, self.trainer.global_rank
            rollout = all_gather_rows(experience, ranks)
            for rows in self._minibatches(len(rollout)):
                self._learn(rollout.rows(rows[rank::ranks]), means)
        self._after_rollout(experience, means, stopwatch)
        return {"experience": experience}

    def _collect(self, prompts: Prompts, seeds: Tensor, stopwatch: Stopwatch, *, evaluating: bool) -> Experience:
        """Steps 1 to 9: from prompts to advantages and returns."""
        assert self.actors is not None
        self._stopwatch = stopwatch
        return collect_experience(
            prompts,
            self.actors,
            sampling=self.sampling,
            credit=self.credit,
            shaping=self.shaping,
            kl_coefficient=self.kl_controller.coefficient.item(),
            seeds=seeds.to(self.device),
            execution=Execution(
                micro_batch_size=self.micro_batch_size,
                evaluating=evaluating,
                all_reduce_sum=self.all_reduce_sum,
                normalize_scores=partial(self._normalize, observe=not evaluating),
                stopwatch=stopwatch,
            ),
        )

    def _normalize(self, scores: Tensor, valid: Tensor, *, observe: bool) -> Tensor:
        """Divide scores by their running standard deviation; ``observe`` updates it with the scores of all ranks."""
        if observe:
            of_all, are_valid = self.gather(scores), self.gather(valid.long()) > 0
            self.score_normalizer.observe(of_all.flatten(), are_valid.flatten())
        scaled: Tensor = self.score_normalizer(scores)
        return scaled

    def _minibatches(self, size: int) -> Iterator[list[int]]:
        """Split a rollout of all ranks into minibatches, reshuffled every epoch; depends on seed and step only."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.global_step)
        for _ in range(self.ppo.epochs):
            order = torch.randperm(size, generator=generator)
            yield from (part.tolist() for part in order.chunk(self.ppo.minibatches))

    def _learn(self, minibatch: Experience, means: WeightedMeans) -> None:
        """Step 10: make one update of policy and critic from a minibatch."""
        means.snapshot()
        ppo, reduction = self.ppo, self.ppo.loss_reduction
        total, macro_total = (
            self.per_rank_denominator(masking.count(mask, reduction=reduction))
            for mask in (minibatch.token_mask, minibatch.macro_mask)
        )
        if not total:  # no row of any rank has a valid score
            self.skipped.updates += 1
            self.skipped.steps += 1
            for name, rate in self.step_optimizer().items():
                means.add(name, rate)
            return
        policy_total = total if ppo.ratio_level == "token" else macro_total
        temperature = self.shaping.temperature(self.sampling)
        policy_learns = self.global_step >= self.first_update("policy")
        for part in minibatch.micro_batches(self.micro_batch_size):
            if policy_learns:
                loss = policy_loss(self.policy, part, ppo=ppo, temperature=temperature, total=policy_total, means=means)
                self.manual_backward(loss)
            self.manual_backward(value_loss(self.critic, part, ppo=ppo, total=total, means=means))
        self.update(means)

    def _after_rollout(self, experience: Experience, means: WeightedMeans, stopwatch: Stopwatch) -> None:
        """Adapt the KL coefficient, and log."""
        values = self.mean_over_ranks(means)
        self.episodes += self.trainer.world_size * len(experience)
        values["objective/kl_coefficient"] = self.kl_controller.coefficient.item()
        num_valid = int(self.all_reduce_sum(experience.valid.sum()).item())
        if num_valid:
            self.kl_controller.update(values["objective/kl"], episodes=num_valid)
            values |= metrics.extremes(experience, gather=self.gather)
            values |= metrics.variance_metrics(experience, all_reduce_sum=self.all_reduce_sum)
            values["val/num_eos_tokens"] = (1 - values["response_length/clip_ratio"]) * num_valid
        if (square := values.pop("val/ratio_square", None)) is not None:
            values["val/ratio_var"] = square - values["val/ratio"] ** 2
        tokens = self.all_reduce_sum(experience.rollout.attention_mask.sum()).item()
        self.log_metrics(
            values
            | self.skipped.metrics()
            | {f"timing_s/{part}": seconds for part, seconds in stopwatch.seconds.items()}
            | {"episode": self.episodes.item(), "perf/throughput": tokens / sum(stopwatch.seconds.values())}
        )

    # Held-out prompts

    def validation_step(self, prompts: Prompts, batch_idx: int) -> dict[str, Experience] | None:
        """Respond to held-out prompts, with the same random numbers every time."""
        seeds = row_seeds(_EVALUATION_SEED, prompts.sample_ids, visit=0)
        try:
            experience = self._collect(prompts, seeds, Stopwatch(), evaluating=True)
        except ScoringError as error:
            self._count_unscored(error)
            return None
        experience = experience.rows(slice(self.num_valid_rows(batch_idx)))
        if not len(experience):
            return None
        metrics.add_evaluation(self._evaluation, experience)
        return {"experience": experience}

    predict_step = validation_step  # type: ignore[assignment]

    def on_predict_epoch_start(self) -> None:
        """Set up the metric accumulators; predict does not log them."""
        self.on_validation_epoch_start()

    def mean_over_ranks(self, means: WeightedMeans) -> dict[str, float]:
        """Compute the means over all ranks; *_invalid metrics are left out while they have never been above 0."""
        means.expect(itertools.chain(*self.all_gather_object(means.names)))  # ranks may have seen different metrics
        known = self.trainer.callback_metrics
        values = means.compute(self.all_reduce_sum)
        return {name: x for name, x in values.items() if x or name in known or not name.endswith("_invalid")}

    # Rollouts without scores

    def _count_unscored(self, error: ScoringError) -> None:
        """Leave out a rollout that has no scores.

        Raises:
            ScoringError: a scorer has never replied in this session, or failed too often in a row.
        """
        self.skipped.rollouts += 1
        self.skipped.rollouts_in_a_row += 1
        in_a_row, limit = self.skipped.rollouts_in_a_row, self.retry_policy.max_skips_in_a_row
        if error.final:
            raise error
        if in_a_row > limit:
            raise ScoringError(
                f"{error}; {in_a_row} rollouts in a row have no scores (retry_policy.max_skips_in_a_row)"
            ) from error
        rank_zero_warn(f"update {self.global_step + 1}: {error}; the rollout is skipped ({in_a_row} in a row)")

    def _skip_rollout(self, error: ScoringError) -> None:
        """Advance the step count past a rollout without scores; no weight changes."""
        self._count_unscored(error)
        self.skipped.steps += self.updates_per_batch
        for _ in range(self.updates_per_batch):
            rates = self.step_optimizer()
        self.log_metrics({name: rate.item() for name, rate in rates.items()} | self.skipped.metrics())

    # Networks and scorers

    def build_networks(self, network_factory: NetworkFactory) -> None:
        """Build policy and critic."""
        factory, source, tokenizer = network_factory, self.starts_from, self.tokenizer
        options: dict[str, Any] = {"dtype": self.load_dtype, "lora": self.lora}
        self.policy = factory.build(Policy, source, tokenizer, seed=self.seed, **options)
        if self.critic_source is None:
            self.critic = factory.critic_from_policy(source, tokenizer, seed=self.seed, **options)
        else:
            self.critic = factory.build(Critic, self.critic_source, tokenizer, **options)

    def networks(self) -> dict[str, nn.Module]:
        """Return the trained networks by name."""
        return {"policy": self.policy, "critic": self.critic}

    def first_update(self, network: str) -> int:
        """Return the update at which a network starts to learn: the policy after the critic's warm-up."""
        return self.ppo.critic_warmup if network == "policy" else 0

    def rows_per_update(self) -> int:
        """Count the rows of this rank in one minibatch."""
        return super().rows_per_update() // self.ppo.minibatches

    def max_row_tokens(self) -> int:
        """Count the tokens of the longest prompt with the longest response."""
        return super().max_row_tokens() + self.sampling.max_new_tokens

    def dry_run_loss(self, input_ids: Tensor, mask: Tensor) -> Tensor:
        """Compute a loss of one pass of policy and critic of the largest shape."""
        size = self.sampling.max_new_tokens
        logprobs = self.policy(input_ids, mask, num_targets=size, temperature=1.0).logprobs
        loss: Tensor = logprobs.sum() + self.critic(input_ids, mask, num_targets=size).sum()
        return loss

    def on_fit_start(self) -> None:
        """Load reference and scorers; check that the run divides into equal updates."""
        self.ppo.check_run(rows=super().rows_per_update(), updates=self.total_updates)
        if self.ppo.critic_warmup > self.total_updates and not self.trainer.fast_dev_run:  # type: ignore[attr-defined]
            raise ValueError(
                f"ppo.critic_warmup: expected at most the {self.total_updates} updates of the run, got "
                f"{self.ppo.critic_warmup}"
            )
        if isinstance(self.trainer.strategy, DDPStrategy):
            raise ValueError(
                "plain data parallelism (DDP) cannot run two networks that learn in turn: set trainer.devices to 1, or "
                "trainer.strategy to lightning_marlhf.modules.ShardedStrategy (experiments/hardware/8x80gb.yaml)"
            )
        self._prepare()

    def on_train_start(self) -> None:
        """Refuse to resume in the middle of a rollout."""
        if self.global_step % self.updates_per_batch:
            raise ValueError(
                f"the checkpoint is of update {self.global_step}, not a multiple of "
                f"{self.updates_per_batch} updates: resume with ppo.epochs and ppo.minibatches as they were"
            )
        super().on_train_start()

    def on_validation_start(self) -> None:
        """Load reference and scorers."""
        self._prepare()

    on_test_start = on_predict_start = on_validation_start

    def _prepare(self) -> None:
        """Load reference, scorers and parser; outside the module's children, so that no checkpoint holds them."""
        if self.actors is not None:
            return
        factory = self.network_factory
        for scorer in (self.scorer, *self.auxiliary_scorers):
            scorer.prepare(tokenizer=self.tokenizer, network_factory=factory)
        self.termination.prepare(tokenizer=self.tokenizer)
        reference: Policy | WithoutAdapter
        if self.lora is not None and self.reference_source == self.starts_from:
            reference = WithoutAdapter(self.policy)
        else:
            options: dict[str, Any] = {"dtype": self.load_dtype, "seed": self.seed}
            reference = factory.build(Policy, self.reference_source, self.tokenizer, learns=False, **options)
        self.actors = Actors(
            policy=self.policy,
            reference=reference,
            critic=self.critic,
            scorer=RetryingScorer(self.scorer, self.retry_policy),
            auxiliary_scorers=[RetryingScorer(each, self.retry_policy) for each in self.auxiliary_scorers],
            termination=self.termination,
            tokenizer=self.tokenizer,
        )

    def teardown(self, stage: str) -> None:
        """Close the scorers: processes, connections."""
        for scorer in (self.scorer, *self.auxiliary_scorers):
            scorer.close()

    def exported(self) -> tuple[PreTrainedModel, str]:
        """Return the language model."""
        return self.policy.lm, "policy.lm."

    # Progress display

    @property
    def phase(self) -> str:
        """The part of a step that runs: generation, scoring, update, ...; '' between them."""
        return self._stopwatch.part

    def describe(self) -> dict[str, str]:
        """Summarise the run for the start banner."""
        rollouts = -(-self.total_updates // self.updates_per_batch)
        tokens = self.tokenizer.convert_ids_to_tokens(response_ends(self.policy.lm))
        each = f"{self.data.batch_size} prompts, {self.updates_per_batch} updates each"
        return super().describe() | {
            "rollouts": f"{rollouts:,} of {each}",
            "responses end with": ", ".join([*map(str, tokens), *map(repr, self.sampling.stop)]),
            "macro actions": repr(self.termination),
            "KL coefficient": f"{self.kl_controller.coefficient.item():g}",
        }
