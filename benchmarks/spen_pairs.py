"""Pairs of graphs that color refinement (1-WL) cannot tell apart, and what SPEN and GIN make of them.

    python benchmarks/spen_pairs.py [--write docs/symmetry/spen.md]

Random weights, float64: the largest difference of the two graphs' outputs, divided by the largest output. With
normalization the networks are SPEN as it is; without it, GraphNorm is left out. GIN's nodes all have the feature 1.
"""

import argparse
import itertools

import networkx as nx
import torch
from report import replace_section, table
from spen_training import GraphGIN
from torch import Tensor, nn
from torch_geometric.data import Data

from rankwise.symmetry.spen import SHARED, SPEN, Design, Space


def cycles(*lengths: int) -> nx.Graph:
    """Disjoint cycles."""
    return nx.disjoint_union_all([nx.cycle_graph(length) for length in lengths])


def _bridged(graph: nx.Graph, first: int, second: int) -> nx.Graph:
    graph.add_edge(first, second)
    return graph


def _shrikhande() -> nx.Graph:
    graph = nx.Graph()
    for a, b in itertools.product(range(4), range(4)):
        for step in ((0, 1), (1, 0), (1, 1)):
            graph.add_edge((a, b), ((a + step[0]) % 4, (b + step[1]) % 4))
    return graph


PAIRS = {
    "two triangles, hexagon": (cycles(3, 3), cycles(6)),
    "C13(1,2), C13(1,3)": (nx.circulant_graph(13, [1, 2]), nx.circulant_graph(13, [1, 3])),
    "two squares, octagon": (cycles(4, 4), cycles(8)),
    "C13(1,3), C13(1,5)": (nx.circulant_graph(13, [1, 3]), nx.circulant_graph(13, [1, 5])),
    "two pentagons, decagon": (cycles(5, 5), cycles(10)),
    "decalin, bicyclopentyl": (_bridged(cycles(10), 0, 5), _bridged(cycles(5, 5), 0, 5)),
    "4x4 rook, Shrikhande": (nx.line_graph(nx.complete_bipartite_graph(4, 4)), _shrikhande()),
}


class Unchanged(nn.Module):
    """In place of a normalization."""

    def forward(self, values: Tensor, owners: Tensor, graphs: int) -> Tensor:
        """The values."""
        return values


def network(hops: int, normalized: bool) -> SPEN:
    """SPEN with random weights, one bin."""
    model = SPEN(0, 0, 3, Design(hops=hops, spaces=(Space(8),) * 3, width=8, bins=SHARED)).double().eval()
    if not normalized:
        for norms in model.norms:
            assert isinstance(norms, nn.ModuleDict)
            norms.update({order: Unchanged() for order in norms})
    return model


def graph_data(graph: nx.Graph) -> Data:
    """Both directions of each edge, and the feature 1 for GIN."""
    graph = nx.convert_node_labels_to_integers(graph)
    edges = torch.tensor([pair for a, b in graph.edges for pair in ((a, b), (b, a))]).t().contiguous()
    return Data(edge_index=edges, num_nodes=len(graph))


def difference(model: nn.Module, pair: tuple[nx.Graph, nx.Graph]) -> float:
    """The largest difference of the outputs over the largest output."""
    with torch.no_grad():
        first, second = (model(graph_data(graph)) for graph in pair)
    return float((first - second).abs().max() / first.abs().max())


class ConstantGIN(nn.Module):
    """GIN on graphs without features."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = GraphGIN(1, 3)

    def forward(self, data: Data) -> Tensor:
        """The classes' scores."""
        return self.body(Data(x=torch.ones(data.num_nodes or 0, 1).double(), edge_index=data.edge_index))


def main() -> None:
    """Print the table, or put it into a page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", help="page with the markers <!-- pairs --> and <!-- end of pairs -->")
    page = parser.parse_args().write
    models = [network(hops, normalized) for normalized in (True, False) for hops in (1, 2)]
    gin = ConstantGIN().double().eval()
    heads = ["pair", "k = 1", "k = 2", "k = 1, no GraphNorm", "k = 2, no GraphNorm", "GIN"]
    rows = [[name, *(f"{difference(model, pair):.0e}" for model in (*models, gin))] for name, pair in PAIRS.items()]
    text = table(heads, rows)
    print(text)
    if page:
        replace_section(page, "pairs", text)


if __name__ == "__main__":
    main()
