"""Data sets -> batches: one DataModule per data set."""

from lightning_marlhf.data.apps import APPS
from lightning_marlhf.data.base import RLHFDataModule
from lightning_marlhf.data.hh_rlhf import HHRLHF
from lightning_marlhf.data.mixture import Mixture
from lightning_marlhf.data.preferences import Preferences
from lightning_marlhf.data.tiny_tldr import TinyTLDR
from lightning_marlhf.data.tldr import TLDR
from lightning_marlhf.data.webgpt import WebGPT

__all__ = [
    "APPS",
    "HHRLHF",
    "TLDR",
    "Mixture",
    "Preferences",
    "RLHFDataModule",
    "TinyTLDR",
    "WebGPT",
]
