# SPDX-License-Identifier: Apache-2.0
"""A small Fashion-MNIST: the four files with patterns that tell the ten classes apart."""

import gzip
import struct
from pathlib import Path

import torch
from torch import Tensor


def idx(values: Tensor) -> bytes:
    """The content of an IDX file, before it is compressed."""
    return bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape) + values.numpy().tobytes()


def write_fashion(data: Path, train: int = 300, test: int = 200) -> Path:
    """Write the files below a data folder: class c is a bright column of blocks at c, in noise."""
    folder = data / "fashion-mnist"
    folder.mkdir(parents=True)
    for seed, (split, count) in enumerate({"train": train, "t10k": test}.items()):
        generator = torch.Generator().manual_seed(seed)
        labels = torch.arange(count) % 10
        images = torch.randint(0, 60, (count, 28, 28), generator=generator)
        images[torch.arange(count), :, 4 + 2 * labels] += 150
        images[torch.arange(count), 4 + 2 * labels] += 40
        for kind, values in (("images-idx3", images), ("labels-idx1", labels)):
            path = folder / f"{split}-{kind}-ubyte.gz"
            path.write_bytes(gzip.compress(idx(values.to(torch.uint8)), compresslevel=1, mtime=0))
    return folder
