"""Ctrl-C ends a run within about a second."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

PROGRAM = """
import signal, sys, time
import numpy as np
import weightproof as wp

# Jobs in the background of a shell ignore it.
signal.signal(signal.SIGINT, signal.default_int_handler)
network, data = wp.examples.mnist()
x, y = np.tile(data.x, (60, 1, 1)), np.tile(data.y, 60)
print("ready", flush=True)
start = time.perf_counter()
try:
    {call}
except KeyboardInterrupt:
    print("interrupted", flush=True)
    # The package goes on working.
    assert len(wp.certify(network, data, radius=0.001)) == 1000
    sys.exit(7)
print("finished", time.perf_counter() - start)
"""

CALLS = {
    "attack": "wp.attack(network, x, y, radius=0.002, steps=1000)",
    "certify": "wp.certify(network, x, y, radius=0.002, method='optimized')",
    "exact": "wp.certify(network, x, y, radius=0.0025, method='exact')",
    "journal": "wp.certify(network, x[:5000], y[:5000], radius=0.002, method='optimized', journal=sys.argv[1])",
    "radius": "wp.radius(network, x, y, steps=1000)",
    "progress": "wp.attack(network, x, y, radius=0.002, steps=1000, progress=lambda done, total: None)",
}


@pytest.mark.skipif(os.name == "nt", reason="signals of Windows differ")
@pytest.mark.parametrize("call", CALLS)
def test_keyboard_interrupt(call: str, tmp_path: pathlib.Path) -> None:
    journal = tmp_path / "run.jsonl"
    program = [sys.executable, "-c", PROGRAM.format(call=CALLS[call]), str(journal)]
    process = subprocess.Popen(program, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "ready\n"
        time.sleep(1.0)
        while call == "journal" and (not journal.exists() or journal.read_text().count("\n") < 2):
            assert process.poll() is None, "the run ended"
            time.sleep(0.02)
        start = time.perf_counter()
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "interrupted\n"
        # About one second on a machine with nothing else to do.
        assert time.perf_counter() - start < 10
        process.stdout.read()
        assert process.wait(60) == 7
        if call == "journal":
            # What was done is kept, and whole.
            lines = journal.read_text().splitlines()
            assert 1 < len(lines) < 5000 and all(json.loads(line) for line in lines)
    finally:
        process.kill()
        process.wait()
