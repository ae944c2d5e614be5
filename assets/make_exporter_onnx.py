#!/usr/bin/env python3
"""Export tiny convolutional networks with the exporters that people use.

    python3 make_exporter_onnx.py torch OUT_FOLDER         # needs torch, onnxscript
    python3 make_exporter_onnx.py tensorflow OUT_FOLDER    # needs tensorflow, tf2onnx

Each NAME.onnx comes with NAME.json as make_tiny_onnx.py writes it: three samples
with ONNX Runtime's outputs.  NAME starts with the exporter: torch-legacy,
torch-dynamo, tf2onnx or keras.  Both need numpy, onnx and onnxruntime; weights
come from a fixed seed.
"""

import argparse
import json
import pathlib
import zlib

import numpy as np

SAMPLES = 3
MOST_BYTES = 60_000


def record(folder, name, shape):
    import onnx
    import onnxruntime

    path = folder / f"{name}.onnx"
    assert path.stat().st_size < MOST_BYTES, f"{name}: {path.stat().st_size} bytes"
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    model = onnx.load(str(path))
    opset = next(entry.version for entry in model.opset_import if entry.domain in ["", "ai.onnx"])
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    inputs, outputs = [], []
    for _ in range(SAMPLES):
        x = rng.uniform(-1, 1, (1, *shape)).astype(np.float32)
        y = session.run(None, {session.get_inputs()[0].name: x})[0]
        assert np.isfinite(y).all()
        inputs.append([float(v) for v in x.ravel()])
        outputs.append([float(v) for v in y.ravel()])
    rows = lambda key, v: f' "{key}": [\n' + ",\n".join("  " + json.dumps(r) for r in v) + "\n ]"
    text = "{\n" + rows("inputs", inputs) + ",\n" + rows("outputs", outputs)
    text += f',\n "opset": {opset}\n}}\n'
    (folder / f"{name}.json").write_text(text)
    kinds = sorted({node.op_type for node in model.graph.node})
    print(f"{name}: {path.stat().st_size} bytes, {', '.join(kinds)}")


# --- PyTorch ------------------------------------------------------------------


