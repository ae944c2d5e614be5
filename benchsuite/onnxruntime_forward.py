"""Forward passes of ONNX Runtime beside those of `weightproof bench --only residual`, in turns.

    python benchsuite/onnxruntime_forward.py target/release/weightproof resnet_2b.onnx
"""

import argparse
import json
import subprocess
import time

import numpy
import onnx
import onnxruntime

BATCHES = (1, 16, 64)
SECONDS = 0.3

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("binary")
parser.add_argument("model", help="resnet_2b.onnx, whose shapes the network of bench has")
parser.add_argument("--threads", type=int, nargs="*", default=[1, 2])
parser.add_argument("--turns", type=int, default=5)
arguments = parser.parse_args()

model = onnx.load(arguments.model)
# A fixed batch of one becomes a dynamic one.
for value in [*model.graph.input, *model.graph.output]:
    value.type.tensor_type.shape.dim[0].dim_param = "batch"


def runtime(threads):
    """Least seconds of each batch."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    [entry] = session.get_inputs()
    least = {}
    for batch in BATCHES:
        images = numpy.random.default_rng(0).random((batch, *entry.shape[1:]), dtype=numpy.float32)
        end = time.perf_counter() + SECONDS
        while (start := time.perf_counter()) < end:
            session.run(None, {entry.name: images})
            least[batch] = min(least.get(batch, numpy.inf), time.perf_counter() - start)
    return least


def weightproof(threads):
    """Least seconds of each batch."""
    command = [arguments.binary, "bench", "--only", "residual", "--threads", str(threads), "--json"]
    report = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return {row["samples"]: row["seconds"] for row in report["rows"] if row["work"] == "forward"}


print("| threads | images | weightproof, µs/image | ONNX Runtime, µs/image | ratio |\n|---:|---:|---:|---:|---:|")
for threads in arguments.threads:
    ours, theirs = [], []
    for _ in range(arguments.turns):
        ours.append(weightproof(threads))
        theirs.append(runtime(threads))
    for batch in BATCHES:
        own, other = (1e6 / batch * min(turn[batch] for turn in turns) for turns in (ours, theirs))
        print(f"| {threads} | {batch} | {own:.1f} | {other:.1f} | {other / own:.2f} |")
