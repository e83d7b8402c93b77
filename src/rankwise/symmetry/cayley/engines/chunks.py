# SPDX-License-Identifier: Apache-2.0
"""How the permutations of n letters lie in chunks of bits: see blocks.py for what a chunk is."""

from functools import cached_property
from math import factorial, perm

import numpy as np
from numpy.typing import NDArray

from rankwise.symmetry.cayley.engines.blocks import PREFIX, BlockTables, arrangements, block_tables, odd
from rankwise.symmetry.cayley.graph import PermutationGraph

_TABLE_BYTES = 5 * 2 * factorial(PREFIX)  # of one generator


class Chunks:
    """The chunks of a graph's permutations, numbered by their suffixes in lexicographic order.

    Args:
        graph: a Cayley graph of permutations; its start becomes the identity.
    """

    def __init__(self, graph: PermutationGraph) -> None:
        self.graph = graph
        self.prefix = min(PREFIX, graph.size)
        self.suffix_length = graph.size - self.prefix
        self.halved = graph.all_even and self.prefix > 1
        self.count = perm(graph.size, self.suffix_length)
        self.words = -(-factorial(self.prefix) // (128 if self.halved else 64))

    @property
    def bitmap_bytes(self) -> int:
        """Bytes of one bit for every permutation."""
        return 8 * self.words * self.count

    @property
    def side_bytes(self) -> int:
        """Bytes of everything else: suffixes, flags, generators' tables."""
        return self.count * (2 * self.suffix_length + 20) + _TABLE_BYTES * (len(self.graph.distinct) + 4)

    @cached_property
    def suffixes(self) -> NDArray[np.uint8]:
        """The last letters of every chunk, [chunks, n - P]."""
        size, length = self.graph.size, self.suffix_length
        letters = np.empty((length, self.count), dtype=np.uint8)
        number = np.arange(self.count, dtype=np.int64)
        for place in range(length):
            letters[place] = number // perm(size - place - 1, length - place - 1) % (size - place)
        for place in range(self.suffix_length - 1, -1, -1):
            letters[place + 1 :] += letters[place + 1 :] >= letters[place]
        return np.ascontiguousarray(letters.T)

    @cached_property
    def odd_suffix(self) -> NDArray[np.uint8]:
        """The parity that each chunk's prefixes have if the chunks are halved, else 0, [chunks].

        It is the parity of the suffix behind its ascending prefix.
        """
        inversions = (self.graph.size - 1 - self.suffixes).sum(axis=1, dtype=np.uint8)  # modulo 256 keeps the parity
        for later in range(self.suffix_length):
            for place in range(later):
                inversions += self.suffixes[:, later] > self.suffixes[:, place]
        return inversions % 2 * np.uint8(self.halved)

    @cached_property
    def home(self) -> int:
        """The chunk of the identity, whose index in it is 0."""
        return int(np.flatnonzero((self.suffixes == np.arange(self.prefix, self.graph.size)).all(axis=1))[0])

    @cached_property
    def tables(self) -> list[BlockTables]:
        """The tables of each generator."""
        return [block_tables(generator, self.prefix, self.halved) for generator in self.graph.distinct]

    def states(self, chunk: int, bits: NDArray[np.uint64]) -> NDArray[np.int64]:
        """The permutations behind the set bits of one chunk, [states, n]."""
        ranks = np.flatnonzero(np.unpackbits(bits.view(np.uint8), bitorder="little"))
        if self.halved:
            ranks = 2 * ranks + (odd(self.prefix)[2 * ranks] != self.odd_suffix[chunk])
        inside = np.setdiff1d(np.arange(self.graph.size), self.suffixes[chunk])
        suffix = np.broadcast_to(self.suffixes[chunk], (len(ranks), self.suffix_length))
        letters = np.concatenate([inside[arrangements(self.prefix)[ranks]], suffix], axis=1)
        return np.array(self.graph.start)[letters]
