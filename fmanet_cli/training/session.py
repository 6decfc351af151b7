"""A whole training run from settings: network, windows, processes, logs and images."""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import sys
from collections.abc import Callable, Generator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal

import torch

from fmanet_cli._version import __version__
from fmanet_cli.dataset.imaging.mixture import Mixture, clean_mixture
from fmanet_cli.engine.device import choose_device
from fmanet_cli.errors import OptionError, TrainingError
from fmanet_cli.files import naming_failures
from fmanet_cli.model.fmanet import FMANet, random_model
from fmanet_cli.training.kept_windows import kept_windows
from fmanet_cli.training.logs import RunLog, check_tensorboard
from fmanet_cli.training.mixed_windows import MixedWindows
from fmanet_cli.training.photo_library import load_photos, photo_files
from fmanet_cli.training.photos import PhotoOptions, PhotoWindows, check_photo_scales
from fmanet_cli.training.prefetch import Reused
from fmanet_cli.training.recipes import Recipe
from fmanet_cli.training.reds import RedsOptions, RedsWindows
from fmanet_cli.training.replicas import joined, replica
from fmanet_cli.training.run_options import RunOptions
from fmanet_cli.training.state import STATE_NAME
from fmanet_cli.training.step_report import StepReport
from fmanet_cli.training.step_sheet import draw_step, save_image
from fmanet_cli.training.text import TextPlanes
from fmanet_cli.training.trainer import Trainer
from fmanet_cli.training.validation import ValidationWindows
from fmanet_cli.training.video import VideoOptions, VideoWindows, load_spans
from fmanet_cli.training.widen import is_widening, widen
from fmanet_cli.training.windows import WindowOptions, WindowSource
from fmanet_cli.weights.checkpoint import load_model

SourceKind = Literal["photos", "video", "reds"]

VALIDATION_PIXELS = 48
VALIDATION_BATCHES = 8
_VALIDATION_SEED = 77
_WINDOWS_BETWEEN_USES = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """Everything that decides a run. It can be sent to other processes."""

    recipe: Recipe
    run: RunOptions
    source_kind: SourceKind
    source_folder: Path
    """Folder of photographs, of clips, or of REDS."""
    video_folder: Path | None = None
    """Folder of clips shown among photographs; None leaves them out."""
    video_share: float = 0.2
    """Share of the windows that comes from these clips, above 0 and below 1."""
    validation_folder: Path | None = None
    """Folder of photographs that are never trained on; None leaves validation out."""
    mixture: Mixture = field(default_factory=Mixture)
    """What cameras and codecs do to windows from photographs and clips."""
    fonts_folder: Path | None = None
    """Folder of fonts for text planes among photographs; None leaves text out."""
    text_share: float | None = None
    """Share of the windows from photographs that get a text plane; None = that of `PhotoOptions`."""
    favoured: tuple[tuple[str, float], ...] = ()
    """Patterns of photographs' names, and the share of the pieces shown that comes from each."""
    photo_scales: tuple[float, float] | None = None
    """Range from which the factor is drawn by which a photograph is shrunk; None = that of `PhotoOptions`."""
    init: str | None = None
    """Name or file of the weights to start from; None starts from random ones."""
    resume: bool = False
    """Go on with the run in its folder."""
    branch: Path | None = None
    """Folder of another run to start from, with its optimisers and averages; it stays as it is."""
    device: str = "auto"
    """As in `choose_device`."""
    processes: int = 1
    """Processes that share the batch; more than one only on a CPU, where it beats as many threads."""
    tensorboard: bool = False
    """Also log for TensorBoard."""
    picture_every: int = 1000
    """Steps between two images; 0 draws none."""

    def __post_init__(self) -> None:
        if self.processes < 1 or self.recipe.batch_windows % self.processes:
            raise OptionError(
                f"the batch of {self.recipe.batch_windows} windows cannot be shared by {self.processes} processes"
            )
        if self.source_kind != "photos":
            self._refuse_what_needs_photographs()
        if self.photo_scales is not None:
            check_photo_scales(self.photo_scales)
        if not 0.0 < self.video_share < 1.0:
            raise OptionError(
                f"the share of clips must be above 0 and below 1, got {self.video_share}", remedy="video_share"
            )
        self._check_text()
        shares = [share for _, share in self.favoured]
        if not all(share > 0 for share in shares) or math.fsum(shares) > 1:
            raise OptionError(f"favoured shares must be above 0 and at most 1 together, got {shares}", remedy="favour")
        if self.resume and self.init is not None:
            raise OptionError("a resumed run goes on with its own weights; leave out the others", remedy="init, resume")
        if self.branch is not None and (self.resume or self.init is not None):
            raise OptionError("a branch starts with the weights of its run; leave out others", remedy="init, resume")

    def _refuse_what_needs_photographs(self) -> None:
        if self.fonts_folder is not None:
            raise OptionError("text planes go before photographs only; leave out the fonts")
        if self.video_folder is not None:
            raise OptionError("clips are shown among photographs only; leave out the other source")
        if self.favoured:
            raise OptionError("only photographs can be favoured; leave out their names", remedy="favour")
        if self.photo_scales is not None:
            raise OptionError("only photographs are shown at other sizes; leave out scales", remedy="photo_scales")

    def _check_text(self) -> None:
        if self.text_share is None:
            return
        if self.fonts_folder is None:
            raise OptionError("a share of text needs fonts; give their folder", remedy="fonts")
        if not 0.0 < self.text_share <= 1.0:
            raise OptionError(
                f"the share of text must be above 0 and up to 1, got {self.text_share}", remedy="text_share"
            )


