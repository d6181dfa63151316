"""Data sets -> batches: one DataModule per data set."""

from lightning_marlhf.data.base import RLHFDataModule
from lightning_marlhf.data.tiny_tldr import TinyTLDR

__all__ = ["RLHFDataModule", "TinyTLDR"]
