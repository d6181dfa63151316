"""Train language models by RLHF with macro actions (MA-RLHF, arXiv 2410.02743) in PyTorch Lightning."""

__version__ = "0.1.0"
