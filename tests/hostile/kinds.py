"""Every kind of file that the library reads: good ones, what reads them, and the errors that may end that."""

import gzip
import hashlib
import io
import json
import os
import shutil
import tarfile
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from random import Random
from typing import Any
from unittest import mock

import numpy as np
import platformdirs
import torch
from hostile import mutations
from hostile.mutations import Mutation
from PIL import Image
from sign_files import LINES, photograph
from svhn_files import ENCODINGS, sample_entries, write_folder
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from dcnlib.data import digits
from dcnlib.data.digits import load_digits
from dcnlib.data.house_numbers.load import load_house_numbers
from dcnlib.data.house_numbers.numbers import HouseNumbers
from dcnlib.data.house_numbers.svhn import decode_svhn, read_svhn
from dcnlib.data.pictures import read_picture
from dcnlib.data.street_signs.gtsdb import read_labels, read_photograph
from dcnlib.inference import formats
from dcnlib.inference.exported import load_exported
from dcnlib.models.pretrained import load_trained
from dcnlib.paper.promote import promote
from dcnlib.training.jobs import JobFolder
from dcnlib.training.loop import fit
from dcnlib.training.run import Run
from dcnlib.training.settings import TrainingSettings
from dcnlib.utils.files import PACKAGE
from dcnlib.utils.weights import load_weights, save_weights

DOCUMENTED = (ValueError, TypeError, OSError)  # FileNotFoundError is one of the last


@dataclass(frozen=True)
class Kind:
    """A kind of file. `whole`: of damaged bytes comes the very same as of the good ones, or an error."""

    name: str
    file: str  # its path in a case's folder
    make: Callable[[], list[bytes]]
    read: Callable[[Path], object]
    structured: tuple[Mutation, ...] = ()
    whole: bool = False
    beside: Callable[[Path], object] | None = None  # makes what else there must be in the folder
    also: tuple[type[Exception], ...] = ()  # other documented errors, which needn't name the file
    names_file: bool = True

    @cached_property
    def contents(self) -> list[bytes]:
        return self.make()

    def place(self, folder: Path, content: bytes) -> Path:
        """A new folder with the file in it, which is also the cache's place and the working folder."""
        path = folder / self.file
        path.parent.mkdir(parents=True, exist_ok=True)
        platformdirs.user_cache_dir = lambda *_: str(folder / "cache")
        os.chdir(folder)
        if self.beside is not None:
            self.beside(folder)
        path.write_bytes(content)
        return path

    def mutated(self, seed: int) -> tuple[bytes, object]:
        """A case's bytes, and what reading them gives unless it ends in an error, where that is known (else None)."""
        random = Random(f"{self.name} {seed}")
        number = random.randrange(len(self.contents))
        content = self.contents[number]
        if self.structured and random.random() < 0.6:
            return random.choice(self.structured)(random, content), None
        changed = mutations.any_bytes(random, content)
        return changed, RESULTS.get((self.name, number))

    def read_good(self, folder: Path) -> None:
        """Read each good file, if that hasn't been done, in a folder that stays, and keep what has to come of it."""
        if (self.name, 0) in RESULTS:
            return
        for number, content in enumerate(self.contents):
            result = self.read(self.place(folder / f"{self.name} {number}", content))
            RESULTS[self.name, number] = result if self.whole else None


RESULTS: dict[tuple[str, int], object] = {}  # of good files, by kind and number


def digest(*arrays: Any) -> str:
    """What an array holds, in short."""
    content = hashlib.sha256()
    for array in map(np.asarray, arrays):
        content.update(f"{array.dtype} {array.shape}".encode() + np.ascontiguousarray(array).tobytes())
    return content.hexdigest()[:16]


# Weights, runs and checkpoints


