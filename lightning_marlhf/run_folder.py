"""The names inside a run's folder, for all who write or read them. Standard library only."""

CONFIG_FILE = "config.yaml"  # the resolved configuration
ENVIRONMENT_FILE = "environment.json"  # git commit, versions, hardware, command
METRICS_FILE = "metrics.csv"  # long format: step,name,value,seconds; the only one that can be appended to
CUT_METRICS_FILE = "metrics.cut.csv"  # rows of updates after the one from which the run was resumed
PROGRESS_FILE = "progress.json"  # how far a run is, while it runs
DONE_FILE = "done.json"  # of a finished run: its metrics
LOCK_FILE = ".run.lock"  # who writes to the folder

CHECKPOINTS = "checkpoints"
LAST = "last.ckpt"
LAST_CHECKPOINT = f"{CHECKPOINTS}/{LAST}"
BEST_CHECKPOINT = "best-{step:06d}"  # Lightning's template, without suffix
EXPORT = "export"  # a Hugging Face folder

COMPLETIONS = "completions"
TEST_COMPLETIONS = f"{COMPLETIONS}/test.jsonl"
BASELINE_COMPLETIONS = f"{COMPLETIONS}/baseline.jsonl"  # baseline of win rates
VERDICTS = "verdicts"

# Written by `reproduce`
STAGE_FILE = "stage.json"  # the stage's command and inputs
LOG_FILE = "log.txt"  # the output of its process
STUDY_LOCK_FILE = ".reproduce.lock"  # in the folder of a study
