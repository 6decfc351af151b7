"""Where and in which precision the network runs: explicit choices are honoured or refused."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from fmanet_cli.errors import DeviceError, OptionError

Precision = Literal["fp32", "fp16", "bf16"]

DTYPES: dict[str, torch.dtype] = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}

VOLTA, AMPERE = (7, 0), (8, 0)
_SLOW_HALF = "GTX 16"
"""Cards of compute capability 7.5 without tensor cores, on which fp16 convolutions gave NaN."""

_NVIDIA_TRACES = (Path("/dev/nvidia0"), Path("/proc/driver/nvidia/version"))
_OTHER_INDEX = "pip install --force-reinstall torch, with pip's --index-url set to PyTorch's own index for {}"


@dataclass(frozen=True, slots=True)
class Card:
    """A device that torch drives through its `cuda` interface, and what this torch has for it."""

    name: str
    """As the driver calls it."""
    capability: tuple[int, int]
    """Compute capability, major and minor."""
    kernels: tuple[str, ...] = ()
    """What this torch was compiled for, such as `sm_86` or `compute_90`; empty = not known."""
    is_hip: bool = False
    """Whether it is driven by ROCm."""

    @property
    def is_served(self) -> bool:
        """Whether this torch has kernels for it: of its own generation up to its number, or a text to compile."""
        if self.is_hip or not self.kernels:
            return True
        return any(self._fits(*kernel.partition("_")[::2]) for kernel in self.kernels)

    def _fits(self, kind: str, number: str) -> bool:
        if not number.isdigit():
            # Such as sm_90a, which runs on that very chip only.
            return False
        compiled = divmod(int(number), 10)
        if kind == "compute":
            return compiled <= self.capability
        return compiled[0] == self.capability[0] and compiled[1] <= self.capability[1]

    @property
    def has_bfloat16(self) -> bool:
        """Whether it multiplies bfloat16 itself; below Ampere libraries lack many of its kernels."""
        return self.is_hip or self.capability >= AMPERE

    @property
    def precision(self) -> Precision:
        """What suits it: fp16 where that is fast and right."""
        if self.is_hip:
            return "fp16"
        return "fp32" if self.capability < VOLTA or _SLOW_HALF in self.name else "fp16"


@dataclass(frozen=True, slots=True)
class Facts:
    """What a choice of device and precision follows from."""

    cards: tuple[Card, ...] = ()
    """What torch can use through `cuda`, in its order."""
    current: int = 0
    """The card that torch uses where none is named."""
    has_metal: bool = False
    """Whether torch can use Apple's Metal."""
    cpu_has_bfloat16: bool = False
    """Whether the processor multiplies bfloat16 matrices itself."""
    cuda_of_torch: str | None = None
    """Version of CUDA that torch was built for; None = built without."""
    has_nvidia_card: bool = False
    """Whether the system shows an NVIDIA card, usable or not."""


def read_facts() -> Facts:
    """The facts of this machine, now."""
    usable = torch.cuda.is_available()
    kernels = tuple(torch.cuda.get_arch_list()) if usable else ()
    is_hip = torch.version.hip is not None
    cards = tuple(
        Card(torch.cuda.get_device_name(index), torch.cuda.get_device_capability(index), kernels, is_hip)
        for index in range(torch.cuda.device_count() if usable else 0)
    )
    return Facts(
        cards,
        torch.cuda.current_device() if cards else 0,
        torch.backends.mps.is_available(),
        cpu_has_bfloat16(),
        torch.version.cuda,
        _shows_nvidia_card(),
    )


def choose_device(name: str = "auto", facts: Facts | None = None) -> torch.device:
    """`auto` takes CUDA, then MPS, then the CPU; anything else must be there.

    Args:
        name: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
        facts: of the machine; None = of this one.

    Raises:
        DeviceError: the named device is not available, or this torch has no kernels for it.
        OptionError: the name is none of these.
    """
    kind, _, number = name.partition(":")
    if name != "auto" and (kind not in ("cpu", "cuda", "mps") or (number and (kind != "cuda" or not number.isdigit()))):
        raise OptionError(f"unknown device {name!r}; use auto, cpu, cuda, cuda:N (also for ROCm) or mps")
    facts = facts or read_facts()
    if name == "auto":
        order = sorted(range(len(facts.cards)), key=lambda index: index != facts.current)
        served = [index for index in order if facts.cards[index].is_served]
        if served:
            return torch.device("cuda", served[0])
        return torch.device("mps" if facts.has_metal else "cpu")
    if kind == "cuda":
        return _named_card(name, int(number) if number else facts.current, facts)
    if kind == "mps" and not facts.has_metal:
        raise DeviceError("device mps was asked for, but this machine has no Metal device; use the device cpu")
    return torch.device(kind)


def split_devices(names: str, facts: Facts | None = None) -> list[str]:
    """`cuda:0,cuda:1` as two names, and `cuda:all` as those of every card that this torch serves.

    Raises:
        DeviceError: `cuda:all` finds no card.
        OptionError: several names and one of them no card, or twice the same.
    """
    if names == "cuda:all":
        facts = facts or read_facts()
        served = [f"cuda:{index}" for index, card in enumerate(facts.cards) if card.is_served]
        if not served:
            raise DeviceError("cuda:all was asked for, but there is no card that this torch serves; use the device cpu")
        return served
    devices = names.split(",")
    if len(devices) > 1 and (len(set(devices)) < len(devices) or not all(d.startswith("cuda:") for d in devices)):
        raise OptionError(f"several devices must be different cards such as cuda:0,cuda:1, got {names!r}")
    return devices


