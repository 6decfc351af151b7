"""Video super-resolution and deblurring with FMA-Net: blurry, low-resolution video in, sharp video at 4x the size out.

The public names are imported when they are first used, so that `import fmanet_cli` does not import torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from fmanet_cli._version import __version__

if TYPE_CHECKING:
    from fmanet_cli.engine.restorer import Restorer
    from fmanet_cli.errors import (
        DeviceError,
        FmanetError,
        OptionError,
        VerificationError,
        VideoReadError,
        VideoWriteError,
        WeightsError,
    )
    from fmanet_cli.model.config import FMANetConfig
    from fmanet_cli.model.fmanet import FMANet
    from fmanet_cli.restore.arrays import restore_frames
    from fmanet_cli.restore.batch import BatchEvent, BatchResult, restore_folder
    from fmanet_cli.restore.job import restore_video
    from fmanet_cli.restore.outcome import RestoreReport
    from fmanet_cli.restore.resize import resize_image
    from fmanet_cli.restore.settings import RestoreSettings
    from fmanet_cli.review.explain import Explanation, explain
    from fmanet_cli.video.contents import ProbeReport, probe
    from fmanet_cli.video.frames import Frame, VideoInfo
    from fmanet_cli.video.read.images import read_image, write_image
    from fmanet_cli.video.read.reader import VideoReader
    from fmanet_cli.video.write.codecs import EncoderOptions
    from fmanet_cli.video.write.writer import VideoWriter
    from fmanet_cli.weights.checkpoint import load_model

_DEFINED_IN = {
    "BatchEvent": "fmanet_cli.restore.batch",
    "BatchResult": "fmanet_cli.restore.batch",
    "DeviceError": "fmanet_cli.errors",
    "EncoderOptions": "fmanet_cli.video.write.codecs",
    "Explanation": "fmanet_cli.review.explain",
    "FMANet": "fmanet_cli.model.fmanet",
    "FMANetConfig": "fmanet_cli.model.config",
    "FmanetError": "fmanet_cli.errors",
    "Frame": "fmanet_cli.video.frames",
    "OptionError": "fmanet_cli.errors",
    "ProbeReport": "fmanet_cli.video.contents",
    "RestoreReport": "fmanet_cli.restore.outcome",
    "RestoreSettings": "fmanet_cli.restore.settings",
    "Restorer": "fmanet_cli.engine.restorer",
    "VerificationError": "fmanet_cli.errors",
    "VideoInfo": "fmanet_cli.video.frames",
    "VideoReadError": "fmanet_cli.errors",
    "VideoReader": "fmanet_cli.video.read.reader",
    "VideoWriteError": "fmanet_cli.errors",
    "VideoWriter": "fmanet_cli.video.write.writer",
    "WeightsError": "fmanet_cli.errors",
    "explain": "fmanet_cli.review.explain",
    "load_model": "fmanet_cli.weights.checkpoint",
    "probe": "fmanet_cli.video.contents",
    "read_image": "fmanet_cli.video.read.images",
    "resize_image": "fmanet_cli.restore.resize",
    "restore_folder": "fmanet_cli.restore.batch",
    "restore_frames": "fmanet_cli.restore.arrays",
    "restore_video": "fmanet_cli.restore.job",
    "write_image": "fmanet_cli.video.read.images",
}

__all__ = [
    "BatchEvent",
    "BatchResult",
    "DeviceError",
    "EncoderOptions",
    "Explanation",
    "FMANet",
    "FMANetConfig",
    "FmanetError",
    "Frame",
    "OptionError",
    "ProbeReport",
    "RestoreReport",
    "RestoreSettings",
    "Restorer",
    "VerificationError",
    "VideoInfo",
    "VideoReadError",
    "VideoReader",
    "VideoWriteError",
    "VideoWriter",
    "WeightsError",
    "__version__",
    "explain",
    "load_model",
    "probe",
    "read_image",
    "resize_image",
    "restore_folder",
    "restore_frames",
    "restore_video",
    "write_image",
]


def __getattr__(name: str) -> Any:
    if name not in _DEFINED_IN:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_DEFINED_IN[name]), name)
