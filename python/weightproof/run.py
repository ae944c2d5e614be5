"""The questions about samples: `certify` proves, `attack` searches, `radius` does both for the largest radius, `faults` settles hits on memory."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy.typing as npt

from . import _check, _progress, _weightproof
from ._weightproof import Report, SettingError
from ._words import Attack, Fault, Guarantee, Intermediate, Kind, Layout, Method, Oracle, Precision, Property, SampleAttack
from .data import Data, Slice, arrays
from .network import Network
from .result import Result
from .threat import Threat

__all__ = ["attack", "certify", "faults", "merge", "radius"]

#: ``True`` for tqdm (a line on standard error without it), or what is called with (samples done, samples in all).
Progress = bool | Callable[[int, int], object]


def certify(
    network: Network,
    x: npt.ArrayLike | Data,
    y: npt.ArrayLike | Threat | None = None,
    threat: Threat | Kind = "absolute",
    *,
    radius: float | Sequence[float] | None = None,
    scale_radius: bool = False,
    noise: str | os.PathLike[str] | None = None,
    failure_probability: float | None = None,
    faults: str | os.PathLike[str] | Mapping[str, Any] | None = None,
    time: float | Sequence[float] | None = None,
    method: Method = "linear",
    intermediate: Intermediate | None = None,
    guarantee: Guarantee = "rigorous",
    property: Property | None = None,
    tolerance: float | None = None,
    threshold: float | None = None,
    lower: float | None = None,
    upper: float | None = None,
    logits: bool = False,
    time_limit: float | None = None,
    time_limit_total: float | None = None,
    max_nodes: int | None = None,
    max_memory: int | None = None,
    gap: float | None = None,
    journal: str | os.PathLike[str] | None = None,
    witness: str | os.PathLike[str] | None = None,
    certificate: str | os.PathLike[str] | None = None,
    oracle: Oracle | None = None,
    precision: Precision | None = None,
    seed: int = 0,
    threads: int | None = None,
    batch: int | None = None,
    shard: tuple[int, int] | None = None,
    layout: Layout | None = None,
    scale: float | str | None = None,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    progress: Progress = False,
) -> Result:
    """Proves lower bounds of margins over all weights that the threat model allows.

    Args:
        network: The network.
        x: Samples of shape (n, …), one sample as large as the input of the network, or :class:`Data`. float64 in C order is
            read where it is; float32 and uint8 (see ``scale``; inputs that move stay within its range) are widened batch by
            batch; other layouts are copied once. Do not change the array before the call returns.
        y: Labels, (n,) of an integer type; those of ``x`` where that is `Data`. A :class:`Threat` in this place is the threat model.
        threat: A :class:`Threat`, or its kind.
        radius: Radius of the weights, or several radii, each with a result of its own; replaces that of the threat model, whose
            radii of single layers keep their ratio to it. Its unit is that of the threat model.
        scale_radius: A radius below 1 is meant where it is a multiple of what an integer or number format rounds by itself; without
            it such a radius is refused.
        noise: Random weights, drawn once for all samples: ``gaussian-of-max:0.01`` (deviation relative to the largest weight of the
            layer), ``gaussian:0.001``, ``gaussian-relative:0.03``, ``gaussian-of-channel:0.01``, ``uniform…`` likewise,
            ``stochastic:int8``, ``stochastic:bf16``, or a TOML file. Verdicts then hold with a probability, and the result has a
            column ``failure_probability``. Without a ``radius`` nothing else moves; a set beside it is chosen before the draw.
        failure_probability: The probability with which a verified sample may fail on a device; 1e-9 by default.
        faults: Hits on stored words, as many at once as the fault model says, beside inputs that move; weights do not move otherwise. A TOML
            file as ``weightproof faults --faults`` reads it, or a mapping with the same settings:
            ``{"storage": "int8", "words": 2, "protect": [{"bits": [6, 7]}]}``. Methods ``interval``, ``linear-interval`` and ``linear``.
        time: Times at which weights that drift are certified, in seconds after the first reading; one result each, whose ``radius`` is
            the time. For noise with a table ``[drift]`` and for ``pcm``.
        method: ``norm-product``, ``interval``, ``linear``, ``linear-interval``, ``optimized``, or ``exact``: every sample
            proved or broken by branch and bound, within the limits below.
        intermediate: For ``linear``, where bounds of hidden neurons come from: ``linear`` (default) or ``interval``.
        guarantee: What bounds rest on: ``rigorous``, they hold although they are computed in floating point, or
            ``real-arithmetic``, they would if floating point were exact.
        property: What must hold: ``label`` (default where there are labels) keeps the largest output, the network's own
            ``prediction`` does, or no output moves by more than ``tolerance`` (``deviation``). For one output ``positive``: it
            stays on its side of ``threshold`` (default where there is one output); ``within``: all outputs stay between ``lower``
            and ``upper``.
        tolerance: Largest allowed change of an output, in its unit. Without it, bounds of how far outputs move at most are
            the answer (``certify`` by a bound).
        threshold: What the output is compared with, for ``positive``; by default 0.5 behind a sigmoid, else 0.
        lower: What all outputs stay above, for ``within``.
        upper: What all outputs stay below, for ``within``.
        logits: Deviations are those before the last Softmax, which is left out; without it they are refused for such networks.
        time_limit: For ``exact``, most seconds for each sample at each radius.
        time_limit_total: For ``exact``, most seconds for the whole run.
        max_nodes: For ``exact``, most domains bounded for each sample at each radius.
        max_memory: For ``exact``, most bytes of open domains (4 GiB by default).
        gap: For ``exact``, close the smallest margin to this width instead of stopping at its sign.
        journal: A file that keeps each sample as soon as it is settled. A call that was interrupted goes on from it when it is made
            again; samples that hit a limit are tried again. The command line reads and writes the same journals.
        witness: For ``exact``, a folder for the weights that break samples: one .safetensors file for each falsified sample, whose
            name is in the result's column ``witness``.
        certificate: A file for the proof or the witness of every sample, which the program ``weightproof-check`` repeats in exact
            arithmetic from the ONNX file of the network.
        oracle: For ``exact``, ``milp``: HiGHS settles every sample a second time, and columns ``oracle`` and ``oracle_seconds`` say
            what it found. Only in builds with the feature ``milp``.
        precision: ``f32`` or ``f64``; by default that of the network.
        seed: Of everything random.
        threads: Number of threads; all processors by default. Results do not depend on it.
        batch: Samples at once; adapts by default.
        shard: Part ``(i, n)`` of the samples, ``i`` from 1 to ``n``, in whole blocks of ``batch`` samples; `merge` joins the results
            of all parts.
        layout: Order of channels, height and width that the network wants, ``nchw`` or ``nhwc``; from the shapes by default.
        scale: Multiplies the data: a number, or a ratio such as ``"1/255"``. By default 1/255 for uint8, 1 for others and where the
            network or ``std`` divide by 255 themselves; the result says which. `Data` is scaled when it is loaded.
        mean: Subtracted from the data inside of the network: one number, or one for each channel or value.
        std: Divides the data, likewise.
        progress: ``True`` for a bar, or a function of (samples done, samples in all).

    Returns:
        Margins, bounds and verdicts of every sample. Bounds are ``rigorous``, unless ``guarantee`` says otherwise:
        all that rounding may have taken is charged to them. ``falsified`` samples are misclassified, or have a checked witness
        (``exact``), by more than the rounding of their forward pass.

    Raises:
        Error: One of its kinds, with what is wrong and where; also when search and oracle contradict each other.
        NotBuiltError: ``oracle`` in a build without it.
        KeyboardInterrupt: After Ctrl-C; only the journal and the witnesses are kept.
    """
    y, settings = certify_settings(dict(locals()))
    settings |= {"journal": _check.path(journal), "witness": _check.path(witness), "oracle": oracle}
    settings |= {"certificate": _check.path(certificate), "noise": _check.path(noise)}
    if failure_probability is not None:
        settings |= {"failure_probability": _check.number("failure_probability", failure_probability, "positive")}
    settings |= _hits(faults, noise=noise, oracle=oracle, witness=witness)
    settings |= {"times": [] if time is None else _check.numbers("time", time, "not negative")}
    return _run(_weightproof.certify, "certify", network, x, y, settings, progress)


def attack(
    network: Network,
    x: npt.ArrayLike | Data,
    y: npt.ArrayLike | Threat | None = None,
    threat: Threat | Kind = "absolute",
    *,
    radius: float | Sequence[float] | None = None,
    scale_radius: bool = False,
    noise: str | os.PathLike[str] | None = None,
    draws: int | None = None,
    faults: str | os.PathLike[str] | Mapping[str, Any] | None = None,
    time: float | Sequence[float] | None = None,
    attack: Attack = "neuron-space",
    steps: int = 100,
    restarts: int = 4,
    step_size: float | None = None,
    journal: str | os.PathLike[str] | None = None,
    witness: str | os.PathLike[str] | None = None,
    property: Property | None = None,
    tolerance: float | None = None,
    threshold: float | None = None,
    lower: float | None = None,
    upper: float | None = None,
    logits: bool = False,
    precision: Precision | None = None,
    seed: int = 0,
    threads: int | None = None,
    batch: int | None = None,
    shard: tuple[int, int] | None = None,
    layout: Layout | None = None,
    scale: float | str | None = None,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    progress: Progress = False,
) -> Result:
    """Searches weights within the threat model that break the property of each sample.

    Args:
        network: The network.
        x: Samples of shape (n, …), one sample as large as the input of the network, or :class:`Data`. float64 in C order is
            read where it is; float32 and uint8 (see ``scale``; inputs that move stay within its range) are widened batch by
            batch; other layouts are copied once. Do not change the array before the call returns.
        y: Labels, (n,) of an integer type; those of ``x`` where that is `Data`. A :class:`Threat` in this place is the threat model.
        threat: A :class:`Threat`, or its kind.
        radius: Radius of the weights, or several radii, each with a result of its own; replaces that of the threat model, whose
            radii of single layers keep their ratio to it. Its unit is that of the threat model.
        scale_radius: A radius below 1 is meant where it is a multiple of what an integer or number format rounds by itself; without
            it such a radius is refused.
        noise: Random weights, as :func:`certify` has them: devices are drawn instead of searched, and columns ``failures``,
            ``failure_rate``, ``failure_lower`` and ``failure_upper`` (a 95% interval) tell how often each sample fails.
        draws: Number of devices; 100 by default.
        faults: Hits on stored words, as :func:`certify` has them: sets of hits are searched instead, first every single one, then greedy with
            exchanges.
        time: Times at which drawn devices that drift are read, as :func:`certify` has them.
        attack: ``neuron-space``, ``weight-space``, ``universal`` (one change for all samples); by the gradients of each sample, which the
            column ``gradients`` counts: ``one-gradient``, ``fgsm``, ``pgd``; or a random one: ``random-uniform``, ``random-gaussian``
            (standard deviation r/√3, clipped at the radius r), ``random-vertex``.
        steps: Steps of the search.
        restarts: Starts of the search, or draws of a random attack.
        step_size: Length of a step of the universal attack, a fraction of the radius.
        journal: A file that keeps each sample as soon as it is settled, from which a call that was interrupted goes on when it is made
            again; not for ``universal``, whose one change needs all samples.
        witness: A folder for the weights that break samples: one .safetensors file for each broken sample, whose name is in the
            result's column ``witness``, or one for the universal attack.
        property: What must hold: ``label`` (default where there are labels) keeps the largest output, the network's own
            ``prediction`` does, or no output moves by more than ``tolerance`` (``deviation``). For one output ``positive``: it
            stays on its side of ``threshold`` (default where there is one output); ``within``: all outputs stay between ``lower``
            and ``upper``.
        tolerance: Largest allowed change of an output, in its unit. Without it, bounds of how far outputs move at most are
            the answer (``certify`` by a bound).
        threshold: What the output is compared with, for ``positive``; by default 0.5 behind a sigmoid, else 0.
        lower: What all outputs stay above, for ``within``.
        upper: What all outputs stay below, for ``within``.
        logits: Deviations are those before the last Softmax, which is left out; without it they are refused for such networks.
        precision: ``f32`` or ``f64``; by default that of the network.
        seed: Of everything random.
        threads: Number of threads; all processors by default. Results do not depend on it.
        batch: Samples at once; adapts by default.
        shard: Part ``(i, n)`` of the samples, ``i`` from 1 to ``n``, in whole blocks of ``batch`` samples; `merge` joins the results
            of all parts.
        layout: Order of channels, height and width that the network wants, ``nchw`` or ``nhwc``; from the shapes by default.
        scale: Multiplies the data: a number, or a ratio such as ``"1/255"``. By default 1/255 for uint8, 1 for others and where the
            network or ``std`` divide by 255 themselves; the result says which. `Data` is scaled when it is loaded.
        mean: Subtracted from the data inside of the network: one number, or one for each channel or value.
        std: Divides the data, likewise.
        progress: ``True`` for a bar, or a function of (samples done, samples in all).

    Returns:
        The worst margins that were found: an ``estimate`` from above of the true minimum. ``falsified`` samples have a
        witness, which was checked in float64; ``unknown`` proves nothing.
    """
    y, threat = _labels_and_threat(y, threat)
    settings = shared_settings(
        threat, radius, property, tolerance, (threshold, lower, upper), logits, precision, seed, threads, batch, layout, scale, mean, std, shard
    )
    settings |= _search(attack, steps, restarts, step_size)
    settings |= {"journal": _check.path(journal), "witness": _check.path(witness)}
    settings |= {"scale_radius": bool(scale_radius), "noise": _check.path(noise)}
    settings |= {"draws": None if draws is None else _check.integer("draws", draws)}
    settings |= _hits(
        faults,
        noise=noise, draws=draws, witness=witness, step_size=step_size, attack=None if attack == "neuron-space" else attack,
        steps=None if steps == 100 else steps, restarts=None if restarts == 4 else restarts,
    )
    settings |= {"times": [] if time is None else _check.numbers("time", time, "not negative")}
    return _run(_weightproof.attack, "attack", network, x, y, settings, progress)


def radius(
    network: Network,
    x: npt.ArrayLike | Data,
    y: npt.ArrayLike | Threat | None = None,
    threat: Threat | Kind = "absolute",
    *,
    radius: float | Sequence[float] | None = None,
    noise: str | os.PathLike[str] | None = None,
    failure_probability: float | None = None,
    faults: str | os.PathLike[str] | Mapping[str, Any] | None = None,
    method: Method = "linear",
    intermediate: Intermediate | None = None,
    guarantee: Guarantee = "rigorous",
    width: float = 0.01,
    by_layer: bool = False,
    attack: SampleAttack | None = "neuron-space",
    steps: int = 100,
    restarts: int = 4,
    property: Property | None = None,
    tolerance: float | None = None,
    threshold: float | None = None,
    lower: float | None = None,
    upper: float | None = None,
    logits: bool = False,
    time_limit: float | None = None,
    time_limit_total: float | None = None,
    max_nodes: int | None = None,
    max_memory: int | None = None,
    journal: str | os.PathLike[str] | None = None,
    precision: Precision | None = None,
    seed: int = 0,
    threads: int | None = None,
    batch: int | None = None,
    shard: tuple[int, int] | None = None,
    layout: Layout | None = None,
    scale: float | str | None = None,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    progress: Progress = False,
) -> Result:
    """Searches how far the weights may move for every sample.

    Args:
        network: The network.
        x: Samples of shape (n, …), one sample as large as the input of the network, or :class:`Data`. float64 in C order is
            read where it is; float32 and uint8 (see ``scale``; inputs that move stay within its range) are widened batch by
            batch; other layouts are copied once. Do not change the array before the call returns.
        y: Labels, (n,) of an integer type; those of ``x`` where that is `Data`. A :class:`Threat` in this place is the threat model.
        threat: A :class:`Threat`, or its kind.
        radius: Radii of the curve in the summary; chosen by default.
        noise: Search the largest random noise that samples withstand instead: ``gaussian-of-max``, ``gaussian``, … or a TOML file, as
            :func:`certify` has them; ``certified_radius`` is then its deviation or half width. Without an attack.
        failure_probability: The probability with which a certified sample may fail on a device; 1e-9 by default.
        faults: Hits on stored words, as :func:`certify` has them: radii are numbers of hit words, from 1 to the ``words`` of the fault model.
            ``max_nodes`` and ``time_limit`` then limit the search for pairs, as for :func:`faults`.
        method: ``norm-product``, ``interval``, ``linear``, ``linear-interval``, ``optimized``, or ``exact``, which closes the interval
            between the two radii by branch and bound.
        intermediate: For ``linear``, where bounds of hidden neurons come from: ``linear`` (default) or ``interval``.
        guarantee: What bounds rest on: ``rigorous``, they hold although they are computed in floating point, or
            ``real-arithmetic``, they would if floating point were exact.
        width: Relative distance of neighbouring radii of the search, 0.0001 to 1.
        by_layer: Search every layer on its own as well: which one limits the certificate. Columns with the layer's name.
        attack: ``neuron-space`` or ``weight-space``; ``None`` leaves attacked radii out.
        steps: Steps of the search.
        restarts: Starts of the search, or draws of a random attack.
        property: What must hold: ``label`` (default where there are labels) keeps the largest output, the network's own
            ``prediction`` does, or no output moves by more than ``tolerance`` (``deviation``). For one output ``positive``: it
            stays on its side of ``threshold`` (default where there is one output); ``within``: all outputs stay between ``lower``
            and ``upper``.
        tolerance: Largest allowed change of an output, in its unit. Without it, bounds of how far outputs move at most are
            the answer (``certify`` by a bound).
        threshold: What the output is compared with, for ``positive``; by default 0.5 behind a sigmoid, else 0.
        lower: What all outputs stay above, for ``within``.
        upper: What all outputs stay below, for ``within``.
        logits: Deviations are those before the last Softmax, which is left out; without it they are refused for such networks.
        time_limit: For ``exact``, most seconds for each sample at each radius.
        time_limit_total: For ``exact``, most seconds for the whole run.
        max_nodes: For ``exact``, most domains bounded for each sample at each radius.
        max_memory: For ``exact``, most bytes of open domains (4 GiB by default).
        journal: A file that keeps each sample as soon as it is settled. A call that was interrupted goes on from it when it is made
            again; samples that hit a limit are tried again. The command line reads and writes the same journals.
        precision: ``f32`` or ``f64``; by default that of the network.
        seed: Of everything random.
        threads: Number of threads; all processors by default. Results do not depend on it.
        batch: Samples at once; adapts by default.
        shard: Part ``(i, n)`` of the samples, ``i`` from 1 to ``n``, in whole blocks of ``batch`` samples; `merge` joins the results
            of all parts.
        layout: Order of channels, height and width that the network wants, ``nchw`` or ``nhwc``; from the shapes by default.
        scale: Multiplies the data: a number, or a ratio such as ``"1/255"``. By default 1/255 for uint8, 1 for others and where the
            network or ``std`` divide by 255 themselves; the result says which. `Data` is scaled when it is loaded.
        mean: Subtracted from the data inside of the network: one number, or one for each channel or value.
        std: Divides the data, likewise.
        progress: ``True`` for a bar, or a function of (samples done, samples in all).

    Returns:
        ``certified_radius`` (a bound, 0 where nothing was proved) and ``attacked_radius`` (an estimate, NaN where nothing
        was broken) of every sample, in the unit of the threat model.
    """
    y, threat = _labels_and_threat(y, threat)
    settings = shared_settings(
        threat, radius, property, tolerance, (threshold, lower, upper), logits, precision, seed, threads, batch, layout, scale, mean, std, shard
    )
    settings |= method_settings(
        method, intermediate, guarantee, time_limit, time_limit_total, max_nodes, max_memory, None
    )
    settings |= {"width": _check.number("width", width, "positive"), "by_layer": bool(by_layer)}
    settings |= {"journal": _check.path(journal), "noise": _check.path(noise)}
    if failure_probability is not None:
        settings |= {"failure_probability": _check.number("failure_probability", failure_probability, "positive")}
    if noise is not None and (by_layer or journal is not None):
        raise ValueError("noise: expected neither by_layer nor journal")
    if attack is not None:
        settings |= _search(attack, steps, restarts, None)
    if faults is not None:
        settings |= _hits(
            faults,
            noise=noise, method=None if method == "linear" else method, intermediate=intermediate,
            guarantee=None if guarantee == "rigorous" else guarantee, width=None if width == 0.01 else width, by_layer=by_layer or None,
            attack=None if attack == "neuron-space" else repr(attack), time_limit_total=time_limit_total, max_memory=max_memory,
        )
        settings["pair_limits"] = {
            "max_nodes": _MOST_PAIRS if max_nodes is None else _check.integer("max_nodes", max_nodes, 0),
            "time_limit": None if time_limit is None else _check.seconds("time_limit", time_limit),
        }
        settings |= {"max_nodes": None, "time_limit": None}
    return _run(_weightproof.radius, "radius", network, x, y, settings, progress)


def faults(
    network: Network,
    x: npt.ArrayLike | Data,
    y: npt.ArrayLike | None = None,
    *,
    storage: str = "file",
    bits: int = 1,
    words: int = 1,
    fault: Fault = "flip",
    at: Sequence[int] | None = None,
    layers: Sequence[str] | str | None = None,
    biases: bool = True,
    protect: Sequence[str] = (),
    recommend: bool = False,
    input_radius: float = 0.0,
    max_nodes: int = 1000,
    time_limit: float | None = None,
    journal: str | os.PathLike[str] | None = None,
    property: Property | None = None,
    threshold: float | None = None,
    lower: float | None = None,
    upper: float | None = None,
    seed: int = 0,
    threads: int | None = None,
    batch: int | None = None,
    shard: tuple[int, int] | None = None,
    layout: Layout | None = None,
    scale: float | str | None = None,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    progress: Progress = False,
) -> Result:
    """Settles every single hit on the stored words of the weights, for every sample.

    Args:
        network: The network.
        x: Samples, as for `certify`.
        y: Labels, (n,) of an integer type; those of ``x`` where that is `Data`.
        storage: How parameters are stored: ``file`` (integers where the file has them, else fp32), ``int2`` to ``int16`` with the
            settings of the threat models (``int8:per-channel``), ``fp32``, ``bf16``, ``fp16``, ``fp8e4m3``, ``fp8e5m2``. The network
            that runs has the parameters that the words stand for.
        bits: Most bits of the word that change.
        words: Most words of the whole network that are hit at once. Single hits are settled, for 2 and more there are a bound and an attack,
            for 2 a search as well.
        fault: What happens to the bits.
        at: Positions that may change, 0 the lowest; all by default.
        layers: Names of the layers that are hit; all with weights by default.
        biases: Whether words of biases are hit, too.
        protect: Protected bits as the command line writes them: ``"6,7"``, ``"fc1:7"``, ``"fc1:all"``, ``"secded"``, ``"parity-zero"``.
        recommend: Whether the text says what to protect; JSON always does.
        input_radius: How far inputs move beside the hits, in the unit of the data.
        max_nodes: Most first hits of pairs that are looked at for one sample, 0 for no search.
        time_limit: Most seconds of that search for one sample.
        journal: A file that keeps each sample as soon as it is settled; a call that was ended goes on from it.
        property: ``label``, ``prediction``, ``positive`` or ``within``, as for `certify`.
        threshold: What the output is compared with, for ``positive``.
        lower: What all outputs stay above, for ``within``.
        upper: What all outputs stay below, for ``within``.
        seed: Recorded in the result; nothing is random.
        threads: Number of threads; all processors by default. Results do not depend on it.
        batch: Samples at once; adapts by default.
        shard: Part ``(i, n)`` of the samples, ``i`` from 1 to ``n``, in whole blocks of ``batch`` samples; `merge` joins the results
            of all parts.
        layout: Order of channels, height and width that the network wants, ``nchw`` or ``nhwc``; from the shapes by default.
        scale: Multiplies the data, as for `certify`.
        mean: Subtracted from the data inside of the network: one number, or one for each channel or value.
        std: Divides the data, likewise.
        progress: ``True`` for a bar, or a function of (samples done, samples in all).

    Returns:
        Verdicts, with the number of ``breaking`` hits of each sample and the first of them (``hit_layer``, ``hit_row``,
        ``hit_column``, ``hit_bit``, …), all ``rigorous``; ``certified_words`` hits at once are proved to be harmless, ``broken_words`` break the
        sample (``broken_by``). ``to_dict()`` has ``by_words``, ``by_bit``, ``protection`` and ``critical_words``.

    Raises:
        Error: One of its kinds, with what is wrong and where.
        KeyboardInterrupt: After Ctrl-C.
    """
    settings = shared_settings(
        "absolute", None, property, None, (threshold, lower, upper), False, None, seed, threads, batch, layout, scale, mean, std, shard
    )
    model: dict[str, Any] = {"storage": storage, "bits": _check.integer("bits", bits), "words": _check.integer("words", words)}
    model |= {"fault": fault, "biases": bool(biases)}
    model["at"] = None if at is None else [_check.integer("at", bit, 0, 31) for bit in at]
    model["layers"] = None if layers is None else _check.names("layers", layers)
    settings |= {"faults": model, "protect": _check.names("protect", protect), "recommend": bool(recommend)}
    settings |= {"input_radius": _check.number("input_radius", input_radius, "not negative")}
    settings |= {"max_nodes": _check.integer("max_nodes", max_nodes, 0)}
    settings["time_limit"] = None if time_limit is None else _check.seconds("time_limit", time_limit)
    settings["journal"] = _check.path(journal)
    return _run(_weightproof.faults, "faults", network, x, y, settings, progress)


def merge(parts: Sequence[str | os.PathLike[str] | Result]) -> Result:
    """Joins the results of all parts of a run (``shard=(i, n)``, or ``--shard I/N`` on the command line) to what one run would have given.

    Args:
        parts: Files in JSON or Parquet, or results, in any order.

    Returns:
        The result of one run over all samples, except for the block about time and host.

    Raises:
        Error: Parts that are missing, that overlap, that are of another run, or damaged files, by name.
    """
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for k, part in enumerate(parts):
            if isinstance(part, Result):
                path = os.path.join(folder, f"part-{k}.json")
                part.save(path)
                paths.append(path)
            else:
                paths.append(os.fspath(part))
        return Result(_weightproof.merge(paths, None), None)


def _labels_and_threat(
    y: npt.ArrayLike | Threat | None, threat: Threat | Kind
) -> tuple[npt.ArrayLike | None, Threat | Kind]:
    """Labels and threat model, where the threat model may stand in the place of labels."""
    if isinstance(y, str):
        raise TypeError(f"y: expected labels, found {y!r}\nhint: threat={y!r}")
    if not isinstance(y, Threat):
        return y, threat
    if threat != "absolute":
        raise TypeError("y: expected labels, found a Threat beside another threat")
    return None, y


def _run(
    ask: Callable[..., Report],
    command: str,
    network: Network,
    x: npt.ArrayLike | Data | Slice,
    y: npt.ArrayLike | None,
    settings: dict[str, Any],
    progress: Progress,
) -> Result:
    if not isinstance(network, Network):
        raise TypeError(f"network: expected a weightproof.Network, found {type(network).__name__}")
    samples = arrays(x, y)
    if isinstance(x, Slice):
        settings |= {"among": [x.first, x.total]}
    with _progress.reporter(progress, command, len(samples[0])) as report:
        found = ask(network._native, *samples, json.dumps(settings), report)
    return Result(found, samples[0])


def certify_settings(given: dict[str, Any]) -> tuple[npt.ArrayLike | None, dict[str, Any]]:
    """Labels, and settings of the question and the method, of arguments of `certify`, checked."""
    y, threat = _labels_and_threat(given["y"], given["threat"])
    shared = ("property", "tolerance", "logits", "precision", "seed", "threads", "batch", "layout", "scale", "mean", "std", "shard")
    method = ("method", "intermediate", "guarantee", "time_limit", "time_limit_total", "max_nodes", "max_memory", "gap")
    ends = (given["threshold"], given["lower"], given["upper"])
    settings = shared_settings(threat, given["radius"], ends=ends, **{name: given[name] for name in shared})
    settings |= method_settings(*(given[name] for name in method))
    return y, settings | {"scale_radius": bool(given["scale_radius"])}


def shared_settings(
    threat: Threat | str,
    radius: float | Sequence[float] | None,
    property: str | None,
    tolerance: float | None,
    ends: tuple[float | None, float | None, float | None],
    logits: bool,
    precision: str | None,
    seed: int,
    threads: int | None,
    batch: int | None,
    layout: str | None,
    scale: float | str | None,
    mean: float | Sequence[float] | None,
    std: float | Sequence[float] | None,
    shard: tuple[int, int] | None = None,
) -> dict[str, Any]:
    """Settings of every run, checked, as the native half reads them."""
    model = Threat(threat) if isinstance(threat, str) else threat
    if not isinstance(model, Threat):
        raise TypeError(f"threat: expected a weightproof.Threat or its kind, found {type(threat).__name__}")
    return {
        "threat": model.to_dict(),
        "radii": [] if radius is None else _check.numbers("radius", radius, "not negative"),
        "property": property,
        "tolerance": None if tolerance is None else _check.number("tolerance", tolerance, "not negative"),
        "threshold": ends[0],
        "lower": ends[1],
        "upper": ends[2],
        "logits": bool(logits),
        "precision": precision,
        "seed": _check.integer("seed", seed, 0, 2**64 - 1),
        "threads": None if threads is None else _check.threads(threads),
        "batch": None if batch is None else _check.integer("batch", batch),
        "layout": layout,
        "scale": None if scale is None else _check.scale(scale),
        "mean": None if mean is None else _check.numbers("mean", mean),
        "std": None if std is None else _check.numbers("std", std, "positive"),
        "shard": None if shard is None else _check.shard(shard),
    }


def method_settings(
    method: str,
    intermediate: str | None,
    guarantee: str,
    time_limit: float | None,
    time_limit_total: float | None,
    max_nodes: int | None,
    max_memory: int | None,
    gap: float | None,
) -> dict[str, Any]:
    """Settings of a bound method or of branch and bound, checked."""
    return {
        "method": method,
        "intermediate": intermediate,
        "guarantee": guarantee,
        "time_limit": None if time_limit is None else _check.seconds("time_limit", time_limit),
        "time_limit_total": None if time_limit_total is None else _check.seconds("time_limit_total", time_limit_total),
        "max_nodes": None if max_nodes is None else _check.integer("max_nodes", max_nodes),
        "max_memory": None if max_memory is None else _check.integer("max_memory", max_memory),
        "gap": None if gap is None else _check.number("gap", gap, "positive"),
    }


def _hits(faults: str | os.PathLike[str] | Mapping[str, Any] | None, **others: object) -> dict[str, Any]:
    """The fault model, refused beside ``others`` that were given."""
    if faults is None:
        return {}
    for name, value in others.items():
        if value is not None:
            raise SettingError(f"{name}: expected none with faults, found {value}")
    return {"faults": dict(faults) if isinstance(faults, Mapping) else os.fspath(faults)}


#: First hits of pairs that are looked at where nothing else is asked for.
_MOST_PAIRS = 1000


def _search(attack: str, steps: int, restarts: int, step_size: float | None) -> dict[str, Any]:
    return {
        "attack": attack,
        "steps": _check.integer("steps", steps),
        "restarts": _check.integer("restarts", restarts),
        "step_size": None if step_size is None else _check.number("step_size", step_size, "positive"),
    }
