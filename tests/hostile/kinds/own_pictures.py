"""A user's own pictures: tables of labels, and the records of runs on such pictures."""

import csv
import io
import json
import tempfile
from functools import cache
from pathlib import Path
from random import Random

import numpy as np
import torch
from hostile import mutations
from hostile.kinds.kind import Kind, digest
from hostile.kinds.runs import SETTINGS
from PIL import Image

from dcnlib.data.image_folder import PictureFolder
from dcnlib.models.own_pictures import OwnPicturesTask
from dcnlib.models.pretrained import load_trained
from dcnlib.models.specs import CoarseSpec, DCNSpec
from dcnlib.training.loop import fit
from dcnlib.training.run import Run

ROWS = [("file", "label", "group")] + [(f"{n}.png", "robin" if n % 2 else "wren", f"day {n // 4}") for n in range(24)]
CELLS = (
    "",
    "\0",
    "a\0b.png",
    "1.png",
    "./1.png",
    "../secret.png",
    "/etc/passwd",
    "/dev/zero",
    "C:\\1.png",
    "~/1.png",
    "x" * 5000,
    "x" * 200_000,
    "train",
    "wren",
    "\ufeff",
    "\x1b[2J",
    "/" * 3000,
    '"',
    "a\nb",
)


def birds(folder: Path) -> Path:
    """Small pictures that all differ, without a table."""
    place = folder / "birds"
    place.mkdir(exist_ok=True)
    values = np.random.RandomState(0)
    for name, *_ in ROWS[1:]:
        Image.fromarray(values.randint(0, 256, (32, 32), dtype=np.uint8)).save(place / name)
    return place


def table(rows: list[tuple[str, ...]]) -> bytes:
    csv.writer(text := io.StringIO()).writerows(rows)
    return text.getvalue().encode()


def other_cells(random: Random, content: bytes) -> bytes:
    """Cells of a table become others, or stand in another row or column; rows go, or stand there again."""
    rows = [list(row) for row in ROWS]
    for _ in range(random.choice((1, 1, 3, 10))):
        row = random.choice(rows)
        what = random.randrange(5)
        if what == 0:
            rows.append(list(row))
        elif what == 1 and len(rows) > 1:
            rows.remove(row)
        elif what == 2:
            random.shuffle(row)
        elif row:
            row[random.randrange(len(row))] = random.choice(CELLS)
    return table([tuple(row) for row in rows])


def read_table(path: Path) -> str:
    (path.parent.parent / "secret.png").write_bytes((path.parent / "2.png").read_bytes())
    folder = PictureFolder(path, size=(32, 32), channels=1)
    assert all(entry.path.is_relative_to(path.parent) for entry in folder.entries)
    return digest(folder.labels, folder.contents, [str(entry.split) for entry in folder.entries])


@cache
def good_runs() -> list[tuple[bytes, bytes]]:
    """Records and weights of models of such pictures."""
    runs = []
    with tempfile.TemporaryDirectory() as folder:
        place = birds(Path(folder))
        (place / "labels.csv").write_bytes(table(ROWS))
        pictures = PictureFolder(place, size=(32, 32), channels=1)
        for spec in (CoarseSpec(task=OwnPicturesTask.of(pictures)), DCNSpec(k=1, task=OwnPicturesTask.of(pictures))):
            run = Run(Path(folder) / spec.kind)
            data = pictures.images("train"), pictures.images("validation")
            record = fit(
                spec.build(),
                *data,
                SETTINGS,
                name=f"birds-{spec.kind}",
                description=spec.describe(),
                run_dir=run.folder,
            )
            record["data"]["train"]["folder"] = record["data"]["validation"]["folder"] = "birds"
            runs.append((json.dumps(record).encode(), run.weights_path.read_bytes()))
    return runs


def run_beside(folder: Path) -> None:
    (birds(folder) / "labels.csv").write_bytes(table(ROWS))


def read_own_run(path: Path) -> str:
    """A run's model, the pictures to measure it on, and its answer to one of them."""
    with path.open("rb") as file:
        begins = file.read(300)
    weights = [weights for record, weights in good_runs() if begins == record[:300]]
    Run(path.parent).weights_path.write_bytes((weights or [good_runs()[0][1]])[0])
    trained = load_trained(path.parent)
    try:
        trained.load_data("validation")
    except (ValueError, OSError) as error:  # of the pictures, which are where the record says
        asked = trained.folder is None and "name the folder as root" in str(error)
        if not asked and not any(str(name) in str(error) for name in (trained.folder, trained.name)):
            raise
    with torch.no_grad():
        answer = trained.model(torch.zeros(1, *trained.task.image_shape))
    return trained.task.answer(answer[0])


KINDS = (
    Kind(
        "table",
        "birds/labels.csv",
        lambda: [table(ROWS)],
        read_table,
        (other_cells,),
        beside=lambda folder: birds(folder) and None,
        names_file=False,  # but the pictures, where it is these that can't be used
    ),
    Kind(
        "own run",
        "run/record.json",
        lambda: [record for record, _ in good_runs()],
        read_own_run,
        (mutations.json_tree,),
        beside=run_beside,
    ),
)
