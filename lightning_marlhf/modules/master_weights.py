"""AdamW for weights in half precision: they learn through copies in fp32.

A bf16 weight keeps 8 bits, so that an update of less than a 500th of it is rounded away: at a learning rate of 1e-6
almost every one. The copies and the moments are kept in fp32, with the optimizer's state: checkpoints hold them, and
they are sharded as the weights are.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import AdamW

_MASTER = "master"  # what a weight's copy is called in the state
_HALF = (torch.bfloat16, torch.float16)


class MasterAdamW(AdamW):
    """AdamW that changes fp32 copies of half-precision weights, and rounds them to the weights after each step."""

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Make one update; weights in fp32 or better are AdamW's own."""
        loss = None
        if closure is not None:  # Lightning's
            with torch.enable_grad():
                loss = closure()
        masters = self._take_masters()
        own_weights = [group["params"] for group in self.param_groups]
        for group in self.param_groups:
            group["params"] = [masters.get(weight, weight) for weight in group["params"]]
        try:
            super().step()
        finally:
            for group, weights in zip(self.param_groups, own_weights, strict=True):
                group["params"] = weights
            self._put_back(masters)
        return loss

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load copies and moments as they are; torch rounds them to the dtype of their weights."""
        super().load_state_dict(state_dict)
        names = (name for group in state_dict["param_groups"] for name in group["params"])
        weights = (weight for group in self.param_groups for weight in group["params"])
        for name, weight in zip(names, weights, strict=True):
            if weight.dtype in _HALF:
                saved = state_dict["state"].get(name, {})
                floats = {key: x for key, x in saved.items() if torch.is_tensor(x)}
                self.state[weight] |= {
                    key: x.to(weight.device, torch.float32) for key, x in floats.items()
                }

    def _take_masters(self) -> dict[Tensor, Tensor]:
        """Hand the state and the gradient of each half-precision weight over to its copy, made in the first step."""
        masters = {}
        for weight in (weight for group in self.param_groups for weight in group["params"]):
            if weight.dtype in _HALF and weight.grad is not None:
                state = self.state.pop(weight, {})
                master = state.pop(_MASTER, None)
                master = weight.detach().float() if master is None else master
                master.grad = weight.grad.float()
                self.state[master] = state
                masters[weight] = master
        return masters

    def _put_back(self, masters: dict[Tensor, Tensor]) -> None:
        for weight, master in masters.items():
            weight.copy_(master)
            master.grad = None
            self.state[weight] = self.state.pop(master) | {_MASTER: master}