class Tiny(nn.Module):
    """A network with a buffer, by the contract that `fit` trains by."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(6, 4)
        self.norm = nn.BatchNorm1d(4)

    def forward(self, images: Tensor) -> Tensor:
        return self.norm(self.linear(images.flatten(1)))

    def loss(self, images: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        loss = F.cross_entropy(self(images), labels)
        return loss, {"cross_entropy": loss.detach()}

    def digest(self) -> str:
        return digest(*(value.detach() for value in self.state_dict().values()))


DATA = TensorDataset(torch.rand(8, 1, 2, 3, generator=torch.Generator().manual_seed(0)), torch.arange(8) % 4)
SETTINGS = TrainingSettings(epochs=3, batch_size=4, device="cpu")


def good_weights() -> list[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        save_weights(path := Path(folder) / "weights", Tiny())
        return [path.read_bytes()]


def read_weights(path: Path) -> str:
    model = Tiny()
    nn.init.ones_(model.linear.weight)
    before = model.digest()
    try:
        load_weights(path, model)
    except Exception:
        assert model.digest() == before, "an error, and yet the model has changed"
        raise
    return model.digest()


class Enough(Exception):
    """The training stops here, as if it were killed."""


def good_checkpoints() -> list[bytes]:
    def stop(figures: dict[str, Any]) -> None:
        raise Enough

    with tempfile.TemporaryDirectory() as folder:
        try:
            fit(Tiny(), DATA, DATA, SETTINGS, run_dir=folder, checkpoint_seconds=0, on_epoch=stop)
        except Enough:
            return [Run(folder).checkpoint_path.read_bytes()]
    raise AssertionError("it didn't stop")


def read_checkpoint(path: Path) -> str:
    model = Tiny()
    record = fit(model, DATA, DATA, SETTINGS, run_dir=path.parent)
    json.dumps(record, allow_nan=False)
    return model.digest()


SHIPPED = ("coarse", "draw", "ram", "dcn-k8-hints", "house-numbers-dcn-k8")


def good_records() -> list[bytes]:
    folder = PACKAGE.parent / "results"
    return [(folder / f"{name}.json").read_bytes() for name in SHIPPED]


def good_settings() -> list[bytes]:
    return [json.dumps(json.loads(record)["settings"]).encode() for record in good_records()]


def read_run(path: Path) -> object:
    """A record with the weights that belong to it, as far as its name still tells which."""
    try:
        name = json.loads(path.read_bytes())["name"]
    except Exception:
        name = None
    weights = PACKAGE / "weights" / f"{name if name in SHIPPED else 'coarse'}.safetensors"
    shutil.copy(weights, Run(path.parent).weights_path)
    trained = load_trained(path.parent)
    trained.check_unseen("validation", trained.source)
    with torch.no_grad():
        trained.model(torch.zeros(1, *trained.task.image_shape))
    return trained.name


def good_jobs() -> list[bytes]:
    settings = json.loads(good_records()[0])["settings"]
    return [json.dumps({"name": "job", "model": {"kind": "coarse"}, "settings": settings, "test": False}).encode()]


def read_job(path: Path) -> str:
    return JobFolder(path.parent).status().state


def read_promoted(path: Path) -> list[str]:
    written = promote(path.parent)
    assert all(place.parent in (Path.cwd() / "results", Path.cwd() / "dcnlib" / "weights") for place in written)
    return [place.name for place in written]


def project(folder: Path) -> None:
    for name in ("dcnlib", "notebooks", "run"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    shutil.copy(PACKAGE / "weights" / "coarse.safetensors", Run(folder / "run").weights_path)


def read_settings(path: Path) -> TrainingSettings:
    settings = json.loads(path.read_text())
    if not isinstance(settings, dict):
        raise TypeError("no settings")
    return TrainingSettings(**settings)


# Digits and house numbers


def good_digits() -> list[bytes]:
    images = Random(0).randbytes(5 * 28 * 28)
    return [b"\0\0\x08\x03" + b"".join(size.to_bytes(4, "big") for size in (5, 28, 28)) + images]


LABELS = b"\0\0\x08\x01" + (5).to_bytes(4, "big") + bytes(range(5))
SMALL_MNIST = {
    "t10k-images-idx3-ubyte": ((5, 28, 28), hashlib.sha256(good_digits()[0]).hexdigest()),
    "t10k-labels-idx1-ubyte": ((5,), hashlib.sha256(LABELS).hexdigest()),
}


def mnist_beside(folder: Path) -> None:
    for name in digits._MNIST:
        (folder / "MNIST" / "raw" / name).write_bytes(LABELS if "t10k-labels" in name else b"")
    (folder / "MNIST" / "raw" / "t10k-images-idx3-ubyte").unlink()


def read_digits(path: Path) -> str:
    with mock.patch.dict(digits._MNIST, SMALL_MNIST):  # what the reader takes for the original
        read = load_digits("test", source="mnist", root=path.parents[2], download=False)
    return digest(read.images, read.labels)


def svhn_folder(folder: Path) -> Path:
    if not folder.exists():
        write_folder(folder, sample_entries(4))
    return folder


def photographs(folder: Path) -> None:
    """The photographs of `sample_entries` without their labels."""
    for entry in sample_entries(6):
        Image.new("RGB", (96, 40), (20, 90, 200)).save(folder / "test" / entry.name)


def good_labels() -> list[bytes]:
    made = []
    with tempfile.TemporaryDirectory() as folder:
        for name, encoding in ENCODINGS.items():
            for count in (6, 1):
                part = write_folder(Path(folder) / f"{name} {count}", sample_entries(count), encoding)
                made.append((part / "digitStruct.mat").read_bytes())
    return made


def numbers_digest(numbers: HouseNumbers) -> str:
    return digest(numbers.images, numbers.labels, numbers.boxes, numbers.names)


def good_archives() -> list[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        part = write_folder(Path(folder) / "test", sample_entries(3))
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            archive.add(part, "test")
        return [gzip.compress(packed.getvalue(), 1)]


def read_archive(path: Path) -> str:
    return numbers_digest(load_house_numbers("test", source="svhn", root=path.parent))


def good_caches() -> list[bytes]:
    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch.object(platformdirs, "user_cache_dir", return_value=folder),
    ):
        read_svhn(svhn_folder(Path(folder) / "test"))
        return [path.read_bytes() for path in Path(folder).glob("*.npz")]


def read_cache(path: Path) -> str:
    """Whatever damage there is in the cache, what is read is what the folder holds."""
    folder = svhn_folder(path.parent / "test")
    read_svhn(folder)
    (kept,) = (path.parent / "cache").glob("*.npz")
    shutil.copy(path, kept)
    return numbers_digest(read_svhn(folder))


# Exported models


ABOUT = {
    "part": "whole",
    "k": None,
    "image_shape": [1, 100, 100],
    "inputs": {"images": {"dtype": "float32", "shape": ["batch", 1, 100, 100]}},
    "outputs": {"logits": {"dtype": "float32", "shape": ["batch", 10]}},
    "name": "tiny",
    "model": {"kind": "coarse"},
    "record": {"name": "tiny", "data": {"train": {"name": "digits", "source": "embedded", "split": "train"}}},
}


@cache
def good_graph() -> bytes:
    """A network in ONNX: the means of four quarters of an image, and ten scores of them."""
    from onnx import TensorProto, helper, numpy_helper

    weights = np.random.RandomState(0).rand(4, 10).astype(np.float32)
    nodes = [
        helper.make_node("AveragePool", ["images"], ["means"], kernel_shape=[50, 50], strides=[50, 50]),
        helper.make_node("Flatten", ["means"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["logits"]),
    ]
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 1, 100, 100])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 10])
    graph = helper.make_graph(nodes, "tiny", [images], [logits], [numpy_helper.from_array(weights, "weights")])
    opset = helper.make_opsetid("", formats.OPSET)
    return helper.make_model(graph, opset_imports=[opset], ir_version=10).SerializeToString()


@cache
def good_export(suffix: str) -> bytes:
    """The file that ends in `suffix`, of an export of the network."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model"
        if suffix == ".onnx":
            formats.write_onnx(path.with_suffix(suffix), good_graph(), ABOUT)
        else:
            formats.write_openvino(path.with_suffix(".xml"), good_graph(), ABOUT)
        return path.with_suffix(suffix).read_bytes()