def torch_networks():
    import torch
    from torch import nn
    from torch.nn import functional as f

    class Residual(nn.Module):
        """Convolution, batch normalization, pooling, a residual block, a global average."""

        def __init__(self):
            super().__init__()
            self.conv1 = nn.Conv2d(3, 4, 3, padding=1, bias=False)
            self.bn1 = nn.BatchNorm2d(4)
            self.pool = nn.MaxPool2d(2)
            self.conv2 = nn.Conv2d(4, 6, 3, stride=2, padding=1, bias=False)
            self.bn2 = nn.BatchNorm2d(6)
            self.conv3 = nn.Conv2d(6, 6, 3, padding=1)
            self.bn3 = nn.BatchNorm2d(6)
            self.shortcut = nn.Conv2d(4, 6, 1, stride=2)
            self.average = nn.AdaptiveAvgPool2d(1)
            self.fc = nn.Linear(6, 5)

        def forward(self, x):
            x = self.pool(torch.relu(self.bn1(self.conv1(x))))
            y = torch.relu(self.bn2(self.conv2(x)))
            x = torch.relu(self.bn3(self.conv3(y)) + self.shortcut(x))
            return self.fc(torch.flatten(self.average(x), 1))

    class PreActivation(nn.Module):
        """Batch normalization after an addition, and before a convolution."""

        def __init__(self):
            super().__init__()
            self.bn0 = nn.BatchNorm2d(2)
            self.conv1 = nn.Conv2d(2, 4, 3)
            self.conv2 = nn.Conv2d(4, 4, 3, padding=1)
            self.bn1 = nn.BatchNorm2d(4)
            self.conv3 = nn.Conv2d(4, 3, 3)
            self.fc1 = nn.Linear(12, 6)
            self.bn2 = nn.BatchNorm1d(6)
            self.fc2 = nn.Linear(6, 4)

        def forward(self, x):
            x = self.conv1(self.bn0(x))
            x = self.conv3(torch.relu(self.bn1(x + self.conv2(torch.relu(x)))))
            x = torch.relu(self.bn2(self.fc1(x.view(x.size(0), -1))))
            return self.fc2(x)

    class Mobile(nn.Module):
        """Depthwise convolutions, ReLU6, dilation, paddings, average pooling, channels split and joined."""

        def __init__(self):
            super().__init__()
            self.conv1 = nn.Conv2d(2, 4, 3, stride=2, padding=(1, 0), bias=False)
            self.bn1 = nn.BatchNorm2d(4)
            self.depth = nn.Conv2d(4, 4, 3, padding=2, dilation=2, groups=4)
            self.point = nn.Conv2d(4, 6, 1)
            self.fc = nn.Linear(3 * 2 * 3, 4)

        def forward(self, x):
            x = f.relu6(self.bn1(self.conv1(f.pad(x, (0, 1, 1, 0)))))
            x = f.hardtanh(self.point(self.depth(x)), -0.5, 2.0)
            a, b = torch.chunk(x, 2, dim=1)
            a = f.avg_pool2d(a, 3, stride=2, padding=1, count_include_pad=False)
            b = f.avg_pool2d(b, (2, 4), stride=2, padding=1)
            x = torch.cat([a, b[:, :1]], dim=1)
            rows, columns = x.mean(dim=-1).flatten(1), x.mean(dim=1).flatten(1)
            return self.fc(torch.cat([rows, columns.clamp(min=0)], 1))

    class Waves(nn.Module):
        """One-dimensional convolutions and pooling."""

        def __init__(self):
            super().__init__()
            self.conv1 = nn.Conv1d(2, 4, 3, padding=1, bias=False)
            self.bn1 = nn.BatchNorm1d(4)
            self.pool = nn.MaxPool1d(3, stride=2, padding=1, ceil_mode=True)
            self.conv2 = nn.Conv1d(4, 4, 3, groups=2)
            self.dropout = nn.Dropout(0.5)
            self.fc = nn.Linear(8, 3)

        def forward(self, x):
            x = self.pool(f.leaky_relu(self.bn1(self.conv1(x))))
            x = f.avg_pool1d(torch.tanh(self.conv2(x)), 2)
            x = x.permute(0, 2, 1).reshape(x.size(0), -1)
            return self.fc(self.dropout(x))

    return [
        ("residual", Residual, (3, 8, 8)),
        ("pre-activation", PreActivation, (2, 6, 6)),
        ("mobile", Mobile, (2, 8, 9)),
        ("waves", Waves, (2, 12)),
    ]


def export_torch(folder):
    import torch

    for index, (name, build, shape) in enumerate(torch_networks()):
        torch.manual_seed(index + 1)
        network = build()
        for module in network.modules():
            if isinstance(module, (torch.nn.BatchNorm1d, torch.nn.BatchNorm2d)):
                torch.nn.init.uniform_(module.weight, 0.5, 1.5)
                torch.nn.init.uniform_(module.bias, -0.5, 0.5)
                torch.nn.init.uniform_(module.running_mean, -0.5, 0.5)
                torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
        network.eval()
        x = torch.zeros(2, *shape)
        full = f"torch-legacy-{name}"
        options = {"input_names": ["x"], "output_names": ["y"]}
        torch.onnx.export(
            network, (x,), folder / f"{full}.onnx", dynamo=False, opset_version=17,
            dynamic_axes={"x": {0: "batch"}, "y": {0: "batch"}}, **options,
        )
        record(folder, full, shape)
        # As trained: batch normalization is not folded by the exporter.
        full = f"torch-legacy-unfolded-{name}"
        torch.onnx.export(
            network, (x[:1],), folder / f"{full}.onnx", dynamo=False, opset_version=13,
            training=torch.onnx.TrainingMode.PRESERVE, do_constant_folding=False, **options,
        )
        record(folder, full, shape)
        full = f"torch-dynamo-{name}"
        torch.onnx.export(
            network, (x,), folder / f"{full}.onnx", dynamo=True, external_data=False, opset_version=18,
            dynamic_shapes=({0: torch.export.Dim("batch")},), verbose=False, **options,
        )
        shrink(folder / f"{full}.onnx")
        record(folder, full, shape)


