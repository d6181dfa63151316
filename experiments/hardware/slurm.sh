#!/bin/sh
# Starts a run on four nodes of 8 GPUs under SLURM; the queue's own options (--partition, --account) come before the file:
#   sbatch experiments/hardware/slurm.sh --config RUN.yaml --config experiments/hardware/4x8x80gb.yaml
#   sbatch --nodes=1 experiments/hardware/slurm.sh --config RUN.yaml --config experiments/hardware/8x80gb.yaml
# Three minutes before its time is over, or when it is preempted, the run gets SIGUSR1: it saves a checkpoint after the
# batch, and the job is requeued. A requeued job resumes from the last checkpoint.
#SBATCH --job-name=lightning_marlhf
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --signal=SIGUSR1@180
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=slurm-%j.log
set -u
RESTART_STATUS=75 # the run asks to be requeued

if [ "${SLURM_RESTART_COUNT:-0}" -gt 0 ]; then
  set -- "$@" --ckpt_path last
fi
srun --kill-on-bad-exit=0 "${PYTHON:-python}" -m lightning_marlhf fit "$@"
status=$?
if [ "$status" -eq "$RESTART_STATUS" ]; then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
