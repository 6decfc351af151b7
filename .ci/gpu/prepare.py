"""Packs what a GPU machine without a network needs to train: photographs, weights to start from. See `run`."""

from __future__ import annotations

import argparse
import shutil
import sys
import zipfile
from pathlib import Path

import cv2

LONGEST_SIDE = 1152
QUALITY = 88
LARGEST_PACK = 41 * 2**20
LARGEST_SUM = 60 * 2**20


def pack(folder: Path, target: Path) -> None:
    """Write the photographs of a folder as WebP, at most LONGEST_SIDE pixels long, and its licence lists."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as packed:
        for path in sorted(folder.iterdir()):
            image = cv2.imread(str(path))
            if image is None:
                if path.suffix in (".txt", ".md"):
                    packed.write(path, path.name)
                continue
            share = LONGEST_SIDE / max(image.shape[:2])
            if share < 1:
                image = cv2.resize(image, None, fx=share, fy=share, interpolation=cv2.INTER_AREA)
            done, content = cv2.imencode(".webp", image, [cv2.IMWRITE_WEBP_QUALITY, QUALITY])
            if not done:
                sys.exit(f"{path} cannot be packed")
            packed.writestr(f"{path.stem}.webp", content.tobytes())


def main() -> None:
    """Fill the folder that is carried."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--validate", type=Path, required=True)
    parser.add_argument("--start", type=Path, required=True, help="weights to start from")
    parser.add_argument("--target", type=Path, default=Path(".gpu"))
    options = parser.parse_args()
    options.target.mkdir(exist_ok=True)
    pack(options.photos, options.target / "photos.zip")
    pack(options.validate, options.target / "validate.zip")
    shutil.copyfile(options.start, options.target / "start.safetensors")
    sizes = {path.name: path.stat().st_size for path in options.target.iterdir() if path.is_file()}
    for name, size in sizes.items():
        print(f"{name}: {size / 2**20:.1f} MiB")
    if sizes["photos.zip"] > LARGEST_PACK or sum(sizes.values()) > LARGEST_SUM:
        sys.exit("too large to be carried: leave out photographs")


if __name__ == "__main__":
    main()
