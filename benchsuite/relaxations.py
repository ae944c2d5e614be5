"""What relaxations stronger than ours would prove where a search is slow: linear programs on dense ReLU networks, absolute radius.

    pip install numpy scipy onnx
    python benchsuite/relaxations.py network.onnx mnist/ --radius 0.004 --images 7 8 10

For each image and its closest rival the least margin over

- triangles: every ReLU by its triangle, boxes of all neurons by linear programs of the same kind,
- pairs: besides, for pairs of the neurons with the largest triangles of each layer, the convex hull of both ReLUs over an octagon, whose sides
  linear programs find (the joint relaxation of k-ReLU, arXiv 1906.09262, with k = 2).

Weights and biases of all layers move by the radius. Outputs of the first layer reach all of their box, each on its own, so they have no triangles.
Values are those of a solver in floating point: they compare, they prove nothing.
"""

import argparse
import gzip
import itertools
import time
from pathlib import Path

import numpy as np
import onnx
import onnx.numpy_helper
from scipy.optimize import linprog
from scipy.sparse import coo_matrix


def dense_layers(path: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """Weights (outputs, inputs) and biases of a chain of Gemm, or MatMul and Add, with ReLUs between them."""
    graph = onnx.load(path).graph
    constants = {t.name: onnx.numpy_helper.to_array(t).astype(np.float64) for t in graph.initializer}
    layers = []
    for node in graph.node:
        if node.op_type == "Gemm":
            turned = any(a.name == "transB" and a.i for a in node.attribute)
            weight = constants[node.input[1]]
            layers.append((weight if turned else weight.T, constants[node.input[2]]))
        elif node.op_type == "MatMul":
            side = 0 if node.input[0] in constants else 1
            weight = constants[node.input[side]]
            layers.append((weight if side == 0 else weight.T, np.zeros(weight.shape[0 if side == 0 else 1])))
        elif node.op_type == "Add":
            weight, bias = layers[-1]
            added = next(constants[name] for name in node.input if name in constants)
            layers[-1] = (weight, bias + added.reshape(-1))
        elif node.op_type not in ("Relu", "Flatten", "Reshape", "Identity"):
            raise SystemExit(f"{path}: a chain of dense layers is expected, found {node.op_type}")
    return layers


def mnist(folder: Path, index: int) -> tuple[np.ndarray, int]:
    """Image of the test set, from 0 to 1, and its label."""

    def numbers(name: str, header: int) -> np.ndarray:
        path = folder / name
        raw = path.read_bytes() if path.exists() else gzip.decompress((folder / f"{name}.gz").read_bytes())
        return np.frombuffer(raw, np.uint8, offset=header)

    images = numbers("t10k-images-idx3-ubyte", 16).reshape(-1, 784)
    return images[index] / 255.0, int(numbers("t10k-labels-idx1-ubyte", 8)[index])


class Program:
    """A linear program that grows; variables have bounds, rows are `coefficients · variables <= limit`."""

    def __init__(self) -> None:
        self.bounds: list[tuple[float, float]] = []
        self.terms: tuple[list[int], list[int], list[float]] = ([], [], [])
        self.limits: list[float] = []

    def variables(self, lower, upper) -> np.ndarray:
        first = len(self.bounds)
        self.bounds.extend(zip(lower, upper, strict=True))
        return np.arange(first, len(self.bounds))

    def at_most(self, variables, coefficients, limit: float) -> None:
        self.terms[0].extend([len(self.limits)] * len(variables))
        self.terms[1].extend(variables)
        self.terms[2].extend(coefficients)
        self.limits.append(limit)

    def equal(self, variables, coefficients, value: float) -> None:
        self.at_most(variables, coefficients, value)
        self.at_most(variables, [-c for c in coefficients], -value)

    def least(self, variables, coefficients) -> float:
        cost = np.zeros(len(self.bounds))
        np.add.at(cost, np.asarray(variables), np.asarray(coefficients))
        shape = (len(self.limits), len(self.bounds))
        rows = coo_matrix((self.terms[2], (self.terms[0], self.terms[1])), shape).tocsr() if self.limits else None
        found = linprog(cost, A_ub=rows, b_ub=self.limits or None, bounds=self.bounds, method="highs")
        if found.status != 0:
            raise SystemExit(f"the solver stopped: {found.message}")
        return found.fun

    def range(self, variables, coefficients) -> tuple[float, float]:
        return self.least(variables, coefficients), -self.least(variables, [-c for c in coefficients])


class Relaxed:
    """The network behind its first layer, layer by layer; `z` are the variables of the last activations."""

    def __init__(self, layers, x: np.ndarray, radius: float) -> None:
        (weight, bias), self.radius = layers[0], radius
        middle, reach = weight @ x + bias, radius * (np.abs(x).sum() + 1.0)
        self.program = Program()
        self.box = (np.maximum(middle - reach, 0.0), np.maximum(middle + reach, 0.0))
        self.z = self.program.variables(*self.box)

    def through(self, weight: np.ndarray, bias: np.ndarray, joint: int) -> int:
        """Adds a layer and its ReLUs; pairs of the `joint` largest triangles are relaxed together. The number of unstable neurons."""
        r, program = self.radius, self.program
        low, high = weight - r, weight + r
        least = np.minimum(low, 0) @ self.box[1] + np.maximum(low, 0) @ self.box[0] + bias - r
        most = np.maximum(high, 0) @ self.box[1] + np.minimum(high, 0) @ self.box[0] + bias + r
        for i in np.flatnonzero((least < 0) & (most > 0)):
            least[i] = max(least[i], program.least(self.z, low[i]) + bias[i] - r)
            most[i] = min(most[i], -program.least(self.z, -high[i]) + bias[i] + r)
        alive = most > 0
        p = program.variables(least, most)
        for i in np.flatnonzero(alive):
            program.at_most([*self.z, p[i]], [*low[i], -1.0], r - bias[i])
            program.at_most([*self.z, p[i]], [*-high[i], 1.0], bias[i] + r)
        z = program.variables(np.maximum(least, 0), np.maximum(most, 0))
        unstable = np.flatnonzero((least < 0) & alive)
        for i in np.flatnonzero(alive & (least >= 0)):
            program.equal([z[i], p[i]], [1.0, -1.0], 0.0)
        for i in unstable:
            slope = most[i] / (most[i] - least[i])
            program.at_most([p[i], z[i]], [1.0, -1.0], 0.0)
            program.at_most([z[i], p[i]], [1.0, -slope], -slope * least[i])
        area = -least * most
        largest = sorted(unstable, key=lambda i: -area[i])[:joint]
        for i, j in itertools.combinations(largest, 2):
            self.join((p[i], p[j]), (z[i], z[j]), (least[[i, j]], most[[i, j]]))
        self.z, self.box = z, (np.maximum(least, 0), np.maximum(most, 0))
        return len(unstable)

    def join(self, p, z, box) -> None:
        """The convex hull of two ReLUs over an octagon: a point in each of its four orthants, with weights."""
        program = self.program
        sides = [(s, *program.range(p, s)) for s in ([1.0, 1.0], [1.0, -1.0])]
        signs = list(itertools.product([False, True], repeat=2))
        shares = program.variables([0.0] * 4, [1.0] * 4)
        program.equal(shares, [1.0] * 4, 1.0)
        parts = []
        for share, positive in zip(shares, signs, strict=True):
            lower = [0.0 if up else box[0][k] for k, up in enumerate(positive)]
            upper = [box[1][k] if up else 0.0 for k, up in enumerate(positive)]
            part = program.variables(np.minimum(lower, 0.0), np.maximum(upper, 0.0))
            for k in range(2):
                program.at_most([part[k], share], [1.0, -upper[k]], 0.0)
                program.at_most([part[k], share], [-1.0, lower[k]], 0.0)
            for side, least, most in sides:
                program.at_most([*part, share], [*side, -most], 0.0)
                program.at_most([*part, share], [-side[0], -side[1], least], 0.0)
            parts.append(part)
        for k in range(2):
            program.equal([p[k], *(part[k] for part in parts)], [1.0] + [-1.0] * 4, 0.0)
            active = [part[k] for part, positive in zip(parts, signs, strict=True) if positive[k]]
            program.equal([z[k], *active], [1.0] + [-1.0] * len(active), 0.0)

    def margin(self, weight: np.ndarray, bias: np.ndarray, label: int, rival: int) -> float:
        row = weight[label] - weight[rival] - 2 * self.radius
        return self.program.least(self.z, row) + bias[label] - bias[rival] - 2 * self.radius


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("mnist", type=Path, help="folder with the test set")
    parser.add_argument("--radius", type=float, default=0.004)
    parser.add_argument("--images", type=int, nargs="+", default=[7, 8, 10])
    parser.add_argument("--joint", type=int, default=10, help="neurons of a layer whose pairs are relaxed together")
    options = parser.parse_args()
    layers = dense_layers(options.model)
    print("image  rival  unstable      triangles  seconds  pairs    seconds")
    for index in options.images:
        x, label = mnist(options.mnist, index)
        found = []
        for joint in (0, options.joint):
            start = time.monotonic()
            relaxed = Relaxed(layers, x, options.radius)
            unstable = [relaxed.through(weight, bias, joint) for weight, bias in layers[1:-1]]
            rivals = [j for j in range(len(layers[-1][1])) if j != label]
            margin, rival = min((relaxed.margin(*layers[-1], label, j), j) for j in rivals)
            found.append((margin, rival, unstable, time.monotonic() - start))
        (single, rival, unstable, spent), (pairs, _, _, longer) = found
        print(f"{index:5}  {rival:5}  {'+'.join(map(str, unstable)):12}  {single:9.4f}  {spent:7.1f}  {pairs:7.4f}  {longer:7.1f}", flush=True)


if __name__ == "__main__":
    main()
