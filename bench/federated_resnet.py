"""FedAvg of ResNet-8 on CIFAR-100 with ten clients in PyTorch: what examples/experiments/resnet-pytorch.json does.

usage: federated_resnet.py FOLDER [--rounds 20] [--seeds 1 2 3], FOLDER with train.bin and test.bin of CIFAR-100's binary
version. Prints the accuracy after every fifth round, and at the end its mean and deviation over the seeds.
"""
import argparse, statistics

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

MEAN, DEVIATION = [0.5071, 0.4867, 0.4408], [0.2675, 0.2565, 0.2761]
CLIENTS, BATCH, RATE, DECAY, WEIGHT_DECAY, CLIP = 10, 50, 0.1, 0.998, 1e-3, 10.0


def same(x, kernel, stride):
    """TensorFlow's padding: the odd pixel at the bottom and right."""
    pads = []
    for size in (x.shape[-1], x.shape[-2]):
        total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        pads += [total // 2, total - total // 2]
    return F.pad(x, pads)


class Normalised(nn.Module):
    def __init__(self, into, out, kernel=3, stride=1):
        super().__init__()
        self.kernel, self.stride = kernel, stride
        self.conv = nn.Conv2d(into, out, kernel, stride)
        self.norm = nn.GroupNorm(4, out)
        # Uniform in +-1/sqrt(inputs), kernel and bias, as ours begin.
        bound = (into * kernel * kernel) ** -0.5
        nn.init.uniform_(self.conv.weight, -bound, bound)
        nn.init.uniform_(self.conv.bias, -bound, bound)

    def forward(self, x):
        return self.norm(self.conv(same(x, self.kernel, self.stride)))


class Block(nn.Module):
    def __init__(self, into, out, stride):
        super().__init__()
        self.first, self.second = Normalised(into, out, 3, stride), Normalised(out, out)
        self.shortcut = Normalised(into, out, 1, stride) if stride > 1 else nn.Identity()

    def forward(self, x):
        return F.relu(self.second(F.relu(self.first(x))) + self.shortcut(x))


class ResNet8(nn.Module):
    def __init__(self, classes=100):
        super().__init__()
        self.stem = Normalised(3, 16)
        self.blocks = nn.Sequential(Block(16, 16, 1), Block(16, 32, 2), Block(32, 64, 2))
        self.head = nn.Linear(64, classes)

    def forward(self, x):
        return self.head(self.blocks(F.relu(self.stem(x))).mean((2, 3)))


def images(path):
    rows = np.fromfile(path, np.uint8).reshape(-1, 3074)
    x = torch.from_numpy(rows[:, 2:].reshape(-1, 3, 32, 32).astype(np.float32)) / 255
    mean, deviation = (torch.tensor(v).view(1, 3, 1, 1) for v in (MEAN, DEVIATION))
    return (x - mean) / deviation, torch.from_numpy(rows[:, 1].astype(np.int64))


def accuracy(model, x, y):
    with torch.no_grad():
        hits = sum((model(a).argmax(1) == b).sum().item() for a, b in zip(x.split(500), y.split(500)))
    return 100 * hits / len(y)


def run(seed, rounds, train, test):
    torch.manual_seed(seed)
    x, y = train
    parts = torch.randperm(len(y)).chunk(CLIENTS)
    model = ResNet8()
    for number in range(rounds):
        start = [p.detach().clone() for p in model.parameters()]
        sums = [torch.zeros_like(p) for p in start]
        rate = RATE * DECAY**number
        for part in parts:
            with torch.no_grad():
                for p, s in zip(model.parameters(), start):
                    p.copy_(s)
            for rows in part[torch.randperm(len(part))].split(BATCH):
                model.zero_grad()
                F.cross_entropy(model(x[rows]), y[rows]).backward()
                with torch.no_grad():
                    nn.utils.clip_grad_norm_(model.parameters(), CLIP)
                    for p in model.parameters():
                        p.sub_(p.grad + WEIGHT_DECAY * p, alpha=rate)
            for total, p in zip(sums, model.parameters()):
                total += p.detach() * (len(part) / len(y))
        with torch.no_grad():
            for p, total in zip(model.parameters(), sums):
                p.copy_(total)
        if (number + 1) % 5 == 0 or number + 1 == rounds:
            print(f"seed {seed}, round {number + 1}: {accuracy(model, *test):.2f} %", flush=True)
    return accuracy(model, *test)


parser = argparse.ArgumentParser()
parser.add_argument("folder")
parser.add_argument("--rounds", type=int, default=20)
parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
given = parser.parse_args()
train, test = (images(f"{given.folder}/{name}.bin") for name in ("train", "test"))
results = [run(seed, given.rounds, train, test) for seed in given.seeds]
spread = statistics.stdev(results) if len(results) > 1 else 0.0
print(f"{len(results)} seeds: {statistics.mean(results):.2f} % +- {spread:.2f}")
