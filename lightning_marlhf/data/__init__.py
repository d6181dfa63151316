"""Data sets -> batches: one DataModule per data set, each imported when it is named, since they need Lightning."""

import importlib
from typing import Any

_MODULES = {
    "APPS": "named_datasets",
    "HHRLHF": "named_datasets",
    "Mixture": "mixture",
    "Preferences": "preferences",
    "RLHFDataModule": "base",
    "TLDR": "named_datasets",
    "TinyAPPS": "tiny_apps",
    "TinyTLDR": "tiny_tldr",
    "WebGPT": "named_datasets",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *_MODULES]
