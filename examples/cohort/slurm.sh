#!/bin/bash
# Slides of a cohort on a cluster, as an array job:
#   sbatch --array=1-16 slurm.sh MODEL.onnx OUT SLIDE...
#   sbatch --dependency=afterok:JOB collect.sh MODEL.onnx OUT SLIDE...
# With at least as many slides as tasks each task takes whole slides, else every slide is cut into parts, which collect.sh puts together.
# A task that was killed is submitted again as it is: what it had finished is not computed again.
#SBATCH --job-name=nuclei
#SBATCH --cpus-per-task=4
#SBATCH --mem=4G
#SBATCH --time=08:00:00
#SBATCH --signal=B:TERM@60
set -euo pipefail
model=$1 out=$2
shift 2
# INFER names the program, if it is not on the PATH; INFER_FLAGS may hold --device, --key and others, the same for all tasks.
exec "${INFER:-infer}" -q segment "$model" "$@" -o "$out" --resume \
    --shard "$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT" --threads "${SLURM_CPUS_PER_TASK:-0}" ${INFER_FLAGS:-}
