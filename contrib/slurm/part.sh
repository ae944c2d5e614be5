#!/bin/sh
#SBATCH --cpus-per-task=1
# One part of a run: a task of the array that submit.sh makes. It goes on from its journal when it was preempted.
set -eu

parts=$1 folder=$2 command=$3
shift 3
part=$SLURM_ARRAY_TASK_ID

# `faults` has no journal: a part that was killed begins again.
journal="--journal=$folder/part-$part.journal"
[ "$command" != faults ] || journal=''

status=0
"${WEIGHTPROOF:-weightproof}" "$command" "$@" --shard "$part/$parts" --threads "${SLURM_CPUS_PER_TASK:-1}" --quiet --json \
    ${journal:+"$journal"} --output "$folder/part-$part.json" || status=$?
# 1: the property does not hold for a sample, which is a result.
[ "$status" -le 1 ]