def signed(content: bytes, body: bytes, about: dict[str, Any]) -> bytes:
    """Such a body and account as an export like the good one, whose digest is right."""
    from onnx import ModelProto

    plain = content == good_export(".onnx")
    whole = hashlib.sha256(body + (b"" if plain else good_export(".bin"))).hexdigest()
    account = json.dumps({"format": formats.FORMAT_VERSION, **about, "bytes": len(body), "sha256": whole})
    if not plain:
        return body + f"<!-- {account.replace('--', '-')} -->\n".encode()
    tail = ModelProto()
    tail.metadata_props.add(key=formats.ACCOUNT, value=account)
    return body + tail.SerializeToString()


def _body(content: bytes) -> bytes:
    return good_graph() if content == good_export(".onnx") else content[: content.rindex(b"<!-- {")]


def other_account(random: Random, content: bytes) -> bytes:
    """The export says something else of itself."""
    about = json.loads(mutations.json_tree(random, json.dumps(ABOUT).encode()))
    return signed(content, _body(content), about)


def other_body(random: Random, content: bytes) -> bytes:
    """The export's graph is another one, of which it gives the digest."""
    return signed(content, mutations.any_bytes(random, _body(content)), ABOUT)


def export_beside(suffix: str) -> Callable[[Path], None]:
    return lambda folder: (folder / f"model{suffix}").write_bytes(good_export(suffix)) and None


