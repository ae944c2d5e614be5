#!/bin/sh
# Submits a run of weightproof in parts, and the job that merges them.
#
#   submit.sh PARTS FOLDER COMMAND ARGUMENT…
#   submit.sh 100 results certify model.onnx data --radius 0.001
#
# FOLDER/whole.json is the result. Submitting the same line again runs only the parts that are not done.
# SBATCH_… variables say partition, account and time as usual; WEIGHTPROOF names the program where it is not on the path.
set -eu

if [ $# -lt 3 ] || ! [ "$1" -ge 1 ] 2>/dev/null; then
    echo 'usage: submit.sh PARTS FOLDER COMMAND ARGUMENT…' >&2
    exit 2
fi
parts=$1 folder=$2
shift 2
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
mkdir -p "$folder"

# A list of the parts that are not done: 3,7,8.
open=''
part=1
while [ "$part" -le "$parts" ]; do
    [ -e "$folder/part-$part.json" ] || open="$open${open:+,}$part"
    part=$((part + 1))
done

after=''
if [ -n "$open" ]; then
    job=$(sbatch --parsable --job-name=weightproof --array="$open" --requeue \
        --output="$folder/part-%a.log" "$here/part.sh" "$parts" "$folder" "$@")
    # On clusters the name of the cluster follows behind a semicolon.
    after="--dependency=afterok:${job%%;*}"
fi
# The merge waits until all parts are done.
sbatch --parsable --job-name=weightproof-merge ${after:+"$after"} \
    --output="$folder/merge.log" "$here/merge.sh" "$parts" "$folder"
