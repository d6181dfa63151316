"""Lightning callbacks and loggers: logs, checkpoints, rollouts, guards, progress."""
