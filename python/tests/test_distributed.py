"""Questions on a cluster of several nodes on this machine: the answers of a local call, also when nodes are lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import weightproof as wp

# The cluster is at 127.0.0.1, where nobody else reaches it.
os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
ray = pytest.importorskip("ray", reason="Ray is not installed")
distributed = pytest.importorskip("weightproof.distributed")
from ray.cluster_utils import Cluster  # noqa: E402


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head without processors, and nodes of one."""
    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
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

    def lose(done: int, total: int) -> None:
        # While the other parts are at work.
        if lost and done < total:
            cluster.remove_node(lost.pop(), allow_graceful=False)

    found = distributed.certify(network, data, radius=0.001, method="optimized", batch=8, progress=lose)
    assert not lost
    assert whole(found) == whole(wp.certify(network, data, radius=0.001, method="optimized", batch=8))


def settled(found: wp.Result) -> dict[str, Any]:
    """A result of branch and bound without times."""
    report = whole(found)
    for sample in report["samples"]:
        sample.pop("seconds")
    return report


def test_hard_samples_are_searched_by_all_workers(cluster: Any) -> None:
    network, data = wp.examples.mnist(samples=100)
    asked = {"radius": 0.002, "method": "exact", "max_nodes": 100}
    local = wp.certify(network, data, **asked)
    hard = local.reason == "node-limit"
    assert 3 <= hard.sum() < 20
    assert settled(distributed.certify(network, data, **asked, rounds=0)) == settled(local), "nothing is divided"
    found = distributed.certify(network, data, **asked, searches=8)
    # The limits of the local call settle these, and nothing changes them.
    for sample, before in zip(settled(found)["samples"], settled(local)["samples"], strict=True):
        assert sample == before or before["reason"] == "node-limit"
    whole_search = wp.certify(network, data, radius=0.002, method="exact")
    assert (found.verdict == whole_search.verdict).all() and (found.verdict[hard] != "unknown").all()
    assert found.summary["unknown"] == 0 and found.summary["nodes"] == found.nodes.sum()
    assert found.to_dict()["config"]["exact"] | {"rounds": 8, "searches": 8} == found.to_dict()["config"]["exact"]
    # The same by more workers, of which one is lost.
    more = [cluster.add_node(num_cpus=1) for _ in range(2)]
    killer = threading.Timer(1.0, cluster.remove_node, (more[0],), {"allow_graceful": False})
    killer.start()
    again = distributed.certify(network, data, **asked, searches=8, parts=1)
    killer.join()
    cluster.remove_node(more[1])
    assert settled(again) == settled(found)
    # One round does not settle all, and says so.
    once = distributed.certify(network, data, **asked, rounds=1)
    assert set(once.reason[once.verdict == "unknown"]) == {"node-limit"}
    assert (once.margin_lower[hard] <= found.worst_margin[hard]).all() and np.isfinite(once.margin_lower[hard]).all()


def test_what_cannot_be_divided_is_refused(cluster: Any) -> None:
    network, data = wp.examples.mnist(samples=16)
    with pytest.raises(wp.SettingError, match="gap: expected none with rounds, found 0.1"):
        distributed.certify(network, data, radius=0.001, method="exact", gap=0.1, rounds=2)
    with pytest.raises(wp.SettingError, match="rounds: expected none without the method exact, found 2"):
        distributed.certify(network, data, radius=0.001, rounds=2)
    with pytest.raises(wp.SettingError, match="certificate: expected none on a cluster"):
        distributed.certify(network, data, radius=0.001, method="exact", certificate="proofs.gz")


def test_sweeps_are_those_of_the_command(cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from weightproof import _weightproof

    monkeypatch.chdir(tmp_path)
    lines = 'command = "certify"\nsamples = 20\nradius = [0.0005, 0.001]\n[sweep]\nmethod = ["interval", "linear"]\nbias-radius = [0, 0.001]\n'
    Path("sweep.toml").write_text(lines)

    def files() -> dict[str, Any]:
        """Results without time and host, and rows, of all runs."""
        found: dict[str, Any] = {}
        for path in Path("out").rglob("result.json"):
            found[str(path)] = json.loads(path.read_text())
            found[str(path)].pop("environment")
        return found | {str(path): path.stat().st_size > 0 for path in Path("out/rows").rglob("rows.*")}

    told: list[tuple[int, int]] = []
    code = distributed.sweep("sweep.toml", "out", progress=lambda done, total: told.append((done, total)))
    assert code == 1 and told == [(done, 4) for done in range(1, 5)]
    found = files()
    assert len(found) == 8
    journals = {path: path.read_bytes() for path in Path("out").rglob("journal")}
    Path("out").rename("cluster")
    assert _weightproof.main(["weightproof", "sweep", "sweep.toml", "-o", "out", "-q"]) == 1
    assert files() == found
    # A sweep that was begun here goes on there: what the journals have is not computed again.
    assert {path.relative_to("out") for path in Path("out").rglob("journal")} == {path.relative_to("out") for path in journals}
    kept = {path: path.read_bytes() for path in Path("out").rglob("journal")}
    for path in Path("out").rglob("result.json"):
        path.unlink()
    assert distributed.sweep("sweep.toml", "out") == 1
    assert files() == found and {path: path.read_bytes() for path in kept} == kept
    Path("sweep.toml").write_text(lines.replace("linear", "no-such"))
    with pytest.raises(wp.Error, match="result.json: expected a result, found the exit code 2"):
        distributed.sweep("sweep.toml", "other")
    with pytest.raises(wp.SettingError, match="no-such.toml"):
        distributed.sweep("no-such.toml", "other")


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
