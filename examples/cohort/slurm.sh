#!/bin/bash
# Segments a cohort on a Slurm cluster as an array job:
#   sbatch --array=1-16 slurm.sh MODEL.onnx OUT SLIDE...
#   sbatch --dependency=afterok:JOB collect.sh MODEL.onnx OUT SLIDE...
# With at least as many slides as tasks, each task computes whole slides; otherwise every slide is divided into parts that collect.sh joins.
# A killed task is resubmitted with the same arguments; its finished parts are not computed again.
#SBATCH --job-name=nuclei
#SBATCH --cpus-per-task=4
#SBATCH --mem=4G
#SBATCH --time=08:00:00
#SBATCH --signal=B:TERM@60
set -euo pipefail
model=$1 out=$2
shift 2
# INFER names the program if it is not on the PATH; INFER_FLAGS holds more flags, such as --device or --key, and must be equal for all tasks.
exec "${INFER:-infer}" -q segment "$model" "$@" -o "$out" --resume \
    --shard "$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT" --threads "${SLURM_CPUS_PER_TASK:-0}" ${INFER_FLAGS:-}
