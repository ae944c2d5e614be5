#!/bin/sh
#SBATCH --cpus-per-task=1
# Merges the parts of a run once they are done.
set -eu

parts=$1 folder=$2
part=1
set --
while [ "$part" -le "$parts" ]; do
    set -- "$@" "$folder/part-$part.json"
    part=$((part + 1))
done

status=0
"${WEIGHTPROOF:-weightproof}" merge "$@" --output "$folder/whole.json" || status=$?
[ "$status" -le 1 ]
