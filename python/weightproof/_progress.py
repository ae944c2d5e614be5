"""Progress of a run, on tqdm where it is installed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def reporter(
    progress: bool | Callable[[int, int], object], command: str, total: int
) -> Iterator[Callable[[int], object] | None]:
    """What the native half calls with the number of samples that are done."""
    if progress is False or progress is None:
        yield None
    elif progress is not True:
        if not callable(progress):
            raise TypeError(f"progress: expected True, False or a function, found {type(progress).__name__}")
        yield lambda done: progress(done, total)
    else:
        try:
            from tqdm.auto import tqdm
        except ImportError:
            yield lambda done: print(f"\r{command}: {done}/{total} samples", end="", file=sys.stderr, flush=True)
            print(file=sys.stderr)
            return
        with tqdm(total=total, desc=command, unit="sample") as bar:
            # A run may pass over the samples several times.
            yield lambda done: bar.update(done - bar.n)
