"""What a second thread gives: few samples of wide networks, on one thread and on more.

    python benchsuite/threads.py target/release/weightproof --threads 2
    python benchsuite/threads.py target/release/weightproof --threads 2 --task attack

Tasks are certify (the linear bound), attack, and radius (both, with the linear bound). Networks 784-W-W-W-10 with random weights (He), written as ONNX; random images. The numbers of threads take turns, and the least time of each counts.
The results of all runs are compared: they must be the same.
"""

import argparse
import json
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SAMPLES = (1, 4, 16, 64, 256)
#: By task: most samples of a network of width 1024, and the options by width.
TASKS = {
    "certify": (256, {512: ["--radius", "2e-4"], 1024: ["--radius", "1e-4"], 2048: ["--radius", "5e-5"]}),
    "attack": (16, {256: ["--radius", "4e-5"], 512: ["--radius", "2e-5"], 1024: ["--radius", "1e-5"]}),
    "radius": (4, {256: [], 512: [], 1024: []}),
}


def network(width: int) -> onnx.ModelProto:
    random = np.random.default_rng(width)
    widths = [784, width, width, width, 10]
    nodes, parameters, last = [], [], "x"
    for k, (inputs, outputs) in enumerate(zip(widths, widths[1:])):
        weight = random.standard_normal((outputs, inputs)) * np.sqrt(2 / inputs)
        parameters += [numpy_helper.from_array(a.astype("f"), f"{name}{k}") for name, a in (("w", weight), ("b", np.zeros(outputs)))]
        nodes.append(helper.make_node("Gemm", [last, f"w{k}", f"b{k}"], [f"p{k}"], transB=1))
        last = f"p{k}"
        if k < 3:
            nodes.append(helper.make_node("Relu", [last], [f"z{k}"]))
            last = f"z{k}"
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", size]) for name, size in (("x", 784), (last, 10))]
    graph = helper.make_graph(nodes, "wide", ends[:1], ends[1:], parameters)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def run(command: list[str], result: Path) -> tuple[float, list[dict]]:
    """Seconds of a run, and what it found for every sample."""
    code = subprocess.run([*command, "--format", "json", "--output", str(result)], stderr=subprocess.DEVNULL).returncode
    if code not in (0, 1):
        raise SystemExit(f"{' '.join(command)}: exit code {code}")
    found = json.loads(result.read_text())
    return found["environment"]["seconds"], found["samples"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weightproof")
    parser.add_argument("--task", choices=TASKS, default="certify")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    print(f"| width | samples | 1 thread | {options.threads} threads | ratio |\n|---:|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as folder:
        model, data, result = (Path(folder) / name for name in ("wide.onnx", "images.npz", "result.json"))
        np.savez(data, x=np.random.default_rng(0).random((max(SAMPLES), 784)).astype("f"))
        most, widths = TASKS[options.task]
        for width, arguments in widths.items():
            onnx.save(network(width), model)
            for samples in SAMPLES:
                if width * samples > 1024 * most:
                    continue
                command = [options.weightproof, options.task, str(model), str(data), "--samples", str(samples)]
                command += [*arguments, "--property", "prediction"]
                turns = [[run([*command, "--threads", str(t)], result) for t in (1, options.threads)] for _ in range(options.repeats)]
                if any(found != turns[0][0][1] for turn in turns for _, found in turn):
                    raise SystemExit(f"width {width}, {samples} samples: results depend on the number of threads")
                one, more = (min(turn[k][0] for turn in turns) for k in (0, 1))
                print(f"| {width} | {samples} | {one:.3f} s | {more:.3f} s | {one / more:.2f} |", flush=True)


if __name__ == "__main__":
    main()
