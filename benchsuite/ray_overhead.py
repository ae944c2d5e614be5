"""What a cluster of Ray on this machine costs beside one process: nodes of one processor against as many threads.

    python benchsuite/ray_overhead.py [--nodes 2] [--samples 20000]
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import ray
from ray.cluster_utils import Cluster

import weightproof as wp
from weightproof import distributed


def main() -> None:
    """Prints both times, the second call of each, when workers have read the network."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--nodes", type=int, default=2)
    arguments.add_argument("--samples", type=int, default=20_000)
    given = arguments.parse_args()
    network, data = wp.examples.mnist()
    copies = -(-given.samples // len(data))
    x = np.tile(np.asarray(data.x, np.float32).reshape(len(data), -1), (copies, 1))[: given.samples]
    y = np.tile(data.y, copies)[: given.samples]
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    for _ in range(given.nodes):
        cluster.add_node(num_cpus=1)
    ray.init(address=cluster.address, log_to_driver=False)
    times = {}
    for name in ("process", "cluster"):
        for _ in range(2):
            begin = time.perf_counter()
            if name == "process":
                wp.certify(network, x, y, radius=0.001, threads=given.nodes)
            else:
                distributed.certify(network, x, y, radius=0.001)
            times[name] = time.perf_counter() - begin
    ratio = times["cluster"] / times["process"]
    print(f"{given.samples} samples, linear: {given.nodes} threads {times['process']:.2f} s, {given.nodes} nodes {times['cluster']:.2f} s, {ratio:.2f} x")
    ray.shutdown()
    cluster.shutdown()


if __name__ == "__main__":
    main()
