"""Modules of PyTorch compute the same after conversion."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

import weightproof as wp

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

#: torch computes in float64 here, and so does the library; sums have other orders.
TOLERANCE = 1e-9


class Residual(nn.Module):
    def __init__(self, channels: int, stride: int = 1, width: int | None = None) -> None:
        super().__init__()
        width = width or channels
        self.conv1 = nn.Conv2d(channels, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.down = nn.Sequential(nn.Conv2d(channels, width, 1, stride), nn.BatchNorm2d(width)) if stride > 1 else nn.Identity()

    def forward(self, x: Any) -> Any:
        z = F.relu(self.bn1(self.conv1(x)))
        z = self.bn2(self.conv2(z))
        z += self.down(x)
        return torch.relu(z)


class Resnet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding="same"), nn.BatchNorm2d(8), nn.ReLU(inplace=True))
        self.blocks = nn.Sequential(Residual(8), Residual(8, 2, 16))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(16, 10)

    def forward(self, x: Any) -> Any:
        z = self.blocks(self.stem(x))
        return self.fc(torch.flatten(self.pool(z), 1))


class Classic(nn.Module):
    """The form of many tutorials: functions, dropout, view with the batch size, log-softmax."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 6, 5), nn.Conv2d(6, 8, 3, stride=2)
        self.drop, self.fc1, self.fc2 = nn.Dropout2d(0.5), nn.Linear(8 * 5 * 5, 32), nn.Linear(32, 10)

    def forward(self, x: Any) -> Any:
        z = F.max_pool2d(F.relu(self.conv1((x - 0.1307) / 0.3081)), 2)
        z = self.drop(self.conv2(z)).relu()
        z = z.view(x.size(0), -1)
        z = F.dropout(F.relu(self.fc1(z)), training=self.training)
        return self.fc2(z)


