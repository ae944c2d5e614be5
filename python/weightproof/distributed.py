"""`certify`, `attack`, `radius`, `faults` and `sweep` on a cluster of Ray: the same questions, the same answers.

>>> from weightproof import distributed
>>> result = distributed.certify(network, data, radius=0.001)  # doctest: +SKIP

Samples are divided into parts of whole blocks (``shard=(i, n)``), each a task of one processor; the results of the parts are joined by `merge`, so the result
is, but for the block about time and host, that of `weightproof.certify`. Network and samples are put into the cluster once. A part whose worker is lost
is done again elsewhere; Ctrl-C cancels all.

A sample that branch and bound leaves open at a limit is divided further: see `certify`.

A network or :class:`Data` of a file is read by every worker from the file of that name, as on clusters with a shared file system; parts have the
SHA-256 of what they read, and are not joined where it differs. Networks from PyTorch, and arrays, travel themselves.
"""

from __future__ import annotations

import inspect
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any

import numpy as np

from . import _check, _progress, _weightproof, run
from .data import Data, Slice, arrays
from .result import Result
from .run import Progress
from .threat import Threat

try:
    import ray
except ImportError as error:
    raise ImportError("weightproof.distributed needs Ray\nhint: pip install 'weightproof[ray]'") from error

__all__ = ["attack", "certify", "faults", "radius", "sweep"]

#: Parts for each processor of the cluster: enough that none waits long for the last.
_PARTS = 4
#: Numbers that a part holds in memory at most: samples in float64, and as much again for what is made of them.
_MOST_NUMBERS = 1 << 26
#: How often a part is begun again when its worker is lost.
_RETRIES = 20
#: Rounds in which the open regions of a sample are searched, where nothing else is asked for.
_ROUNDS = 8
#: Searches of one sample in a round, likewise: a number of its own, so that results do not depend on the cluster.
_SEARCHES = 64
#: What a sample that is divided was left open by.
_LIMITS = ("node-limit", "time-limit", "memory-limit")

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


def _search(references: list[Any], settings: str, question: str) -> str:
    """The answer to a question about regions of one sample."""
    network, x, y = (_fetch(reference) for reference in references)
    if isinstance(x, Slice):
        settings = json.dumps(json.loads(settings) | {"among": [x.first, x.total]})
    return _weightproof.search(network._native, arrays(x, y), settings, question)


def _runs(place: str, file: str, folder: str, shard: str) -> int:
    """The exit code of some runs of a sweep, begun in the folder `place`."""
    # Names in the file are those of the machine that asks.
    os.chdir(place)
    return _weightproof.main(["weightproof", "sweep", file, "--output", folder, "--shard", shard, "--quiet"])


class _Tasks:
    """Tasks on the cluster, each with a key; those that are open when the block ends with an error are cancelled."""

    def __init__(self, threads: int) -> None:
        self._options = {"num_cpus": threads, "max_retries": _RETRIES}
        self._open: dict[Any, Any] = {}

    def add(self, key: Any, work: Callable[..., Any], *arguments: Any) -> None:
        """Begins a task."""
        self._open[ray.remote(**self._options)(work).remote(*arguments)] = key

    def ended(self) -> Iterator[tuple[Any, Any]]:
        """Keys and results of tasks as they end, until none is open; more may be added meanwhile."""
        while self._open:
            ready, _ = ray.wait(list(self._open), num_returns=1)
            for task in ready:
                found = ray.get(task)
                yield self._open.pop(task), found

    def __enter__(self) -> _Tasks:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is None:
            return
        for task in self._open:
            ray.cancel(task, force=True)
        # The error of the library, as a local call raises it.
        cause = getattr(error, "cause", None)
        if isinstance(error, ray.exceptions.RayTaskError) and isinstance(cause, Exception):
            raise cause from None


def _connect(address: str | None) -> None:
    if not ray.is_initialized():
        ray.init(address=address, log_to_driver=False, include_dashboard=False)


