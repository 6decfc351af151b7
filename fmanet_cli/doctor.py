"""What this machine offers for a run, and what stands in the way: one finding for each thing looked at."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fmanet_cli._version import __version__
from fmanet_cli.errors import FmanetError
from fmanet_cli.files import bytes_text

if TYPE_CHECKING:
    import torch

LEAST_DISK_BYTES = 2 << 30
"""Below this much free disk a restored film may not fit: ten minutes of 720p at the default quality."""
LEAST_MEMORY_BYTES = 1 << 30
"""Below this much free memory even small frames are restored in tiles."""

ENCODERS = ("libx264", "libx265", "libsvtav1", "h264_nvenc", "hevc_nvenc", "av1_nvenc")
"""Encoders that are tried."""

_UNTRIED = "untried by the authors of fmanet"

_NVIDIA_TRACES = (Path("/proc/driver/nvidia/version"), Path("/dev/nvidia0"))


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at."""

    topic: str
    """What was looked at, such as `torch`."""
    text: str
    """What was found, in a line."""
    remedy: str = ""
    """What to do about it; empty where all is well."""
    facts: dict[str, Any] = field(default_factory=dict)
    """The same for programs: plain JSON values."""

    @property
    def ok(self) -> bool:
        """Whether nothing needs to be done."""
        return not self.remedy

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "ok": self.ok}


def examine() -> Iterator[Finding]:
    """Look at everything a run depends on, the quick things first; nothing is written or downloaded.

    Yields:
        One finding after the other. A part that fails for a reason nobody foresaw is a finding of its own.
    """
    for topic, look in _LOOKS.items():
        yield from _looked_at(topic, look)


