"""The policy acts: generation, scores, termination of macro actions, and the experience that PPO learns from."""
