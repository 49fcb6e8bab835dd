"""Weights on disk: written atomically, and read without executing anything from the file."""

from pathlib import Path

import safetensors.torch
from torch import Tensor, nn

from dcnlib.utils.files import atomic_write


def save_weights(path: str | Path, model: nn.Module) -> None:
    """Write a model's weights as safetensors, atomically."""
    data = safetensors.torch.save(weights_of(model))
    atomic_write(path, lambda file: file.write(data))


def load_weights(path: str | Path, model: nn.Module) -> None:
    """Read weights written by `save_weights` into `model`; the file can't execute code.

    Raises FileNotFoundError, or ValueError if the file is damaged or holds the weights of another model.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"no weights at {path}")
    try:
        weights = safetensors.torch.load(Path(path).read_bytes())
    except safetensors.SafetensorError as error:
        raise ValueError(f"{path} is not a whole safetensors file: {error}") from error
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(f"{path} holds the weights of another model: {error}") from error


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    """A copy of a model's weights on the CPU."""
    return {key: value.detach().cpu().clone().contiguous() for key, value in model.state_dict().items()}
