"""Energies and forces of molecules from a two-layer equivariant network, with Gaunt or Clebsch-Gordan products.

    python examples/equivariant_forces.py [--data folder with train_300K.xyz] [--steps 150] [--degree 2]

Without --data the molecules are synthetic: one random molecule shaken around its rest position, with Morse bonds and a
three-body term. The two networks differ in the product alone: functions on the sphere multiplied, with channels mixed
before and after (rankwise), or a learned weight for each Clebsch-Gordan path and channel (e3nn if it is installed,
otherwise the same from rankwise's own coefficients). Printed are the errors on configurations that were not trained on
and the time of a training step, which differentiates the forces again; two seeds show how far the errors scatter.
"""

import argparse
import importlib.util
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import torch
from torch import Tensor, nn

from rankwise.symmetry.gaunt import GauntTensorProduct, Irreps, coupling_tensor, spherical_harmonics

Product = Callable[[Irreps, Irreps, Irreps], nn.Module]


@dataclass(frozen=True)
class Molecules:
    """Configurations of one molecule: kind [atoms], positions and forces [configurations, atoms, 3], energies."""

    kinds: Tensor
    positions: Tensor
    energies: Tensor
    forces: Tensor

    def __getitem__(self, which: slice | Tensor) -> "Molecules":
        return Molecules(self.kinds, self.positions[which], self.energies[which], self.forces[which])


def read_xyz(path: Path) -> Molecules:
    """Read an extended xyz file in which all configurations have the same atoms."""
    lines, frames, names = path.read_text().splitlines(), [], []
    while lines:
        count = int(lines[0])
        energy = next(float(field[7:]) for field in lines[1].split() if field.startswith("energy="))
        rows = [line.split() for line in lines[2 : 2 + count]]
        names = [row[0] for row in rows]
        numbers = torch.tensor([[float(cell) for cell in row[1:7]] for row in rows], dtype=torch.float64)
        frames.append((numbers[:, :3], energy, numbers[:, 3:]))
        lines = lines[2 + count :]
    kinds = torch.tensor([sorted(set(names)).index(name) for name in names])
    positions, energies, forces = zip(*frames, strict=True)
    return Molecules(kinds, torch.stack(positions), torch.tensor(energies, dtype=torch.float64), torch.stack(forces))


def synthetic(count: int, atoms: int = 12, seed: int = 0) -> Molecules:
    """Shake a random molecule: Morse bonds between all atoms, and a term for the angles between near ones."""
    generator = torch.Generator().manual_seed(seed)
    kinds = torch.randint(3, (atoms,), generator=generator)
    lengths = 1.3 + 0.15 * (kinds[:, None] + kinds)

    def energy(positions: Tensor) -> Tensor:
        apart = positions[:, :, None] - positions[:, None]
        distance = (apart.square().sum(-1) + torch.eye(atoms, dtype=positions.dtype)).sqrt()
        off = 1 - torch.eye(atoms, dtype=positions.dtype)
        morse = ((1 - torch.exp(-1.5 * (distance - lengths))).square() - 1) * off
        near = torch.exp(-((distance / 1.8) ** 2)) * off
        cosines = torch.einsum("bijx,bikx->bijk", apart, apart) / (distance[..., None] * distance[:, :, None])
        angles = (near[..., None] * near[:, :, None] * (cosines + 0.4).square()).sum((1, 2, 3))
        return morse.sum((1, 2)) / 2 + 2 * angles

    def forces(positions: Tensor) -> tuple[Tensor, Tensor]:
        positions = positions.detach().requires_grad_()
        total = energy(positions)
        return total.detach(), -torch.autograd.grad(total.sum(), positions)[0]

    rest = 0.8 * atoms ** (1 / 3) * torch.randn(1, atoms, 3, generator=generator, dtype=torch.float64)
    for _ in range(500):
        rest = rest + (0.02 * forces(rest)[1]).clamp(-0.1, 0.1)
    positions = rest + 0.08 * torch.randn(count, atoms, 3, generator=generator, dtype=torch.float64)
    return Molecules(kinds, positions, *forces(positions))


def gaunt(first: Irreps, second: Irreps, last: Irreps) -> nn.Module:
    """Functions on the sphere multiplied, channels mixed before and after."""
    return GauntTensorProduct(first, second, last)


