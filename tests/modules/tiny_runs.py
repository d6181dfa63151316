"""Builders of tiny runs: a Gemma of 16 hidden units on tiny TL;DR."""

import logging
import warnings

from lightning.pytorch import Callback, Trainer

from lightning_marlhf.data import TinyTLDR
from lightning_marlhf.models.configs import ModelConfig
from lightning_marlhf.models.hf_export import export
from lightning_marlhf.models.loading import load_causal_lm, load_sequence_classifier
from lightning_marlhf.modules.optimization import Optimization

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

CONFIG = ModelConfig(
    {
        "model_type": "gemma",
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "initializer_range": 0.2,
    }
)
FAST = Optimization(lr=1e-3, schedule="constant")


def write_exports(folder):
    """Write the folders of a random policy and a random reward model."""
    tokenizer = data("sft").tokenizer
    export(load_causal_lm(CONFIG, tokenizer), tokenizer, folder / "policy", card={})
    export(load_sequence_classifier(CONFIG, tokenizer), tokenizer, folder / "reward", card={})
    return {"policy": folder / "policy", "reward": folder / "reward"}


def data(stage, **settings):
    sizes = {"batch_size": 8, "eval_batch_size": 8, "validate_rows": 8, "test_rows": 8}
    return TinyTLDR(stage=stage, **sizes | settings)


class Keep(Callback):
    """Keeps the experience of each rollout, and what was logged after it."""

    def __init__(self):
        self.rollouts, self.logged = [], []

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        self.rollouts.append(outputs and outputs["experience"])
        self.logged.append({name: x.item() for name, x in trainer.callback_metrics.items()})


def fit(module, datamodule, folder, *, steps, ckpt_path=None, **settings):
    trainer = Trainer(
        default_root_dir=folder,
        accelerator="cpu",
        max_steps=steps,
        logger=settings.pop("logger", False),
        enable_checkpointing=settings.pop("enable_checkpointing", False),
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        limit_val_batches=settings.pop("limit_val_batches", 0),
        **settings,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Lightning's hints about workers and the like
        trainer.ckpt_path = ckpt_path and str(ckpt_path)  # as the command line does
        trainer.fit(module, datamodule=datamodule)
    return trainer
