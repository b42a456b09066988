"""The peer's half of `bench_peer.py`: Torch-Pruning prunes and trains what a job describes, in a process of its own.

It knows nothing of synevo. A job is a folder with `job.json` (the network, a target of stored weights for each step,
and how to train after it), `data.npz` and `ancestor.npz`. Each step prunes the network of the step before by group
magnitude (L2), globally, trains it, and appends a line to `results.jsonl`, with its weights beside it; a step that has
its line is not done again.
"""

import argparse
import copy
import json
import math
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch_pruning
from bench_torch import NETWORKS
from torch import nn
from torch.nn import functional

HALVINGS = 24


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, help="the first steps only")
    parser.add_argument("--epochs", type=int, help="so many epochs a step, to try it")
    parser.add_argument("--threads", type=int, required=True)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    job = json.loads((options.folder / "job.json").read_text("utf-8"))
    with np.load(options.folder / "data.npz") as data:
        arrays = {name: torch.from_numpy(data[name]) for name in data.files}
    model = filled(NETWORKS[job["network"]](arrays["train_images"].shape[-1]), read(options.folder / "ancestor.npz"))
    teacher, example = copy.deepcopy(model), normalised(arrays["test_images"][:2], job)
    apart = (answers(model, arrays["test_images"][: len(arrays["answers"])], job) - arrays["answers"]).abs().max()
    print(f"The ancestor's outputs differ by {apart:.1e} from those of its source", flush=True)
    assert apart < 1e-3 * arrays["answers"].abs().max(), "the ancestor is another network here"
    lessons = answers(teacher, arrays["train_images"], job)
    results = options.folder / "results.jsonl"
    done = [json.loads(text) for text in results.read_text("utf-8").splitlines()] if results.exists() else []
    for number, step in enumerate(job["steps"][: options.steps]):
        weights = options.folder / f"step-{number}.npz"
        epochs = options.epochs or step["epochs"]
        if number < len(done):
            model = filled(model, read(weights))
            continue
        torch.manual_seed(1000 * job["seed"] + number)
        model = pruned(model, example, step["stored_weights"])
        began = time.perf_counter()
        train(model, arrays, lessons, job, step | {"epochs": epochs})
        np.savez(weights, **{name: one.detach().numpy() for name, one in model.state_dict().items()})
        found = {
            "step": number,
            "target": step["stored_weights"],
            "stored_weights": stored(model),
            "test": accuracy(model, arrays["test_images"], arrays["test_labels"], job),
            "epochs": epochs,
            "learning_rate": step["learning_rate"],
            "seconds": time.perf_counter() - began,
            "torch": torch.__version__,
            "torch_pruning": version("torch-pruning"),
            "threads": options.threads,
        }
        with results.open("a", encoding="utf-8") as file:
            file.write(json.dumps(found) + "\n")
        print(f"{found['stored_weights']:9,d} stored weights, {100 * found['test']:.2f} % (test)", flush=True)


def read(path: Path) -> dict[str, torch.Tensor]:
    with np.load(path) as found:
        return {name: torch.from_numpy(found[name]) for name in found.files}


def filled(model: nn.Module, weights: dict[str, torch.Tensor]) -> nn.Module:
    """A copy of the model with these weights, in their widths."""
    model = copy.deepcopy(model)
    for name, tensor in weights.items():
        place, _, kind = name.rpartition(".")
        setattr(model.get_submodule(place), kind, nn.Parameter(tensor.clone()))
    return model


def pruned(model: nn.Module, example: torch.Tensor, target: int) -> nn.Module:
    """The model pruned in one go to the number of stored weights that is nearest to a target."""
    low, high, best = 0.0, 1.0, model
    for _ in range(HALVINGS):
        ratio = (low + high) / 2
        one = without(model, example, ratio)
        if abs(stored(one) - target) < abs(stored(best) - target):
            best = one
        low, high = (ratio, high) if stored(one) > target else (low, ratio)
    return best


