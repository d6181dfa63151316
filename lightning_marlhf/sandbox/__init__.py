"""Run untrusted Python programs against tests, and tell how they did; the standard library alone."""
