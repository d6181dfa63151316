"""Watch a run: logs, checkpoints, rollouts, guards, progress; they talk to modules by hooks and logged keys alone."""
