"""The cache with room from the start gives the tokens of the growing one."""

import torch
from transformers import DynamicCache

from lightning_marlhf.models.kv_cache import PreallocatedLayer, preallocated_cache


def test_a_step_by_step_pass_equals_one_with_the_growing_cache(family, make_lm, make_rows):
    lm = make_lm(family)
    ids, mask = make_rows()
    caches = preallocated_cache(lm, capacity=10), DynamicCache(config=lm.config)
    with torch.no_grad():
        for start, end in ((0, 5), (5, 6), (6, 7), (7, 10)):
            roomy, growing = (
                lm(ids[:, start:end], attention_mask=mask[:, :end], past_key_values=cache).logits for cache in caches
            )
            torch.testing.assert_close(roomy, growing, atol=1e-5, rtol=0)


def test_steps_write_into_one_buffer(make_lm):
    layer = PreallocatedLayer(capacity=4)
    first, _ = layer.update(torch.zeros(1, 2, 3, 5), torch.zeros(1, 2, 3, 5))
    second, values = layer.update(torch.ones(1, 2, 1, 5), torch.ones(1, 2, 1, 5))
    assert second.shape == values.shape == (1, 2, 4, 5)
    assert second.data_ptr() == first.data_ptr()
    assert layer.get_seq_length() == 4


def test_layers_with_a_sliding_window_keep_their_own_kind(make_lm):
    kinds = [type(layer).__name__ for layer in preallocated_cache(make_lm("gemma2"), capacity=10).layers]
    assert sorted(kinds) == ["DynamicSlidingWindowLayer", "PreallocatedLayer"]
