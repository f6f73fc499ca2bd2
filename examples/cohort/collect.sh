#!/bin/bash
# Joins the parts that slurm.sh computed into results, and writes one table of all slides. The arguments are those of slurm.sh.
#SBATCH --job-name=nuclei-collect
#SBATCH --cpus-per-task=4
#SBATCH --mem=4G
#SBATCH --time=04:00:00
set -euo pipefail
model=$1 out=$2
shift 2
"${INFER:-infer}" -q segment "$model" "$@" -o "$out" --resume --threads "${SLURM_CPUS_PER_TASK:-0}" ${INFER_FLAGS:-}
"${INFER:-infer}" cohort "$out"
