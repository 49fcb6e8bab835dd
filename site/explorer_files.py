"""The explorer without Python: its page, onnxruntime-web, the exported networks, and images to begin with."""

import json
import shutil
from pathlib import Path

import numpy as np

from dcnlib import count_multiplications, load_cluttered, load_pretrained, load_record
from dcnlib.analysis.cost import count_rounds
from dcnlib.core.budget import make_plan
from dcnlib.inference.export import Part, export_model

HERE = Path(__file__).parent
MODEL = "dcn-k8-hints"
IMAGES = [141, *range(59)]  # of the validation set; the first is the six that becomes a zero
MOST_K = 32
RUNTIME = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")


def write_explorer(page: Path) -> None:
    """Fill a new folder with all that the page needs, for any web server."""
    shutil.copytree(HERE / "explorer", page)
    (page / "ort").mkdir()
    for name in RUNTIME:
        shutil.copy(HERE / "node_modules" / "onnxruntime-web" / "dist" / name, page / "ort")
    _write_data(page)
    _write_models(page / "models")


def _write_data(page: Path) -> None:
    """Validation images and their digits, as bytes, and what each k costs."""
    data = load_cluttered("all", source="embedded")
    (page / "images.bin").write_bytes(data.render(IMAGES).tobytes())
    (page / "digits.bin").write_bytes(np.ascontiguousarray(data.digits.images[IMAGES]).tobytes())
    dcn = load_pretrained(MODEL)
    rounds = make_plan(1.0, None, None, False, MOST_K).rounds  # the library's usual ones
    about = {
        "indices": IMAGES,
        "labels": data.digits.labels[IMAGES].tolist(),
        "costs": [count_multiplications(dcn, k=k).total for k in range(MOST_K + 1)],
        "rounds": rounds,
        "roundCosts": count_rounds(dcn, rounds),
        "fineCost": load_record("multiplications")["models"]["fine"],
    }
    (page / "data.json").write_text(json.dumps(about))


def _write_models(folder: Path) -> None:
    """The networks: the DCN's first look and its second, and the fine model."""
    parts: dict[str, tuple[str, Part]] = {
        "first": (MODEL, "first"),
        "refine": (MODEL, "refine"),
        "fine": ("fine", "whole"),
    }
    folder.mkdir()
    for name, (source, part) in parts.items():
        export_model(source, folder / f"{name}.onnx", "onnx", part=part)
