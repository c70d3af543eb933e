#!/bin/bash
# A grid of experiments as an array of eight SLURM jobs, and one that writes the tables when all
# have ended well:
#   sbatch --parsable examples/grid/slurm.sh grid.json /shared/grid
#   sbatch --dependency=afterok:JOB --wrap 'npx fedflat experiment grid.json --out /shared/grid --collect'
# `--requeue` starts a job again that lost its node: it continues where it was.
#SBATCH --job-name=fedflat-grid
#SBATCH --array=1-8
#SBATCH --cpus-per-task=4
#SBATCH --mem=4G
#SBATCH --time=12:00:00
#SBATCH --requeue
set -eu
exec npx fedflat experiment "$1" --out "$2" --json \
  --shard "$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT" --parallel "$SLURM_CPUS_PER_TASK"