class Joined(nn.Module):
    """Concatenation, constants of all kinds, global mean, shared values."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(2, 3, 3, padding=1), nn.Conv2d(2, 4, 1, groups=2)
        self.register_buffer("mean", torch.tensor([0.3, 0.6]).reshape(1, 2, 1, 1))
        self.gain = nn.Parameter(torch.rand(7, 1, 1) + 0.5)
        self.fc = nn.Linear(7, 5)

    def forward(self, x: Any) -> Any:
        z = x - self.mean
        z = torch.cat([torch.tanh(self.a(z)), torch.sigmoid(self.b(z))], dim=1)
        z = 1 - z * self.gain
        return self.fc(-F.leaky_relu(z, 0.2).mean(dim=(2, 3)))


MODULES: dict[str, tuple[Any, tuple[int, ...]]] = {
    "dense": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 3)), (3, 2, 2)),
    "more activations": (
        lambda: nn.Sequential(
            nn.Linear(5, 6), nn.ELU(0.7), nn.Linear(6, 6), nn.SELU(), nn.Linear(6, 6), nn.CELU(1.5), nn.Linear(6, 6), nn.SiLU(),
            nn.Linear(6, 6), nn.Mish(), nn.Linear(6, 6), nn.Hardswish(), nn.Linear(6, 6), nn.Hardsigmoid(), nn.Linear(6, 6),
            nn.Softsign(), nn.Linear(6, 6), nn.Softshrink(0.25), nn.Linear(6, 6), nn.LogSigmoid(), nn.Linear(6, 6), nn.PReLU(), nn.Linear(6, 4),
        ),
        (5,),
    ),
    "double": (lambda: nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.Linear(8, 3)).double(), (4,)),
    "activations": (
        lambda: nn.Sequential(
            nn.Linear(5, 6), nn.LeakyReLU(0.1), nn.Linear(6, 6), nn.Sigmoid(), nn.Linear(6, 6), nn.Tanh(),
            nn.Linear(6, 6), nn.Softplus(), nn.Linear(6, 6), nn.GELU("tanh"), nn.Linear(6, 6), nn.ReLU6(),
            nn.Linear(6, 6), nn.Hardtanh(-2, 2), nn.BatchNorm1d(6), nn.Identity(), nn.Linear(6, 4),
        ),
        (5,),
    ),
    "pools": (
        lambda: nn.Sequential(
            nn.Conv2d(1, 4, 3, stride=(1, 2), padding=(2, 1), dilation=(1, 2)), nn.MaxPool2d(3, 2, 1), nn.ReLU(),
            nn.AvgPool2d(2, 1, 1, count_include_pad=False), nn.AdaptiveMaxPool2d((3, 1)), nn.Flatten(), nn.Linear(12, 3),
        ),
        (1, 13, 11),
    ),
    "one dimension": (
        lambda: nn.Sequential(
            nn.Conv1d(2, 4, 5, padding="same", dilation=2), nn.BatchNorm1d(4), nn.ReLU(), nn.MaxPool1d(2), nn.AvgPool1d(3, 2),
            nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(4, 3),
        ),
        (2, 20),
    ),
    "residual": (Resnet, (3, 8, 8)),
    "classic": (Classic, (1, 28, 28)),
    "joined": (Joined, (2, 4, 4)),
}


def trained(module: Any) -> Any:
    """Running statistics that are not the identity."""
    for part in module.modules():
        if isinstance(part, (nn.BatchNorm1d, nn.BatchNorm2d)):
            nn.init.uniform_(part.running_mean, -0.5, 0.5)
            nn.init.uniform_(part.running_var, 0.5, 2.0)
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.uniform_(part.bias, -0.5, 0.5)
    return module


@pytest.mark.parametrize("batch_norm", ["fold", "separate"])
@pytest.mark.parametrize("name", MODULES)
def test_outputs_are_those_of_torch(name: str, batch_norm: str) -> None:
    torch.manual_seed(1)
    build, shape = MODULES[name]
    module = trained(build())
    module.train()
    network = wp.Network.from_torch(module, shape, batch_norm=batch_norm)
    assert module.training
    x = torch.rand(7, *shape, dtype=torch.float64)
    reference = copy.deepcopy(module).double().eval()
    with torch.no_grad():
        expected = reference(x).numpy()
    found = network(x.numpy())
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= TOLERANCE * max(1.0, np.abs(expected).max())
    # The example may be an input, too.
    again = wp.Network.from_torch(module, torch.zeros(2, *shape), batch_norm=batch_norm)
    assert np.array_equal(again(x), found)


def test_a_network_of_torch_is_certified_and_saved(tmp_path: Any) -> None:
    torch.manual_seed(2)
    network = wp.Network.from_torch(trained(Resnet()), (3, 8, 8), name="resnet")
    x = torch.rand(6, 3, 8, 8)
    proof = wp.certify(network, x, threat=wp.Threat.relative(0.001))
    assert set(proof.verdict) == {"verified"}
    found = wp.attack(network, x, threat=wp.Threat.relative(0.001), steps=5)
    assert (proof.margin_lower <= found.worst_margin).all()
    report = proof.to_dict()
    assert report["model"]["name"] == "resnet" and report["model"]["format"] == "torch"
    network.save(tmp_path / "net.onnx")
    again = wp.Network.from_onnx(tmp_path / "net.onnx")
    assert np.allclose(again(x), network(x), atol=1e-5)


def test_names_are_those_of_the_modules() -> None:
    network = wp.Network.from_torch(Classic(), (1, 28, 28))
    assert [layer.name for layer in network.nodes if layer.weight_shape] == ["conv1", "conv2", "fc1", "fc2"]
    assert network.parameters["conv1.weight"].shape == (6, 1, 5, 5)


def test_softmax_at_the_output_is_dropped() -> None:
    dense = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 3))
    network = wp.Network.from_torch(nn.Sequential(dense, nn.LogSoftmax(dim=1)), (3,))
    x = torch.rand(5, 3)
    with torch.no_grad():
        assert np.allclose(network(x), dense(x).numpy(), atol=1e-6)
    assert any("dropped" in note for note in network.notes)


class Sorted(nn.Module):
    def forward(self, x: Any) -> Any:
        return torch.sort(x, dim=1).values


class Branching(nn.Module):
    def forward(self, x: Any) -> Any:
        return x if x.sum() > 0 else -x


UNSUPPORTED: dict[str, tuple[Any, tuple[int, ...], str]] = {
    "lstm": (nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4)), (4,), "module 1 (LayerNorm): this module is not supported"),
    "function": (nn.Sequential(nn.Linear(4, 4), Sorted()), (4,), "function sort"),
    "control flow": (nn.Sequential(nn.Linear(4, 4), Branching()), (4,), "torch.fx cannot trace it"),
    "shape": (nn.Sequential(nn.Linear(4, 4), nn.ReLU()), (5,), "does not take samples of shape (5,)"),
    "ceil": (nn.Sequential(nn.MaxPool2d(2, ceil_mode=True), nn.Flatten(), nn.Linear(9, 2)), (1, 5, 5), "module 0 (MaxPool2d): ceil_mode"),
    "padding": (nn.Sequential(nn.Conv2d(1, 1, 3, padding=1, padding_mode="reflect"), nn.Flatten()), (1, 4, 4), "padding_mode"),
    "adaptive": (nn.Sequential(nn.AdaptiveAvgPool2d(3), nn.Flatten(), nn.Linear(9, 2)), (1, 5, 5), "divides [5, 5], found [3, 3]"),
    "statistics": (nn.Sequential(nn.BatchNorm1d(4, track_running_stats=False), nn.Linear(4, 4), nn.ReLU()), (4,), "running statistics"),
    "images at the output": (nn.Sequential(nn.Conv2d(1, 1, 1), nn.ReLU()), (1, 4, 4), "output: expected outputs of shape"),
    "linear on images": (nn.Sequential(nn.Linear(4, 4), nn.Flatten()), (2, 4), "module 0 (Linear): expected flat samples"),
    "softmax inside": (nn.Sequential(nn.Softmax(1), nn.Linear(4, 4), nn.ReLU()), (4,), "module 0 (Softmax): expected it at the output"),
}


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_errors_name_the_module(name: str) -> None:
    module, shape, message = UNSUPPORTED[name]
    with pytest.raises(wp.NetworkError) as caught:
        wp.Network.from_torch(module, shape)
    assert message in str(caught.value)


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2)

    def forward(self, x: Any) -> Any:
        return self.attention(x, x, x)[0]


class Scores(nn.Module):
    def forward(self, x: Any) -> Any:
        return torch.matmul(x, x).flatten(1)


REFUSED: dict[str, tuple[nn.Module, tuple[int, ...], str]] = {
    "layer normalization": (nn.LayerNorm(4), (4,), "BatchNorm is read and may take its place"),
    "group normalization": (nn.GroupNorm(1, 2), (2, 4, 4), "BatchNorm is read and may take its place"),
    "attention": (Attention(), (3, 4), "attention multiplies computed values"),
    "scores": (Scores(), (4, 4), "products of computed values"),
    "embedding": (nn.Embedding(5, 4), (3,), "certify the part after it"),
    "transposed convolution": (nn.ConvTranspose2d(1, 1, 2), (1, 4, 4), "the part before it can be certified as a module of its own"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_offer_a_way_on(name: str) -> None:
    module, shape, way = REFUSED[name]
    with pytest.raises(wp.NetworkError, match="\nhint: ") as caught:
        wp.Network.from_torch(nn.Sequential(module, nn.Flatten()), shape)
    assert way in str(caught.value)


def test_nan_weights_and_wrong_examples() -> None:
    module = nn.Sequential(nn.Linear(3, 3), nn.ReLU())
    module[0].weight.data[0, 0] = float("nan")
    with pytest.raises(wp.Error, match="NaN, expected a finite number"):
        wp.Network.from_torch(module, (3,))
    with pytest.raises(wp.NetworkError, match="example"):
        wp.Network.from_torch(nn.Linear(3, 3), ())
    with pytest.raises(TypeError, match="module"):
        wp.Network.from_torch("net", (3,))


def test_tensors_are_samples() -> None:
    module = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 3))
    network = wp.Network.from_torch(module, (3,))
    x = torch.rand(4, 3, requires_grad=True)
    y = torch.tensor([0, 1, 2, 0])
    by_tensor = wp.certify(network, x, y, radius=0.01)
    assert np.array_equal(by_tensor.margin_lower, wp.certify(network, x.detach().numpy(), y.numpy(), radius=0.01).margin_lower)
