"""What a run gives, on arrays of every kind."""

from __future__ import annotations

import gzip
import json
import pathlib
import threading
import tracemalloc
from typing import Any

import numpy as np
import pytest

import weightproof as wp

Example = tuple[wp.Network, wp.Data]


def test_results_are_arrays(mnist: Example) -> None:
    network, data = mnist
    result = wp.certify(network, data, radius=0.001)
    assert result.guarantee == "rigorous"
    assert result.margin_lower.shape == (100,) and result.margin_lower.dtype == np.float64
    assert set(result.verdict) <= {"verified", "falsified", "unknown"}
    assert np.array_equal(result.verdict == "verified", result.margin_lower > 0)
    assert result.certified_accuracy == (result.margin_lower > 0).mean()
    assert np.array_equal(result.label, data.y) and result.label.dtype == np.int64
    assert np.array_equal(result.predicted, network(data.x).argmax(1))
    assert (result.margin_lower <= result.margin).all()


def test_several_radii(mnist: Example) -> None:
    network, data = mnist
    result = wp.certify(network, data, radius=[0.0005, 0.001, 0.002])
    assert result.margin_lower.shape == (3, 100) and result.margin.shape == (100,)
    assert result.radii == (0.0005, 0.001, 0.002)
    assert (np.diff(result.margin_lower, axis=0) < 0).all()
    assert (np.diff(result.certified_accuracy) <= 0).all()
    assert np.array_equal(result.certified_accuracy, (result.margin_lower > 0).mean(axis=1))


def test_bounds_lie_below_attacks(mnist: Example) -> None:
    network, data = mnist
    proof = wp.certify(network, data, radius=0.001)
    found = wp.attack(network, data, radius=0.001, steps=20)
    assert (proof.margin_lower <= found.worst_margin).all()
    assert proof.certified_accuracy <= found.accuracy_under_attack
    exact = wp.certify(network, data, radius=0.001, method="exact")
    assert set(exact.verdict) == {"verified", "falsified"}
    assert proof.certified_accuracy <= exact.certified_accuracy <= found.accuracy_under_attack


def test_radius_search(mnist: Example) -> None:
    network, data = mnist
    result = wp.radius(network, (data.x[:20]), data.y[:20], width=0.1, steps=10)
    ordered = result.attacked_radius[~np.isnan(result.attacked_radius)] > result.certified_radius[~np.isnan(result.attacked_radius)]
    right = result.margin > 0
    assert ordered[right[~np.isnan(result.attacked_radius)]].all()
    assert result.summary["curve"]


def test_types_and_layouts_give_the_same(mnist: Example) -> None:
    network, data = mnist
    assert data.y is not None
    x = np.ascontiguousarray(data.x, np.float64)
    expected = wp.certify(network, x, data.y, radius=0.001).margin_lower
    for other in (x.reshape(100, 784), np.asfortranarray(x), np.repeat(x, 2, axis=0)[::2], x.astype(">f8"), x.tolist()):
        assert np.array_equal(wp.certify(network, other, data.y, radius=0.001).margin_lower, expected)
    bytes_ = np.round(x * 255).astype(np.uint8)
    assert np.array_equal(wp.certify(network, bytes_, data.y, radius=0.001).margin_lower, expected)
    # Inputs are taken as they are given: those of float32 are others in the last digits.
    single = wp.certify(network, x.astype(np.float32), data.y, radius=0.001).margin_lower
    assert np.allclose(single, expected, rtol=0, atol=1e-4)
    for y in (data.y.astype(np.int64), data.y.astype(np.uint8), data.y.tolist()):
        assert np.array_equal(wp.certify(network, x, y, radius=0.001).margin_lower, expected)


def test_forward_is_the_network(mnist: Example) -> None:
    network, data = mnist
    z = data.x.reshape(100, 784)
    parameters = network.parameters
    dense = [layer for layer in network.nodes if layer.kind == "dense"]
    for k, layer in enumerate(dense):
        weight = parameters[f"{layer.name}.weight"]
        assert weight.shape == layer.weight_shape
        z = z @ weight.T + parameters[f"{layer.name}.bias"]
        z = np.maximum(z, 0) if k + 1 < len(dense) else z
    assert np.allclose(network(data.x), z, rtol=1e-9, atol=1e-9)
    assert np.array_equal(network.forward(data.x.astype(np.float32)), network(data.x.astype(np.float32).astype(np.float64)))


def test_float64_is_not_copied() -> None:
    """A run on 188 MB of float64 takes no memory of that size, neither in NumPy nor in the process."""
    network, data = wp.examples.mnist(samples=1)
    x = np.repeat(data.x.reshape(1, 784), 30_000, axis=0)
    y = np.repeat(np.asarray(data.y), 30_000)
    wp.certify(network, x[:100], y[:100], radius=0.001, method="interval")
    before = _resident_peak()
    tracemalloc.start()
    wp.certify(network, x, y, radius=0.001, method="interval")
    numpy_peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert numpy_peak < x.nbytes / 20
    after = _resident_peak()
    if before is not None and after is not None:
        assert after - before < x.nbytes / 2


