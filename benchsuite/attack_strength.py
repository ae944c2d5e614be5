#!/usr/bin/env python3
"""Neuron-space against weight-space attack, sample by sample, with the same steps and restarts.

    python3 benchsuite/attack_strength.py [MODEL DATA] --radius 0.001 --samples 1000

Needs a release build of weightproof and nothing else.
"""

import argparse
import json
import subprocess


def attack(args, kind):
    command = [args.weightproof, "attack", *args.inputs, "--attack", kind]
    command += ["--radius", str(args.radius), "--bias-radius", "0", "--samples", str(args.samples)]
    command += ["--steps", str(args.steps), "--restarts", str(args.restarts), "--format", "json", "--quiet"]
    # The exit status says whether a sample was broken.
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=False).stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("inputs", nargs="*", help="MODEL DATA; the embedded ones when absent")
    parser.add_argument("--weightproof", default="target/release/weightproof")
    parser.add_argument("--radius", type=float, default=0.001)
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--restarts", type=int, default=4)
    args = parser.parse_args()
    neuron, weight = attack(args, "neuron-space"), attack(args, "weight-space")
    pairs = list(zip(neuron["samples"], weight["samples"]))
    ahead = [w["worst_margin"] - n["worst_margin"] for n, w in pairs]
    drop = [max(n["margin"] - w["worst_margin"], 1e-12) for n, w in pairs]
    share = [100 * a / d for a, d in zip(ahead, drop)]
    count = len(ahead)
    print(f"radius {args.radius}, {count} samples, {args.steps} steps, {args.restarts} restarts")
    for name, report in (("neuron space", neuron), ("weight space", weight)):
        print(f"{name}: {report['environment']['seconds']:.2f} s, robust {report['summary']['robust']} of {count}")
    print(f"neuron space is stronger on {sum(a > 1e-4 for a in ahead)}, weaker on {sum(a < -1e-4 for a in ahead)}")
    print(f"its margin is lower by {sum(ahead) / count:.4f} on average, at most {max(ahead):.4f}, at least {min(ahead):.4f}")
    print(f"in percent of the drop that weight space finds: {sum(share) / count:.2f} on average, at least {min(share):.2f}")


if __name__ == "__main__":
    main()
