#!/bin/bash
# A plan as an array of Slurm jobs: each is one shard, wherever it runs.
#
#   array=$(PLAN=plan.toml SHARDS=shards sbatch --parsable --array=1-8 slurm-array.sh)
#   PLAN=plan.toml SHARDS=shards OUT=rows.parquet sbatch --dependency="afterok:$array" slurm-merge.sh
#
# `iso` must be on the PATH, and both files on a disk that all nodes see. An array may be of any length: from 1, without gaps.
# A job that was requeued, or an array that is submitted again, goes on where its shard ended.
#SBATCH --job-name=iso-study
#SBATCH --cpus-per-task=1
#SBATCH --mem-per-cpu=1G
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=iso-study-%a.log
set -euo pipefail

: "${PLAN:?the plan, as PLAN=plan.toml sbatch ...}"
shards=${SHARDS:-shards}
mkdir -p "$shards"
iso study run "$PLAN" \
  --shard "$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT" \
  --out "$shards/$SLURM_ARRAY_TASK_ID.csv" --resume \
  --threads "${SLURM_CPUS_PER_TASK:-1}"
