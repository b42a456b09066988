"""Training steps of some ancestors in PyTorch: a contestant of `bench.py` and `bench_training.py`.

It is a process of its own, since two libraries in one process disturb each other's threads. Every line of its input is
a request for one round of training steps; it answers each with a line, the first one with its version.
"""

import argparse
import sys
from collections.abc import Callable

import torch
from torch import nn


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", choices=NETWORKS, required=True)
    for name in ("channels", "batch", "steps", "threads"):
        parser.add_argument(f"--{name}", type=int, required=True)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    side = 28 if options.network == "lenet5-caffe" else 32
    train = training_of(NETWORKS[options.network](options.channels), options, side)
    print(torch.__version__, flush=True)
    for _ in sys.stdin:
        train()
        print("done", flush=True)


def training_of(model: nn.Module, options: argparse.Namespace, side: int) -> Callable[[], None]:
    """One round of steps on random images, channels last, from wherever the round before it ended."""
    model = model.to(memory_format=torch.channels_last)
    optimiser = torch.optim.Adam(model.parameters())
    count = options.steps * options.batch
    pixels = torch.randint(0, 256, (count, side, side, options.channels), dtype=torch.uint8)
    labels = torch.randint(0, 10, (count,))

    def train() -> None:
        for part in torch.randperm(len(labels)).split(options.batch):
            x = (pixels[part].float() / 255).permute(0, 3, 1, 2)
            optimiser.zero_grad()
            nn.functional.cross_entropy(model(x), labels[part]).backward()
            optimiser.step()

    return train


def lenet5(channels: int) -> nn.Module:
    layers = [nn.Conv2d(channels, 32, 5, padding=2), nn.MaxPool2d(2), nn.ReLU()]
    layers += [nn.Conv2d(32, 32, 5, padding=2), nn.ReLU(), nn.AvgPool2d(2)]
    layers += [nn.Conv2d(32, 64, 5, padding=2), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(1024, 64), nn.ReLU(), nn.Linear(64, 10))


def lenet5_caffe(channels: int) -> nn.Module:
    layers = [nn.Conv2d(channels, 20, 5), nn.MaxPool2d(2), nn.Conv2d(20, 50, 5), nn.MaxPool2d(2), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(800, 500), nn.ReLU(), nn.Linear(500, 10))


def convolved(inputs: int, filters: int, side: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    padded = {"padding": side // 2, "groups": groups, "bias": False}
    return [nn.Conv2d(inputs, filters, side, stride, **padded), nn.BatchNorm2d(filters)]


class Block(nn.Module):
    """Two 3×3 convolutions, and a shortcut around them."""

    def __init__(self, inputs: int, filters: int, stride: int) -> None:
        super().__init__()
        first, second = convolved(inputs, filters, 3, stride), convolved(filters, filters, 3)
        self.body = nn.Sequential(*first, nn.ReLU(), *second)
        self.shortcut = nn.Sequential(*(convolved(inputs, filters, 1, stride) if inputs != filters else []))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.relu(self.body(x) + self.shortcut(x))


def resnet20(channels: int) -> nn.Module:
    blocks, inputs = [*convolved(channels, 16, 3), nn.ReLU()], 16
    for stage, filters in enumerate((16, 32, 64)):
        for number in range(3):
            blocks.append(Block(inputs, filters, 2 if stage and not number else 1))
            inputs = filters
    return nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


def mobilenet(channels: int) -> nn.Module:
    layers, inputs = [*convolved(channels, 32, 3), nn.ReLU()], 32
    stages = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 1), (1024, 1))
    for filters, stride in stages:
        layers += [*convolved(inputs, inputs, 3, stride, groups=inputs), nn.ReLU()]
        layers += [*convolved(inputs, filters, 1), nn.ReLU()]
        inputs = filters
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1024, 10))


NETWORKS = {"lenet5": lenet5, "lenet5-caffe": lenet5_caffe, "resnet20": resnet20, "mobilenet": mobilenet}

if __name__ == "__main__":
    main()
