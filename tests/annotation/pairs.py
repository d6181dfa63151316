from lightning_marlhf.evaluation.pairs import Pair


def make_pairs(count):
    return [Pair(f"id{n}", f"prompt {n}", f"from a, {n}", f"from b, {n}") for n in range(count)]
