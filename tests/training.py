"""What the networks of this folder share: a small U-Net, the way it is trained, turned samples, peaks of a map."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable

import numpy as np
import torch
from scipy import ndimage
from torch import nn

WIDTHS = (8, 16, 48, 168)
THREADS = 2
Batches = Iterable[tuple[torch.Tensor, torch.Tensor]]


def block(n_in: int, n_out: int) -> nn.Module:
    layers = []
    for width in (n_in, n_out):
        layers += [nn.Conv2d(width, n_out, 3, padding=1, bias=False), nn.BatchNorm2d(n_out), nn.ReLU()]
    return nn.Sequential(*layers)


class UNet(nn.Module):
    """Ronneberger, Fischer & Brox (2015), doi:10.1007/978-3-319-24574-4_28, with fewer channels: 0.47 M parameters."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        wider = list(itertools.pairwise(WIDTHS))
        self.first = block(n_in, WIDTHS[0])
        self.down = nn.ModuleList(block(low, high) for low, high in wider)
        self.up = nn.ModuleList(nn.ConvTranspose2d(high, low, 2, stride=2) for low, high in reversed(wider))
        self.join = nn.ModuleList(block(2 * low, low) for low, _ in reversed(wider))
        self.last = nn.Conv2d(WIDTHS[0], n_out, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        levels = [self.first(images)]
        for down in self.down:
            levels.append(down(nn.functional.max_pool2d(levels[-1], 2)))
        found = levels.pop()
        for up, join in zip(self.up, self.join, strict=True):
            found = join(torch.cat([up(found), levels.pop()], 1))
        return self.last(found)


def turned(images: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """A batch turned and mirrored in one of the eight ways, at random."""
    quarter, mirror = int(torch.randint(4, ())), int(torch.randint(2, ()))
    both = [torch.rot90(batch, quarter, (-2, -1)) for batch in (images, targets)]
    return tuple(batch.flip(-1) if mirror else batch for batch in both)  # type: ignore[return-value]


def begun(n_in: int, n_out: int) -> UNet:
    """A network that has learnt nothing: always the same."""
    torch.manual_seed(0)
    torch.set_num_threads(THREADS)
    return UNet(n_in, n_out)


def trained(net: UNet, batches: Callable[[], Batches], *, n_batches: int, epochs: int, learning_rate: float) -> UNet:
    """The network after some epochs of batches: least squares of its maps, one cycle of AdamW."""
    fit = torch.optim.AdamW(net.parameters(), learning_rate, weight_decay=1e-2)
    pace = torch.optim.lr_scheduler.OneCycleLR(fit, learning_rate, total_steps=epochs * n_batches)
    for epoch in range(epochs):
        since, losses = time.monotonic(), []
        for images, targets in batches():
            loss = nn.functional.mse_loss(net(images), targets)
            fit.zero_grad()
            loss.backward()
            fit.step()
            pace.step()
            losses.append(float(loss.detach()))
        print(f"epoch {epoch + 1}/{epochs}: loss {np.mean(losses):.4f}, {time.monotonic() - since:.0f} s", flush=True)
    return net.eval()


def peaks(image: np.ndarray, apart_pixels: float) -> np.ndarray:
    """The local maxima of a map, strongest first: rows of (score, row, col)."""
    size = max(3, 2 * round(apart_pixels / 2) + 1)
    rows, cols = np.nonzero(image == ndimage.maximum_filter(image, size, mode="nearest"))
    found = np.stack([image[rows, cols], rows, cols], axis=1)
    return found[np.argsort(-found[:, 0])]
