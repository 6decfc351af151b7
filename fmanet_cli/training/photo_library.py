"""Sharp photographs in memory, and the places of them that are worth showing."""

from __future__ import annotations

import bisect
import fnmatch
import itertools
import math
import os
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fmanet_cli.errors import TrainingError
from fmanet_cli.files import IMAGE_SUFFIXES
from fmanet_cli.training.windows import detail

_FLAT_DETAIL = 0.02
_DETAIL_BLOCK_PIXELS = 32


class PhotoLibrary:
    """Photographs in memory, with the places that are worth showing."""

    def __init__(
        self, photos: Sequence[Tensor], *, names: Sequence[str] = (), favoured: Mapping[str, float] | None = None
    ) -> None:
        """Take (3, H, W) uint8 RGB photographs and find their detailed blocks.

        Args:
            photos: flat ones are left out.
            names: of the photographs' files.
            favoured: for patterns of names, as the shell has them, the share of the pieces that come from photographs
                of such names; a name that fits several belongs to the first. The other photographs share the rest.

        Raises:
            TrainingError: no photograph that can be shown fits a pattern, or none is left for the rest.
        """
        self.photos: list[Tensor] = []
        self._places: list[Tensor] = []
        kept: list[str] = []
        for photo, name in itertools.zip_longest(photos, names, fillvalue=""):
            assert isinstance(photo, Tensor)
            measured = detail(photo.float() / 255.0, block_pixels=_DETAIL_BLOCK_PIXELS)
            places = (measured > _FLAT_DETAIL).nonzero()
            if len(places):
                self.photos.append(photo)
                self._places.append(places * _DETAIL_BLOCK_PIXELS + _DETAIL_BLOCK_PIXELS // 2)
                kept.append(str(name))
        self._ends = _ends_of_shares(kept, favoured) if favoured else None

    def __len__(self) -> int:
        return len(self.photos)

    def draw(
        self, size: int, scales: tuple[float, float], generator: torch.Generator, *, anywhere_share: float = 0.0
    ) -> np.ndarray:
        """A random (size, size, 3) float32 piece in [0, 1], at a scale from `scales`.

        It lies around a detailed place, or with a probability of `anywhere_share` around any.
        """
        draws = torch.rand(6, generator=generator).tolist()
        number = int(draws[0] * len(self.photos)) if self._ends is None else bisect.bisect(self._ends, draws[0])
        number = min(number, len(self.photos) - 1)
        photo, places = self.photos[number], self._places[number]
        height, width = photo.shape[-2:]
        scale = scales[0] + (scales[1] - scales[0]) * draws[1]
        side = min(round(size / scale), height, width)
        if draws[5] < anywhere_share:
            rows, columns = height // _DETAIL_BLOCK_PIXELS, width // _DETAIL_BLOCK_PIXELS
            row, column = divmod(int(draws[2] * rows * columns), columns)
            y, x = (_DETAIL_BLOCK_PIXELS * place + _DETAIL_BLOCK_PIXELS // 2 for place in (row, column))
        else:
            y, x = places[min(int(draws[2] * len(places)), len(places) - 1)].tolist()
        top = min(max(y - side // 2, 0), height - side)
        left = min(max(x - side // 2, 0), width - side)
        piece = photo[:, top : top + side, left : left + side]
        if draws[3] < 0.5:
            piece = piece.flip(-1)
        piece = piece.rot90(int(draws[4] * 4) % 4, (-2, -1))[None].float()
        if side != size:
            piece = F.interpolate(piece, size=(size, size), mode="bicubic", align_corners=False, antialias=True)
        return (piece[0] / 255.0).clamp(0.0, 1.0).permute(1, 2, 0).contiguous().numpy()


def _ends_of_shares(names: Sequence[str], favoured: Mapping[str, float]) -> list[float]:
    """Where the share of each photograph ends, all of them laid side by side from 0 to 1."""
    owners = [next((pattern for pattern in favoured if fnmatch.fnmatchcase(name, pattern)), None) for name in names]
    shares: dict[str | None, float] = {None: 1.0 - math.fsum(favoured.values())}
    shares.update(favoured.items())
    for pattern, share in shares.items():
        if share > 0 and pattern not in owners:
            what = "besides those that are favoured" if pattern is None else f"whose name fits {pattern!r}"
            raise TrainingError(f"no photograph {what} is large enough and has detail", remedy="favour")
    return list(itertools.accumulate(shares[owner] / owners.count(owner) for owner in owners))


def load_photos(source: str | Path, *, smallest_side: int, favoured: Mapping[str, float] | None = None) -> PhotoLibrary:
    """Read the photographs of a folder or zip file, leaving out those smaller than `smallest_side` pixels.

    `favoured` is as in `PhotoLibrary`, for the names of the files without their folders.

    Raises `TrainingError` when there are no photographs, when one cannot be read, when all of them are too small
    or flat, and when none is left that is favoured.
    """
    folder = Path(source)
    files = list(photo_files(folder))
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        photos = list(pool.map(_decode, files))
    large = [
        (photo, Path(name.removeprefix(f"{folder}: ")).name)
        for photo, (name, _) in zip(photos, files, strict=True)
        if min(photo.shape[-2:]) >= smallest_side
    ]
    if not large:
        raise TrainingError(
            f"all {len(files)} photographs in {folder} are smaller than {smallest_side} pixels; "
            "use larger ones or train with a smaller window"
        )
    library = PhotoLibrary([photo for photo, _ in large], names=[name for _, name in large], favoured=favoured)
    if not len(library):
        raise TrainingError(f"all {len(large)} photographs in {folder} are flat; use photographs with detail")
    return library


def photo_files(source: Path) -> Iterator[tuple[str, bytes]]:
    """Names and contents of the photographs of a folder or zip file, sorted by name.

    Raises `TrainingError` when there are none and when one cannot be read.
    """
    found = 0
    try:
        if source.is_dir():
            for path in sorted(source.iterdir()):
                if path.suffix.lower() in IMAGE_SUFFIXES:
                    yield str(path), path.read_bytes()
                    found += 1
        else:
            # The end of a device is looked for until memory ends.
            if os.path.exists(source) and not os.path.isfile(source):
                raise zipfile.BadZipFile("it is no regular file")
            with zipfile.ZipFile(source) as packed:
                for name in sorted(packed.namelist()):
                    if Path(name).suffix.lower() in IMAGE_SUFFIXES:
                        yield f"{source}: {name}", packed.read(name)
                        found += 1
    except FileNotFoundError as error:
        raise TrainingError(f"{source} does not exist; give a folder or a zip file of photographs") from error
    except (OSError, zipfile.BadZipFile) as error:
        raise TrainingError(f"cannot read photographs from {source}: {error}") from error
    if not found:
        raise TrainingError(f"no photographs in {source}; it needs files ending in {', '.join(sorted(IMAGE_SUFFIXES))}")


def _decode(file: tuple[str, bytes]) -> Tensor:
    """(3, H, W) uint8 RGB, turned upright."""
    name, content = file
    image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR) if content else None
    if image is None:
        raise TrainingError(f"cannot read the photograph {name}: it is no image; remove or replace it")
    return torch.from_numpy(np.ascontiguousarray(image[..., ::-1].transpose(2, 0, 1)))
