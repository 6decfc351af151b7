"""Video super-resolution and deblurring with FMA-Net: blurry, low-resolution video in, sharp video at 4x the size out.

The public names are imported when they are first used, so that ``import fmanet_cli`` does not import torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from fmanet_cli._version import __version__

if TYPE_CHECKING:
    from fmanet_cli.engine.restorer import Restorer
    from fmanet_cli.errors import FmanetError
    from fmanet_cli.model.config import FMANetConfig
    from fmanet_cli.model.fmanet import FMANet
    from fmanet_cli.restore.job import restore_video
    from fmanet_cli.video.read.reader import VideoReader
    from fmanet_cli.video.write.writer import VideoWriter
    from fmanet_cli.weights.checkpoint import load_model

_DEFINED_IN = {
    "FMANet": "fmanet_cli.model.fmanet",
    "FMANetConfig": "fmanet_cli.model.config",
    "FmanetError": "fmanet_cli.errors",
    "Restorer": "fmanet_cli.engine.restorer",
    "VideoReader": "fmanet_cli.video.read.reader",
    "VideoWriter": "fmanet_cli.video.write.writer",
    "load_model": "fmanet_cli.weights.checkpoint",
    "restore_video": "fmanet_cli.restore.job",
}

__all__ = [
    "FMANet",
    "FMANetConfig",
    "FmanetError",
    "Restorer",
    "VideoReader",
    "VideoWriter",
    "__version__",
    "load_model",
    "restore_video",
]


def __getattr__(name: str) -> Any:
    if name not in _DEFINED_IN:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_DEFINED_IN[name]), name)
