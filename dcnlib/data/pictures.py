"""Picture files of users, made into what a network knows: light on black, as many channels and pixels as it takes."""

from io import BytesIO

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from dcnlib.utils.checks import ImageShape

MOST_BYTES = 5_000_000
MOST_PIXELS = 25_000_000


def read_upload(name: str, content: bytes, image_shape: ImageShape) -> Tensor:
    """The picture in a PNG or JPEG file in the middle of `image_shape` (C, H, W), on black: floats in [0, 1].

    A larger picture is shrunk to fit, a smaller one stays as it is. Grey for one channel, else RGB. A picture on a
    light ground (by the median of its border) is inverted, since the networks have seen light digits on black only.
    Raises ValueError for another kind of file, and for one of more than MOST_BYTES or MOST_PIXELS.
    """
    check_size(name, len(content))
    channels, height, width = image_shape
    try:
        with Image.open(BytesIO(content), formats=("PNG", "JPEG")) as file:
            small_enough = file.width * file.height <= MOST_PIXELS
            picture = _on_white(ImageOps.exif_transpose(file)) if small_enough else file
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"{name} can't be read: choose a PNG or JPEG picture") from error
    if not small_enough:
        raise ValueError(f"{name} has {picture.width}x{picture.height} pixels, more than {MOST_PIXELS:,} in all")

    picture = picture.convert("L" if channels == 1 else "RGB")
    grey = np.asarray(picture.convert("L"))
    if np.median(np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])) > 127:
        picture = ImageOps.invert(picture)
    picture.thumbnail((width, height))
    canvas = Image.new(picture.mode, (width, height))
    canvas.paste(picture, ((width - picture.width) // 2, (height - picture.height) // 2))
    pixels = np.asarray(canvas, dtype=np.float32) / 255
    return torch.from_numpy(np.atleast_3d(pixels)).permute(2, 0, 1).contiguous()


def check_size(name: str, count: int) -> None:
    """Raise ValueError for a file of more than MOST_BYTES."""
    if count > MOST_BYTES:
        raise ValueError(f"{name} has {count / 1e6:.1f} MB, but at most {MOST_BYTES / 1e6:g} MB can be read")


def _on_white(picture: Image.Image) -> Image.Image:
    """Where a picture is transparent, white shows through, as on a page."""
    if picture.mode.startswith("I"):  # 16 bits, which convert() would clip instead of scaling
        picture = Image.fromarray((np.asarray(picture) // 257).astype(np.uint8))
    white = Image.new("RGBA", picture.size, "white")
    return Image.alpha_composite(white, picture.convert("RGBA")).convert("RGB")