def _resident_peak() -> int | None:
    """Largest resident memory in bytes, where the system tells; reset first where it lets us."""
    try:
        with open("/proc/self/status") as file:
            line = next(line for line in file if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        return None
    return int(line.split()[1]) * 1024


def test_the_gil_is_released(mnist: Example) -> None:
    """Another thread runs on while a proof runs."""
    network, data = wp.examples.mnist()
    beats = 0
    done = threading.Event()

    def work() -> None:
        wp.certify(network, data, radius=0.001, method="optimized", threads=1)
        done.set()

    worker = threading.Thread(target=work)
    worker.start()
    while not done.wait(0.005):
        beats += 1
    worker.join()
    assert beats > 5


def test_threads_at_the_same_time_give_the_same(mnist: Example) -> None:
    network, data = mnist
    expected = wp.certify(network, data, radius=0.001).to_dict()["samples"]
    found: list[object] = [None] * 4

    def work(k: int) -> None:
        found[k] = wp.certify(network, data, radius=0.001, threads=1 + k % 2).to_dict()["samples"]

    workers = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    [worker.start() for worker in workers]
    [worker.join() for worker in workers]
    assert all(samples == expected for samples in found)


def test_progress_counts_all_samples(mnist: Example, capsys: pytest.CaptureFixture[str]) -> None:
    network, data = mnist
    calls: list[tuple[int, int]] = []
    wp.attack(network, data, radius=0.001, steps=30, batch=10, progress=lambda done, total: calls.append((done, total)))
    assert calls[-1] == (100, 100) and calls == sorted(calls)
    wp.certify(network, data, radius=0.001, progress=True)
    assert "100/100" in capsys.readouterr().err


def test_an_error_of_the_progress_function_ends_the_run(mnist: Example) -> None:
    network, data = mnist

    def stop(done: int, total: int) -> None:
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        wp.attack(network, data, radius=0.001, batch=5, progress=stop)


def test_a_table(mnist: Example) -> None:
    pandas = pytest.importorskip("pandas")
    network, data = mnist
    table = wp.certify(network, data, radius=0.001).to_pandas()
    assert isinstance(table, pandas.DataFrame) and len(table) == 100
    assert list(table["verdict"].cat.categories) and table["margin_lower"].dtype == np.float64
    many = wp.certify(network, data, radius=[0.001, 0.002]).to_pandas()
    assert len(many) == 200 and many.groupby("radius")["margin_lower"].mean().is_monotonic_decreasing


def test_html_and_text(mnist: Example) -> None:
    network, data = mnist
    result = wp.certify(network, data, radius=[0.001, 0.002])
    shown = result._repr_html_()
    assert shown.startswith("<table>") and f"{result.certified_accuracy[0]:.2%}" in shown and "rigorous" in shown
    assert "rigorous" in str(result) and "100 samples" in repr(result)


def test_the_fingerprint_is_that_of_the_bytes(mnist: Example) -> None:
    import hashlib

    network, data = mnist
    for x in (np.array(data.x), data.x.astype(np.float32), np.round(data.x * 255).astype(np.uint8)):
        found = wp.certify(network, x, data.y, radius=0.001).to_dict()["data"]
        assert found["sha256"] == hashlib.sha256(x.tobytes()).hexdigest()
        assert found["format"] == "numpy" and found["shape"] == [28, 28]


def test_a_changed_array_has_no_fingerprint(mnist: Example) -> None:
    network, data = mnist
    x = np.array(data.x)
    result = wp.certify(network, x, data.y, radius=0.001)
    np.random.default_rng(0).shuffle(x)
    assert "changed" in result.to_dict()["data"]["sha256"]


def test_colour_images_move_their_channels() -> None:
    """As the command line does: an image of another order is brought into that of the network."""
    torch = pytest.importorskip("torch")
    from torch import nn

    torch.manual_seed(0)
    network = wp.Network.from_torch(nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(72, 4)), (3, 8, 8))
    x = np.random.default_rng(0).random((5, 3, 8, 8))
    first = wp.certify(network, x, property="prediction", radius=0.01, mean=[0.1, 0.2, 0.3])
    last = wp.certify(network, np.moveaxis(x, 1, 3), property="prediction", radius=0.01, mean=[0.1, 0.2, 0.3])
    assert np.array_equal(first.margin_lower, last.margin_lower)


def test_pages(mnist: Example, tmp_path: pathlib.Path) -> None:
    """A page is that of the command ``report``, without the images of samples."""
    network, data = mnist
    result = wp.certify(network, data, radius=[0.0005, 0.001])
    measures = wp.measure(network, data, search=False)
    for found, word in ((result, "certified accuracy"), (measures, "path-norm")):
        found.save(tmp_path / "page.html")
        page = (tmp_path / "page.html").read_text()
        assert page.startswith("<!DOCTYPE html>") and word in page.lower()


