"""Training windows from two sources, so that what only one of them shows is learned without forgetting the other."""

from __future__ import annotations

import torch

from fmanet_cli.training.windows import WindowBatch, WindowSource, batch_generator


class MixedWindows:
    """A `WindowSource` whose batches come from `main`, and by chance from `other`.

    A batch is all of one source; `Reused` puts parts of several batches into each that is shown.
    """

    def __init__(self, main: WindowSource, other: WindowSource, *, share: float, seed: int = 0) -> None:
        """`share`: of the batches that come from `other`, 0 to 1."""
        self.main, self.other, self.share, self.seed = main, other, share, seed

    def batch(self, index: int) -> WindowBatch:
        """Batch `index` of the one source or the other, which depends on the seed and `index` alone."""
        # Another seed than that of the sources, whose own draws would follow from this one.
        drawn = float(torch.rand((), generator=batch_generator(self.seed + 2, index)))
        return (self.other if drawn < self.share else self.main).batch(index)
