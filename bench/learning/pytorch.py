"""FedAvg in PyTorch on what data.py wrote, with the networks and settings of fedflat's runs but draws of its own.

usage: pytorch.py TASK FOLDER --seed 1 --rounds 10 --epochs 1 --rate 0.1     prints the task's figure
"""
import argparse

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

CLIENTS, BATCH, DECAY, WEIGHT_DECAY, CLIP = 10, 50, 0.998, 1e-3, 10.0


def begin(weight, bias, inputs):
    """Uniform in +-1/sqrt(inputs), as fedflat's networks begin."""
    bound = inputs**-0.5
    nn.init.uniform_(weight, -bound, bound)
    nn.init.uniform_(bias, -bound, bound)


# Networks


def autoencoder():
    return nn.Sequential(
        nn.Flatten(), nn.Linear(288, 64), nn.Tanh(), nn.Linear(64, 16), nn.Tanh(), nn.Linear(16, 64), nn.Tanh(), nn.Linear(64, 288)
    )


class Forecast(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm, self.head = nn.LSTM(9, 32, batch_first=True), nn.Linear(32, 9)
        for name, p in self.lstm.named_parameters():
            if "bias" in name:
                nn.init.zeros_(p)
        # The forget gate begins open; the second bias is left at 0, for fedflat has one.
        with torch.no_grad():
            self.lstm.bias_ih_l0[32:64] = 1
        self.lstm.bias_hh_l0.requires_grad_(False)

    def forward(self, x):
        return self.head(self.lstm(x)[0][:, -1])


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
        begin(self.conv.weight, self.conv.bias, into * kernel * kernel)

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


class Characters(nn.Module):
    def __init__(self, vocabulary):
        super().__init__()
        self.embedding, self.position = nn.Embedding(vocabulary, 64), nn.Parameter(torch.empty(64, 64))
        for weight in (self.embedding.weight, self.position):
            nn.init.uniform_(weight, -(64**-0.5), 64**-0.5)
        self.norms = nn.ModuleList(nn.LayerNorm(64) for _ in range(3))
        self.attention = nn.MultiheadAttention(64, 4, batch_first=True)
        begin(self.attention.in_proj_weight, self.attention.in_proj_bias, 64)
        begin(self.attention.out_proj.weight, self.attention.out_proj.bias, 64)
        self.wide, self.narrow = nn.Linear(64, 256), nn.Linear(256, 64)
        self.head = nn.Linear(64, vocabulary)
        self.register_buffer("mask", torch.triu(torch.ones(64, 64, dtype=torch.bool), 1))

    def forward(self, tokens):
        x = self.embedding(tokens) + self.position
        a = self.norms[0](x)
        y = x + self.attention(a, a, a, attn_mask=self.mask, need_weights=False)[0]
        return self.head(self.norms[2](y + self.narrow(F.gelu(self.wide(self.norms[1](y))))))


# Tasks: a network, a loss, clients' data and a figure of the final network


def groups_of(half):
    group = torch.from_numpy(half["group"].astype(np.int64))
    return [torch.nonzero(group == g).flatten() for g in group.unique()]


def in_batches(model, x):
    with torch.no_grad():
        return torch.cat([model(part) for part in x.split(500)])


def normalised(folder, key):
    halves = [np.load(f"{folder}/{half}.npz") for half in ("train", "test")]
    train, test = (torch.from_numpy(half[key].astype(np.float32)) for half in halves)
    rows = train.reshape(-1, train.shape[-1])
    mean, deviation = rows.mean(0), rows.std(0, unbiased=False)
    return (train - mean) / deviation, (test - mean) / deviation, groups_of(halves[0])


def auc_of(errors, anomalous):
    ranks = np.empty(len(errors))
    ranks[np.argsort(errors)] = np.arange(1, len(errors) + 1)
    n = anomalous.sum()
    return (ranks[anomalous].sum() - n * (n + 1) / 2) / (n * (len(errors) - n))


def autoencoder_task(folder):
    train, test, parts = normalised(folder, "x")

    def figure(model):
        errors = (in_batches(model, test) - test.flatten(1)).square().mean(1)
        return auc_of(errors.numpy(), np.load(f"{folder}/anomalous.npy"))

    return autoencoder, F.mse_loss, train, train.flatten(1), parts, figure


def forecast_task(folder):
    x, x_test, parts = normalised(folder, "x")
    y, y_test, _ = normalised(folder, "y")

    def figure(model):
        left = (in_batches(model, x_test) - y_test).square().sum(0)
        return (1 - left / (y_test - y_test.mean(0)).square().sum(0)).mean().item()

    return Forecast, F.mse_loss, x, y, parts, figure


def images_task(folder):
    mean, deviation = (torch.tensor(v).view(1, 3, 1, 1) for v in ([0.5071, 0.4867, 0.4408], [0.2675, 0.2565, 0.2761]))

    def images(half):
        rows = np.fromfile(f"{folder}/cifar-100-binary/{half}.bin", np.uint8).reshape(-1, 3074)
        x = torch.from_numpy(rows[:, 2:].reshape(-1, 3, 32, 32).astype(np.float32)) / 255
        return (x - mean) / deviation, torch.from_numpy(rows[:, 1].astype(np.int64))

    (x, y), (x_test, y_test) = images("train"), images("test")
    figure = lambda model: (in_batches(model, x_test).argmax(1) == y_test).float().mean().item()
    return ResNet8, F.cross_entropy, x, y, torch.randperm(len(y)).chunk(CLIENTS), figure


def characters_task(folder):
    texts = [open(f"{folder}/{half}.txt").read() for half in ("train", "test")]
    number = {c: i for i, c in enumerate(sorted(set(texts[0])))}

    def windows(text):
        tokens = torch.tensor([number[c] for c in text])
        count = (len(tokens) - 1) // 64
        return tokens[: 64 * count].view(-1, 64), tokens[1 : 64 * count + 1].view(-1, 64)

    (x, y), (x_test, y_test) = map(windows, texts)
    loss = lambda z, y: F.cross_entropy(z.flatten(0, 1), y.flatten())
    figure = lambda model: loss(in_batches(model, x_test), y_test).item() / np.log(2)
    return lambda: Characters(len(number)), loss, x, y, torch.arange(len(x)).chunk(CLIENTS), figure


TASKS = {"autoencoder": autoencoder_task, "forecast": forecast_task, "resnet-8": images_task, "characters": characters_task}


def fedavg(task, rounds, epochs, rate):
    make, loss, x, y, parts, figure = task
    model = make()
    learned = [p for p in model.parameters() if p.requires_grad]
    total = sum(len(part) for part in parts)
    for number in range(rounds):
        start = [p.detach().clone() for p in learned]
        sums = [torch.zeros_like(p) for p in start]
        now = rate * DECAY**number
        for part in parts:
            with torch.no_grad():
                for p, s in zip(learned, start):
                    p.copy_(s)
            for rows in (rows for _ in range(epochs) for rows in part[torch.randperm(len(part))].split(BATCH)):
                model.zero_grad()
                loss(model(x[rows]), y[rows]).backward()
                with torch.no_grad():
                    nn.utils.clip_grad_norm_(learned, CLIP)
                    for p in learned:
                        p.sub_(p.grad + WEIGHT_DECAY * p, alpha=now)
            for s, p in zip(sums, learned):
                s += p.detach() * (len(part) / total)
        with torch.no_grad():
            for p, s in zip(learned, sums):
                p.copy_(s)
    return figure(model.eval())


parser = argparse.ArgumentParser()
parser.add_argument("task", choices=TASKS)
parser.add_argument("folder")
for name, kind in (("seed", int), ("rounds", int), ("epochs", int), ("rate", float)):
    parser.add_argument(f"--{name}", type=kind, required=True)
given = parser.parse_args()
torch.manual_seed(given.seed)
print(fedavg(TASKS[given.task](given.folder), given.rounds, given.epochs, given.rate))
