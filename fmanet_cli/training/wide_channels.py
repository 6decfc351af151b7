"""Which channel of a narrow network each channel of a wider one copies, for every parameter."""

from __future__ import annotations

import dataclasses
import re

from fmanet_cli.errors import OptionError
from fmanet_cli.model.config import FLOW_MASK_CHANNELS, IMAGE_CHANNELS, FMANetConfig

FRESH = -1

Channels = list[int]
"""For each channel of the wide network the one of the narrow network that it copies, or `FRESH`."""

_MAY_GROW = ("dim", "growth", "num_rdbs", "num_flows", "residual_dim")

_PARAMETERS: dict[str, tuple[str, str]] = {
    r"degradation_learning_network\.feature_extractor\.0": ("dim", "image"),
    r"restoration_network\.feature_extractor\.0": ("dim", "image dim"),
    r"feature_extractor\.2\.conv\.0": ("dim", "chain"),
    r"feature_extractor\.2\.conv\.1": ("dim", "dim"),
    r"(RDBs\.\d+|rdb|rdb_KD)\.layer\.\d+\.conv": ("growth", "dense"),
    r"(RDBs\.\d+|rdb|rdb_KD)\.conv": ("dim", "dense"),
    r"conv_KD": ("dim", "frames"),
    r"FRMA_blocks\.0\.conv_Fw": ("dim", "frames"),
    r"FRMA_blocks\.\d+\.conv_Fw": ("dim", "dim frames"),
    r"degradation_learning_network\.FRMA_blocks\.0\.conv_f\.0": ("flow", "dim dim"),
    r"FRMA_blocks\.\d+\.conv_f\.0": ("flow", "dim flow dim"),
    r"conv_f\.2|f_conv1\.\d|f_conv\.0|f_conv2\.0": ("flow", "flow"),
    r"f_conv3\.0": ("flow", "flow image image"),
    r"f_conv\d?\.2": ("image", "flow"),
    r"norm\d\.body": ("dim", ""),
    r"temperature": ("head", "one"),
    r"(co|da)_attn\.(q|project_out)|a_conv\.0|res_conv1": ("dim", "dim"),
    r"q_dwconv": ("dim", "one"),
    r"kv_conv": ("dim dim", "dim"),
    r"kv_dwconv": ("dim dim", "one"),
    r"ffn\d\.project_in": ("hidden hidden", "dim"),
    r"ffn\d\.dwconv": ("hidden hidden", "one"),
    r"ffn\d\.project_out": ("dim", "hidden"),
    r"a_conv\.2": ("image", "dim"),
    r"restoration_network\.d_conv\.0": ("dim", "degradation"),
    r"restoration_network\.d_conv\.2": ("dim", "dim"),
    r"degradation_learning_network\.d_conv\.0|r_conv\.0": ("dim", "frame"),
    r"degradation_learning_network\.d_conv\.2": ("degradation", "dim"),
    r"r_conv\.2": ("restoration", "dim"),
    r"upsample\.conv1": ("shuffled", "dim"),
    r"upsample\.conv2": ("shuffled", "residual"),
    r"upsample\.conv3": ("residual", "residual"),
    r"res_conv2": ("image", "residual"),
}
"""By the ends of parameter names, the first that fits: the kinds of a weight's rows and of its columns, in order."""