def train(
    session: Session, *, is_asked_to_stop: Callable[[], bool] = lambda: False
) -> Generator[StepReport, None, None]:
    """Run a session and yield a report after each step. Raises children of `FmanetError`.

    `is_asked_to_stop` is called after each step; once it says yes, the run saves and ends, to be resumed.
    """
    device = choose_device(session.device)
    if session.processes > 1 and device.type != "cpu":
        raise OptionError(f"several processes train on the CPU only, got {device}; ask for one", remedy="processes")
    if session.tensorboard:
        check_tensorboard()
    folder = session.run.folder
    if not session.resume and os.path.exists(folder / STATE_NAME):
        raise OptionError(f"{folder} already holds a run; resume it or give another folder", remedy="resume")
    with naming_failures(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with joined(session.processes, train_share, session):
        yield from _train_logged(session, device, is_asked_to_stop)


def train_share(session: Session) -> None:
    """The part of a run that a further process does. The first process says what went wrong."""
    try:
        for _ in build_trainer(session, choose_device(session.device)).run():
            pass
    except TrainingError:
        sys.exit(1)


def _train_logged(
    session: Session, device: torch.device, is_asked_to_stop: Callable[[], bool]
) -> Generator[StepReport, None, None]:
    trainer = build_trainer(session, device, is_asked_to_stop)
    folder = session.run.folder
    with RunLog(folder, tensorboard=session.tensorboard) as log, contextlib.closing(trainer.run()) as reports:
        for report in reports:
            log.write(report)
            if session.picture_every and report.stage == 2 and report.step % session.picture_every == 0:
                assert trainer.last_batch is not None
                save_image(folder / f"step{report.step:06d}.png", draw_step(trainer.averaged, trainer.last_batch))
            yield report


def build_trainer(
    session: Session, device: torch.device, is_asked_to_stop: Callable[[], bool] = lambda: False
) -> Trainer:
    """The trainer of this process, resumed if asked."""
    if device.type == "cpu" and session.processes > 1:
        torch.set_num_threads(max(1, torch.get_num_threads() // session.processes))
    recipe = session.recipe
    model = random_model(recipe.config, seed=session.run.seed) if session.init is None else load_start(session)
    run = session.run
    if session.processes > 1:
        run = replace(run, prefetched_batches=0)
    trainer = Trainer(
        model,
        build_source(session),
        recipe,
        run,
        device=device,
        validation_windows=build_validation(session, device) if replica()[0] == 0 else (),
        is_asked_to_stop=is_asked_to_stop,
    )
    if session.resume:
        trainer.resume()
    if session.branch is not None:
        trainer.branch_off(session.branch)
    return trainer


def build_source(session: Session) -> WindowSource:
    """The windows of a session, made on the CPU: codecs run nowhere else."""
    recipe, seed, folder = session.recipe, session.run.seed, session.source_folder
    count = recipe.batch_windows // session.processes
    shape = WindowOptions(recipe.window_pixels, count, recipe.config.num_frames)
    if session.source_kind == "reds":
        return RedsWindows(folder, RedsOptions(**asdict(shape)), seed=seed)
    source: WindowSource
    if session.source_kind == "video":
        source = _clip_windows(session, folder, shape)
    else:
        source = _photo_windows(session, shape)
        if session.video_folder is not None:
            clips = _clip_windows(session, session.video_folder, shape)
            source = MixedWindows(source, clips, share=session.video_share, seed=seed)
    uses = math.gcd(recipe.window_uses, count)
    if uses > 1:
        makers = session.run.loaders * session.processes
        spacing = makers * math.ceil(max(2, _WINDOWS_BETWEEN_USES // count) / makers)
        return Reused(source, times=uses, spacing=spacing, seed=seed)
    return source


def _photo_windows(session: Session, shape: WindowOptions) -> PhotoWindows:
    photos = PhotoOptions(**asdict(shape), mixture=session.mixture)
    if session.photo_scales is not None:
        photos = replace(photos, scales=session.photo_scales)
    if session.text_share is not None:
        photos = replace(photos, text_share=session.text_share)
    library = load_photos(session.source_folder, smallest_side=photos.texture_pixels, favoured=dict(session.favoured))
    texts = None if session.fonts_folder is None else TextPlanes(session.fonts_folder)
    return PhotoWindows(library, photos, seed=session.run.seed, texts=texts)


def _clip_windows(session: Session, folder: Path, shape: WindowOptions) -> VideoWindows:
    clips, seed = VideoOptions(**asdict(shape), mixture=session.mixture), session.run.seed
    return VideoWindows(load_spans(folder, smallest_side=clips.cut_pixels, seed=seed), clips, seed=seed)


def build_validation(session: Session, device: torch.device) -> list[ValidationWindows]:
    """Fixed clean windows from held-out photographs, out of the run's folder where it has them."""
    place = session.validation_folder
    if place is None:
        return []
    options = PhotoOptions(
        window_pixels=VALIDATION_PIXELS,
        frames=session.recipe.config.num_frames,
        exposures=((1.0, 0.0, 1.0),),
        scales=(0.5, 1.0),
        mixture=clean_mixture(),
    )

    def make() -> list[ValidationWindows]:
        library = load_photos(place, smallest_side=options.texture_pixels)
        source = PhotoWindows(library, options, seed=_VALIDATION_SEED)
        return [ValidationWindows.of(source.batch(index)) for index in range(VALIDATION_BATCHES)]

    made_of = hashlib.sha256(f"{__version__} {options} {_VALIDATION_SEED} {VALIDATION_BATCHES}".encode())
    for _, content in photo_files(place):
        made_of.update(hashlib.sha256(content).digest())
    return [batch.to(device) for batch in kept_windows(session.run.folder, made_of.hexdigest(), make)]


def load_start(session: Session) -> FMANet:
    """The network of `session.init`, widened where the recipe's is a widening of it."""
    assert session.init is not None
    model = load_model(session.init)
    if is_widening(model.config, session.recipe.config):
        model = widen(model, session.recipe.config, seed=session.run.seed)
    if model.config != session.recipe.config:
        raise OptionError(
            f"{session.init} is another network than recipe {session.recipe.name} trains; "
            "choose the recipe that fits or begin without weights",
            remedy="recipe, init",
        )
    if model.colour_order != "rgb":
        raise OptionError(f"{session.init} expects {model.colour_order} colours and training uses rgb; it cannot go on")
    return model
