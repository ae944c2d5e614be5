"""Networks from arrays and from scikit-learn."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

import weightproof as wp

RNG = np.random.default_rng(3)


def layers(*widths: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Weights and biases of a chain."""
    return [(RNG.normal(size=(n, m)), RNG.normal(size=n)) for m, n in zip(widths, widths[1:], strict=False)]


def test_arrays_are_the_network() -> None:
    (a, b), (c, d) = layers(5, 7, 3)
    x = RNG.normal(size=(4, 5))
    expected = np.maximum(x @ a.T + b, 0) @ c.T + d
    np.testing.assert_allclose(wp.Network.from_arrays([(a, b), (c, d)]).forward(x), expected)
    transposed = wp.Network.from_arrays([(a.T, b), (c.T, d)], transposed=True, names=["one", "two"])
    np.testing.assert_allclose(transposed.forward(x), expected)
    assert [node.name for node in transposed.nodes if node.weight_shape] == ["one", "two"]
    np.testing.assert_allclose(pickle.loads(pickle.dumps(transposed)).forward(x), expected)
    single = wp.Network.from_arrays([(a.astype(np.float32), None), (c.astype(np.float32), None)], activation="tanh")
    np.testing.assert_allclose(single.forward(x), np.tanh(x @ a.T) @ c.T, rtol=1e-4, atol=1e-5)
    found = wp.certify(transposed, x, expected.argmax(1), radius=1e-6)
    assert found.certified_accuracy == 1.0


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (dict(layers=[]), "layers: expected at least 1 layer"),
        (dict(layers=[(np.ones(3), None)]), r"dense1: expected a weight of numbers with 2 dimensions, found float64 of shape \(3,\)"),
        (dict(layers=[(np.ones((2, 3)), None), (np.ones((2, 3)), None)]), "dense2"),
        (dict(layers=[(np.ones((2, 3)), None)], activation="step"), "activation: expected one of relu"),
        (dict(layers=[(np.ones((2, 3)), None)], names=["a", "b"]), "names: expected 1"),
    ],
)
def test_arrays_that_do_not_fit_are_named(given: dict, message: str) -> None:
    with pytest.raises(wp.Error, match=message):
        wp.Network.from_arrays(**given)


@pytest.mark.parametrize("activation", ["relu", "tanh", "logistic", "identity"])
@pytest.mark.parametrize("classes", [2, 3])
def test_scikit_learn(activation: str, classes: int) -> None:
    network = pytest.importorskip("sklearn.neural_network", reason="scikit-learn is not installed")
    x = RNG.normal(size=(120, 4))
    y = (x[:, 0] > 0).astype(int) + (classes - 2) * (x[:, 1] > 0.5)
    names = np.array(["a", "b", "c"])[y]
    classifier = network.MLPClassifier((6, 5), activation=activation, max_iter=60, random_state=0).fit(x, names)
    found = wp.Network.from_sklearn(classifier)
    place = {name: k for k, name in enumerate(classifier.classes_)}
    labels = np.array([place[name] for name in names])
    result = wp.certify(found, x, labels, radius=1e-9, precision="f64")
    assert result.accuracy == pytest.approx(classifier.score(x, names))
    predicted = np.array([place[name] for name in classifier.predict(x)])
    assert (result.predicted == predicted).all()


def test_other_classifiers_are_refused() -> None:
    with pytest.raises(wp.NetworkError, match="expected a fitted MLPClassifier, found dict"):
        wp.Network.from_sklearn({})
    network = pytest.importorskip("sklearn.neural_network", reason="scikit-learn is not installed")
    with pytest.raises(wp.NetworkError, match="found one that is not fitted"):
        wp.Network.from_sklearn(network.MLPClassifier())
