"""Training steps of the family's LeNet-5 in PyTorch: a contestant of `bench.py`, in a process of its own.

Two libraries in one process disturb each other's threads. Every line of its input is a request for one round of
training steps; it answers each with a line, the first one with its version.
"""

import argparse
import sys
from collections.abc import Callable

import torch
from torch import nn


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("channels", "batch", "steps", "threads"):
        parser.add_argument(f"--{name}", type=int, required=True)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    train = training_of(options.channels, options.batch, options.steps)
    print(torch.__version__, flush=True)
    for _ in sys.stdin:
        train()
        print("done", flush=True)


def training_of(channels: int, batch: int, steps: int) -> Callable[[], None]:
    """One round of `steps` steps on random images, channels last, from wherever the round before it ended."""
    layers = [nn.Conv2d(channels, 32, 5, padding=2), nn.MaxPool2d(2), nn.ReLU()]
    layers += [nn.Conv2d(32, 32, 5, padding=2), nn.ReLU(), nn.AvgPool2d(2)]
    layers += [nn.Conv2d(32, 64, 5, padding=2), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten()]
    layers += [nn.Linear(1024, 64), nn.ReLU(), nn.Linear(64, 10)]
    model = nn.Sequential(*layers).to(memory_format=torch.channels_last)
    optimiser = torch.optim.Adam(model.parameters())
    pixels = torch.randint(0, 256, (steps * batch, 32, 32, channels), dtype=torch.uint8)
    labels = torch.randint(0, 10, (steps * batch,))

    def train() -> None:
        for part in torch.randperm(len(labels)).split(batch):
            x = (pixels[part].float() / 255).permute(0, 3, 1, 2)
            optimiser.zero_grad()
            nn.functional.cross_entropy(model(x), labels[part]).backward()
            optimiser.step()

    return train


if __name__ == "__main__":
    main()