class Couplings(nn.Module):
    """Clebsch-Gordan products channel by channel, with a weight for each path and channel."""

    def __init__(self, first: Irreps, second: Irreps, last: Irreps) -> None:
        super().__init__()
        self.irreps, self.paths = (first, second, last), []
        for (i, (a, _)), (j, (b, _)), (k, (c, _)) in product(*(enumerate(irreps.slices()) for irreps in self.irreps)):
            if abs(a.degree - b.degree) <= c.degree <= a.degree + b.degree and a.parity * b.parity == c.parity:
                name = f"coupling{len(self.paths)}"
                table = torch.as_tensor(coupling_tensor(a.degree, b.degree, c.degree))
                self.register_buffer(name, table.to(torch.get_default_dtype()) * (2 * c.degree + 1) ** 0.5)
                self.paths.append((i, j, k, name))
        self.weight = nn.Parameter(torch.ones(len(self.paths), first.blocks[0].mul))

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        """Sum the paths of each output."""
        parts = [
            [x[:, place].unflatten(-1, (block.mul, -1)) for block, place in irreps.slices()]
            for x, irreps in zip((x1, x2), self.irreps[:2], strict=True)
        ]
        found: list[Tensor | int] = [0] * len(self.irreps[2])
        for weight, (i, j, k, name) in zip(self.weight, self.paths, strict=True):
            pairs = parts[0][i][..., :, None] * parts[1][j][..., None, :]
            found[k] = found[k] + pairs.flatten(-2) @ self.get_buffer(name).flatten(0, 1) * weight[:, None]
        return torch.cat([part.flatten(1) for part in found if isinstance(part, Tensor)], dim=-1)


def clebsch_gordan(first: Irreps, second: Irreps, last: Irreps) -> nn.Module:
    """The same with a weight for each path: e3nn's, or `Couplings` where it is not installed."""
    if importlib.util.find_spec("e3nn") is None:
        return Couplings(first, second, last)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from e3nn import o3  # noqa: PLC0415 - optional
    irreps = [o3.Irreps(str(irreps)) for irreps in (first, second, last)]
    paths = [
        (i, j, k, "uuu", True)
        for (i, (_, a)), (j, (_, b)), (k, (_, c)) in product(*map(enumerate, irreps))
        if c in a * b
    ]
    return o3.TensorProduct(*irreps, paths)


class Mix(nn.Module):
    """Mix the channels of each degree."""

    def __init__(self, irreps: Irreps) -> None:
        super().__init__()
        self.irreps = irreps
        channels = irreps.blocks[0].mul
        self.weights = nn.ParameterList([torch.randn(channels, channels) / channels**0.5 for _ in irreps])

    def forward(self, x: Tensor) -> Tensor:
        """[rows, irreps] to the same."""
        parts = [
            torch.einsum("rui,uv->rvi", x[:, place].unflatten(-1, (block.mul, -1)), weight).flatten(1)
            for (block, place), weight in zip(self.irreps.slices(), self.weights, strict=True)
        ]
        return torch.cat(parts, dim=-1)


class Layer(nn.Module):
    """Convolve over the neighbors, then let the sum interact with itself."""

    def __init__(self, irreps: Irreps, build: Product, radials: int) -> None:
        super().__init__()
        self.irreps, self.channels = irreps, irreps.blocks[0].mul
        self.convolve, self.interact = build(irreps, irreps, irreps), build(irreps, irreps, irreps)
        self.radial = nn.Sequential(nn.Linear(radials, 32), nn.SiLU(), nn.Linear(32, self.channels * len(irreps)))
        self.before, self.between, self.after = Mix(irreps), Mix(irreps), Mix(irreps)

    def forward(self, x: Tensor, edges: tuple[Tensor, Tensor], harmonics: Tensor, radial: Tensor) -> Tensor:
        """New features of the atoms."""
        into, out_of = edges
        heights = self.radial(radial).unflatten(-1, (len(self.irreps), self.channels))
        filters = [
            (heights[:, ell, :, None] * harmonics[:, None, ell**2 : (ell + 1) ** 2]).flatten(1)
            for ell in range(len(self.irreps))
        ]
        messages = self.convolve(self.before(x)[out_of], torch.cat(filters, dim=-1))
        total = torch.zeros_like(x).index_add(0, into, messages) / 3
        return x + self.between(total) + self.after(self.interact(total, total))


