"""Proofs of what a neural network still does when its weights change.

>>> import weightproof
>>> network, data = weightproof.examples.mnist()
>>> result = weightproof.certify(network, data, radius=0.001)
>>> result.guarantee
'rigorous'
>>> print(f"{result.certified_accuracy:.1%} of {len(result)} samples keep their class")
89.0% of 1000 samples keep their class

A **bound** is proved, an **estimate** was found by search. `certify` proves a lower bound of the margin of every sample
over all weights that a :class:`Threat` allows, `attack` searches weights that break a sample, `radius` does both for the
largest radius, and `measure` says how the network and all perturbed ones generalize. Results are those of the command line
``weightproof``: the same numbers, the same JSON.
"""

from . import examples
from ._weightproof import (
    DataError,
    Error,
    FormatError,
    NetworkError,
    NotBuiltError,
    SettingError,
    ThreatError,
    __version__,
)
from .data import Data
from .measures import Measures, measure
from .network import Layer, Network
from .result import Result
from .run import attack, certify, radius
from .threat import LayerRadii, Threat

__all__ = [
    "Data",
    "DataError",
    "Error",
    "FormatError",
    "Layer",
    "LayerRadii",
    "Measures",
    "Network",
    "NetworkError",
    "NotBuiltError",
    "Result",
    "SettingError",
    "Threat",
    "ThreatError",
    "__version__",
    "attack",
    "certify",
    "examples",
    "measure",
    "radius",
]