def read_export(path: Path) -> str:
    trained = load_exported(path.with_suffix(".xml") if path.suffix == ".bin" else path)
    trained.check_unseen("validation", trained.source)
    images = torch.rand(2, 1, 100, 100, generator=torch.Generator().manual_seed(0))
    return digest(trained.model(images).numpy().round(3))


# Pictures


def encoded(image: Image.Image, form: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def _pictures() -> dict[str, Image.Image]:
    values = np.random.RandomState(0)
    colours = Image.fromarray(values.randint(0, 256, (20, 30, 3), dtype=np.uint8))
    return {
        "colours": colours,
        "grey": colours.convert("L"),
        "palette": colours.quantize(16),
        "alpha": Image.merge("RGBA", [*colours.split(), colours.convert("L")]),
        "bits": colours.convert("1"),
        "deep": Image.fromarray(values.randint(0, 65536, (20, 30)).astype(np.uint16)),
        "floats": Image.fromarray(values.rand(20, 30).astype(np.float32)),
    }


def pictures(form: str, *variants: str, **options: Any) -> Callable[[], list[bytes]]:
    return lambda: [encoded(_pictures()[name], form, **options) for name in variants]


def many(*makers: Callable[[], list[bytes]]) -> Callable[[], list[bytes]]:
    return lambda: [content for make in makers for content in make()]


def animation() -> list[bytes]:
    made = _pictures()
    return [encoded(made["colours"], "GIF", save_all=True, append_images=[made["grey"].convert("RGB")])]


def with_exif() -> list[bytes]:
    exif = Image.Exif()
    exif[274], exif[305] = 6, "x" * 50
    return [encoded(_pictures()["colours"], form, exif=exif) for form in ("JPEG",)]


def arrays() -> list[bytes]:
    made = []
    for values in (np.zeros((5, 7), np.uint8), np.ones((3, 5, 7), np.float32), np.zeros((5, 7, 3), np.uint16)):
        np.save(file := io.BytesIO(), values)
        made.append(file.getvalue())
    return made


def read(path: Path) -> str:
    return digest(read_picture(path).pixels)


def picture(name: str, make: Callable[[], list[bytes]], *structured: Mutation) -> Kind:
    return Kind(name, f"picture.{name}", make, read, structured)


def streets(form: str) -> Callable[[], list[bytes]]:
    """Photographs of the size that the reader of GTSDB takes; grey ones are as good, and a third as large."""
    return lambda: [encoded(photograph(0).convert("L"), form)]


CACHE = Kind("cache", "cache.npz", good_caches, read_cache, (mutations.zip_member,), whole=True)
TIFFS = many(
    pictures("TIFF", "colours", "grey", "bits", "deep", "floats", "palette"),
    *(pictures("TIFF", "colours", "grey", compression=way) for way in ("tiff_lzw", "tiff_deflate", "packbits")),
    pictures("TIFF", "colours", compression="jpeg"),
    pictures("TIFF", "bits", compression="group4"),
)
KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("weights", "weights.safetensors", good_weights, read_weights, (mutations.safetensors_header,), whole=True),
        Kind(
            "checkpoint",
            "checkpoint.pt",
            good_checkpoints,
            read_checkpoint,
            (mutations.zip_member,),
            whole=True,
            also=(FloatingPointError,),  # what goes on from it isn't finite
        ),
        Kind("run", "record.json", good_records, read_run, (mutations.json_tree,)),
        Kind(
            "promoted run",
            "run/record.json",
            lambda: good_records()[:1],
            read_promoted,
            (mutations.json_tree,),
            beside=project,
        ),
        Kind("settings", "settings.json", good_settings, read_settings, (mutations.json_tree,), names_file=False),
        Kind("idx", "MNIST/raw/t10k-images-idx3-ubyte", good_digits, read_digits, whole=True, beside=mnist_beside),
        Kind(
            "idx.gz",
            "MNIST/raw/t10k-images-idx3-ubyte.gz",
            lambda: [gzip.compress(content) for content in good_digits()],
            read_digits,
            (mutations.inside_gzip(mutations.any_bytes),),
            whole=True,
            beside=mnist_beside,
        ),
        Kind(
            "mat",
            "test/digitStruct.mat",
            good_labels,
            lambda path: numbers_digest(decode_svhn(path.parent)),
            beside=photographs,
        ),
        Kind(
            "tar.gz",
            "test.tar.gz",
            good_archives,
            read_archive,
            (mutations.inside_gzip(mutations.any_bytes), mutations.inside_gzip(mutations.tar_header)),
            whole=True,
        ),
        CACHE,
        Kind(
            "onnx",
            "model.onnx",
            lambda: [good_export(".onnx")],
            read_export,
            (other_account, other_body),
            whole=True,
        ),
        Kind(
            "openvino",
            "model.xml",
            lambda: [good_export(".xml")],
            read_export,
            (other_account, other_body),
            whole=True,
            beside=export_beside(".bin"),
        ),
        Kind(
            "openvino weights",
            "model.bin",
            lambda: [good_export(".bin")],
            read_export,
            whole=True,
            beside=export_beside(".xml"),
        ),
        Kind("job", "sweep/job/job.json", good_jobs, read_job, (mutations.json_tree,)),
        picture(
            "png", many(pictures("PNG", "colours", "grey", "palette", "alpha", "bits", "deep")), mutations.png_chunk
        ),
        picture(
            "jpg", many(pictures("JPEG", "colours", "grey"), pictures("JPEG", "colours", progressive=True), with_exif)
        ),
        picture("gif", many(pictures("GIF", "palette", "grey"), animation)),
        picture("webp", many(pictures("WEBP", "colours", "alpha"), pictures("WEBP", "alpha", lossless=True))),
        picture("tiff", TIFFS),
        picture("bmp", pictures("BMP", "colours", "grey", "palette", "bits")),
        picture("ppm", pictures("PPM", "colours", "grey", "bits", "deep")),
        picture("npy", arrays),
        Kind("gt.txt", "gt.txt", lambda: ["\n".join(LINES).encode()], lambda path: str(read_labels(path))),
        *(
            Kind(f"street {name}", f"00000.{name}", streets(form), lambda path: digest(read_photograph(path.parent, 0)))
            for name, form in (("ppm", "PPM"), ("jpg", "JPEG"))
        ),
    )
}
