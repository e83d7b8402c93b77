"""One fold of graph classification: SPEN or GIN from torch-geometric, trained alike.

Both see the same graphs and batches for the same number of epochs. Each has the optimizer it is usually trained
with: SPEN Adam 1e-3, halved every 20 epochs; GIN Adam 1e-2, halved every 50 (https://arxiv.org/abs/1810.00826), four
layers of width 32 with batch normalization. On sets without tags GIN gets one-hot degrees, as is usual; SPEN gets a
constant, since it sees degrees in the adjacency.
"""

import time
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch_geometric.data import Data
from torch_geometric.loader import DataLoader
from torch_geometric.nn import GIN, global_add_pool
from torch_geometric.utils import degree

from rankwise.symmetry.spen import SPEN, Design, EgoNetworks, Space, fitted_bins

MODELS = ("SPEN", "GIN")
LEAST = 200  # ego networks of the training graphs that each bin has


@dataclass(frozen=True)
class Training:
    """What all folds of a run share."""

    epochs: int
    batch: int
    hops: int
    width: int
    device: str


class GraphGIN(nn.Module):
    """Four GIN layers, the sum over nodes, a linear layer with dropout before it."""

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.body = GIN(features, 32, num_layers=4, norm="batch_norm")
        self.head = nn.Sequential(nn.Dropout(0.5), nn.Linear(32, classes))

    def forward(self, data: Data) -> Tensor:
        """The classes' scores."""
        return self.head(global_add_pool(self.body(data.x, data.edge_index), data.batch))


def prepared(graphs: list[Data], model: str, hops: int) -> list[Data]:
    """The graphs with what a model needs, computed once."""
    if model == "SPEN":
        return [EgoNetworks(hops)(data) for data in graphs]
    if graphs[0].x is None or graphs[0].x.shape[1] > 1:
        return graphs
    degrees = [degree(data.edge_index[0], data.num_nodes, torch.long) for data in graphs]
    most = 1 + max(int(found.max()) for found in degrees)
    return [
        Data(x=nn.functional.one_hot(found, most).float(), edge_index=data.edge_index, y=data.y)
        for data, found in zip(graphs, degrees, strict=True)
    ]


def run_fold(model: str, train: list[Data], test: list[Data], classes: int, training: Training) -> dict[str, object]:
    """Train on one part and test on the other after every epoch."""
    torch.manual_seed(0)  # GIN's weights, and dropout
    features = train[0].x.shape[1]
    if model == "SPEN":
        bins = fitted_bins(torch.cat([data.ego_sizes for data in train]), LEAST)
        design = Design(hops=training.hops, spaces=(Space(training.width),) * 4, width=training.width, bins=bins)
        network: nn.Module = SPEN(features, 0, classes, design)
        rate, every = 1e-3, 20
    else:
        network, rate, every = GraphGIN(features, classes), 1e-2, 50
    network.to(training.device)
    optimizer = torch.optim.Adam(network.parameters(), lr=rate, fused=True)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, every, 0.5)
    loader = DataLoader(train, batch_size=training.batch, shuffle=True, generator=torch.Generator().manual_seed(0))
    accuracies, losses, seconds = [], [], 0.0
    for _ in range(training.epochs):
        start = time.perf_counter()
        losses.append(_epoch(network, loader, optimizer, training.device))
        schedule.step()
        seconds += time.perf_counter() - start
        accuracies.append(_accuracy(network, test, training.device))
    parameters = sum(parameter.numel() for parameter in network.parameters())
    curves = {"accuracies": accuracies, "losses": losses}
    rounded = {name: [round(value, 4) for value in values] for name, values in curves.items()}
    return {**rounded, "seconds": round(seconds, 1), "parameters": parameters}


def _epoch(network: nn.Module, loader: DataLoader, optimizer: torch.optim.Optimizer, device: str) -> float:
    network.train()
    total = 0.0
    for batch in loader:
        data = batch.to(device)
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(network(data), data.y)
        loss.backward()
        optimizer.step()
        total += loss.item() * len(data.y)
    return total / len(loader.dataset)  # type: ignore[arg-type]


def _accuracy(network: nn.Module, graphs: list[Data], device: str) -> float:
    network.eval()
    right = 0
    with torch.no_grad():
        for batch in DataLoader(graphs, batch_size=128):
            data = batch.to(device)
            right += int((network(data).argmax(dim=1) == data.y).sum())
    return right / len(graphs)
