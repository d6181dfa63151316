"""Many runs: plan files, jobs, their runner, progress."""
