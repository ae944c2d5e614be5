"""Images per second of ONNX Runtime at batch 64 on two threads, beside
`weightproof bench --only residual`.

    python3 benchsuite/onnxruntime_forward.py resnet_2b.onnx
"""

import sys
import time

import numpy
import onnx
import onnxruntime

BATCH, ROUNDS = 64, 50

model = onnx.load(sys.argv[1])
# A fixed batch of one becomes a dynamic one.
for value in [*model.graph.input, *model.graph.output]:
    value.type.tensor_type.shape.dim[0].dim_param = "batch"
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 2
session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
[entry] = session.get_inputs()
images = numpy.random.default_rng(0).random((BATCH, *entry.shape[1:]), dtype=numpy.float32)
for _ in range(20):
    session.run(None, {entry.name: images})
for _ in range(5):
    start = time.perf_counter()
    for _ in range(ROUNDS):
        session.run(None, {entry.name: images})
    print(f"{BATCH * ROUNDS / (time.perf_counter() - start):.0f} images/s")
