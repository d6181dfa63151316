"""Log-probabilities and entropy from hidden states, against the plain computation."""

import pytest
import torch

from lightning_marlhf.ops.logprobs import from_hidden

CHUNKS = [1, 7, 1000]


def plain(hidden, weight, targets, *, bias=None, temperature=1.0, softcap=None):
    logits = torch.nn.functional.linear(hidden, weight, bias)
    if softcap is not None:
        logits = torch.tanh(logits / softcap) * softcap
    scores = torch.log_softmax(logits / temperature, dim=-1)
    logprobs = scores.gather(2, targets[..., None])[..., 0]
    return logprobs, -(scores.exp() * scores).sum(dim=-1)


def make(dtype=torch.float32, *, vocab=50, with_bias=False):
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(3, 5, 16, generator=generator, dtype=torch.float64)
    weight = torch.randn(vocab, 16, generator=generator, dtype=torch.float64)
    bias = torch.randn(vocab, generator=generator, dtype=torch.float64) if with_bias else None
    targets = torch.randint(vocab, (3, 5), generator=generator)
    parameters = [None if x is None else x.to(dtype).requires_grad_() for x in (hidden, weight, bias)]
    return *parameters, targets


@pytest.mark.parametrize("chunk", CHUNKS)
@pytest.mark.parametrize("softcap", [None, 3.0])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)], ids=["fp32", "fp64"])
def test_numbers_and_gradients_are_the_plain_ones(chunk, softcap, temperature, with_bias, dtype, tolerance):
    hidden, weight, bias, targets = make(dtype, with_bias=with_bias)
    options = {"bias": bias, "temperature": temperature, "softcap": softcap}
    scored = from_hidden(hidden, weight, targets, chunk=chunk, **options)
    logprobs, entropy = plain(hidden, weight, targets, **options)
    torch.testing.assert_close(scored.logprobs, logprobs, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(scored.entropy, entropy, rtol=tolerance, atol=tolerance)
    parameters = [x for x in (hidden, weight, bias) if x is not None]
    ours = gradients(scored.logprobs, scored.entropy, parameters)
    for actual, expected in zip(ours, gradients(logprobs, entropy, parameters), strict=True):
        torch.testing.assert_close(actual, expected, rtol=10 * tolerance, atol=10 * tolerance)


def gradients(logprobs, entropy, parameters):
    mixture = (logprobs * torch.arange(15.0).view(3, 5)).sum() - 3 * entropy.square().sum()
    return torch.autograd.grad(mixture, parameters)


@pytest.mark.parametrize("chunk", CHUNKS)
def test_each_output_alone_has_the_plain_gradient(chunk):
    hidden, weight, _, targets = make(torch.float64)
    scored = from_hidden(hidden, weight, targets, temperature=1.0, softcap=None, chunk=chunk)
    expected = plain(hidden, weight, targets)
    for ours, theirs in zip((scored.logprobs, scored.entropy), expected, strict=True):
        actual = torch.autograd.grad(ours.sum(), [hidden, weight], retain_graph=True)
        wanted = torch.autograd.grad(theirs.sum(), [hidden, weight], retain_graph=True)
        for one, two in zip(actual, wanted, strict=True):
            torch.testing.assert_close(one, two)


@pytest.mark.parametrize("chunk", CHUNKS)
def test_a_frozen_head_gets_no_gradient_and_the_hidden_states_do(chunk):
    hidden, weight, _, targets = make()
    frozen = weight.detach()
    scored = from_hidden(hidden, frozen, targets, temperature=1.0, softcap=None, chunk=chunk)
    scored.logprobs.sum().backward()
    assert hidden.grad.abs().sum() > 0
    assert frozen.grad is None


def test_chunks_change_nothing():
    hidden, weight, _, targets = make(torch.float64)
    options = {"temperature": 0.8, "softcap": 5.0}
    whole = from_hidden(hidden, weight, targets, chunk=1000, **options)
    for chunk in (1, 2, 14, 15, 16):
        cut = from_hidden(hidden, weight, targets, chunk=chunk, **options)
        torch.testing.assert_close(cut.logprobs, whole.logprobs)
        torch.testing.assert_close(cut.entropy, whole.entropy)


@pytest.mark.parametrize("chunk", CHUNKS)
def test_without_entropy_the_log_probabilities_are_the_same(chunk):
    hidden, weight, _, targets = make()
    options = {"temperature": 1.0, "softcap": None, "chunk": chunk}
    full = from_hidden(hidden, weight, targets, **options)
    bare = from_hidden(hidden, weight, targets, with_entropy=False, **options)
    assert (bare.logprobs == full.logprobs).all()
    assert (bare.entropy == 0).all()
    assert not bare.entropy.requires_grad


def test_half_precision_hidden_states_are_scored_in_float32():
    hidden, weight, _, targets = make()
    half_hidden, half_weight = hidden.detach().bfloat16(), weight.detach().bfloat16()
    options = {"temperature": 1.0, "softcap": None}
    for autocast in (False, True):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            scored = from_hidden(half_hidden, half_weight, targets, chunk=4, **options)
        expected, _ = plain(half_hidden.float(), half_weight.float(), targets)
        assert scored.logprobs.dtype == torch.float32
        torch.testing.assert_close(scored.logprobs, expected, rtol=1e-5, atol=1e-5)


def test_half_precision_parameters_get_gradients_of_their_own_dtype():
    hidden, weight, bias, targets = make(torch.bfloat16, with_bias=True)
    options = {"temperature": 1.0, "softcap": None, "chunk": 4}
    from_hidden(hidden, weight, targets, bias=bias, **options).logprobs.sum().backward()
    for parameter in (hidden, weight, bias):
        assert parameter.grad.dtype == torch.bfloat16
        assert parameter.grad.isfinite().all()


@pytest.mark.parametrize("softcap", [None, 3.0])
@pytest.mark.parametrize("chunk", [4, 1000])
def test_gradients_that_are_taken_inside_autocast_are_those_outside(chunk, softcap):
    *parameters, targets = make(with_bias=True)
    options = {"temperature": 0.7, "softcap": softcap}
    hidden, weight, bias = parameters
    expected = torch.autograd.grad(
        sum(x.sum() for x in plain(hidden, weight, targets, bias=bias, **options)), parameters
    )
    with torch.autocast("cpu", dtype=torch.bfloat16):
        scored = from_hidden(hidden, weight, targets, bias=bias, chunk=chunk, **options)
        found = torch.autograd.grad(scored.logprobs.sum() + scored.entropy.sum(), parameters)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_empty_responses_are_harmless():
    hidden = torch.zeros(2, 0, 4, requires_grad=True)
    targets = torch.zeros(2, 0, dtype=torch.long)
    weight = torch.ones(3, 4, requires_grad=True)
    scored = from_hidden(hidden, weight, targets, temperature=1.0, softcap=None, chunk=8)
    assert scored.logprobs.shape == (2, 0)
    scored.logprobs.sum().backward()
    assert (weight.grad == 0).all()


def test_the_logits_of_all_positions_never_exist_at_once():
    hidden, weight, _, targets = make(vocab=4000)
    sizes = []

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            if isinstance(out, torch.Tensor) and out.shape[-1:] == (4000,) and func.is_view is False:
                sizes.append(out.numel() // 4000)
            return out

    with Watch():
        scored = from_hidden(hidden, weight, targets, temperature=1.0, softcap=None, chunk=4)
        scored.logprobs.sum().backward()
    assert max(sizes) == 4


@pytest.mark.parametrize(("name", "value"), [("temperature", 0.0), ("softcap", -1.0), ("chunk", 0)])
def test_options_that_are_not_above_zero_are_refused(name, value):
    hidden, weight, _, targets = make()
    options = {"temperature": 1.0, "softcap": None, "chunk": 8, name: value}
    with pytest.raises(ValueError, match=f"{name}: expected a number above 0, got {value}"):
        from_hidden(hidden, weight, targets, **options)


@pytest.mark.gpu
def test_on_cuda_half_precision_products_are_summed_and_kept_in_float32():
    hidden, weight, _, targets = (x if x is None else x.detach().cuda() for x in make(vocab=300))
    hidden, weight = (x.bfloat16().requires_grad_() for x in (hidden, weight))
    options = {"temperature": 0.8, "softcap": None}
    scored = from_hidden(hidden, weight, targets, chunk=4, **options)
    logprobs, entropy = plain(hidden.float(), weight.float(), targets, temperature=0.8)
    torch.testing.assert_close(scored.logprobs, logprobs, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(scored.entropy, entropy, rtol=1e-5, atol=1e-4)
    ours = torch.autograd.grad(scored.logprobs.sum(), [hidden, weight])
    for one, two in zip(ours, torch.autograd.grad(logprobs.sum(), [hidden, weight]), strict=True):
        torch.testing.assert_close(one, two, rtol=2e-2, atol=2e-2)
