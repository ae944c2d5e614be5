"""Losses for PyTorch: their margins are the core's, their gradients those of finite differences, and `torch.compile` takes them whole."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import weightproof as wp

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
nn = torch.nn
losses = pytest.importorskip("weightproof.torch")

#: Rounding of f64, and what the core's outward casts add.
TOLERANCE = 1e-5

THREATS = [
    wp.Threat.absolute(0.0),
    wp.Threat.absolute(0.02),
    wp.Threat.absolute(0.01, bias_radius=0.1),
    wp.Threat.relative(0.05),
    wp.Threat.relative(0.03, bias_radius=0.0),
    wp.Threat.absolute(0.02, layers=("2",)),
]


@pytest.fixture(autouse=True)
def numbers() -> Iterator[None]:
    """Numbers in float64, the same in every test."""
    torch.manual_seed(5)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def dense(*widths: int, activation: Any = None) -> Any:
    """A chain of dense layers."""
    layers: list[Any] = []
    for before, after in zip(widths, widths[1:], strict=False):
        layers += [nn.Linear(before, after), (activation or nn.ReLU)()]
    return nn.Sequential(*layers[:-1])


class Residual(nn.Module):
    """Convolutions, batch normalization, pooling and a sum."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.second = nn.Conv2d(4, 4, 3, padding=1, bias=False)
        self.pool = nn.AvgPool2d(2)
        self.last = nn.Linear(4 * 3 * 3, 3)

    def forward(self, x: Any) -> Any:
        z = torch.relu(self.norm(self.first(x)))
        z = torch.relu(self.second(z) + z)
        return self.last(torch.flatten(self.pool(z), 1))


def convolutional() -> Any:
    """A module for every kind of step."""
    module = Residual()
    module.norm.running_mean.uniform_(-0.3, 0.3)
    module.norm.running_var.uniform_(0.5, 2.0)
    nn.init.uniform_(module.norm.weight, 0.5, 1.5)
    return module.eval()


def samples(count: int, *shape: int) -> tuple[Any, Any]:
    """Inputs in [0, 1] and labels of three classes."""
    return torch.rand(count, *shape), torch.arange(count) % 3


def worst(margins: Any, y: Any) -> Any:
    """The least margin over the rivals."""
    label = nn.functional.one_hot(y, margins.shape[1]).bool()
    assert (margins[label] == 0).all()
    return margins.masked_fill(label, torch.inf).amin(1).detach().numpy()


def core(module: Any, shape: tuple[int, ...], x: Any, y: Any, threat: wp.Threat, method: Any) -> Any:
    """The core's bounds, without what it charges for rounding."""
    network = wp.Network.from_torch(module, shape)
    found = wp.certify(
        network, x.numpy(), y.numpy(), threat, method=method, precision="f64", guarantee="real-arithmetic", property="label"
    )
    return found.margin_lower


@pytest.mark.parametrize("threat", THREATS, ids=str)
@pytest.mark.parametrize("activation", [nn.ReLU, nn.Sigmoid, nn.Softplus])
def test_intervals_are_the_core_s(threat: wp.Threat, activation: Any) -> None:
    module = dense(7, 9, 8, 3, activation=activation)
    x, y = samples(6, 7)
    found = losses.IntervalLoss(module, (7,), threat).margins(x, y)
    np.testing.assert_allclose(worst(found, y), core(module, (7,), x, y, threat, "interval"), atol=TOLERANCE, rtol=TOLERANCE)
    # More classes than samples: the other way to merge the rows of the output.
    found = losses.IntervalLoss(module, (7,), threat).margins(x[:2], y[:2])
    np.testing.assert_allclose(
        worst(found, y[:2]), core(module, (7,), x[:2], y[:2], threat, "interval"), atol=TOLERANCE, rtol=TOLERANCE
    )


