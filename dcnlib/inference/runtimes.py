"""Trained models in a runtime of one's choice, whatever names them."""

import tempfile
from pathlib import Path
from typing import Literal, get_args

from dcnlib.inference.exported import RUNTIMES, load_exported
from dcnlib.inference.formats import SUFFIXES, Format
from dcnlib.models.pretrained import Source, Trained, load_trained

Runtime = Literal["torch", "onnxruntime", "openvino"]


def load_in_runtime(source: Source, runtime: Runtime | None = None, *, k: int | None = None) -> Trained:
    """A trained model in a runtime: an exported file, or what `load_trained` takes, exported for the purpose.

    runtime: by default what a file is made for, and torch for all else. k: patches an image, of a model that is
    exported. Raises what `load_trained`, `load_exported` and `export_model` raise.
    """
    if runtime is not None and runtime not in get_args(Runtime):
        raise ValueError(f"runtime must be one of {', '.join(get_args(Runtime))}, got {runtime!r}")
    if isinstance(source, str | Path) and (suffix := Path(source).suffix) in (*RUNTIMES, ".pt2"):
        if runtime not in (None, RUNTIMES.get(suffix)):
            raise ValueError(f"{source} isn't for {runtime}: give what it was exported from, or export that again")
        return load_exported(source)
    trained = load_trained(source)
    if runtime is None or runtime == "torch":
        return trained
    from dcnlib.inference.export import export_model  # brings what traces graphs

    with tempfile.TemporaryDirectory() as folder:
        to: Format = "onnx" if runtime == "onnxruntime" else "openvino"
        file = Path(folder) / f"model{SUFFIXES[to]}"
        export_model(trained, file, to, k=k)
        return load_exported(file)