class Network(nn.Module):
    """Two layers and a readout of the scalars of both.

    Args:
        kinds: how many elements there are.
        build: makes a product.
        degree: the largest degree of features and filters.
        channels: how many functions each atom carries.
        cutoff: how far atoms see, in the unit of the positions.
    """

    def __init__(self, kinds: int, build: Product, degree: int, channels: int = 8, cutoff: float = 4.0) -> None:
        super().__init__()
        self.irreps, self.degree, self.cutoff = Irreps.functions(degree, channels), degree, cutoff
        self.embedding = nn.Embedding(kinds, channels)
        self.layers = nn.ModuleList(Layer(self.irreps, build, 8 + 2 * kinds) for _ in range(2))
        self.readouts = nn.ModuleList(
            nn.Sequential(nn.Linear(channels, 16), nn.SiLU(), nn.Linear(16, 1)) for _ in self.layers
        )
        self.channels, self.kinds = channels, kinds

    def forward(self, kinds: Tensor, positions: Tensor) -> Tensor:
        """The energies of configurations [configurations, atoms, 3]."""
        count, atoms = positions.shape[:2]
        near = torch.cdist(positions.detach(), positions.detach()) < self.cutoff
        near &= ~torch.eye(atoms, dtype=torch.bool)
        which, into, out_of = near.nonzero(as_tuple=True)
        vectors = positions[which, out_of] - positions[which, into]
        harmonics = spherical_harmonics(self.degree, vectors) * (4 * torch.pi) ** 0.5
        pair = nn.functional.one_hot(torch.stack([kinds[into], kinds[out_of]], dim=1), self.kinds).flatten(1)
        radial = torch.cat([self.bessel(vectors.norm(dim=-1)), pair.to(vectors.dtype)], dim=-1)
        features = self.embedding(kinds.repeat(count))
        features = nn.functional.pad(features, (0, self.irreps.dim - self.channels))
        edges, energy = (which * atoms + into, which * atoms + out_of), positions.new_zeros(count)
        envelope = (0.5 * (1 + torch.cos(torch.pi * vectors.norm(dim=-1) / self.cutoff)))[:, None]
        for layer, readout in zip(self.layers, self.readouts, strict=True):
            features = layer(features, edges, harmonics * envelope, radial)
            energy = energy + readout(features[:, : self.channels]).view(count, atoms).sum(1)
        return energy

    def forces(self, kinds: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Energies and forces, both differentiable."""
        positions = positions.detach().requires_grad_()
        energies = self(kinds, positions)
        return energies, -torch.autograd.grad(energies.sum(), positions, create_graph=self.training)[0]

    def bessel(self, lengths: Tensor) -> Tensor:
        """Eight spherical Bessel functions of order 0 that vanish at the cutoff."""
        orders = torch.arange(1, 9, dtype=lengths.dtype)
        return torch.sin(lengths[:, None] * orders * torch.pi / self.cutoff) / lengths[:, None]


def train(network: Network, data: Molecules, steps: int, batch: int, seed: int) -> float:
    """Train on energies and forces; returns the median seconds of a step."""
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(network.parameters(), lr=5e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    network.train()
    seconds = []
    for _ in range(steps):
        chosen = data[torch.randint(len(data.energies), (batch,), generator=generator)]
        start = time.perf_counter()
        energies, forces = network.forces(data.kinds, chosen.positions)
        per_atom = (energies - chosen.energies) / len(data.kinds)
        loss = (forces - chosen.forces).square().mean() + 10 * per_atom.square().mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 10.0)
        optimizer.step()
        schedule.step()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def errors(network: Network, data: Molecules) -> tuple[float, float]:
    """Mean absolute errors of energies and of force components."""
    network.eval()
    energies, forces = network.forces(data.kinds, data.positions)
    return (energies - data.energies).abs().mean().item(), (forces - data.forces).abs().mean().item()


def prepared(data: Molecules, trained: int, tested: int) -> tuple[Molecules, Molecules, float]:
    """Two sets in units of the trained forces' root mean square, energies from their mean; and that unit."""
    scale = data.forces[:trained].square().mean().sqrt()
    shifted = (data.energies - data.energies[:trained].mean()) / scale
    # Differences of energies first, then float32.
    single = Molecules(data.kinds, data.positions.float(), shifted.float(), (data.forces / scale).float())
    return single[:trained], single[trained : trained + tested], scale.item()


def main() -> None:
    """Train both networks and print what they reach and cost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with train_300K.xyz of 3BPA")
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--degree", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=2)
    asked = parser.parse_args()
    data = read_xyz(asked.data / "train_300K.xyz") if asked.data else synthetic(300)
    trained, tested, unit = prepared(data, 200, 100)
    milli = 1e3 * unit
    rest = tested.energies.abs().mean().item() * milli, tested.forces.abs().mean().item() * milli
    print(f"{len(data.kinds)} atoms, units: 1/1000 of the data's (meV, meV/A); errors of predicting the mean and zero:")
    print(f"{'':16} energy {rest[0]:8.1f}   force {rest[1]:8.1f}")
    for name, build in (("Gaunt", gaunt), ("Clebsch-Gordan", clebsch_gordan)):
        for seed in range(asked.seeds):
            torch.manual_seed(seed)
            network = Network(int(data.kinds.max()) + 1, build, asked.degree)
            seconds = train(network, trained, asked.steps, 4, seed)
            energy, force = (error * milli for error in errors(network, tested))
            print(f"{name:16} energy {energy:8.1f}   force {force:8.1f}   {1e3 * seconds:6.1f} ms a step", flush=True)


if __name__ == "__main__":
    main()
