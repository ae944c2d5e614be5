"""What a cluster of Ray on this machine costs beside one process, and whether lost nodes change a result.

    python benchsuite/ray_overhead.py [--nodes 4] [--threads 2] [--samples 100000] [--lose 2] [--turns 3]

Nodes have one processor each; with more nodes than processors they share them, so the comparison is what the cluster adds to the same work on the same
processors: starting workers, sending parts, joining results.
"""

from __future__ import annotations

import argparse
import os
import time
from typing import Any

# The cluster is at 127.0.0.1, where nobody else reaches it.
os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"

import numpy as np
import ray
from ray.cluster_utils import Cluster

import weightproof as wp
from weightproof import distributed


def whole(found: wp.Result) -> dict[str, Any]:
    """A result without time and host."""
    report = found.to_dict()
    report.pop("environment")
    return report


def main() -> None:
    """Prints both times, the least of several calls in turns, and the time of a call that loses nodes."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--nodes", type=int, default=4)
    arguments.add_argument("--threads", type=int, default=2)
    arguments.add_argument("--samples", type=int, default=100_000)
    arguments.add_argument("--lose", type=int, default=2)
    arguments.add_argument("--turns", type=int, default=3)
    given = arguments.parse_args()
    network, data = wp.examples.mnist()
    copies = -(-given.samples // len(data))
    x = np.tile(np.asarray(data.x, np.float32).reshape(len(data), -1), (copies, 1))[: given.samples]
    y = np.tile(data.y, copies)[: given.samples]
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    nodes = [cluster.add_node(num_cpus=1) for _ in range(given.nodes)]
    ray.init(address=cluster.address, log_to_driver=False)

    def lose(done: int, total: int) -> None:
        """Kills a node while other parts are at work."""
        if len(nodes) > given.nodes - given.lose and done < total:
            cluster.remove_node(nodes.pop(), allow_graceful=False)

    def timed(ask: Any, **settings: Any) -> tuple[float, wp.Result]:
        begin = time.perf_counter()
        found = ask(network, x, y, radius=0.001, **settings)
        return time.perf_counter() - begin, found

    # In turns, so that other work on the machine slows both.
    turns = [(timed(wp.certify, threads=given.threads), timed(distributed.certify)) for _ in range(given.turns)]
    (process, local), (together, found) = (min(runs, key=lambda run: run[0]) for runs in zip(*turns, strict=True))
    expected = whole(local)
    assert whole(found) == expected, "the cluster gives the result of one process"
    print(f"{given.samples} samples, linear: {given.threads} threads {process:.1f} s, {given.nodes} nodes of one processor {together:.1f} s, {together / process:.2f} x", flush=True)
    lossy, found = timed(distributed.certify, progress=lose)
    assert len(nodes) == given.nodes - given.lose
    assert whole(found) == expected, "lost nodes change nothing"
    print(f"{given.lose} of {given.nodes} nodes lost: {lossy:.1f} s, the same result")
    ray.shutdown()
    cluster.shutdown()


if __name__ == "__main__":
    main()