def _ask(local: Callable[..., Result], given: dict[str, Any], own: dict[str, Any], progress: Progress) -> Result:
    command, begin = local.__name__, time.monotonic()
    rounds, searches = _division(command, given, own)
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
    _connect(own["address"])
    if not isinstance(x, Data):
        x = _check.samples(x)
        y = None if y is None else _check.labels(y, len(x))
    values = x.x if isinstance(x, Data) else x
    block = given.get("batch") or _weightproof.block(command, given.get("method") == "exact")
    of = _number_of_parts(values, block, own["parts"], threads)
    samples = _Samples(network, x, y, command != "attack")
    with tempfile.TemporaryDirectory() as folder, _Tasks(threads) as tasks, _progress.reporter(progress, command, len(values)) as report:
        paths, done = [], 0
        for number in range(1, of + 1):
            places = _weightproof.part(number, of, len(values), block)
            tasks.add(number, _part, command, samples.references(*places), given, (number, of))
        for number, (text, count) in tasks.ended():
            paths.append(os.path.join(folder, f"part-{number}.json"))
            with open(paths[-1], "wb") as file:
                file.write(text)
            done += count
            if report is not None:
                report(done)
        found = _weightproof.merge(paths, values)
        if rounds > 0:
            until = None if given["time_limit_total"] is None else begin + given["time_limit_total"]
            _divide(found, tasks, (network, x, y), samples, given, (rounds, searches, until))
        return Result(found, values)


class _Samples:
    """Network and samples in the cluster: numbers of an array in slices, so that each goes only where it is worked on; else all of them, once."""

    def __init__(self, network: Any, x: Any, y: Any, slices: bool) -> None:
        # What bytes stand for depends on all of them; blocks of attacks on the attack.
        self._slices = slices and isinstance(x, np.ndarray) and x.dtype.kind == "f"
        self._x, self._y, self._network = x, y, ray.put(network)
        self._whole = None if self._slices else [ray.put(x), ray.put(y)]

    def references(self, first: int, end: int) -> list[Any]:
        """Network, samples and labels for a task that needs these places."""
        if self._whole is not None:
            return [self._network, *self._whole]
        y = None if self._y is None else self._y[first:end]
        return [self._network, ray.put(Slice(self._x[first:end], first, len(self._x))), ray.put(y)]


