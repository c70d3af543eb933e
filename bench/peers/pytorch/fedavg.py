import copy
import json
import sys

import numpy as np
import torch
from torch import nn

folder, clients, rounds, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
BATCH, EPOCHS, RATE = 50, 2, 0.1
torch.manual_seed(seed)


def read(name):
    x = np.fromfile(f"{folder}/{name}.x", np.uint8).reshape(-1, 1, 28, 28)
    y = np.fromfile(f"{folder}/{name}.y", np.uint8)
    x = (x.astype(np.float32) / 255 - 0.286) / 0.353
    return torch.from_numpy(x), torch.from_numpy(y.astype(np.int64))


data = [read(k + 1) for k in range(clients)]
total = sum(len(y) for _, y in data)
model = nn.Sequential(
    nn.Conv2d(1, 16, 5), nn.ReLU(), nn.MaxPool2d(2),
    nn.Conv2d(16, 32, 5), nn.ReLU(), nn.MaxPool2d(2),
    nn.Flatten(), nn.Linear(512, 128), nn.ReLU(), nn.Linear(128, 10),
)
for round in range(1, rounds + 1):
    sums = {name: torch.zeros_like(value) for name, value in model.state_dict().items()}
    for x, y in data:
        local = copy.deepcopy(model)
        optimizer = torch.optim.SGD(local.parameters(), lr=RATE)
        for _ in range(EPOCHS):
            for rows in torch.randperm(len(y)).split(BATCH):
                optimizer.zero_grad()
                nn.functional.cross_entropy(local(x[rows]), y[rows]).backward()
                optimizer.step()
        for name, value in local.state_dict().items():
            sums[name] += value * (len(y) / total)
    model.load_state_dict(sums)
    print(json.dumps({"round": round}), flush=True)
x, y = read("test")
with torch.no_grad():
    right = (model(x).argmax(1) == y).sum().item()
print(json.dumps({"accuracy": right / len(y)}), flush=True)
