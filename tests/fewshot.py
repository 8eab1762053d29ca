"""Few-shot learning from a store: a prototypical network on episodes against the bare pixels.

``python -m tests.fewshot TRAIN TEST`` (needs PyTorch, ``pip install 'stmfab[learn]'``) takes two folders that
``stmfab export --to episodes`` wrote, of two surfaces or of one: it trains on the split ``train`` of the first and
judges on the episodes that ``episodes.json`` of the second fixes, of its split ``test``, or of all its splits where the
surfaces differ. The bare pixels answer with the class of the nearest example. Without folders both are made from
``wse2-demo`` with one kind of defect a layer, in a minute or two.

Snell, Swersky & Zemel, Prototypical networks for few-shot learning (2017), arXiv:1703.05175.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

WIDTH, BLOCKS = 64, 4  # of conv4
SHOTS, QUERIES = 5, 10  # of a class in training
LEARNING_RATE = 1e-3
THREADS = 2
STORES = {  # where no folders are given: two sets of scenes
    "train": ["-n", "1200", "--seed", "1"],
    "test": ["-n", "300", "--seed", "2"],
}
ASKED = ["--crop-nm", "1.2", "--isolation-nm", "0.5", "--class-by", "name"]


@dataclass(frozen=True)
class Crops:
    """An export: crops (n, n_junctions, pixels, pixels) with deviation 1, their classes and splits, its episodes."""

    values: torch.Tensor
    classes: np.ndarray
    splits: np.ndarray
    surface: str
    episodes: dict[str, list]

    @classmethod
    def read(cls, folder: Path) -> Crops:
        values = torch.from_numpy(np.load(folder / "crops.npy"))
        with (folder / "index.csv").open() as file:
            rows = list(csv.DictReader(file))
        said, drawn = (json.loads((folder / name).read_text()) for name in ("classes.json", "episodes.json"))
        return cls(
            values / values.std((-3, -2, -1), keepdim=True).clamp_min(1e-6),
            np.array([row["class"] for row in rows]),
            np.array([row["split"] for row in rows]),
            said["surface"],
            drawn["episodes"],
        )


class Conv4(nn.Sequential):
    """Four blocks of convolution, normalisation, rectifier and pooling: a crop becomes a vector."""

    def __init__(self, n_in: int) -> None:
        blocks: list[nn.Module] = []
        for block in range(BLOCKS):
            blocks += [nn.Conv2d(WIDTH if block else n_in, WIDTH, 3, padding=1), nn.BatchNorm2d(WIDTH)]
            blocks += [nn.ReLU(), nn.MaxPool2d(2)]
        super().__init__(*blocks, nn.Flatten())


def turned(crops: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Crops turned and mirrored, each in one of eight ways."""
    ways = rng.integers(8, size=len(crops))
    found = [torch.rot90(crop, int(way) % 4, (-2, -1)) for crop, way in zip(crops, ways, strict=True)]
    return torch.stack([crop.flip(-1) if way > 3 else crop for crop, way in zip(found, ways, strict=True)])


def answers(vectors: torch.Tensor, n_way: int, n_shot: int) -> torch.Tensor:
    """Logits (n_queries, n_way) of queries, minus squared distances to the mean of each class's examples.

    ``vectors`` are those of all examples, class after class, then of all queries.
    """
    examples, queries = vectors[: n_way * n_shot], vectors[n_way * n_shot :]
    prototypes = examples.reshape(n_way, n_shot, -1).mean(1)
    return -(torch.cdist(queries, prototypes) ** 2)


