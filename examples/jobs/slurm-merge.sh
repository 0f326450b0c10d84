#!/bin/bash
# What an array of slurm-array.sh wrote, as one file, and as its picture where the plan has a [plot].
#SBATCH --job-name=iso-merge
#SBATCH --output=iso-merge.log
set -euo pipefail

: "${PLAN:?the plan, as PLAN=plan.toml sbatch ...}"
rows=${OUT:-rows.csv}
iso study merge "${SHARDS:-shards}"/*.csv --out "$rows"
if grep -q '^\[plot\]' "$PLAN"; then
  iso study plot "$PLAN" --rows "$rows" --out "${rows%.*}.svg"
fi
