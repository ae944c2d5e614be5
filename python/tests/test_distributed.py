"""Questions on a cluster of several nodes on this machine: the answers of a local call, also when nodes are lost."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

import weightproof as wp

ray = pytest.importorskip("ray", reason="Ray is not installed")
distributed = pytest.importorskip("weightproof.distributed")
from ray.cluster_utils import Cluster  # noqa: E402


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head without processors, and nodes of one."""
    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    for _ in range(2):
        found.add_node(num_cpus=1)
    ray.init(address=found.address, log_to_driver=False)
    yield found
    ray.shutdown()
    found.shutdown()


def whole(found: wp.Result) -> dict[str, Any]:
    """A result without time and host."""
    report = found.to_dict()
    report.pop("environment")
    return report


def test_answers_are_those_of_a_local_call(cluster: Any) -> None:
    network, data = wp.examples.mnist(samples=40, offset=20)
    told: list[int] = []
    found = distributed.certify(network, data, radius=[0.0005, 0.001], batch=8, progress=lambda done, total: told.append(done))
    assert whole(found) == whole(wp.certify(network, data, radius=[0.0005, 0.001], batch=8))
    assert told == sorted(told) and told[-1] == 40 and len(told) == 5
    found = distributed.attack(network, data.x, data.y, wp.Threat.absolute(0.002), steps=3, restarts=1, batch=8, parts=3)
    assert whole(found) == whole(wp.attack(network, data.x, data.y, wp.Threat.absolute(0.002), steps=3, restarts=1, batch=8))
    found = distributed.radius(network, data, attack=None, width=0.5, batch=8)
    assert whole(found) == whole(wp.radius(network, data, attack=None, width=0.5, batch=8))
    found = distributed.faults(network, data, storage="int4", batch=20)
    assert whole(found) == whole(wp.faults(network, data, storage="int4", batch=20))


def test_lost_nodes_change_nothing(cluster: Any) -> None:
    network, data = wp.examples.mnist(samples=400)
    lost = [cluster.add_node(num_cpus=1) for _ in range(2)]

    def lose() -> None:
        for node in lost:
            time.sleep(1.0)
            cluster.remove_node(node, allow_graceful=False)
            ends.append(time.monotonic())

    ends: list[float] = []
    killer = threading.Thread(target=lose)
    killer.start()
    found = distributed.certify(network, data, radius=0.001, method="optimized", batch=8)
    ended = time.monotonic()
    killer.join()
    assert len(ends) == 2 and ends[-1] < ended, "nodes are lost while the parts are at work"
    assert whole(found) == whole(wp.certify(network, data, radius=0.001, method="optimized", batch=8))


def test_errors_are_those_of_a_local_call(cluster: Any) -> None:
    network, data = wp.examples.mnist(samples=16)
    with pytest.raises(wp.ThreatError, match="radius"):
        distributed.certify(network, data, batch=8)
    with pytest.raises(wp.SettingError, match="parts: expected an integer from 1 to 2, found 3"):
        distributed.certify(network, data, radius=0.001, batch=8, parts=3)
    with pytest.raises(wp.SettingError, match="journal: expected none on a cluster"):
        distributed.certify(network, data, radius=0.001, journal="j")
    with pytest.raises(TypeError, match="raduis"):
        distributed.certify(network, data, raduis=0.001)


def test_without_ray_the_package_says_so() -> None:
    program = "import sys; sys.modules['ray'] = None\nimport weightproof.distributed"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "weightproof.distributed needs Ray\nhint: pip install 'weightproof[ray]'" in done.stderr
