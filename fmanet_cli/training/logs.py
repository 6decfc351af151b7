"""Logs of a training run: CSV files that any program reads, and TensorBoard where it is wanted."""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fmanet_cli.errors import TrainingError
from fmanet_cli.files import naming_failures
from fmanet_cli.training.image_losses import IMAGE_TERMS
from fmanet_cli.training.step_report import StepReport

STEPS_NAME = "steps.csv"
VALIDATION_NAME = "validation.csv"

_STEP_COLUMNS = (
    "stage",
    "step",
    "seconds",
    "learning_rate",
    "gradient_norm",
    "skipped",
    "total",
    "restored",
    "warped_window",
    "anchor_restoration",
    "reconstruction",
    "warped_sharp",
    "flow",
    "anchor_degradation",
    *IMAGE_TERMS,
)
_VALIDATION_COLUMNS = ("stage", "step", "seconds", "psnr", "bicubic_psnr", "gain", "gains")


def step_values(report: StepReport) -> dict[str, float]:
    """The figures of one step by column name; terms that the stage does not have are missing."""
    return {
        "stage": report.stage,
        "step": report.step,
        "seconds": round(report.seconds, 3),
        "learning_rate": report.learning_rate,
        "gradient_norm": report.gradient_norm,
        "skipped": int(report.skipped),
        **report.figures,
    }


class RunLog:
    """Appends steps and validations to CSV files in the run's folder, and to TensorBoard if asked."""

    def __init__(self, folder: Path, *, tensorboard: bool = False) -> None:
        """Open the logs. Raises `TrainingError` when TensorBoard is asked for and not installed."""
        self._writer = check_tensorboard()(str(folder / "tensorboard")) if tensorboard else None
        self._steps = _Table(folder / STEPS_NAME, _STEP_COLUMNS)
        self._validations = _Table(folder / VALIDATION_NAME, _VALIDATION_COLUMNS)

    def __enter__(self) -> RunLog:
        return self

    def __exit__(self, *_: object) -> None:
        self._steps.close()
        self._validations.close()
        if self._writer is not None:
            self._writer.close()

    def write(self, report: StepReport) -> None:
        """Log one step and its validation. Raises `FileWriteError` where the disk takes no more."""
        values = step_values(report)
        self._steps.append(values)
        tag = f"stage{report.stage}"
        if self._writer is not None:
            for name in values.keys() - {"stage", "step"}:
                self._writer.add_scalar(f"{tag}/{name}", values[name], report.step)
        checked = report.validation
        if checked is None:
            return
        self._validations.append(
            {
                "stage": report.stage,
                "step": report.step,
                "seconds": round(report.seconds, 3),
                "psnr": checked.psnr,
                "bicubic_psnr": checked.bicubic_psnr,
                "gain": checked.gain,
                "gains": " ".join(f"{result.gain:.4f}" for result in report.validations),
            }
        )
        if self._writer is not None:
            self._writer.add_scalar(f"{tag}/validation_gain_db", checked.gain, report.step)


class _Table:
    def __init__(self, path: Path, columns: tuple[str, ...]) -> None:
        new = not path.exists()
        self._path = path
        with naming_failures(path):
            self._file = path.open("a", newline="", encoding="utf-8")
        self._rows = csv.DictWriter(self._file, columns, restval="")
        if new:
            self._rows.writeheader()

    def append(self, values: Mapping[str, object]) -> None:
        with naming_failures(self._path):
            self._rows.writerow(values)
            self._file.flush()

    def close(self) -> None:
        # What could not be flushed has been said by `append`; closing tries it once more.
        with contextlib.suppress(OSError):
            self._file.close()


def check_tensorboard() -> Any:
    """The TensorBoard writer class. Raises `TrainingError` when TensorBoard is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise TrainingError(
            "TensorBoard is not installed: install fmanet-cli[train] or go without", remedy="tensorboard"
        ) from error
    return SummaryWriter