def shrink(path):
    """Leave out stack traces and other metadata, which the reader skips."""
    import onnx

    model = onnx.load(str(path))
    del model.metadata_props[:]
    for entry in [model.graph, *model.graph.node, *model.graph.input, *model.graph.output]:
        del entry.metadata_props[:]
    for value in [*model.graph.value_info, *model.graph.initializer]:
        del value.metadata_props[:]
    path.write_bytes(model.SerializeToString(deterministic=True))


# --- TensorFlow -----------------------------------------------------------------


def export_tensorflow(folder):
    import keras
    import tensorflow as tf
    import tf2onnx
    from keras import layers

    def residual():
        x = entry = keras.Input((8, 8, 3), name="x")
        x = layers.Conv2D(4, 3, padding="same", use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization()(x))
        x = layers.MaxPooling2D(2)(x)
        y = layers.Conv2D(6, 3, strides=2, padding="same")(x)
        y = layers.ReLU()(layers.BatchNormalization()(y))
        y = layers.BatchNormalization()(layers.Conv2D(6, 3, padding="same")(y))
        x = layers.ReLU()(layers.Add()([y, layers.Conv2D(6, 1, strides=2)(x)]))
        x = layers.GlobalAveragePooling2D()(x)
        return keras.Model(entry, layers.Dense(5)(x))

    def mobile():
        x = entry = keras.Input((8, 9, 2), name="x")
        x = layers.ZeroPadding2D(((1, 0), (0, 1)))(x)
        x = layers.Conv2D(4, 3, strides=2)(x)
        x = layers.ReLU(6.0)(x)
        x = layers.BatchNormalization()(x)
        x = layers.DepthwiseConv2D(3, padding="same")(x)
        x = layers.Activation("tanh")(layers.Conv2D(6, 1)(x))
        a = layers.AveragePooling2D(3, strides=2, padding="same")(x)
        b = layers.MaxPooling2D(2, padding="same")(x)
        x = layers.Concatenate()([a, b])
        x = layers.Dropout(0.5)(layers.Flatten()(x))
        x = layers.BatchNormalization()(layers.Dense(6, use_bias=False)(x))
        return keras.Model(entry, layers.Dense(4)(layers.LeakyReLU(negative_slope=0.1)(x)))

    def waves():
        x = entry = keras.Input((12, 2), name="x")
        x = layers.Conv1D(4, 3, padding="same", dilation_rate=2)(x)
        x = layers.ReLU()(layers.BatchNormalization()(x))
        x = layers.MaxPooling1D(3, strides=2, padding="same")(x)
        x = layers.Permute((2, 1))(x)
        x = layers.Activation("sigmoid")(layers.Subtract()([x, layers.Identity()(x[:, ::-1, :])]))
        x = layers.GlobalMaxPooling1D()(x)
        return keras.Model(entry, layers.Dense(3)(x))

    for index, build in enumerate([residual, mobile, waves]):
        keras.utils.set_random_seed(index + 1)
        network = build()
        rng = np.random.default_rng(index)
        for layer in network.layers:
            if isinstance(layer, layers.BatchNormalization):
                low, high = [0.5, -0.5, -0.5, 0.5], [1.5, 0.5, 0.5, 1.5]
                layer.set_weights(
                    [rng.uniform(a, b, w.shape) for a, b, w in zip(low, high, layer.get_weights())]
                )
        name = f"tf2onnx-{build.__name__}"
        shape = network.input_shape[1:]
        signature = [tf.TensorSpec((None, *shape), tf.float32, name="x")]
        function = tf.function(lambda x: network(x, training=False), input_signature=signature)
        tf2onnx.convert.from_function(
            function, input_signature=signature, opset=15, output_path=str(folder / f"{name}.onnx")
        )
        record(folder, name, shape)
        name = f"keras-{build.__name__}"
        network.export(str(folder / f"{name}.onnx"), format="onnx", verbose=False)
        record(folder, name, shape)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("framework", choices=["torch", "tensorflow"])
    parser.add_argument("out_folder", type=pathlib.Path)
    args = parser.parse_args()
    args.out_folder.mkdir(parents=True, exist_ok=True)
    {"torch": export_torch, "tensorflow": export_tensorflow}[args.framework](args.out_folder)


if __name__ == "__main__":
    main()