@pytest.mark.parametrize("threat", THREATS, ids=str)
def test_linear_bounds_of_two_classes_are_the_core_s(threat: wp.Threat) -> None:
    module = dense(6, 9, 8, 2)
    x, y = torch.rand(6, 6), torch.arange(6) % 2
    linear = worst(losses.LinearLoss(module, (6,), threat).margins(x, y), y)
    interval = worst(losses.IntervalLoss(module, (6,), threat).margins(x, y), y)
    expected = core(module, (6,), x, y, threat, "linear-interval")
    np.testing.assert_allclose(np.maximum(linear, interval), expected, atol=TOLERANCE, rtol=TOLERANCE)


@pytest.mark.parametrize("threat", THREATS, ids=str)
def test_norm_products_are_at_most_the_core_s(threat: wp.Threat) -> None:
    module = dense(6, 9, 8, 3)
    x, y = samples(6, 6)
    found = worst(losses.RobustLoss(module, (6,), threat).margins(x, y), y)
    assert (found <= core(module, (6,), x, y, threat, "norm-product") + TOLERANCE).all()


def test_a_norm_product_of_the_last_layer_is_the_core_s() -> None:
    module = dense(6, 9, 3)
    x, y = samples(6, 6)
    threat = wp.Threat.absolute(0.05, layers=("2",))
    found = worst(losses.RobustLoss(module, (6,), threat).margins(x, y), y)
    np.testing.assert_allclose(found, core(module, (6,), x, y, threat, "norm-product"), atol=TOLERANCE, rtol=TOLERANCE)


@pytest.mark.parametrize("threat", [t for t in THREATS if t.layers is None], ids=str)
def test_convolutions_are_sound_and_the_core_s_where_one_layer_moves(threat: wp.Threat) -> None:
    module, shape = convolutional(), (2, 6, 6)
    x, y = samples(4, *shape)
    interval = losses.IntervalLoss(module, shape, threat)
    np.testing.assert_allclose(interval.values(x)[-1].detach(), module(x).detach(), atol=TOLERANCE)
    # The core knows that all uses of a kernel move together, and takes the better of two bounds.
    assert (worst(interval.margins(x, y), y) <= core(module, shape, x, y, threat, "interval") + TOLERANCE).all()
    # The pool is no step of the linear loss.
    with pytest.raises(wp.NetworkError, match="pool: expected dense layers or convolutions"):
        losses.LinearLoss(module, shape, threat)
    only = wp.Threat(threat.kind, threat.radius, bias_radius=threat.bias_radius, layers=("last",))
    found = worst(losses.IntervalLoss(module, shape, only).margins(x, y), y)
    np.testing.assert_allclose(found, core(module, shape, x, y, only, "interval"), atol=TOLERANCE, rtol=TOLERANCE)


