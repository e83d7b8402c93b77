# SPDX-License-Identifier: Apache-2.0
"""Small numbers side by side in 64-bit words, and the tables that move several of them with one look-up."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

WORD = 64
_CHUNK = 12  # bits of a look-up: a table of 32 KB at most


@dataclass(frozen=True)
class Fields:
    """Where each number stands.

    Args:
        bits: of each number.
        word: that holds it.
        shift: of its lowest bit.
    """

    bits: tuple[int, ...]
    word: tuple[int, ...]
    shift: tuple[int, ...]

    @classmethod
    def of(cls, bits: Sequence[int]) -> "Fields":
        """Numbers of so many bits, in order, each within one word."""
        words, shifts, word, used = [], [], 0, 0
        for width in bits:
            if used + width > WORD:
                word, used = word + 1, 0
            words.append(word)
            shifts.append(used)
            used += width
        return cls(tuple(bits), tuple(words), tuple(shifts))

    @property
    def words(self) -> int:
        """W, at least 1."""
        return self.word[-1] + 1 if self.word else 1

    @property
    def table(self) -> NDArray[np.int64]:
        """Word, shift and mask (-1 for a whole word) of each field, [fields, 3]."""
        masks = [2**width - 1 if width < WORD else -1 for width in self.bits]
        return np.array((self.word, self.shift, masks), dtype=np.int64).reshape(3, len(masks)).T.copy()

    def packed(self, numbers: NDArray[np.int64]) -> NDArray[np.uint64]:
        """[m, fields] -> [m, W]."""
        states = np.zeros((len(numbers), self.words), dtype=np.uint64)
        for column, (word, shift) in enumerate(zip(self.word, self.shift, strict=True)):
            states[:, word] |= numbers[:, column].astype(np.uint64) << np.uint64(shift)
        return states

    def unpacked(self, states: NDArray[np.uint64]) -> NDArray[np.int64]:
        """[m, W] -> [m, fields]."""
        numbers = np.empty((len(states), len(self.bits)), dtype=np.int64)
        for column, (width, word, shift) in enumerate(zip(self.bits, self.word, self.shift, strict=True)):
            numbers[:, column] = ((states[:, word] >> np.uint64(shift)) & np.uint64(2**width - 1)).astype(np.int64)
        return numbers

    def chunks(self) -> list[tuple[int, ...]]:
        """Neighboring fields of a word that share a look-up."""
        chunks: list[tuple[int, ...]] = []
        for field, (width, word) in enumerate(zip(self.bits, self.word, strict=True)):
            last = chunks[-1] if chunks else ()
            joined = sum(self.bits[other] for other in last) + width
            if last and self.word[last[0]] == word and joined <= _CHUNK:
                chunks[-1] = (*last, field)
            else:
                chunks.append((field,))
        return chunks

    def tables(
        self, images: Callable[[int], tuple[int, NDArray[np.int64]]]
    ) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
        """The look-ups (moving.looked_up) of a move that sends each field to some field.

        Args:
            images: for a field, the field that it goes to and what each of its values becomes, [values]; values from
                there on do not occur.

        Returns:
            Terms and tables.
        """
        terms: list[tuple[int, int, int, int, int]] = []
        tables: list[NDArray[np.uint64]] = []
        size = 0
        for chunk in self.chunks():
            source, low = self.word[chunk[0]], self.shift[chunk[0]]
            width = sum(self.bits[field] for field in chunk)
            index = np.arange(2**width)
            parts: dict[int, NDArray[np.uint64]] = {}
            for field in chunk:
                target, values = images(field)
                known = np.zeros(2 ** self.bits[field], dtype=np.uint64)
                known[: len(values)] = values
                looked = known[(index >> (self.shift[field] - low)) & (len(known) - 1)] << np.uint64(self.shift[target])
                word = self.word[target]
                parts[word] = parts[word] | looked if word in parts else looked
            for word, table in parts.items():
                terms.append((source, low, 2**width - 1, word, size))
                tables.append(table)
                size += len(table)
        if not terms:
            return np.empty((0, 5), dtype=np.int64), np.zeros(1, dtype=np.uint64)
        return np.array(terms, dtype=np.int64), np.concatenate(tables)
