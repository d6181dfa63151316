"""A completion with a trace, as a run writes it."""

from lightning_marlhf.records import Completion, TokenTrace


def completion(sample_id="a", **changes) -> Completion:
    trace = TokenTrace(
        tokens=["he", "l", "\n", "<eos>"],
        macro_index=[0, 0, 1, 1],
        values=[0.5, 0.25, 0.0, -1.5],
        rewards=[-0.01, 0.0, 0.0, 2.0],
        advantages=[1.0, 1.0, -1.0, -1.0],
        kl=[0.1, 0.0, 0.0, 0.0],
    )
    fields = {"prompt": "say", "response": "hel\n", "model": "m", "seed": 1, "step": 40, "num_tokens": 4}
    fields |= {"ended": True, "scores": {"gold": 2.5}, "kl": 0.1, "trace": vars(trace)}
    return Completion(sample_id=sample_id, **{**fields, **changes})