class WideChannels:
    """The channels of two networks, of which the second is the wider one."""

    def __init__(self, old: FMANetConfig, new: FMANetConfig) -> None:
        """Raise `OptionError` where `new` is no widening of `old`."""
        self._old, self._new = old, new
        self._check()
        group, copies = old.dim // old.num_flows, new.dim // old.dim
        dim = [group * (channel // (copies * group)) + channel % group for channel in range(new.dim)]
        flow_copies = new.num_flows // old.num_flows
        self._kinds: dict[str, tuple[Channels, int]] = {
            "one": _same(1),
            "head": _same(new.num_heads),
            "image": _same(IMAGE_CHANNELS),
            "degradation": _same(new.degradation_taps),
            "restoration": _same(new.scale**2 * new.restoration_taps),
            "dim": (dim, old.dim),
            "hidden": ([channel % old.ffn_hidden for channel in range(new.ffn_hidden)], old.ffn_hidden),
            "flow": (
                [
                    FLOW_MASK_CHANNELS * (pair // flow_copies) + part
                    for pair in range(new.num_flows)
                    for part in range(FLOW_MASK_CHANNELS)
                ],
                old.flow_channels,
            ),
            # Channel c of frame t is number c T + t.
            "frames": (
                [channel * old.num_frames + frame for channel in dim for frame in range(old.num_frames)],
                old.dim * old.num_frames,
            ),
            "frame": ([channel // old.num_frames for channel in dim[:: old.num_frames]], old.dim // old.num_frames),
            "growth": _longer(old.growth, new.growth),
            "residual": _longer(old.residual_width, new.residual_width),
            "shuffled": _longer(4 * old.residual_width, 4 * new.residual_width),
        }
        blocks, size = self._joined(["dim"] * old.num_rdbs)
        # Further blocks add zero, so that each of them gives what the last old one does.
        added = blocks[-new.dim :] * (new.num_rdbs - old.num_rdbs)
        self._kinds["chain"] = (blocks + added, size)

    def of_parameter(self, name: str) -> tuple[Channels, Channels]:
        """Of the rows and the columns of a weight that both networks have; no columns for a weight of one dimension."""
        owner, _, part = name.rpartition(".")
        if part == "temperature":
            owner = name
        rows, columns = next(kinds for end, kinds in _PARAMETERS.items() if re.search(rf"(^|\.)(?:{end})$", owner))
        if part == "bias" or not columns:
            return self._joined(rows.split())[0], []
        kinds = columns.split()
        if columns == "dense":
            found = re.search(r"layer\.(\d+)\.conv$", owner)
            kinds = ["dim"] + ["growth"] * (int(found[1]) if found else self._old.num_dense_layers)
        return self._joined(rows.split())[0], self._joined(kinds)[0]

    def _joined(self, kinds: list[str]) -> tuple[Channels, int]:
        joined: Channels = []
        start = 0
        for kind in kinds:
            channels, size = self._kinds[kind]
            joined += [channel if channel == FRESH else start + channel for channel in channels]
            start += size
        return joined, start

    def _check(self) -> None:
        old, new = self._old, self._new
        for field in dataclasses.fields(old):
            if field.name not in _MAY_GROW and getattr(old, field.name) != getattr(new, field.name):
                raise OptionError(
                    f"only {', '.join(_MAY_GROW)} can grow, and {field.name} is {getattr(old, field.name)} in one "
                    f"network and {getattr(new, field.name)} in the other"
                )
        copied = {"dim": (old.dim, new.dim), "num_flows": (old.num_flows, new.num_flows)}
        copied["ffn_hidden"] = (old.ffn_hidden, new.ffn_hidden)
        for name, (narrow, wide) in copied.items():
            if wide % narrow:
                raise OptionError(f"{name} can grow to a multiple of {narrow} only, got {wide}")
        added = {"growth": (old.growth, new.growth), "num_rdbs": (old.num_rdbs, new.num_rdbs)}
        added["residual_dim"] = (old.residual_width, new.residual_width)
        for name, (narrow, wide) in added.items():
            if wide < narrow:
                raise OptionError(f"{name} can only grow, from {narrow}, got {wide}")
        group, copies = old.dim // old.num_flows, new.dim // old.dim
        if group % old.num_frames or (old.dim // old.num_heads) % group or copies % (new.num_flows // old.num_flows):
            raise OptionError("copies of channels would leave their frame, attention head or flow group")


def _same(count: int) -> tuple[Channels, int]:
    return list(range(count)), count


def _longer(old: int, new: int) -> tuple[Channels, int]:
    return [channel if channel < old else FRESH for channel in range(new)], old
