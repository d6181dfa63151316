"""The supported values of `trainer.precision`.

Log-probabilities, heads, losses and updates are in fp32 or better in all that are supported.
"""

from typing import Any

SUPPORTED = ("32-true", "bf16-mixed")
_OTHER_NAMES = {None: "32-true", 32: "32-true", "32": "32-true", "bf16": "bf16-mixed"}
_HINTS = {
    "64-true": "use model.init_args.dtype: float64",
    "bf16-true": "model.init_args.dtype: bfloat16 keeps weights in bf16, updates in fp32",
}


def check_precision(precision: Any) -> None:
    """Refuse unsupported precisions.

    "16-mixed" scales the loss, so that gradients would be clipped and judged finite at the wrong scale; the "true"
    ones convert batches and all that is computed from them.

    Args:
        precision: as the trainer takes it.

    Raises:
        ValueError: names those that are supported.
    """
    if _OTHER_NAMES.get(precision, precision) not in SUPPORTED:
        hint = _HINTS.get(str(precision))
        raise ValueError(
            f"trainer.precision: expected {' or '.join(SUPPORTED)}, got {precision}" + (f" ({hint})" if hint else "")
        )
