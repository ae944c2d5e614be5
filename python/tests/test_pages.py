"""`report` and `plot`: one page, one figure, the same numbers."""

from __future__ import annotations

import pathlib
import re
import subprocess
import sys

import pytest

import weightproof as wp

RADII = [0.0005, 0.001, 0.002]


@pytest.fixture(scope="module")
def results(conv_module: wp.Network) -> list[wp.Result]:
    """Two networks, the same question."""
    network, data = wp.examples.mnist(samples=30)
    return [wp.certify(net, data, radius=RADII, method="interval") for net in (network, conv_module)]


@pytest.fixture(scope="module")
def conv_module(assets: pathlib.Path) -> wp.Network:
    return wp.Network.from_onnx(assets / "mnist-conv-8-16-10.onnx")


def test_a_page_is_that_of_the_command_line(command_line: str, results: list[wp.Result], tmp_path: pathlib.Path) -> None:
    files = [tmp_path / "dense.json", tmp_path / "conv.json"]
    for file, result in zip(files, results, strict=True):
        result.save(file)
    page = wp.report(files, tmp_path / "page.html", names=["A", "B"], figures=tmp_path / "figures")
    line = [command_line, "report", *map(str, files), "--name", "A,B", "-o", str(tmp_path / "command.html")]
    done = subprocess.run([*line, "--figures", str(tmp_path / "drawn")], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "not in one figure" not in done.stderr, done.stderr
    assert (tmp_path / "command.html").read_text() == page == (tmp_path / "page.html").read_text()
    drawn = (tmp_path / "figures" / "together.svg").read_bytes()
    assert drawn == (tmp_path / "drawn" / "together.svg").read_bytes()
    assert "Results together" in page and "A: proved" in page and "B: proved" in page
    assert "Results together" not in wp.report(results[0])
    assert "result 2" in wp.report(results)


def test_a_plot_has_the_numbers_of_the_page(results: list[wp.Result], tmp_path: pathlib.Path) -> None:
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    axes = wp.plot(results, ["dense", "convolutional"])
    assert [line.get_label() for line in axes.lines] == ["dense: proved", "convolutional: proved"]
    for line, result in zip(axes.lines, results, strict=True):
        assert list(line.get_xdata()) == RADII and list(line.get_ydata()) == list(result.certified_accuracy)
    axes.figure.savefig(tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 1000
    page = wp.report(results, names=["dense", "convolutional"])
    drawing = page[page.index("Results together") :]
    for line in axes.lines:
        points = re.search(rf'data-name="{line.get_label()}" data-points="([^"]*)"', drawing)
        assert points is not None
        shown = [float(point.split(",")[3]) for point in points[1].split()]
        assert shown == pytest.approx(list(line.get_ydata()), rel=1e-5)


def test_what_does_not_fit_is_refused(results: list[wp.Result]) -> None:
    network, data = wp.examples.mnist(samples=30)
    other = wp.certify(network, data, threat="relative", radius=RADII)
    with pytest.raises(wp.Error, match="result 2: expected the same kind of set as result 1, absolute, found relative"):
        wp.plot([results[0], other])
    with pytest.raises(wp.Error, match="expected the same kind of set"):
        wp.report([results[0], other], names=["a", "b"])
    with pytest.raises(wp.Error, match="expected the same samples"):
        wp.plot([results[0], wp.certify(*wp.examples.mnist(samples=20), radius=RADII)])
    with pytest.raises(wp.Error, match="expected results of certify, attack or radius at 2 radii or more"):
        wp.plot(wp.certify(network, data, radius=0.001))
    with pytest.raises(wp.SettingError, match="names: expected 2 names, one for each result, found 1"):
        wp.plot(results, ["one"])
    with pytest.raises(wp.Error, match="inspect/1"):
        wp.report(wp.inspect(network))


def test_without_matplotlib_a_plot_says_so() -> None:
    program = (
        "import sys; sys.modules['matplotlib'] = None\nimport weightproof as wp\n"
        "wp.plot(wp.certify(*wp.examples.mnist(5), radius=[0.001, 0.002], method='interval'))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "ImportError: plot: expected matplotlib, found none\nhint: pip install matplotlib" in done.stderr


def test_comparisons(results: list[wp.Result]) -> None:
    network, data = wp.examples.mnist(samples=30)
    better = wp.certify(network, data, radius=RADII, method="linear")
    assert "gained" in wp.report([results[0], better], compare=True)
    with pytest.raises(wp.Error, match="expected 2 results"):
        wp.report(results[0], compare=True)


def test_notebooks_show_network_and_set(results: list[wp.Result], conv_module: wp.Network) -> None:
    network, data = wp.examples.mnist(samples=20)
    measures = wp.measure(network, data, radius=0.001, search=False)
    for shown in (results[0], measures, wp.inspect(network, radius=0.001)):
        text = shown._repr_html_()
        assert network.name in text and "absolute" in text and "parameters" in text, text
    assert "rademacher-bound (rigorous)" in measures._repr_html_()
    assert conv_module.nodes[1].name in conv_module._repr_html_()
