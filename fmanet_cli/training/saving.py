"""The files of a run: its state, the weights that are released and the raw ones."""

from __future__ import annotations

from torch import Tensor

from fmanet_cli.model.fmanet import FMANet
from fmanet_cli.training.averages import Averages
from fmanet_cli.training.replicas import replica, value_of_first
from fmanet_cli.training.rescaling import find_scale, rescale
from fmanet_cli.training.run_options import RunOptions
from fmanet_cli.training.state import RAW_NAME, WEIGHTS_NAME, RunPosition, RunState, save_state
from fmanet_cli.training.update import Update
from fmanet_cli.weights.checkpoint import CheckpointMetadata, save_checkpoint


def save_run(
    options: RunOptions,
    position: RunPosition,
    model: FMANet,
    averages: Averages,
    released: int,
    update: Update,
    window: Tensor,
) -> None:
    """Bring the degradation branch into range and write everything. Every process calls it, the first one writes.

    `released`: number of the average that becomes `weights.safetensors`; `window`: (B, 3, T, H, W), where the
    branch's activations are measured.
    """
    models = [model, *averages.models]
    first = replica()[0] == 0
    # One scale for all: the smallest that any of the networks needs.
    scale = value_of_first(min(find_scale(network, window) for network in models) if first else 1.0)
    if scale < 1.0:
        rescale(models, update.optimizers, scale)
    saved = update.state()
    if not first:
        return
    training = f"recipe {position.recipe}, stage {position.stage}, {position.step} steps, seed {position.seed}"
    for name, network in ((WEIGHTS_NAME, averages.models[released]), (RAW_NAME, model)):
        metadata = CheckpointMetadata(licence=options.licence, source=options.source, training=training)
        save_checkpoint(options.folder / name, network, metadata=metadata)
    averaged = [network.state_dict() for network in averages.models]
    save_state(options.folder, RunState(position, model.state_dict(), averaged, saved))