def _number_of_parts(values: np.ndarray[Any, Any], block: int, parts: int | None, threads: int) -> int:
    """As many parts as keep all processors busy, or as were asked for, of whole blocks that fit into the memory of a worker."""
    blocks = -(-len(values) // block)
    if parts is not None:
        return _check.integer("parts", parts, 1, blocks)
    processors = int(ray.cluster_resources().get("CPU", 1)) // threads
    least = -(-values.size * 2 // _MOST_NUMBERS)
    return max(1, min(blocks, max(_PARTS * processors, least)))


def _division(command: str, given: dict[str, Any], own: dict[str, Any]) -> tuple[int, int]:
    """Rounds, and searches in a round, in which samples at a limit are divided; no rounds where there is nothing to divide."""
    rounds, searches = own.get("rounds"), own.get("searches")
    is_exact = command == "certify" and given["method"] == "exact"
    for name, value in (("rounds", rounds), ("searches", searches)):
        if value is not None and not is_exact:
            raise _weightproof.SettingError(f"{name}: expected none without the method exact, found {value!r}")
    rounds = None if rounds is None else _check.integer("rounds", rounds, 0)
    searches = _SEARCHES if searches is None else _check.integer("searches", searches)
    for name in ("gap", "oracle"):
        if is_exact and given[name] is not None:
            if rounds:
                raise _weightproof.SettingError(f"{name}: expected none with rounds, found {given[name]!r}")
            rounds = 0
    return (_ROUNDS if rounds is None else rounds) if is_exact else 0, searches


def _divide(
    found: _weightproof.Report, tasks: _Tasks, question: tuple[Any, Any, Any], whole: _Samples, given: dict[str, Any], limits: tuple[int, int, float | None]
) -> None:
    """Searches the samples that are open at a limit in regions, and puts what that says into the result.

    Rounds of one sample follow each other, samples do not wait for each other. What is asked depends on the answers alone, so the result
    does not depend on the number of workers.
    """
    (network, x, y), (rounds, searches, until) = question, limits
    y_or_none, settings = run.certify_settings({**given, "y": y, "shard": None})
    samples = arrays(x, y_or_none)
    hard = [(sample, k) for k in range(len(found.radii)) for sample, reason in enumerate(found.words("reason", k)) if reason in _LIMITS]
    divisions = {place: _weightproof.Division(network._native, samples, json.dumps(settings), *place) for place in hard}
    places = {sample: whole.references(sample, sample + 1) for sample in sorted({sample for sample, _ in hard})}
    waiting: dict[tuple[int, int], int] = {}
    answers: dict[tuple[int, int], list[str]] = {}
    left = dict.fromkeys(hard, rounds)

    def ask(place: tuple[int, int]) -> None:
        remaining = None if until is None else until - time.monotonic()
        if divisions[place].is_settled or left[place] == 0 or (remaining is not None and remaining <= 0):
            return
        left[place] -= 1
        asked = divisions[place].questions(searches)
        waiting[place], answers[place] = len(asked), []
        for text in asked:
            tasks.add(place, _search, places[place[0]], json.dumps(settings | {"time_limit_total": remaining}), text)

    for place in hard:
        ask(place)
    for place, answer in tasks.ended():
        answers[place].append(answer)
        if len(answers[place]) == waiting[place]:
            divisions[place].take(answers.pop(place))
            ask(place)
    for place in hard:
        divisions[place].conclude(found, network._native, samples, json.dumps(settings))
    if hard:
        found.divided(rounds, searches)


#: What `certify` says beside the others.
_DIVIDED = f"""
        rounds: For ``exact``, how often a sample that hits ``max_nodes``, ``time_limit`` or ``max_memory`` is divided: its open regions are searched by
            all workers, within the same limits for each search, until it is settled. {_ROUNDS} by default, 0 for never and where there is a ``gap`` or an
            ``oracle``. Under limits of nodes, results depend neither on the number of workers nor on time.
        searches: Searches of one sample in a round at most, {_SEARCHES} by default: more than this many workers do not help a single sample."""


def _distributed(local: Callable[..., Result]) -> Callable[..., Result]:
    """The question `local`, asked on a cluster."""
    signature = inspect.signature(local)
    names = {"address": "str | None", "parts": "int | None"}
    if local is run.certify:
        names |= {"rounds": "int | None", "searches": "int | None"}
    own = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
        for name, annotation in names.items()
    ]

    def ask(*arguments: Any, progress: Progress = False, **settings: Any) -> Result:
        given = {name: settings.pop(name, None) for name in names}
        bound = signature.bind(*arguments, **settings)
        bound.apply_defaults()
        return _ask(local, dict(bound.arguments), given, progress)

    ask.__name__ = ask.__qualname__ = local.__name__
    ask.__signature__ = signature.replace(parameters=[*signature.parameters.values(), *own])  # type: ignore[attr-defined]
    ask.__doc__ = f"""`weightproof.{local.__name__}` on a cluster, with its arguments and its result.

    Args:
        address: The cluster, as `ray.init` takes it; by default the one that is connected, or one of this machine.
        parts: Number of parts; by default four for each processor of the cluster, and more where a part needs too much memory.
        threads: Processors of each part; 1 by default.{_DIVIDED if local is run.certify else ""}

    Raises:
        Error: As the local call; a journal, witnesses or a certificate are not written on a cluster.
        KeyboardInterrupt: After Ctrl-C; all parts are cancelled.
    """
    return ask


certify = _distributed(run.certify)
attack = _distributed(run.attack)
radius = _distributed(run.radius)
faults = _distributed(run.faults)


def sweep(file: str | os.PathLike[str], output: str | os.PathLike[str], *, address: str | None = None, progress: Progress = False) -> int:
    """`weightproof sweep FILE -o OUTPUT` on a cluster: each run is a task of one processor.

    Results, journals and rows are those of the command, so a sweep that was begun here or there goes on in the other place: what a journal has is
    not computed again. A run whose worker is lost goes on elsewhere.

    Args:
        file: Settings of a command with a table ``[sweep]``.
        output: Folder for results, journals and rows, which all machines share, as they share `file` and what it names.
        address: The cluster, as `ray.init` takes it; by default the one that is connected, or one of this machine.
        progress: ``True`` for a bar, or a function of (runs done, runs in all).

    Returns:
        The exit code of the command: 0 when all samples of all runs hold, 1 when not.

    Raises:
        Error: A run has no result, for a reason that the command prints; the folder is not shared.
        KeyboardInterrupt: After Ctrl-C; runs go on from their journals when the sweep is begun again.
    """
    path, folder = os.fspath(file), os.fspath(output)
    results = _weightproof.sweep_files(path, folder)
    of, worst = len(results), 0
    _connect(address)
    with _Tasks(1) as tasks, _progress.reporter(progress, "sweep", of) as report:
        for number in range(1, of + 1):
            tasks.add(number, _runs, os.getcwd(), path, folder, f"{number}/{of}")
        for done, (number, code) in enumerate(tasks.ended(), 1):
            result = results[number - 1]
            if code not in (0, 1):
                hint = f"weightproof sweep {path} -o {folder} --shard {number}/{of} says why; the same sweep goes on behind the runs that are done"
                raise _weightproof.Error(f"{result}: expected a result, found the exit code {code}\nhint: {hint}")
            if not os.path.exists(result):
                raise _weightproof.Error(f"{result}: expected the result of a run, found none\nhint: all machines need the same folder, in a shared file system")
            worst = max(worst, code)
            if report is not None:
                report(done)
    return worst
