"""MA-PPO: proximal policy optimisation that assigns credit to macro actions. With n = 1 it is PPO."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn

from lightning_marlhf.models.backbone import ModelSource, response_ends
from lightning_marlhf.models.lora import LoRA, WithoutAdapter
from lightning_marlhf.models.policy import Policy
from lightning_marlhf.models.sharded_checkpoint import ShardedWeights
from lightning_marlhf.modules import gather as exchange
from lightning_marlhf.modules import metrics
from lightning_marlhf.modules.averages import WeightedMeans
from lightning_marlhf.modules.base import TrainingModule
from lightning_marlhf.modules.control import KLControl, KLController, ScoreNormalizer
from lightning_marlhf.modules.optimization import Optimization
from lightning_marlhf.modules.settings import PPO
from lightning_marlhf.ops import losses, macro, masking
from lightning_marlhf.ranges import PositiveInt, checked
from lightning_marlhf.rollout.experience import Actors, Execution, collect_experience
from lightning_marlhf.rollout.generation import SamplingSettings, row_seeds
from lightning_marlhf.rollout.retries import (
    RESERVED_NAMES,
    RetryingScorer,
    RetryPolicy,
    ScoringError,
)
from lightning_marlhf.rollout.scoring import Scorer
from lightning_marlhf.rollout.settings import Credit, Shaping
from lightning_marlhf.rollout.stopwatch import Stopwatch
from lightning_marlhf.rollout.termination import Termination
from lightning_marlhf.types import Experience, Prompts

_EVALUATION_SEED = (
    20241002  # held-out prompts are answered with the same random numbers at every step
)


@checked
class MAPPO(TrainingModule):
    """Trains a policy against a scorer by PPO over macro actions.

    Args:
        policy: the model to train, usually an SFT export: folder or Hub id.
        critic: where the critic starts: a reward model (its weights, with a value for every token); null takes
            the policy's body with a head of zeros, for scorers that are no network of the policy's tokens.
        scorer: judges whole responses; training maximises it.
        termination: where macro actions end; fixed n = 1 is token-level PPO.
        sampling: how the policy samples.
        optimization: how weights are updated.
        reference: what KL is measured against; null takes ``policy``.
        auxiliary_scorers: scorers that are only reported.
        credit: how credit is assigned to macro actions.
        shaping: how scores and KL become rewards.
        kl: the price of KL.
        ppo: how experience is learnt from.
        patience: with scorers that raise.
        micro_batch_size: rows per forward and backward pass; memory grows with it, results do not change (in half
            precision by the rounding of each pass's gradients, about 0.2 %).
        checkpoint_activations: less memory, more time, the same results: layers run again in the backward pass.
        lora: adapters of policy and critic learn, beside frozen weights; the reference is the policy without its
            adapter, and takes no memory. null: all weights learn.
        dtype: of the weights.
        seed: of sampling, and of the order in which experience is learnt from; of the random
            initialisation of an inline ``config:``.
    """

    monitor = "objective/scores"
    stages = ("ppo", "evaluation")

    def __init__(
        self,
        *,
        policy: ModelSource,
        scorer: Scorer,
        termination: Termination,
        sampling: SamplingSettings,
        optimization: Optimization,
        critic: ModelSource | None = None,
        reference: ModelSource | None = None,
        auxiliary_scorers: Sequence[Scorer] = (),
        credit: Credit = Credit(),  # noqa: B008 - frozen
        shaping: Shaping = Shaping(),  # noqa: B008
        kl: KLControl = KLControl(),  # noqa: B008
        ppo: PPO = PPO(),  # noqa: B008
        patience: RetryPolicy = RetryPolicy(),  # noqa: B008
        micro_batch_size: PositiveInt = 64,
        checkpoint_activations: bool = False,
        lora: LoRA | None = None,
        dtype: str = "float32",
        seed: int = 1,
    ) -> None:
        super().__init__(
            optimization=optimization,
            micro_batch_size=micro_batch_size,
            checkpoint_activations=checkpoint_activations,
            lora=lora,
            starts_from=policy,
        )
        names = [judge.name for judge in (scorer, *auxiliary_scorers)]
        if len(set(names)) < len(names) or set(names) & RESERVED_NAMES:
            raise ValueError(
                f"scorers are called {names}: expected different names, none of {sorted(RESERVED_NAMES)}; "
                "set init_args.name"
            )
        self.policy_source = policy
        self.critic_source = critic
        self.reference_source = policy if reference is None else reference
        self.scorer = scorer
        self.auxiliary_scorers = auxiliary_scorers
        self.termination = termination
        self.sampling = sampling
        self.credit = credit
        self.shaping = shaping
        self.ppo = ppo
        self.patience = patience
        self.load_dtype = dtype
        self.seed = seed
        self.updates_per_batch = ppo.epochs * ppo.minibatches
        self.kl_controller = KLController(kl)
        self.score_normalizer = ScoreNormalizer()
        self.register_buffer("episodes", torch.zeros((), dtype=torch.long))
        self.actors: Actors | None = None
        self._stopwatch = Stopwatch()

    def configure_model(self) -> None:
        """Load what learns, once."""
        if hasattr(self, "policy"):
            return
        at, options = self.placement, {"dtype": self.load_dtype, "lora": self.lora}
        self.policy = at.policy(self.policy_source, self.tokenizer, seed=self.seed, **options)
        if self.critic_source is None:
            source, seed = self.policy_source, self.seed
            self.critic = at.critic_of_policy(source, self.tokenizer, seed=seed, **options)
        else:
            self.critic = at.critic(self.critic_source, self.tokenizer, **options)

    def networks(self) -> dict[str, tuple[nn.Module, float]]:
        """Name the two networks that learn."""
        networks = {"policy": self.policy, "critic": self.critic}
        return {name: (each, self.optimization.of(name).lr) for name, each in networks.items()}

    def first_update(self, network: str) -> int:
        """Let the policy wait for the critic's warm-up."""
        return self.ppo.critic_warmup if network == "policy" else 0

    def describe(self) -> dict[str, str]:
        """Say in a few lines what the run will do."""
        rows = self.trainer.datamodule.batch_size  # type: ignore[attr-defined]
        rollouts = -(-self.total_updates // self.updates_per_batch)
        return super().describe() | {
            "rollouts": f"{rollouts:,} of {rows} prompts, {self.updates_per_batch} updates each",
            "responses end with": ", ".join(self._ends()),
            "macro actions": repr(self.termination),
            "KL coefficient": f"{self.kl_controller.coefficient.item():g}",
        }

    def _ends(self) -> list[str]:
        """Name the tokens and texts that end a response."""
        tokens = self.tokenizer.convert_ids_to_tokens(response_ends(self.policy.lm))
        return [*map(str, tokens), *map(repr, self.sampling.stop)]

    def rows_per_update(self) -> int:
        """Count the rows of this rank in one minibatch."""
        return super().rows_per_update() // self.ppo.minibatches

    def max_row_tokens(self) -> int:
        """Count the tokens of the longest prompt with the longest response."""
        return super().max_row_tokens() + self.sampling.max_new_tokens

    def dry_run_loss(self, input_ids: Tensor, mask: Tensor) -> Tensor:
        """Take a loss of one pass of policy and critic of the largest shape."""
        size = self.sampling.max_new_tokens
        output = self.policy(input_ids, mask, num_targets=size, temperature=1.0)
        return output.logprobs.sum() + self.critic(input_ids, mask, num_targets=size).sum()

    def on_fit_start(self) -> None:
        """Load what does not learn, and refuse a run that cannot be cut into equal updates."""
        size = super().rows_per_update()
        if size % self.ppo.minibatches:
            raise ValueError(
                f"a rollout of {size} rows cannot be cut into {self.ppo.minibatches} equal minibatches: "
                "change data.batch_size or ppo.minibatches"
            )
        if self.total_updates % self.updates_per_batch:
            raise ValueError(
                f"a run of {self.total_updates} updates is no whole number of rollouts of "
                f"{self.updates_per_batch} updates (ppo.epochs x ppo.minibatches): change trainer.max_steps"
            )
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
        """Refuse to go on in the middle of a rollout."""
        if self.global_step % self.updates_per_batch:
            raise ValueError(
                f"the checkpoint is of update {self.global_step}, no whole number of rollouts of "
                f"{self.updates_per_batch} updates: resume with ppo.epochs and ppo.minibatches as they were"
            )
        super().on_train_start()

    def on_validation_start(self) -> None:
        """Load what does not learn."""
        self._prepare()

    on_test_start = on_predict_start = on_validation_start

    def training_step(self, prompts: Prompts, batch_idx: int) -> dict[str, Experience] | None:
        """Answer a batch of prompts and learn from it: steps 1 to 10 of the algorithm."""
        stopwatch = Stopwatch()
        seeds = row_seeds(self.seed, prompts.sample_ids, visit=self.current_epoch)
        try:
            experience = self._collect(prompts, seeds, stopwatch, evaluating=False)
            self._require_scores(experience)
        except ScoringError as error:
            self._skip_rollout(error)
            return None
        self.skipped.rollouts_in_a_row = 0
        means = WeightedMeans()
        metrics.add_rollout(means, experience)
        with stopwatch("update"):
            ranks, rank = self.trainer.world_size, self.trainer.global_rank
            everything = exchange.all_gather_rows(experience, ranks)
            for rows in self._minibatches(len(everything)):
                self._learn(everything.rows(rows[rank::ranks]), means)
        self._after_rollout(experience, means, stopwatch)
        return {"experience": experience}

    def validation_step(self, prompts: Prompts, batch_idx: int) -> dict[str, Experience] | None:
        """Answer held-out prompts, with the same random numbers every time."""
        seeds = row_seeds(_EVALUATION_SEED, prompts.sample_ids, visit=0)
        try:
            experience = self._collect(prompts, seeds, Stopwatch(), evaluating=True)
        except ScoringError as error:
            self._count_unscored(error)
            return None
        experience = experience.rows(slice(self.counted(batch_idx)))
        if not len(experience):
            return None
        metrics.add_evaluation(self._evaluation, experience)
        return {"experience": experience}

    def on_validation_epoch_start(self) -> None:
        """Start to collect the evaluation's means."""
        self._evaluation = WeightedMeans()

    def on_validation_epoch_end(self) -> None:
        """Log what was collected."""
        self.log_metrics(self._compute(self._evaluation))

    on_test_epoch_start = on_validation_epoch_start
    test_step = predict_step = validation_step
    on_test_epoch_end = on_validation_epoch_end

    def on_predict_epoch_start(self) -> None:
        """Collect means that nobody reads."""
        self._evaluation = WeightedMeans()

    def teardown(self, stage: str) -> None:
        """Let the scorers give back what they took: processes, connections."""
        for scorer in self._scorers:
            scorer.close()

    def export(
        self, folder: Path, *, card: Mapping[str, Any], weights: ShardedWeights | None = None
    ) -> None:
        """Write the policy as a Hugging Face folder."""
        self.write_export(self.policy.lm, "policy.lm.", folder, card=card, weights=weights)

    @property
    def _scorers(self) -> tuple[Scorer, ...]:
        """The scorer that training maximises, and those that are only reported."""
        return (self.scorer, *self.auxiliary_scorers)

    def _prepare(self) -> None:
        """Load reference, scorers and parser; outside the module's children, so that no checkpoint holds them."""
        if self.actors is not None:
            return
        for scorer in self._scorers:
            scorer.placement = self.placement
            scorer.prepare(tokenizer=self.tokenizer, device=self.device)
        self.termination.prepare(tokenizer=self.tokenizer)
        self.actors = Actors(
            policy=self.policy,
            reference=self._reference(),
            critic=self.critic,
            scorer=RetryingScorer(self.scorer, self.patience),
            auxiliary_scorers=[
                RetryingScorer(monitor, self.patience) for monitor in self.auxiliary_scorers
            ],
            termination=self.termination,
            tokenizer=self.tokenizer,
        )

    def _reference(self) -> Policy | WithoutAdapter:
        """Build what KL is measured against; under LoRA the policy has it in itself."""
        if self.lora is not None and self.reference_source == self.policy_source:
            return WithoutAdapter(self.policy)
        return self.placement.policy(
            self.reference_source,
            self.tokenizer,
            dtype=self.load_dtype,
            seed=self.seed,
            learns=False,
        )

    @property
    def phase(self) -> str:
        """Say what the module is doing: generation, scoring, update, ...; '' between them."""
        return self._stopwatch.part

    def _collect(
        self, prompts: Prompts, seeds: Tensor, stopwatch: Stopwatch, *, evaluating: bool
    ) -> Experience:
        assert self.actors is not None
        self._stopwatch = stopwatch
        for scorer in self._scorers:
            scorer.evaluating = evaluating
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
                all_reduce_sum=self.all_reduce_sum,
                normalize_scores=partial(self._normalize, observe=not evaluating),
                stopwatch=stopwatch,
            ),
        )

    def _require_scores(self, experience: Experience) -> None:
        """Look for a score, on any rank; a rollout whose scorer says that there is nothing to score goes on.

        Raises:
            ScoringError: there is none, as the scorer gave NaN or infinity.
        """
        assert self.actors is not None
        complaint = self.actors.scorer.complaint
        complains = torch.tensor(int(complaint != ""), device=self.device)
        counts = self.all_reduce_sum(torch.stack([experience.valid.sum(), complains]))
        valid, complaints = counts.tolist()
        if complaints and not valid:
            raise ScoringError(f"no score of the rollout is a finite number: {complaint}")

    def _normalize(self, scores: Tensor, valid: Tensor, *, observe: bool) -> Tensor:
        """Scale scores by the deviation of all that were seen, these of all ranks included if they are to be seen."""
        if observe:
            of_all, counted = self.all_gather(scores), self.all_gather(valid.long()) > 0
            self.score_normalizer.observe(of_all.flatten(), counted.flatten())
        return self.score_normalizer(scores)

    def _compute(self, means: WeightedMeans) -> dict[str, float]:
        """Take the means over all ranks, each of which may have counted other things."""
        means.expect(itertools.chain(*self._of_all_ranks(means.names)))
        values, known = means.compute(self.all_reduce_sum), self.trainer.callback_metrics
        return metrics.without_zero_shares(values, known=known)

    def _count_unscored(self, error: ScoringError) -> None:
        """Leave out a rollout that has no scores.

        Raises:
            ScoringError: a scorer has never answered in this session, or failed too often in a row.
        """
        self.skipped.rollouts += 1
        self.skipped.rollouts_in_a_row += 1
        in_a_row, limit = self.skipped.rollouts_in_a_row, self.patience.max_skips_in_a_row
        if error.final:
            raise error
        if in_a_row > limit:
            raise ScoringError(
                f"{error}; {in_a_row} rollouts in a row have no scores (patience.max_skips_in_a_row)"
            ) from error
        rank_zero_warn(
            f"update {self.global_step + 1}: {error}; the rollout is skipped ({in_a_row} in a row)"
        )

    def _skip_rollout(self, error: ScoringError) -> None:
        """Let the updates of a rollout without scores pass without a change."""
        self._count_unscored(error)
        self.skipped.steps += self.updates_per_batch
        for _ in range(self.updates_per_batch):
            rates = self.step_optimizer()
        self.log_metrics(
            {name: rate.item() for name, rate in rates.items()} | self.skipped.metrics()
        )

    def _minibatches(self, size: int) -> Iterator[list[int]]:
        """Cut a rollout of all ranks into random parts, anew in every epoch; a function of seed and step alone."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.global_step)
        for _ in range(self.ppo.epochs):
            order = torch.randperm(size, generator=generator)
            yield from (part.tolist() for part in order.chunk(self.ppo.minibatches))

    def _learn(self, minibatch: Experience, means: WeightedMeans) -> None:
        """Step 10: make one update of policy and critic from a minibatch."""
        means.mark()
        reduction = self.ppo.loss_reduction
        total = self.share(masking.count(minibatch.token_mask, reduction=reduction))
        macro_total = self.share(masking.count(minibatch.macro_mask, reduction=reduction))
        if not total:  # no row of any rank has a valid score
            self.skipped.updates += 1
            self.skipped.steps += 1
            for name, rate in self.step_optimizer().items():
                means.add(name, rate)
            return
        policy_total = total if self.ppo.ratio_level == "token" else macro_total
        policy_learns = self.global_step >= self.first_update("policy")
        for rows in self.passes(len(minibatch)):
            part = minibatch.rows(rows)
            if policy_learns:
                self.manual_backward(self._policy_loss(part, policy_total, means))
            self.manual_backward(self._value_loss(part, total, means))
        self.update(means)

    def _policy_loss(self, part: Experience, total: Tensor, means: WeightedMeans) -> Tensor:
        rollout, clip = part.rollout, self.ppo.clip_range
        output = self.policy(
            rollout.input_ids,
            rollout.attention_mask,
            num_targets=rollout.response_ids.shape[1],
            temperature=self.shaping.temperature(self.sampling),
        )
        log_ratio = metrics.add_policy_update(means, output, part)
        if self.ppo.ratio_level == "token":
            mask = part.token_mask
            metrics.add_policy_clipping(means, log_ratio, part.advantages, mask, clip_range=clip)
            terms = losses.policy_terms(
                output.logprobs, part.old_logprobs, part.advantages, clip_range=clip
            )
        else:
            mask = part.macro_mask
            log_ratio = macro.pool_tokens(log_ratio, part.macro_actions, weights="sum")
            metrics.add_policy_clipping(
                means, log_ratio, part.macro_advantages, mask, clip_range=clip
            )
            terms = losses.macro_policy_terms(
                output.logprobs,
                part.old_logprobs,
                part.macro_advantages,
                part.macro_actions,
                clip_range=clip,
            )
        means.add("loss/policy_avg", terms, mask)
        return masking.reduce_mean(terms, mask, reduction=self.ppo.loss_reduction, total=total)

    def _value_loss(self, part: Experience, total: Tensor, means: WeightedMeans) -> Tensor:
        rollout, clip = part.rollout, self.ppo.value_clip_range
        values = self.critic(
            rollout.input_ids,
            rollout.attention_mask,
            num_targets=rollout.response_ids.shape[1],
        )
        metrics.add_value_update(means, values, part, clip_range=clip)
        terms = losses.value_terms(values, part.old_values, part.returns, clip_range=clip)
        mask = part.token_mask
        means.add("loss/value_avg", terms, mask)
        return masking.reduce_mean(terms, mask, reduction=self.ppo.loss_reduction, total=total)

    def _after_rollout(
        self, experience: Experience, means: WeightedMeans, stopwatch: Stopwatch
    ) -> None:
        """Adapt the price of KL, and log."""
        values = self._compute(means)
        self.episodes += self.trainer.world_size * len(experience)
        values["objective/kl_coefficient"] = self.kl_controller.coefficient.item()
        valid = int(self.all_reduce_sum(experience.valid.sum()).item())
        if valid:
            self.kl_controller.update(values["objective/kl"], episodes=valid)
            values |= metrics.extremes(experience, gather=self.all_gather)
            values |= metrics.variance_metrics(experience, all_reduce_sum=self.all_reduce_sum)
            values["val/num_eos_tokens"] = (1 - values["response_length/clip_ratio"]) * valid
        square = values.pop("val/ratio_square", None)
        if square is not None:
            values["val/ratio_var"] = square - values["val/ratio"] ** 2
        tokens = self.all_reduce_sum(experience.rollout.attention_mask.sum()).item()
        self.log_metrics(
            values
            | self.skipped.metrics()
            | {f"timing_s/{part}": seconds for part, seconds in stopwatch.seconds.items()}
            | {
                "episode": self.episodes.item(),
                "perf/throughput": tokens / sum(stopwatch.seconds.values()),
            }
        )