def _looked_at(topic: str, look: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    try:
        yield from look()
    except FmanetError as error:
        yield Finding(topic, str(error), "the message says what to do")
    except ImportError as error:
        yield Finding(topic, f"not looked at: {error}", "mend that import first")
    except Exception as error:
        text = (str(error).strip() or type(error).__name__).splitlines()[0]
        yield Finding(topic, f"cannot be looked at: {text}", "report this with the output of this command")


def _program() -> Iterator[Finding]:
    versions = {"fmanet": __version__, "python": platform.python_version(), "system": platform.platform()}
    yield Finding("fmanet", f"{__version__}, Python {versions['python']}, {versions['system']}", facts=versions)


def _torch() -> Iterator[Finding]:
    try:
        import torch
    except (ImportError, OSError) as error:
        reason = str(error).splitlines()[0]
        yield Finding("torch", f"cannot be imported: {reason}", "install it again: pip install --force-reinstall torch")
        return
    versions = {"CUDA": torch.version.cuda, "ROCm": torch.version.hip, "XPU": getattr(torch.version, "xpu", None)}
    built_for = next((f"{name} {version}" for name, version in versions.items() if version), "CPUs only")
    facts = {"version": torch.__version__, "built_for": built_for, "threads": torch.get_num_threads()}
    text = f"{torch.__version__}, built for {built_for}, {facts['threads']} threads"
    remedy = ""
    if built_for == "CPUs only" and _has_nvidia_card():
        text += "; an NVIDIA card is in this machine"
        remedy = "install the torch built for CUDA that its own site names here, else the card stays unused"
    yield Finding("torch", text, remedy, facts)


def _devices() -> Iterator[Finding]:
    import torch

    from fmanet_cli.engine.memory import free_memory
    from fmanet_cli.machine import describe_machine

    machine = describe_machine(torch.device("cpu"))
    free = free_memory(torch.device("cpu"))
    facts = {"name": machine.processor, "cores": machine.cores, "memory": machine.memory_bytes, "free": free}
    short = free is not None and free < LEAST_MEMORY_BYTES
    remedy = "close other programs: frames will be cut into tiles, slower" if short else ""
    cores = f"{machine.processor}, {machine.cores} cores"
    yield Finding("cpu", f"{cores}, {bytes_text(free)} of {bytes_text(machine.memory_bytes)} free", remedy, facts)
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        yield _cuda_device(index)
    if torch.backends.mps.is_available():
        yield Finding("mps", f"Metal, {_UNTRIED}", facts={"name": "Metal", "free": free_memory(torch.device("mps"))})
    for index in range(torch.xpu.device_count() if torch.xpu.is_available() else 0):
        name = torch.xpu.get_device_name(index)
        yield Finding(f"xpu:{index}", f"{name}, untried and not used: fmanet has no way to XPU", facts={"name": name})


def _cuda_device(index: int) -> Finding:
    import torch

    properties = torch.cuda.get_device_properties(index)
    free, total = torch.cuda.mem_get_info(index)
    capability, built = f"{properties.major}.{properties.minor}", torch.cuda.get_arch_list()
    facts = {"name": properties.name, "memory": total, "free": free, "capability": capability, "built_for": built}
    facts["driver"] = _driver_version()
    driver = facts["driver"] or "unknown"
    text = (
        f"{properties.name}, {bytes_text(free)} of {bytes_text(total)} free, capability {capability}, driver {driver}"
    )
    if torch.version.hip is not None:
        text += f"; ROCm, {_UNTRIED}"
    remedy = "" if _has_triton() else "install triton for the fused kernels: without it GPUs are slower"
    return Finding(f"cuda:{index}", text, remedy, facts)


def _precision() -> Iterator[Finding]:
    from fmanet_cli.engine.device import choose_device, choose_precision, device_warnings

    device = choose_device()
    precision = choose_precision("auto", device)
    remedy = "; ".join(device_warnings("auto"))
    yield Finding("chosen", f"{device}, {precision}", remedy, {"device": str(device), "precision": precision})
    if device.type != "cpu":
        yield _self_check(device)


def _self_check(device: torch.device) -> Finding:
    from fmanet_cli.engine.self_check import SelfCheck
    from fmanet_cli.weights.checkpoint import load_model
    from fmanet_cli.weights.registry import best_installed

    trials = SelfCheck(load_model(best_installed()), device).every_way()
    failed = [str(trial) for trial in trials if not trial.is_passed]
    remedy = f"these compute wrongly and are not used: {', '.join(failed)}" if failed else ""
    facts = {"trials": [asdict(trial) | {"passed": trial.is_passed} for trial in trials]}
    return Finding("self-check", f"{device} against the CPU: {', '.join(map(str, trials))}", remedy, facts)


def _codecs() -> Iterator[Finding]:
    from fmanet_cli.video.write.trial import encoder_fault, ffmpeg_text

    faults = {name: encoder_fault(name) for name in ENCODERS}
    usable = [name for name, fault in faults.items() if fault is None]
    missing = [name for name, fault in faults.items() if fault is not None and not name.endswith("nvenc")]
    absent = "; not here: " + ", ".join(name for name in ENCODERS if name not in usable)
    text = f"{', '.join(usable) or 'none'}{absent if len(usable) < len(ENCODERS) else ''} ({ffmpeg_text()})"
    remedy = (
        "" if not missing else "install PyAV from its wheel, which has all of them: pip install --force-reinstall av"
    )
    yield Finding("encoders", text, remedy, {"usable": usable, "faults": faults})


def _ray() -> Iterator[Finding]:
    if version := _version_of("ray"):
        yield Finding("ray", f"{version}: --ray shares films on a cluster", facts={"version": version})


def _weights() -> Iterator[Finding]:
    from fmanet_cli.errors import WeightsError
    from fmanet_cli.weights.cache import installed_names, installed_path, verify_installed
    from fmanet_cli.weights.registry import best_installed

    default = best_installed()
    for name in installed_names():
        facts: dict[str, Any] = {"name": name, "path": str(installed_path(name)), "default": name == default}
        try:
            facts["sha256"] = verify_installed(name)
        except WeightsError as error:
            yield Finding("weights", f"{name}: {error}", "install these weights again, or remove them", facts)
            continue
        said = ", the default" if name == default else ""
        yield Finding("weights", f"{name}{said}: whole, SHA-256 {facts['sha256'][:16]}", facts=facts)


def _folders() -> Iterator[Finding]:
    from fmanet_cli.weights.cache import cache_folder

    cache = cache_folder()
    size = sum(path.stat().st_size for path in cache.glob("*") if path.is_file())
    at_hand = next(path for path in (cache, *cache.parents) if path.exists())
    remedy = "" if os.access(at_hand, os.W_OK) else "make it writable, or set FMANET_CACHE to a folder that is"
    facts: dict[str, Any] = {"path": str(cache), "bytes": size}
    yield Finding("cache", f"{cache}, {bytes_text(size) if size else 'empty'}", remedy, facts)
    free = shutil.disk_usage(Path()).free
    remedy = "" if free >= LEAST_DISK_BYTES else "free some space, or write to another disk"
    facts = {"folder": str(Path().resolve()), "free": free}
    yield Finding("disk", f"{bytes_text(free)} free for outputs in {facts['folder']}", remedy, facts)


def _surroundings() -> Iterator[Finding]:
    chosen = {name: value for name, value in sorted(os.environ.items()) if name.startswith("FMANET_")}
    if chosen:
        text = "set in the environment: " + ", ".join(f"{name}={value}" for name, value in chosen.items())
        yield Finding("options", text, facts=chosen)


_LOOKS: dict[str, Callable[[], Iterator[Finding]]] = {
    "fmanet": _program,
    "torch": _torch,
    "devices": _devices,
    "chosen": _precision,
    "encoders": _codecs,
    "ray": _ray,
    "weights": _weights,
    "folders": _folders,
    "surroundings": _surroundings,
}


def _has_nvidia_card() -> bool:
    return shutil.which("nvidia-smi") is not None or any(path.exists() for path in _NVIDIA_TRACES)


def _driver_version() -> str | None:
    """Of the NVIDIA kernel module, where the system says it in a file."""
    path = _NVIDIA_TRACES[0]
    words = path.read_text().split() if path.exists() else []
    return next((word for word in words if word[0].isdigit() and word.count(".") >= 1), None)


def _has_triton() -> bool:
    return _version_of("triton") is not None or _version_of("triton-windows") is not None


def _version_of(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
