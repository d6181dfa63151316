"""Pairwise judges: a language model, a reward model, a gold score, people."""
