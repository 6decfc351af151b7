"""The table of the weights that this program knows by name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fmanet_cli.errors import WeightsError

EMBEDDED_FOLDER = Path(__file__).parent / "data"
"""Folder of the weights that lie inside the installed package."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsRow:
    """One published set of weights: either embedded in the package or to be downloaded from its source.

    "Adding weights" in CONTRIBUTING.md walks through a new row.
    """

    name: str
    """What `load_model` takes."""
    purpose: str
    """What the weights are for, in one line."""
    file: str
    """File name, inside the package when embedded and in the cache otherwise."""
    url: str | None
    """Where the weights are downloaded from; None when they are embedded."""
    form: Literal["checkpoint", "upstream"] = "checkpoint"
    """What lies there: a checkpoint of ours, or an archive of the authors' two files, which is converted."""
    sha256: str | None
    """Digest of the embedded file, or of the download; None when its publisher states none."""
    size_bytes: int | None
    """Size of the embedded file, or of the download; None when its publisher states none."""
    parameters: int
    """Number of parameters, the training-only heads included."""
    colour_order: Literal["rgb", "bgr"]
    """Order of the three channels that the weights were trained with."""
    licence: str
    """Licence of the weights."""
    licence_notice: str | None = None
    """What a user has to agree to before the download; None where the licence raises no question."""
    source: str
    """Where the weights come from and how they were trained."""
    figures: tuple[str, ...]
    """Measured quality, each with who measured it."""
    rank: int
    """Among embedded weights the highest rank is the default."""

    def __post_init__(self) -> None:
        if self.form == "checkpoint" and (self.sha256 is None or self.size_bytes is None):
            raise ValueError(f"a checkpoint needs a digest and a size, got {self.sha256=} and {self.size_bytes=}")

    @property
    def embedded(self) -> bool:
        """Whether the weights lie inside the installed package."""
        return self.url is None


LITE = WeightsRow(
    name="lite",
    purpose="embedded start: small, quick on a CPU",
    file="lite.safetensors",
    url=None,
    sha256="8423c37b8d14a1b7140ca9d91c9ff10309b192492d8b47f8c6373ac5024b2479",
    size_bytes=1_980_392,
    parameters=488_652,
    colour_order="rgb",
    licence="MIT",
    source="trained for fmanet in ten parts: 2,721, 2,794 and 6,976 steps on photographs set in motion, 577 on video; "
    "made smaller; 6,111 on photographs, 713 on video; 2,393 on photographs filmed by a first camera chain, "
    "6,127 by the present one, then the mean of 0.6 of these weights and 0.4 of those before; 3,258 with more of "
    "what is sharpened and soft, then the mean of 0.75 of these weights and 0.25 of those before part 8; 5,138 "
    "on photographs and clips, charged by the gain too, then 936 with more of what is clean; then the mean of "
    "0.5 of these weights, 0.3 of those after the 5,138 and 0.2 of the lite before",
    figures=(
        "4 of val/photos, PSNR over bicubic and frames below it: clean + 1.41 dB, 0 %; camera + 0.92, 0 %; "
        "phone + 1.15, 0 %; social + 0.48, 1.4 %; old-film + 0.78, 0 %",
        "the same after area reduction and an unsharp mask at sigma 1.0: amount 0.4 + 0.19 dB, 0 %; 0.8 + 1.20, 0 %",
        "val/pairs, PSNR over bicubic: + 1.02 dB",
    ),
    rank=10,
)

REDS = WeightsRow(
    name="reds",
    purpose="the authors' weights, trained on REDS: the paper's network, for research and education",
    file="reds.safetensors",
    url="https://www.dropbox.com/scl/fo/4392nxna1wptrw06ktv6r/AIyy20JrXK_9CMcXHUQY7Ko"
    "?rlkey=n4hhgl7p2c63y3l6lkpqlthi0&dl=1",
    form="upstream",
    sha256=None,
    size_bytes=None,
    parameters=9_766_503,
    colour_order="bgr",
    licence="MIT (LICENSE file) or research and education only (README)",
    licence_notice=(
        "The authors of FMA-Net contradict themselves: the LICENSE file of their repository says MIT, its README "
        "restricts code and weights to research and education and asks for permission before any commercial use. "
        "fmanet cannot settle this. Answer yes only if your use agrees with the stricter of the two, or if you have "
        "their permission."
    ),
    source="Youk, Oh, Kim, CVPR 2024 (arXiv 2401.03707), repository KAIST-VICLab/FMA-Net",
    figures=("PSNR 28.83 dB, SSIM 0.8315, tOF 1.92 on REDS4, as the paper reports",),
    rank=0,
)

PRETRAINED: dict[str, WeightsRow] = {row.name: row for row in (LITE, REDS)}
"""Every row of the table, by name."""


def best_installed() -> str:
    """Name of the default model: the embedded weights of the highest rank.

    Downloaded and imported weights are never chosen on their own, because their licence may forbid what a user does;
    they are used when they are asked for by name.
    """
    embedded = [row for row in PRETRAINED.values() if row.embedded and (EMBEDDED_FOLDER / row.file).is_file()]
    if not embedded:
        raise WeightsError(f"the package holds no weights in {EMBEDDED_FOLDER}: install fmanet-cli again")
    return max(embedded, key=lambda row: row.rank).name