def trained(crops: Crops, n_way: int, n_episodes: int) -> Conv4:
    torch.manual_seed(0)
    torch.set_num_threads(THREADS)
    rng = np.random.default_rng(0)
    members = {name: np.flatnonzero((crops.classes == name) & (crops.splits == "train")) for name in set(crops.classes)}
    enough = sorted(name for name, found in members.items() if len(found) >= SHOTS + QUERIES)
    n_way = min(n_way, len(enough))
    net = Conv4(crops.values.shape[1])
    fit = torch.optim.Adam(net.parameters(), LEARNING_RATE)
    pace = torch.optim.lr_scheduler.CosineAnnealingLR(fit, n_episodes)
    begun, right = time.monotonic(), []
    for episode in range(n_episodes):
        names = rng.permutation(enough)[:n_way]
        drawn = np.stack([rng.permutation(members[name])[: SHOTS + QUERIES] for name in names])
        order = np.concatenate([drawn[:, :SHOTS].ravel(), drawn[:, SHOTS:].ravel()])
        logits = answers(net(turned(crops.values[order], rng)), n_way, SHOTS)
        truth = torch.arange(n_way).repeat_interleave(QUERIES)
        loss = nn.functional.cross_entropy(logits, truth)
        fit.zero_grad()
        loss.backward()
        fit.step()
        pace.step()
        right.append(float((logits.argmax(1) == truth).float().mean()))
        if (episode + 1) % 100 == 0:
            seconds = time.monotonic() - begun
            print(f"episode {episode + 1}/{n_episodes}: right {np.mean(right[-100:]):.3f}, {seconds:.0f} s", flush=True)
    return net.eval()


def judged(crops: Crops, episodes: list, vectors: torch.Tensor) -> tuple[float, float]:
    """The share of right answers over episodes, and the half width of its 95 % interval."""
    shares = []
    for episode in episodes:
        support, query = np.array(episode["support"]), np.array(episode["query"])
        order = np.concatenate([support.ravel(), query.ravel()])
        found = answers(vectors[order], *support.shape).argmax(1)
        shares.append(float((found == torch.arange(len(query)).repeat_interleave(query.shape[1])).float().mean()))
    return float(np.mean(shares)), float(1.96 * np.std(shares) / np.sqrt(len(shares)))


def nearest(crops: Crops, episodes: list) -> float:
    """The share of right answers of the bare pixels: the class of the nearest example."""
    flat, shares = crops.values.flatten(1), []
    for episode in episodes:
        support, query = np.array(episode["support"]), np.array(episode["query"])
        distances = torch.cdist(flat[query.ravel()], flat[support.ravel()])
        found = distances.argmin(1).numpy() // support.shape[1]
        shares.append((found == np.repeat(np.arange(len(query)), query.shape[1])).mean())
    return float(np.mean(shares))


def report(train: Path, test: Path, n_episodes: int) -> dict[str, float]:
    learnt, asked = Crops.read(train), Crops.read(test)
    splits = ["test"] if learnt.surface == asked.surface else list(asked.episodes)
    episodes = [episode for split in splits for episode in asked.episodes[split]]
    if not episodes:
        sys.exit(f"{test}: no episodes to judge on; export with fewer --n-way, --n-query, or more samples")
    n_way, k_shot = np.shape(episodes[0]["support"])
    net = trained(learnt, n_way, n_episodes)
    with torch.no_grad():
        vectors = torch.cat([net(part) for part in asked.values.split(256)])
    share, spread = judged(asked, episodes, vectors)
    return {
        "parameters of the network": sum(p.numel() for p in net.parameters()),
        "crops to train on": int((learnt.splits == "train").sum()),
        "episodes judged": len(episodes),
        f"prototypical network, {n_way}-way {k_shot}-shot": share,
        "half width of its 95 % interval": spread,
        "nearest example in bare pixels": nearest(asked, episodes),
    }


def made(folder: Path) -> list[Path]:
    """Make and export two small stores of one surface."""
    found = []
    for name, options in STORES.items():
        store, out = folder / f"{name}.zarr", folder / name
        words = ["generate", "wse2-demo", str(store), *options]
        subprocess.run([sys.executable, "-m", "stmfab.cli", *words], check=True)
        asked = ["export", str(store), str(out), "--to", "episodes", *ASKED, "--k-shot", "1"]
        subprocess.run([sys.executable, "-m", "stmfab.cli", *asked], check=True)
        found.append(out)
    return found


def main() -> int:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("folders", nargs="*", type=Path, metavar="TRAIN TEST")
    words.add_argument("--episodes", type=int, default=600)
    asked = words.parse_args()
    if len(asked.folders) not in (0, 2):
        words.error("give two folders, or none")
    with tempfile.TemporaryDirectory(prefix="stmfab-fewshot-") as folder:
        train, test = asked.folders or made(Path(folder))
        for name, value in report(train, test, asked.episodes).items():
            print(f"{name}: {value:.4g}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
