"""Figures and animations as files of the project."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image, ImageSequence

from dcnlib.utils.files import atomic_write, project_root

SAME_SHADE = 4  # of 255: what two machines' last digits come to in a picture, and no eye sees


def save_figure(figure: Figure, name: str, *, save: bool, keep: bool = False) -> None:
    """Write `figures/NAME.png` of the project if `save`, whole or not at all.

    A file that shows the same already stays untouched, since another machine's last digits change a shade here and
    there. keep: so does any file that is there, since what is trained for a picture differs between machines.
    """
    if save:
        with BytesIO() as file:
            figure.savefig(file, format="png", dpi=110, bbox_inches="tight", metadata={"Software": None})
            _save(file.getvalue(), _figures() / f"{name}.png", keep=keep)


def animate(figure: Figure, draw: Callable[[int], object], frames: int, *, seconds: float = 0.8) -> bytes:
    """A GIF that shows `figure` after each of draw(0), draw(1), ..., draw(frames - 1), for `seconds`, over and over.

    The last frame stays three times as long. All frames share the first one's size and 64 colours of the last one.
    """
    images = []
    for frame in range(frames):
        draw(frame)
        with BytesIO() as file:
            figure.savefig(file, format="png", dpi=80)
            images.append(Image.open(file).convert("RGB"))
    palette = images[-1].quantize(64)
    images = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
    milliseconds = round(1000 * seconds)
    with BytesIO() as file:
        durations = [milliseconds] * (frames - 1) + [3 * milliseconds]
        images[0].save(file, "GIF", save_all=True, append_images=images[1:], duration=durations, loop=0)
        return file.getvalue()


def save_animation(gif: bytes, name: str, *, save: bool, keep: bool = False) -> None:
    """Write what `animate` made to `figures/NAME.gif` of the project if `save`: as `save_figure` does."""
    if save:
        _save(gif, _figures() / f"{name}.gif", keep=keep)


def _figures() -> Path:
    return project_root() / "figures"


def _save(content: bytes, path: Path, *, keep: bool) -> None:
    if not (path.is_file() and (keep or _shows_the_same(content, path))):
        atomic_write(path, lambda file: file.write(content))


def _shows_the_same(content: bytes, path: Path) -> bool:
    """Whether a picture has the frames of the one in a file, up to `SAME_SHADE` of 255 in each pixel."""
    try:
        with Image.open(BytesIO(content)) as new, Image.open(path) as old:
            if (new.size, getattr(new, "n_frames", 1)) != (old.size, getattr(old, "n_frames", 1)):
                return False
            pairs = zip(ImageSequence.Iterator(new), ImageSequence.Iterator(old), strict=True)
            return all(
                np.abs(np.subtract(*(np.asarray(frame.convert("RGB"), dtype=int) for frame in pair))).max()
                <= SAME_SHADE
                for pair in pairs
            )
    except OSError:  # what is there is no picture
        return False