def test_exact_runs_keep_a_journal(mnist: Example, tmp_path: pathlib.Path) -> None:
    network, data = mnist
    assert data.y is not None
    x, y, journal = data.x[36:44], data.y[36:44], tmp_path / "run.jsonl"

    def ask(**settings: object) -> wp.Result:
        return wp.certify(network, x, y, radius=[0.0005, 0.001], method="exact", journal=journal, **settings)  # type: ignore[arg-type]

    whole = ask()
    lines = journal.read_text().splitlines(keepends=True)
    assert len(lines) == 1 + 2 * len(x)
    # What is in the journal is not solved again, the rest is.
    marked = [lines[0], lines[1].replace('"nodes":', '"nodes":12345'), *lines[2:9]]
    journal.write_text("".join(marked))
    resumed = ask(time_limit=1000.0)
    assert (resumed.nodes > 10000).sum() == 1
    assert np.array_equal(resumed.verdict, whole.verdict)
    assert len(journal.read_text().splitlines()) == len(lines)
    # Arrays are told apart by their numbers.
    with pytest.raises(wp.Error, match="found that of another: data\n"):
        wp.certify(network, x * 0.5, y, radius=[0.0005, 0.001], method="exact", journal=journal)
    with pytest.raises(wp.Error, match="found that of another: seed"):
        ask(seed=3)


@pytest.mark.parametrize(
    ("ask", "settings"),
    [
        (wp.certify, {"radius": [0.0005, 0.001]}),
        (wp.certify, {"radius": 0.001, "method": "interval", "batch": 7}),
        (wp.attack, {"radius": 0.002, "steps": 3, "restarts": 1, "batch": 8}),
        (wp.radius, {"width": 0.2, "steps": 3, "restarts": 1, "batch": 8}),
    ],
)
def test_every_run_goes_on(ask: Any, settings: dict[str, Any], tmp_path: pathlib.Path) -> None:
    """A part of a journal and the rest of the work give the JSON of one run."""
    network, data = wp.examples.mnist(samples=20, offset=36)
    journal = tmp_path / "run.jsonl"
    whole = ask(network, data, **settings).to_dict()
    assert ask(network, data, **settings, journal=journal).to_dict() | {"environment": None} == whole | {"environment": None}
    lines = journal.read_text().splitlines(keepends=True)
    for kept in (1, 13, len(lines)):
        journal.write_text("".join(lines[:kept]) + '{"set":0')
        resumed = ask(network, data, **settings, journal=journal).to_dict()
        assert resumed | {"environment": None} == whole | {"environment": None}
        assert sorted(journal.read_text().splitlines(keepends=True)) == sorted(lines)
    with pytest.raises(wp.Error, match="found that of another: seed"):
        ask(network, data, **settings, journal=journal, seed=5)


def test_witnesses_are_files(mnist: Example, tmp_path: pathlib.Path) -> None:
    network, data = mnist
    assert data.y is not None
    x, y = data.x[36:44], data.y[36:44]
    for ask, settings in ((wp.certify, {"method": "exact"}), (wp.attack, {"steps": 20})):
        folder = tmp_path / ask.__name__
        result = ask(network, x, y, radius=[0.001, 0.002], witness=folder, **settings)  # type: ignore[operator]
        broken = result.verdict == "falsified"
        assert broken.any() and np.array_equal(result.witness != "", broken & (result.margin > 0))
        assert {name for name in result.witness.ravel() if name} == {path.name for path in folder.glob("*.safetensors")}
        assert "witness" in result.columns and "oracle" not in result.columns
        assert "witness" not in ask(network, x, y, radius=0.001, **settings).columns  # type: ignore[operator]


def test_the_oracle(mnist: Example) -> None:
    network, data = mnist
    assert data.y is not None
    try:
        result = wp.certify(network, data.x[36:38], data.y[36:38], radius=0.0005, method="exact", oracle="milp")
    except wp.NotBuiltError as error:
        assert "oracle: expected a build with the feature milp" in str(error) and "hint: pip install" in str(error)
    else:
        assert np.array_equal(result.oracle, result.verdict) and (result.oracle_seconds > 0).all()
        assert result.summary["oracle"]["contradicted"] == 0


def test_certificates_have_a_record_for_each_sample(mnist: Example, tmp_path: pathlib.Path) -> None:
    network, data = mnist
    for method in ["linear", "exact"]:
        file = tmp_path / "certificate.wpc"
        result = wp.certify(network, data.x[18:22], data.y[18:22], radius=0.001, method=method, certificate=file)
        lines = [json.loads(line) for line in gzip.open(file, "rt")]
        verdicts = [next(iter(line["record"]["verdict"])) for line in lines[1:-1]]
        assert verdicts == list(result.verdict), method
        assert lines[0]["schema"] == 1 and lines[-1]["end"]["records"] == 4
