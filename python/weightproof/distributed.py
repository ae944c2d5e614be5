"""`certify`, `attack`, `radius` and `faults` on a cluster of Ray: the same questions, the same answers.

>>> from weightproof import distributed
>>> result = distributed.certify(network, data, radius=0.001)  # doctest: +SKIP

Samples are divided into parts of whole blocks (``shard=(i, n)``), each a task of one processor; the results of the parts are joined by `merge`, so the result
is, but for the block about time and host, that of `weightproof.certify`. Network and samples are put into the cluster once. A part whose worker is lost
is done again elsewhere; Ctrl-C cancels all.

A network or :class:`Data` of a file is read by every worker from the file of that name, as on clusters with a shared file system; parts have the
SHA-256 of what they read, and are not joined where it differs. Networks from PyTorch, and arrays, travel themselves.
"""

from __future__ import annotations

import inspect
import os
import tempfile
from collections.abc import Callable
from typing import Any

import numpy as np

from . import _check, _progress, _weightproof, run
from .data import Data
from .result import Result
from .run import Progress
from .threat import Threat

try:
    import ray
except ImportError as error:
    raise ImportError("weightproof.distributed needs Ray\nhint: pip install 'weightproof[ray]'") from error

__all__ = ["attack", "certify", "faults", "radius"]

#: Parts for each processor of the cluster: enough that none waits long for the last.
_PARTS = 4
#: Numbers that a part holds in memory at most: samples in float64, and as much again for what is made of them.
_MOST_NUMBERS = 1 << 26
#: How often a part is begun again when its worker is lost.
_RETRIES = 20

#: What a worker has fetched, by the object's number: the parts that it does share it.
_fetched: dict[str, Any] = {}


def _fetch(reference: Any) -> Any:
    """An object of the cluster, made once in each worker."""
    key = reference.hex()
    if key not in _fetched:
        if len(_fetched) >= 8:
            _fetched.clear()
        _fetched[key] = ray.get(reference)
    return _fetched[key]


def _part(command: str, references: list[Any], settings: dict[str, Any], shard: tuple[int, int]) -> tuple[bytes, int]:
    """The result of one part, without the fingerprint of an array, and its number of samples."""
    network, x, y = (_fetch(reference) for reference in references)
    found = getattr(run, command)(network, x, y, shard=shard, **settings)
    return found._report.write("json"), len(found)


def _ask(local: Callable[..., Result], address: str | None, parts: int | None, given: dict[str, Any], progress: Progress) -> Result:
    command = local.__name__
    for name in ("journal", "witness", "certificate", "shard"):
        if given.pop(name, None) is not None:
            raise _weightproof.SettingError(f"{name}: expected none on a cluster, found one")
    if given.get("attack") == "universal":
        raise _weightproof.SettingError("attack: expected one on each sample by itself, found universal")
    network, x, y = (given.pop(name) for name in ("network", "x", "y"))
    if isinstance(y, Threat):
        given["threat"], y = y, None
    given.pop("progress", None)
    if given.get("threads") is None:
        given["threads"] = 1
    threads = _check.threads(given["threads"])
    if not ray.is_initialized():
        ray.init(address=address, log_to_driver=False, include_dashboard=False)
    if not isinstance(x, Data):
        x = _check.samples(x)
        y = None if y is None else _check.labels(y, len(x))
    values = x.x if isinstance(x, Data) else x
    of = _number_of_parts(command, values, given, parts, threads)
    references = [ray.put(value) for value in (network, x, y)]
    work = ray.remote(num_cpus=threads, max_retries=_RETRIES)(_part)
    tasks = [work.remote(command, references, given, (number, of)) for number in range(1, of + 1)]
    numbers = {task: k for k, task in enumerate(tasks, 1)}
    with tempfile.TemporaryDirectory() as folder, _progress.reporter(progress, command, len(values)) as report:
        paths, done, open_ = [], 0, tasks
        try:
            while open_:
                ready, open_ = ray.wait(open_, num_returns=1)
                for task in ready:
                    text, count = ray.get(task)
                    paths.append(os.path.join(folder, f"part-{numbers[task]}.json"))
                    with open(paths[-1], "wb") as file:
                        file.write(text)
                    done += count
                    if report is not None:
                        report(done)
        except BaseException as error:
            for task in open_:
                ray.cancel(task, force=True)
            # The error of the library, as a local call raises it.
            cause = getattr(error, "cause", None)
            if isinstance(error, ray.exceptions.RayTaskError) and isinstance(cause, Exception):
                raise cause from None
            raise
        return Result(_weightproof.merge(paths, values), values)


def _number_of_parts(command: str, values: np.ndarray[Any, Any], given: dict[str, Any], parts: int | None, threads: int) -> int:
    """As many parts as keep all processors busy, or as were asked for, of whole blocks that fit into the memory of a worker."""
    block = given.get("batch") or _weightproof.block(command, given.get("method") == "exact")
    blocks = -(-len(values) // block)
    if parts is not None:
        return _check.integer("parts", parts, 1, blocks)
    processors = int(ray.cluster_resources().get("CPU", 1)) // threads
    least = -(-values.size * 2 // _MOST_NUMBERS)
    return max(1, min(blocks, max(_PARTS * processors, least)))


def _distributed(local: Callable[..., Result]) -> Callable[..., Result]:
    """The question `local`, asked on a cluster."""
    signature = inspect.signature(local)
    own = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
        for name, annotation in (("address", "str | None"), ("parts", "int | None"))
    ]

    def ask(*arguments: Any, address: str | None = None, parts: int | None = None, progress: Progress = False, **settings: Any) -> Result:
        bound = signature.bind(*arguments, **settings)
        bound.apply_defaults()
        return _ask(local, address, parts, dict(bound.arguments), progress)

    ask.__name__ = ask.__qualname__ = local.__name__
    ask.__signature__ = signature.replace(parameters=[*signature.parameters.values(), *own])  # type: ignore[attr-defined]
    ask.__doc__ = f"""`weightproof.{local.__name__}` on a cluster, with its arguments and its result.

    Args:
        address: The cluster, as `ray.init` takes it; by default the one that is connected, or one of this machine.
        parts: Number of parts; by default four for each processor of the cluster, and more where a part needs too much memory.
        threads: Processors of each part; 1 by default.

    Raises:
        Error: As the local call; a journal, witnesses or a certificate are not written on a cluster.
        KeyboardInterrupt: After Ctrl-C; all parts are cancelled.
    """
    return ask


certify = _distributed(run.certify)
attack = _distributed(run.attack)
radius = _distributed(run.radius)
faults = _distributed(run.faults)
