"""Counter-based random numbers: the published sequence, uniform, the same in any batch."""

import torch

from lightning_marlhf.ops import random


def splitmix64(seed: int, draws: int) -> list[int]:
    """The published C program, in Python's unbounded integers."""
    outputs = []
    for _ in range(draws):
        seed = (seed + 0x9E3779B97F4A7C15) % 2**64
        z = (seed ^ (seed >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
        outputs.append(z ^ (z >> 31))
    return outputs


def test_the_mixing_is_that_of_splitmix64():
    # Published first outputs for seed 1234567 (as in the tests of several language's libraries).
    assert splitmix64(1234567, 2) == [6457827717110365317, 3203168211198807973]
    # `bits` mixes the seed once before, so its stream for seed s is splitmix64 started at mix(s).
    mixed = splitmix64(1234567 - 0x9E3779B97F4A7C15, 1)[0]
    ours = random.bits(torch.full((5,), 1234567), torch.arange(5))
    assert [number % 2**64 for number in ours.tolist()] == splitmix64(mixed, 5)


def test_uniform_numbers_are_uniform_and_unrelated_between_neighbours():
    seeds = torch.arange(400)[:, None].expand(-1, 400)
    counters = torch.arange(400).expand(400, -1)
    u = random.uniform(seeds, counters)
    assert u.min() >= 0
    assert u.max() < 1
    counts = torch.histc(u, bins=20, min=0, max=1)
    assert ((counts - 8000) ** 2 / 8000).sum() < 44  # chi-square, 19 degrees of freedom, p = 0.001
    for one, two in ((u[1:], u[:-1]), (u[:, 1:], u[:, :-1])):
        assert torch.corrcoef(torch.stack([one.flatten(), two.flatten()]))[0, 1].abs() < 0.01


def test_a_row_draws_the_same_whatever_the_batch():
    alone = random.uniform(torch.tensor([-5]), torch.tensor([3]))
    among = random.uniform(torch.tensor([8, -5, 2**62]), torch.tensor([1, 3, 3]))
    assert among[1] == alone[0]
