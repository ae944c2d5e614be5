"""Proofs of what a neural network still does when its weights change.

>>> import weightproof
>>> network, data = weightproof.examples.mnist()
>>> result = weightproof.certify(network, data, radius=0.001)
>>> result.guarantee
'rigorous'
>>> print(f"{result.certified_accuracy:.1%} of {len(result)} samples keep their class")
89.3% of 1000 samples keep their class

A **bound** is proved, an **estimate** was found by search, and what is counted on the unperturbed network is **measured**. `certify` proves a lower bound of the margin of every sample
over all weights that a :class:`Threat` allows, `attack` searches weights that break a sample, `radius` does both for the
largest radius, `merge` joins the results of parts, `faults` settles every single fault in the memory of the weights, and `measure` says how the network and all perturbed ones generalize. `inspect` describes a network, `train` makes one, `report` and `plot` show results together, `read_experiment` reads what an experiment found. Results
are those of the command line ``weightproof``: the same numbers, the same JSON.
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
from .experiments import Experiment, ExperimentTable, read_experiment
from .inspection import Inspection, inspect
from .measures import Measures, measure
from .network import Network, Node
from .pages import plot, report
from .result import Result
from .run import attack, certify, faults, merge, radius
from .threat import LayerRadii, Threat
from .training import Training, train

__all__ = [
    "Data",
    "DataError",
    "Error",
    "Experiment",
    "ExperimentTable",
    "FormatError",
    "Inspection",
    "LayerRadii",
    "Measures",
    "Network",
    "NetworkError",
    "Node",
    "NotBuiltError",
    "Result",
    "SettingError",
    "Threat",
    "ThreatError",
    "Training",
    "__version__",
    "attack",
    "certify",
    "examples",
    "faults",
    "inspect",
    "measure",
    "merge",
    "plot",
    "radius",
    "read_experiment",
    "report",
    "train",
]
