"""What must be the same in every worker of a film: the program, its libraries, and the weights."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields

import torch

from fmanet_cli._version import __version__
from fmanet_cli.errors import WorkerMismatchError
from fmanet_cli.model.fmanet import FMANet
from fmanet_cli.restore.journal import weights_digest
from fmanet_cli.video.inspection import library_versions

_DIGITS_SHOWN = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerFacts:
    """Versions, and the digest of the weights."""

    fmanet: str
    """Version of this program."""
    torch: str
    """Version of torch."""
    av: str
    """Version of PyAV."""
    weights: str
    """SHA-256 of the network; empty before a worker has it."""

    @classmethod
    def here(cls, model: FMANet | None = None) -> WorkerFacts:
        """Those of this process."""
        return cls(
            fmanet=__version__,
            torch=torch.__version__,
            av=library_versions().av,
            weights="" if model is None else weights_digest(model),
        )

    def check(self, worker: WorkerFacts, *, who: str) -> None:
        """Raise WorkerMismatchError when a worker has anything else than this process; `who` it is, for people."""
        mine, theirs = asdict(self), asdict(worker)
        names = [field.name for field in fields(self) if theirs[field.name] and mine[field.name] != theirs[field.name]]
        if names:
            said = [f"{name} {theirs[name][:_DIGITS_SHOWN]} instead of {mine[name][:_DIGITS_SHOWN]}" for name in names]
            raise WorkerMismatchError(f"{who} has {', '.join(said)}; install the same on every machine")
