# SPDX-License-Identifier: Apache-2.0
"""Fashion-MNIST from its four IDX files, and images turned by an angle.

An IDX file is a magic number (two zero bytes, the type 8 for bytes, how many dimensions), the lengths of the dimensions
as big-endian 32-bit numbers, and the bytes. Fashion-MNIST: Xiao et al. 2017, arXiv 1708.07747; 60,000 images of 28 x 28
pixels to train with and 10,000 to test with, in 10 classes. Nothing is downloaded.
"""

import gzip
import math
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional as F

from rankwise.bench.task import BenchError
from rankwise.errors import listed

PACKAGE = Path("/usr/share/datasets/fashion-mnist")  # where Debian's package puts the files
_FOLDER, _KINDS, _SPLITS = "fashion-mnist", ("images-idx3-ubyte.gz", "labels-idx1-ubyte.gz"), ("train", "t10k")
_MEAN, _DEVIATION = 0.2860, 0.3530  # of all pixels of the training images


@dataclass(frozen=True)
class Labeled:
    """Images with their classes.

    Attributes:
        images: [n, rows, columns], 0 for black.
        labels: [n].
    """

    images: UInt8[Tensor, "n rows columns"]
    labels: UInt8[Tensor, " n"]


def fashion_mnist(data: Path | None, package: Path = PACKAGE) -> tuple[Labeled, Labeled]:
    """The training and the test images.

    Args:
        data: a folder whose subfolder fashion-mnist holds the files; None if there is none.
        package: the folder that is looked into if that one does not have them.

    Raises:
        BenchError: if neither folder holds all four files, or one of them is damaged.
    """
    wanted = [f"{split}-{kind}" for split in _SPLITS for kind in _KINDS]
    folders = [package] if data is None else [data / _FOLDER, package]
    folder = next((one for one in folders if all((one / name).is_file() for name in wanted)), None)
    if folder is None:
        raise BenchError(
            f"Fashion-MNIST is in none of {listed(map(str, folders))}; wanted are {listed(wanted)}. Install Debian's "
            f"package dataset-fashion-mnist, or put the files into the folder {_FOLDER} of your data."
        )
    train, test = (_labeled(folder / f"{one}-{_KINDS[0]}", folder / f"{one}-{_KINDS[1]}") for one in _SPLITS)
    return train, test


def read_idx(path: Path, dimensions: int) -> Tensor:
    """The bytes of a gzipped IDX file, as a tensor with that many dimensions.

    Raises:
        BenchError: if the file is not one, is cut off, or holds another number of dimensions or of bytes.
    """
    try:
        content = gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise BenchError(f"{path}: not a whole gzip file ({error}). Copy it again.") from error
    magic, start = bytes([0, 0, 8, dimensions]), 4 + 4 * dimensions
    if content[:4] != magic or len(content) < start:
        raise BenchError(
            f"{path}: begins with {content[:4].hex()}, not with {magic.hex()}, the magic number of an IDX file of "
            f"{dimensions} dimensions of bytes, and their lengths. Copy it again."
        )
    shape = struct.unpack(f">{dimensions}I", content[4:start])
    if len(content) - start != math.prod(shape):
        raise BenchError(f"{path}: {len(content) - start} bytes for the shape {list(shape)}. Copy it again.")
    return torch.frombuffer(bytearray(content), dtype=torch.uint8, offset=start).reshape(shape)


def pixels(images: UInt8[Tensor, "n rows columns"]) -> Float[Tensor, "n 1 rows columns"]:
    """What a network reads: mean 0 and deviation 1 over the training images."""
    return (images[:, None].float() / 255 - _MEAN) / _DEVIATION


def turned(images: Float[Tensor, "n 1 side side"], degrees: float) -> Float[Tensor, "n 1 side side"]:
    """Images turned counterclockwise about their middle, black where nothing was.

    Bilinear; a multiple of 90 degrees moves pixels and is exact.

    Args:
        images: square, scaled by `pixels`.
        degrees: the angle, negative for clockwise.
    """
    if degrees % 90 == 0:
        return images.rot90(int(degrees // 90) % 4, (-2, -1))
    black, angle = -_MEAN / _DEVIATION, math.radians(degrees)
    rotation = torch.tensor([[math.cos(angle), -math.sin(angle), 0], [math.sin(angle), math.cos(angle), 0]])
    grid = F.affine_grid(rotation.to(images).expand(len(images), 2, 3), list(images.shape), align_corners=False)
    return F.grid_sample(images - black, grid, align_corners=False) + black


def coarser(
    images: Float[Tensor, "n 1 rows columns"], strength: Float[Tensor, " n"], factor: int = 4
) -> Float[Tensor, "n 1 rows columns"]:
    """Images mixed with their own versions of a lower resolution: (1 - strength) x + strength low(x).

    Args:
        images: any; both sides are multiples of the factor.
        strength: between 0, which changes nothing, and 1.
        factor: how much lower the resolution is.
    """
    low = F.interpolate(F.avg_pool2d(images, factor), scale_factor=factor, mode="bilinear")
    return images.lerp(low, strength[:, None, None, None].to(images))


def _labeled(images: Path, labels: Path) -> Labeled:
    shown, classes = read_idx(images, 3), read_idx(labels, 1)
    if len(shown) != len(classes):
        raise BenchError(
            f"{images} holds {len(shown)} images, but {labels.name} {len(classes)} labels; take both files from one "
            "place."
        )
    return Labeled(shown, classes)