def _named_card(name: str, index: int, facts: Facts) -> torch.device:
    count = len(facts.cards)
    if count == 0:
        reason = _unused_nvidia_card(facts) or "no CUDA device is available; use the device cpu"
        raise DeviceError(f"device {name} was asked for, but {reason}")
    if index >= count:
        raise DeviceError(f"device {name} was asked for, but there are only {count} CUDA devices (from cuda:0)")
    if not facts.cards[index].is_served:
        raise DeviceError(f"device {name} was asked for, but {_unserved(facts.cards[index])}")
    return torch.device("cuda", index)


def device_warnings(name: str, facts: Facts | None = None) -> tuple[str, ...]:
    """What a user should know who left the choice of device to `auto`, and whose card stays unused."""
    if name != "auto":
        return ()
    facts = facts or read_facts()
    chosen = choose_device(name, facts)
    found = [f"{_unserved(card)}; {chosen} is used" for card in facts.cards if not card.is_served]
    if unused := _unused_nvidia_card(facts):
        found.append(f"{unused}; {chosen} is used")
    return tuple(dict.fromkeys(found))


def _unserved(card: Card) -> str:
    major, minor = card.capability
    return (
        f"this torch has no kernels for {card.name} (compute capability {major}.{minor}, it has "
        f"{' '.join(card.kernels)}): {_OTHER_INDEX.format('an older CUDA, such as cu126')}"
    )


def _unused_nvidia_card(facts: Facts) -> str | None:
    """Why a card of NVIDIA cannot be used, and what mends that; None where there is none or it can."""
    if facts.cards or not facts.has_nvidia_card:
        return None
    if facts.cuda_of_torch is None:
        return f"this machine has an NVIDIA card, but this torch is built without CUDA: {_OTHER_INDEX.format('CUDA')}"
    return (
        f"this machine has an NVIDIA card that torch for CUDA {facts.cuda_of_torch} cannot use: update its driver, or "
        f"{_OTHER_INDEX.format('an older CUDA')}"
    )


def _shows_nvidia_card() -> bool:
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        # Hidden on purpose.
        return False
    return any(path.exists() for path in _NVIDIA_TRACES) or shutil.which("nvidia-smi") is not None


def choose_precision(name: str, device: torch.device, facts: Facts | None = None) -> Precision:
    """`auto` takes fp16 on GPUs where it is fast and right, bf16 on CPUs with bfloat16 instructions, else fp32.

    Flow, sampling grids, normalisations and softmax are float32 in all of them. On CUDA, 16-bit precisions round the
    weights of the layers that predict flow to 10 bits (TF32); their inputs are 16-bit numbers, which TF32 holds.

    Raises:
        DeviceError: the device cannot compute in this precision at a useful speed.
        OptionError: the name is none of auto, fp32, fp16, bf16.
    """
    if name != "auto" and name not in DTYPES:
        raise OptionError(f"unknown precision {name!r}; use auto, fp32, fp16 or bf16")
    facts = facts or read_facts()
    card = facts.cards[device.index or 0] if device.type == "cuda" and facts.cards else None
    if name == "auto":
        if device.type == "cpu":
            return "bf16" if facts.cpu_has_bfloat16 else "fp32"
        # What Metal computes in 16 bit has not been tried.
        return card.precision if card else "fp32"
    if name == "fp16" and device.type == "cpu":
        raise DeviceError("precision fp16 needs a GPU; use bf16 or fp32 on a CPU")
    if name == "bf16" and card is not None and not card.has_bfloat16:
        raise DeviceError(f"{card.name} has no bfloat16, which begins with compute capability 8.0; use fp16 or fp32")
    return name  # type: ignore[return-value]


def longer_precisions(precision: Precision, device: torch.device, facts: Facts | None = None) -> list[Precision]:
    """What reaches further than a precision on a device, the faster ones first; nothing after fp32."""
    if precision == "fp32":
        return []
    if precision == "bf16" or device.type != "cuda":
        return ["fp32"]
    facts = facts or read_facts()
    card = facts.cards[device.index or 0] if facts.cards else None
    return ["bf16", "fp32"] if card is not None and card.has_bfloat16 else ["fp32"]


def cpu_has_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 matrices itself (AVX512-BF16 or AMX)."""
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


@contextlib.contextmanager
def exact_float32(device: torch.device, precision: Precision) -> Iterator[None]:
    """Inside, fp32 means float32 on CUDA too, where convolutions would round their inputs to 10 bits (TF32).

    In 16 bit nothing changes. The switch is the whole process's, so it is put back for whoever else uses torch.
    """
    if device.type != "cuda" or precision != "fp32":
        yield
        return
    products, cudnn = torch.get_float32_matmul_precision(), torch.backends.cudnn
    torch.set_float32_matmul_precision("highest")
    try:
        with cudnn.flags(
            enabled=cudnn.enabled, benchmark=cudnn.benchmark, deterministic=cudnn.deterministic, allow_tf32=False
        ):
            yield
    finally:
        torch.set_float32_matmul_precision(products)


def free_device_memory(device: torch.device) -> None:
    """Return cached blocks to the device, so that smaller ones can be cut from them."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()