def without(model: nn.Module, example: torch.Tensor, ratio: float) -> nn.Module:
    """The model without a share of its channels, the weakest of all layers; its classifier keeps its classes."""
    model = as_wide_as_its_weights(copy.deepcopy(model))
    pruner = torch_pruning.pruner.BasePruner(
        model,
        example,
        importance=torch_pruning.importance.GroupMagnitudeImportance(p=2),
        global_pruning=True,
        pruning_ratio=ratio,
        ignored_layers=[[one for one in model.modules() if isinstance(one, nn.Linear)][-1]],
    )
    pruner.step()
    return model


def as_wide_as_its_weights(model: nn.Module) -> nn.Module:
    """Say the widths again that the modules state."""
    for one in model.modules():
        if isinstance(one, nn.Conv2d):
            one.out_channels, one.in_channels = one.weight.shape[:2]
        if isinstance(one, nn.Linear):
            one.out_features, one.in_features = one.weight.shape
    return model


def stored(model: nn.Module) -> int:
    """The numbers in kernels and matrices."""
    return sum(one.numel() for one in model.parameters() if one.dim() > 1)


def train(model: nn.Module, arrays: dict[str, Any], lessons: torch.Tensor, job: dict[str, Any], step: Any) -> None:
    """Train as the job says: Adam, a cosine schedule after a warm-up, shifts, and the distance from the ancestor."""
    images, labels, batch = arrays["train_images"], arrays["train_labels"], job["batch_size"]
    total = step["epochs"] * (len(images) // batch)
    optimiser = torch.optim.Adam(model.parameters(), lr=step["learning_rate"])
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda at: rate(at, total))
    model.train()
    for _ in range(step["epochs"]):
        for part in torch.randperm(len(images))[: total // step["epochs"] * batch].split(batch):
            x = normalised(shifted(images[part], job["shift"]), job)
            outputs, share, heat = model(x), job["distillation"], job["temperature"]
            loss = (1 - share) * functional.cross_entropy(outputs, labels[part])
            soft, wanted = (functional.log_softmax(one / heat, 1) for one in (outputs, lessons[part]))
            loss = loss + share * heat**2 * functional.kl_div(soft, wanted, reduction="batchmean", log_target=True)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()


def rate(at: int, total: int) -> float:
    """The share of the learning rate at a step: a twentieth of warm-up from 0.1, then a cosine to 0.01."""
    warm = max(1, total // 20)
    if at < warm:
        return 0.1 + 0.9 * at / warm
    return 0.01 + 0.99 * (1 + math.cos(math.pi * min(1.0, (at - warm) / max(1, total - warm)))) / 2


def shifted(images: torch.Tensor, most: int) -> torch.Tensor:
    """Images [n, height, width, channels], each moved by up to so many pixels; zeros come in."""
    if not most:
        return images
    n, height, width, _ = images.shape
    padded = functional.pad(images, (0, 0, most, most, most, most))
    down, right = (torch.randint(0, 2 * most + 1, (n, 1)) for _ in range(2))
    rows, columns = down + torch.arange(height), right + torch.arange(width)
    return padded[torch.arange(n)[:, None, None], rows[:, :, None], columns[:, None, :]]


def normalised(images: torch.Tensor, job: dict[str, Any]) -> torch.Tensor:
    """What the network is given for uint8 images [n, height, width, channels]: floats [n, channels, height, width]."""
    scale, offset = (torch.tensor(job[name], dtype=torch.float32) for name in ("scale", "offset"))
    return (images.float() / 255 * scale + offset).permute(0, 3, 1, 2)


def answers(model: nn.Module, images: torch.Tensor, job: dict[str, Any]) -> torch.Tensor:
    model.eval()
    with torch.no_grad():
        return torch.cat([model(normalised(part, job)) for part in images.split(1000)])


def accuracy(model: nn.Module, images: torch.Tensor, labels: torch.Tensor, job: dict[str, Any]) -> float:
    return float((answers(model, images, job).argmax(1) == labels).float().mean())


if __name__ == "__main__":
    main()
