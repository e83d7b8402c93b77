# SPDX-License-Identifier: Apache-2.0
import gzip
import re
from pathlib import Path

import pytest
import torch

from fashion_files import idx, write_fashion
from rankwise.bench.images import coarser, fashion_mnist, pixels, read_idx, turned
from rankwise.bench.task import BenchError
from rankwise.testing import assert_close


def test_an_idx_file_is_read_back(tmp_path: Path) -> None:
    values = torch.arange(2 * 3 * 4, dtype=torch.uint8).reshape(2, 3, 4)
    (tmp_path / "a.gz").write_bytes(gzip.compress(idx(values)))
    assert torch.equal(read_idx(tmp_path / "a.gz", 3), values)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda raw: gzip.compress(raw)[:-9], "not a whole gzip file"),
        (lambda raw: raw, "not a whole gzip file"),
        (lambda raw: gzip.compress(b"\0\0\x0d" + raw[3:]), "begins with 00000d02, not with 00000802"),
        (lambda raw: gzip.compress(raw[:7]), "begins with"),
        (lambda raw: gzip.compress(raw[:-1]), "5 bytes for the shape [2, 3]"),
        (lambda raw: gzip.compress(raw + b"x"), "7 bytes for the shape [2, 3]"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path: Path, damage, message: str) -> None:
    (tmp_path / "a.gz").write_bytes(damage(idx(torch.ones(2, 3, dtype=torch.uint8))))
    with pytest.raises(BenchError, match=re.escape(message)):
        read_idx(tmp_path / "a.gz", 2)


def test_labels_are_no_images(tmp_path: Path) -> None:
    folder = write_fashion(tmp_path, 10, 10)
    with pytest.raises(BenchError, match="not with 00000803"):
        read_idx(folder / "train-labels-idx1-ubyte.gz", 3)


def test_both_splits_are_found_in_the_data_folder_and_in_the_package(tmp_path: Path) -> None:
    folder = write_fashion(tmp_path, 20, 10)
    for train, test in (fashion_mnist(tmp_path, tmp_path / "none"), fashion_mnist(None, folder)):
        assert train.images.shape == (20, 28, 28) and test.images.shape == (10, 28, 28)
        assert train.labels.tolist() == [*range(10), *range(10)]


def test_missing_files_are_named_with_the_package(tmp_path: Path) -> None:
    folder = write_fashion(tmp_path, 10, 10)
    (folder / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(BenchError, match=r"t10k-labels-idx1-ubyte\.gz.*dataset-fashion-mnist"):
        fashion_mnist(tmp_path, tmp_path / "none")


def test_images_without_as_many_labels_are_refused(tmp_path: Path) -> None:
    folder = write_fashion(tmp_path, 10, 10)
    (folder / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(torch.ones(9, dtype=torch.uint8))))
    with pytest.raises(BenchError, match=r"10 images, but .* 9 labels"):
        fashion_mnist(tmp_path, tmp_path / "none")


def test_quarter_turns_move_pixels_exactly(random_images: torch.Tensor) -> None:
    assert torch.equal(turned(random_images, 0), random_images)
    for quarters in (1, 2, 3, -1):
        assert torch.equal(turned(random_images, 90 * quarters), random_images.rot90(quarters, (-2, -1)))


def test_other_angles_turn_the_same_way(random_images: torch.Tensor) -> None:
    assert_close(turned(random_images, 1e-9), random_images, dtype=torch.float16)
    assert_close(turned(random_images, 90 + 1e-9), random_images.rot90(1, (-2, -1)), dtype=torch.float16)


def test_a_point_lands_where_trigonometry_puts_it() -> None:
    images = pixels(torch.zeros(1, 29, 29, dtype=torch.uint8))
    black = float(images[0, 0, 0, 0])
    images[0, 0, 14, 24] += 10  # 10 to the right of the middle; at 53.13 degrees: 6 to the right, 8 up
    moved = turned(images, 53.130102354155978)
    assert_close(moved[0, 0, 6, 20], torch.tensor(black + 10), dtype=torch.float16)
    assert_close(moved[0, 0, 0, 0], torch.tensor(black))  # outside there is black


def test_pixels_are_scaled_by_the_mean_and_the_deviation() -> None:
    x = pixels(torch.tensor([[[0, 255]]], dtype=torch.uint8))
    assert x.shape == (1, 1, 1, 2)
    assert_close(x.flatten(), torch.tensor([-0.2860, 1 - 0.2860]) / 0.3530)


def test_resolution_is_lost_by_degrees() -> None:
    images = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    strength = torch.tensor([0.0, 0.5, 1.0])
    mixed, lowest = coarser(images, strength), coarser(images, torch.ones(3))
    assert torch.equal(mixed[0], images[0]) and torch.equal(mixed[2], lowest[2])
    assert_close(mixed[1], (images[1] + lowest[1]) / 2)
    corner = images[:, :, :4, :4].mean((2, 3))  # no interpolation reaches beyond the middle of the first block
    assert_close(lowest[:, :, 0, 0], corner)


@pytest.fixture
def random_images() -> torch.Tensor:
    return torch.randn(2, 1, 6, 6, generator=torch.Generator().manual_seed(0))
