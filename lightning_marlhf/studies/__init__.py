"""Many runs: plan files, their jobs, who runs them, and progress."""
