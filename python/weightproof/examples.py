"""The embedded network and data: everything here works offline."""

from __future__ import annotations

from .data import Data
from .network import Network

__all__ = ["mnist"]


def mnist(samples: int | None = None, offset: int = 0) -> tuple[Network, Data]:
    """The embedded network, 784-128-64-32-10 with ReLU, and the first 1,000 test images of MNIST.

    Args:
        samples: How many images at most; all of them by default.
        offset: How many images are skipped.

    Returns:
        The network, and images of shape (samples, 28, 28) in [0, 1] with their labels.
    """
    return Network._made("load", None, None, False, [], [], [], False), Data.load(samples=samples, offset=offset)
