"""Weights on disk: written atomically, read without executing anything from the file, and all of them or none."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn

from dcnlib.utils.files import atomic_write

_HEADER, _HEADER_EACH = 1_000_000, 1000  # bytes of a file's own account, and for each tensor in it


def save_weights(path: str | Path, model: nn.Module) -> None:
    """Write a model's weights as safetensors, with their digest, atomically.

    Of a model that torch.compile wraps, they stand under the names of the model itself. Raises ValueError for weights
    that aren't finite.
    """
    weights = weights_of(model)
    check_finite(weights, f"{path} is not written")
    data = safetensors.torch.save(weights, metadata={"digest": digest_of(weights)})
    atomic_write(path, lambda file: file.write(data))


def load_weights(path: str | Path, model: nn.Module) -> None:
    """Read weights written by `save_weights` into `model`; the file can't execute code.

    Raises FileNotFoundError, or ValueError if the file is damaged, holds weights that aren't finite, or those of
    another model; the model is as before then.
    """
    put_weights(read_weights(path, model), model, str(path))


def read_weights(path: str | Path, model: nn.Module) -> dict[str, Tensor]:
    """The weights in a file, by name, held to their digest if they have one.

    Raises FileNotFoundError, or ValueError for a damaged file and for one that is too large for weights of the model.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"no weights at {path}")
    size, own = Path(path).stat().st_size, size_of(model)
    if size > own + _HEADER_EACH * len(model.state_dict()) + _HEADER:
        raise ValueError(
            f"{path} holds the weights of another model: it has {size / 1e6:.1f} MB, this one's take {own / 1e6:.1f} MB"
        )
    content = Path(path).read_bytes()
    try:
        weights = safetensors.torch.load(content)
    except (safetensors.SafetensorError, ValueError, TypeError, KeyError, RuntimeError) as error:
        raise ValueError(f"{path} is not a whole safetensors file: {error}") from error
    size = int.from_bytes(content[:8], "little")
    kept = json.loads(content[8 : 8 + size]).get("__metadata__", {}).get("digest")
    if kept is not None and kept != digest_of(weights):
        raise ValueError(f"{path} is damaged: its weights are not those that were written")
    return weights


def put_weights(weights: Mapping[str, Tensor], model: nn.Module, source: str) -> None:
    """Copy weights into a model, all of them or, with a ValueError that names the source, none."""
    check_fit(weights, model, source)
    model.load_state_dict({name: weights[plain_name(name)] for name in model.state_dict()})


def check_fit(weights: Mapping[str, Tensor], model: nn.Module, source: str) -> None:
    """Raise ValueError, naming the source, unless weights are finite and of a model's names, shapes and dtypes."""
    own = {plain_name(name): tensor for name, tensor in model.state_dict().items()}
    missing, strange = own.keys() - weights.keys(), weights.keys() - own.keys()
    if missing or strange:
        told = [f"{what} {_few(names)}" for what, names in (("missing", missing), ("unknown", strange)) if names]
        raise ValueError(f"{source} holds the weights of another model: {', '.join(told)}")
    for name, tensor in weights.items():
        if (tensor.shape, tensor.dtype) != (own[name].shape, own[name].dtype):
            raise ValueError(
                f"{source} holds the weights of another model: {name} is {_kind(tensor)}, here {_kind(own[name])}"
            )
    check_finite(weights, source)


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    """A copy of a model's weights on the CPU, under their plain names where torch.compile wraps it or parts of it."""
    return {plain_name(key): value.detach().cpu().clone().contiguous() for key, value in model.state_dict().items()}


def size_of(model: nn.Module) -> int:
    """Bytes of a model's weights."""
    return sum(tensor.nbytes for tensor in model.state_dict().values())


def check_finite(weights: Mapping[str, Tensor], what: str) -> None:
    """Raise ValueError, beginning with `what`, unless all weights are finite. Waits for the device."""
    broken = [name for name, tensor in weights.items() if tensor.is_floating_point() and not tensor.isfinite().all()]
    if broken:
        raise ValueError(f"{what}: weights that aren't finite, in {_few(broken)}")


def digest_of(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of names, shapes, dtypes and values."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {_kind(tensor)};".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def plain_name(name: str) -> str:
    """A part's or a tensor's name without what torch.compile adds to it."""
    return name.replace("_orig_mod.", "").removesuffix("._orig_mod")


def _kind(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"


def _few(names: object) -> str:
    told = sorted(names)  # type: ignore[call-overload]
    return ", ".join(told[:3]) + (f" and {len(told) - 3} more" if len(told) > 3 else "")