@pytest.mark.parametrize("threat", [t for t in THREATS if t.layers is None], ids=str)
def test_linear_bounds_of_convolutions_hold_at_samples_of_the_set(threat: wp.Threat) -> None:
    module = nn.Sequential(nn.Conv2d(2, 4, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(4, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(12, 3))
    x, y = samples(4, 2, 6, 6)
    for kind in (losses.IntervalLoss, losses.LinearLoss):
        bound = kind(module, (2, 6, 6), threat).margins(x, y).detach()
        for _ in range(20):
            outputs = moved(module, threat)(x)
            assert (outputs.gather(1, y[:, None]) - outputs >= bound - TOLERANCE).all(), kind


def moved(module: Any, threat: wp.Threat) -> Any:
    """The module at a corner of the set."""
    import copy

    other = copy.deepcopy(module)
    with torch.no_grad():
        for name, parameter in other.named_parameters():
            radius = threat.radius if name.endswith("weight") or threat.bias_radius is None else threat.bias_radius
            size = parameter.abs() if threat.kind == "relative" else 1.0
            parameter.add_(torch.sign(torch.randn_like(parameter)) * radius * size)
    return other


def test_inputs_that_move() -> None:
    """Bounds hold at samples, and are the core's where it knows the range of the inputs."""
    module = dense(6, 9, 8, 3)
    x, y = samples(5, 6)
    threat = wp.Threat.absolute(0.01, input_radius=0.05)
    for kind in (losses.IntervalLoss, losses.LinearLoss, losses.RobustLoss):
        for span in ((0.0, 1.0), None):
            bound = kind(module, (6,), threat, input_range=span).margins(x, y).detach()
            for _ in range(20):
                near = x + 0.05 * (2 * torch.rand_like(x) - 1)
                outputs = moved(module, threat)(near if span is None else near.clamp(*span))
                assert (outputs.gather(1, y[:, None]) - outputs >= bound - TOLERANCE).all(), (kind, span)


def test_a_row_of_noise_is_the_deviation_of_its_margin() -> None:
    """One layer: margins are Gaussian, and the bound is the mean less q deviations."""
    module = dense(6, 3)
    x, y = samples(5, 6)
    found = losses.NoiseLoss(module, (6,), 0.05, quantile=4.0).margins(x, y)
    outputs = module(x)
    deviation = 0.05 * module[0].weight.abs().max() * (2 * (x.square().sum(1, keepdim=True) + 1)).sqrt()
    expected = (outputs.gather(1, y[:, None]) - outputs - 4.0 * deviation) * (1 - nn.functional.one_hot(y, 3))
    torch.testing.assert_close(found, expected, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("sigma", [0.0, 0.01, 0.05])
def test_bounds_against_noise_hold_on_devices(sigma: float) -> None:
    """No more devices are below the bounds than tails allow, and the bounds are not much below the worst device."""
    module = dense(6, 8, 7, 3)
    x, y = samples(4, 6)
    bounds = losses.NoiseLoss(module, (6,), sigma, quantile=3.0).margins(x, y).detach()
    outputs = module(x).detach()
    clean = outputs.gather(1, y[:, None]) - outputs
    below, least = 0, clean.clone()
    for _ in range(2000):
        outputs = noisy(module, sigma)(x)
        margins = outputs.gather(1, y[:, None]) - outputs
        below += int((margins < bounds - TOLERANCE).any(1).sum())
        least = torch.minimum(least, margins)
    # 15 neurons with two ends and two rivals of each of four samples, 0.00135 beyond three deviations each.
    assert below <= 2000 * 4 * (2 * 15 + 2) * 0.00135
    rival = clean != 0
    if sigma == 0:
        torch.testing.assert_close(bounds, clean, atol=1e-4, rtol=1e-4)
    else:
        assert ((clean - bounds)[rival] <= 6 * (clean - least)[rival]).all()


def test_bounds_against_noise_are_below_the_core_s() -> None:
    """The core has tighter boxes; at so many more deviations the loss is below it, and without noise both are the linear bounds."""
    module = dense(6, 8, 7, 3)
    x, y = samples(6, 6)
    network = wp.Network.from_torch(module, (6,))
    options: dict[str, Any] = {"method": "linear", "failure_probability": 1e-3, "precision": "f64", "property": "label"}
    proved = wp.certify(network, x.numpy(), y.numpy(), noise="gaussian-of-max:0.02", **options).margin_lower
    found = worst(losses.NoiseLoss(module, (6,), 0.02, quantile=8.0).margins(x, y), y)
    assert (found <= proved + TOLERANCE).all()


def test_settings_of_noise_are_checked() -> None:
    module = dense(4, 5, 3)
    for options, message in [
        ({"sigma": -1.0}, "sigma: expected"),
        ({"sigma": float("nan")}, "sigma: expected"),
        ({"sigma": 0.1, "failure_probability": 0.0}, "failure_probability: expected"),
        ({"sigma": 0.1, "failure_probability": 1.5}, "failure_probability: expected a number below 1, found 1.5"),
        ({"sigma": 0.1, "quantile": -1.0}, "quantile: expected"),
        ({"sigma": 0.1, "of": "loss"}, "of: expected cross-entropy or hinge, found 'loss'"),
    ]:
        with pytest.raises(wp.SettingError, match=message):
            losses.NoiseLoss(module, (4,), **options)
    for module, message in [
        (dense(4, 5, 3, activation=nn.Sigmoid), "1: expected a chain of dense layers with relu between them, found monotone"),
        (nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 3)), "1: expected a chain of dense layers with relu between them, found affine"),
    ]:
        with pytest.raises(wp.NetworkError, match=message):
            losses.NoiseLoss(module, (4,), 0.1)


def noisy(module: Any, sigma: float) -> Any:
    """The module on a device: Gaussian noise of a fraction of the largest weight of each layer."""
    import copy

    other = copy.deepcopy(module)
    with torch.no_grad():
        for layer in other:
            if isinstance(layer, nn.Linear):
                deviation = sigma * layer.weight.abs().max()
                layer.weight.add_(deviation * torch.randn_like(layer.weight))
                layer.bias.add_(deviation * torch.randn_like(layer.bias))
    return other


@pytest.mark.parametrize("of", ["cross-entropy", "hinge"])
def test_gradients_against_noise_are_finite_differences(of: Any) -> None:
    module = dense(4, 5, 4, 3)
    x, y = samples(3, 4)
    loss = losses.NoiseLoss(module, (4,), 0.05, 1e-3, of=of)
    differences(module, lambda: loss(x, y), of)


@pytest.mark.parametrize("kind", ["IntervalLoss", "LinearLoss", "hinge", "softplus", "norms"])
@pytest.mark.parametrize("threat", THREATS[1:4], ids=str)
def test_gradients_are_finite_differences(kind: str, threat: wp.Threat) -> None:
    module = dense(4, 5, 4, 3)
    x, y = samples(3, 4)
    if kind == "norms":
        evaluate = lambda: losses.norms(module, (4,))  # noqa: E731
    else:
        loss = losses.RobustLoss(module, (4,), threat, of=kind) if kind.islower() else getattr(losses, kind)(module, (4,), threat)
        evaluate = lambda: loss(x, y)  # noqa: E731
    differences(module, evaluate, kind)


def differences(module: Any, evaluate: Any, what: str) -> None:
    """Compares every third number of all gradients with a difference."""
    evaluate().backward()
    step, largest = 1e-6, 0.0
    for parameter in module.parameters():
        gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        flat = parameter.data.view(-1)
        for k in range(0, len(flat), 3):
            kept = float(flat[k])
            ends = []
            for sign in (1, -1):
                flat[k] = kept + sign * step
                ends.append(float(evaluate().detach()))
            flat[k] = kept
            found = (ends[0] - ends[1]) / (2 * step)
            assert abs(found - float(gradient.view(-1)[k])) <= 1e-5 * (1 + abs(found)), (what, k)
            largest = max(largest, abs(found))
    assert largest > 1e-3


@pytest.mark.parametrize("kind", ["IntervalLoss", "LinearLoss", "RobustLoss", "NoiseLoss"])
def test_compiled_whole(kind: str) -> None:
    """One graph without breaks, the same value, and no new graph for another radius."""
    module = dense(6, 8, 3)
    x, y = samples(5, 6)
    loss = losses.NoiseLoss(module, (6,), 0.01) if kind == "NoiseLoss" else getattr(losses, kind)(module, (6,), wp.Threat.absolute(0.01))
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    compiled = torch.compile(loss, backend="aot_eager", fullgraph=True)
    for part in (1.0, 0.25):
        losses.ramp(loss, part)
        found = compiled(x, y)
        found.backward()
        gradient = module[0].weight.grad.clone()
        module.zero_grad()
        expected = loss(x, y)
        expected.backward()
        torch.testing.assert_close(found, expected)
        torch.testing.assert_close(gradient, module[0].weight.grad)
        module.zero_grad()
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1


def test_ramp_scales_all_radii() -> None:
    module = dense(5, 6, 3)
    x, y = samples(4, 5)
    loss = losses.IntervalLoss(module, (5,), wp.Threat.absolute(0.04, bias_radius=0.02))
    losses.ramp(loss, 0.5)
    half = losses.IntervalLoss(module, (5,), wp.Threat.absolute(0.02, bias_radius=0.01))
    torch.testing.assert_close(loss(x, y), half(x, y))


def test_adversarial_weights_take_the_gradient_where_they_move() -> None:
    """For the loss w²/2 from w = 2: AWP moves to 2 (1 + γ), SAM to 2 + ρ, and the step is from 2."""
    for wrap, expected in (
        (lambda o: losses.AdversarialWeights(o, 0.1), 2.0 - 0.5 * 2.2),
        (lambda o: losses.SharpnessAware(o, 0.3), 2.0 - 0.5 * 2.3),
        (lambda o: losses.SharpnessAware(o, 0.3, adaptive=True), 2.0 - 0.5 * (2.0 + 0.3 * 4 * 2 / (2 * 2))),
    ):
        weight = torch.nn.Parameter(torch.full((1, 1), 2.0))
        optimizer = wrap(torch.optim.SGD([weight], 0.5))

        def closure(optimizer: Any = optimizer, weight: Any = weight) -> Any:
            optimizer.zero_grad()
            loss = weight.square().sum() / 2
            loss.backward()
            return loss

        assert float(optimizer.step(closure).detach()) == 2.0
        assert float(weight.detach()) == pytest.approx(expected)


def test_training_by_intervals_certifies_more() -> None:
    """A few steps of the loss certify more samples, with the same network, than plain cross-entropy does."""
    torch.manual_seed(0)
    x = torch.rand(300, 8)
    y = (x[:, 0] > x[:, 1]).long() + (x[:, 2] > 0.5).long()
    rates = []
    for robust in (False, True):
        torch.manual_seed(1)
        module = dense(8, 24, 3)
        loss = losses.IntervalLoss(module, (8,), wp.Threat.absolute(0.02))
        optimizer = torch.optim.Adam(module.parameters(), 0.02)
        for k in range(120):
            losses.ramp(loss, k / 60)
            optimizer.zero_grad()
            value = loss(x, y) if robust else nn.functional.cross_entropy(module(x), y)
            value.backward()
            optimizer.step()
        network = wp.Network.from_torch(module, (8,))
        rates.append(wp.certify(network, x.numpy(), y.numpy(), radius=0.02).certified_accuracy)
    assert rates[1] > rates[0] + 0.1, rates


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (lambda: nn.Sequential(nn.Linear(4, 4), nn.GELU(), nn.Linear(4, 3)), r"module 1 \(GELU\): expected a module that is monotone"),
        (lambda: nn.Sequential(nn.Linear(4, 4), nn.ReLU()), "1: expected a dense layer as the output, found relu"),
        (lambda: nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 3)), "module 0: expected batch normalization behind a layer"),
    ],
)
def test_what_has_no_rule_is_named(module: Any, message: str) -> None:
    with pytest.raises(wp.NetworkError, match=message):
        losses.IntervalLoss(module(), (4,), wp.Threat.absolute(0.01))


def test_threats_without_a_rule_are_refused() -> None:
    module = dense(4, 5, 3)
    for threat, message in [
        (wp.Threat.integer(8), "expected the kind absolute or relative, found int8"),
        (wp.Threat.absolute(0.1, layers=("nope",)), "layers: expected one of 0, 2, found nope"),
        (wp.Threat.absolute(0.1, activation_radius=0.1), "none of activations"),
    ]:
        with pytest.raises(wp.ThreatError, match=message):
            losses.IntervalLoss(module, (4,), threat)


def test_without_pytorch_the_package_says_so() -> None:
    program = "import sys; sys.modules['torch'] = None\nimport weightproof.torch"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "weightproof.torch needs PyTorch\nhint: pip install 'weightproof[torch]'" in done.stderr
