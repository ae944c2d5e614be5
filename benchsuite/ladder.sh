#!/usr/bin/env bash
# The order of all methods on one network, with the attack on the other side, as a Markdown table.
#
#   benchsuite/ladder.sh [MODEL DATA] [-- OPTIONS]      e.g. model.onnx mnist/ -- --samples 1000
#
# RADII (default 0.0003,0.001,0.002) are absolute weight radii; biases stay. WEIGHTPROOF is the binary.
set -euo pipefail
cd "$(dirname "$0")/.."
radii=${RADII:-0.0003,0.001,0.002}
binary=${WEIGHTPROOF:-target/release/weightproof}
inputs=()
while (($#)) && [[ $1 != -- ]]; do inputs+=("$1"); shift; done
(($#)) && shift

# One number for each radius: the field $1 of a report on standard input, in percent.
field() { grep -o "\"$1\": *[0-9.]*" | sed 's/.*: *//' | awk '{printf " %.2f%% |", 100 * $1}'; }
run() { "$binary" "$@" --radius "$radii" --bias-radius 0 --format json --quiet || (($? == 1)); }

echo "| method | guarantee | ${radii//,/ | } |"
echo "|---|---|$(sed 's/[^,]*,\{0,1\}/---:|/g' <<<"$radii")"
for method in "norm-product" "interval" "linear --intermediate interval" "linear" "optimized"; do
    # shellcheck disable=SC2086
    echo "| ${method} | proof |$(run certify "${inputs[@]}" --method $method "$@" | field certified_accuracy)"
done
echo "| attack | witness |$(run attack "${inputs[@]}" "$@" | field accuracy_under_attack)"
