"""One seed for each random choice: a hash, so that no two choices share their random numbers."""

import hashlib


def derive_seed(seed: int, purpose: str, counter: int = 0) -> int:
    """Make a seed of 64 bits, as a signed number.

    Args:
        seed: the run's.
        purpose: "order", or the id of a sample.
        counter: how often that was chosen before: the epoch.

    >>> derive_seed(3, "order", 1) == derive_seed(4, "order", 0)
    False
    """
    digest = hashlib.sha256(f"{seed}\0{counter}\0{purpose}".encode(errors="surrogatepass")).digest()
    return int.from_bytes(digest[:8], "little", signed=True)
