"""One SGD step of a described network in PyTorch, one thread: the peer of bench/steps.ts.

usage: pytorch.py FOLDER, which holds job.json and raw float32 files; writes after.bin (weights after the checked steps),
prints one JSON line, then answers each line "n" on standard input with the milliseconds that n steps took.
"""
import json, os, sys, time

os.environ["OMP_NUM_THREADS"] = "1"
import numpy as np
import torch
import torch.nn.functional as F

torch.set_num_threads(1)
folder = sys.argv[1]
job = json.load(open(f"{folder}/job.json"))
batch, shape = job["batch"], job["input"]
x = torch.from_numpy(np.fromfile(f"{folder}/x.bin", np.float32).reshape([batch] + shape))
y = torch.from_numpy(np.fromfile(f"{folder}/y.bin", np.int32).astype(np.int64))
flat = np.fromfile(f"{folder}/weights.bin", np.float32)
if len(shape) > 1:
    x = x.movedim(-1, 1).contiguous()

parameters, layouts = [], []
for p in job["parameters"]:
    t = torch.from_numpy(flat[p["offset"] : p["offset"] + p["size"]].reshape(p["shape"]).copy())
    # Filters to PyTorch's order (out, in, ...), dense kernels to (out, in).
    order = {4: (3, 2, 0, 1), 3: (2, 1, 0), 2: (1, 0)}.get(t.dim(), (0,))
    layouts.append(order)
    parameters.append(t.permute(order).contiguous().requires_grad_())


def forward(h):
    taps, it = [], iter(parameters)
    for l in job["layers"]:
        kind = l["type"]
        if kind == "conv2d":
            h = F.conv2d(h, next(it), next(it))
        elif kind == "conv1d":
            h = F.conv1d(h, next(it), next(it))
        elif kind == "dense":
            h = F.linear(h, next(it), next(it))
        elif kind == "maxPool":
            h = F.max_pool2d(h, l["size"]) if h.dim() == 4 else F.max_pool1d(h, l["size"])
        elif kind == "flatten":
            h = h.movedim(1, -1).flatten(1)
        if l.get("activation") == "relu":
            h = F.relu(h)
            taps.append(h)
    return h, taps


zeta, clip, rate, decay = job["zeta"], job["clipNorm"], job["learningRate"], job["weightDecay"]


def step():
    logits, taps = forward(x)
    loss = F.cross_entropy(logits, y)
    objective = loss
    if zeta:
        objective = loss + 0.5 * zeta * sum((a * a).mean() for a in taps)
    for p in parameters:
        p.grad = None
    objective.backward()
    with torch.no_grad():
        torch.nn.utils.clip_grad_norm_(parameters, clip)
        for p in parameters:
            p.sub_(p.grad + decay * p, alpha=rate)
    return loss.item()


losses = [step() for _ in range(job["checkedSteps"])]
back = []
for p, order in zip(parameters, layouts):
    inverse = [order.index(i) for i in range(len(order))]
    back.append(p.detach().permute(inverse).contiguous().numpy().ravel())
np.concatenate(back).astype(np.float32).tofile(f"{folder}/after.bin")
print(json.dumps(dict(version=torch.__version__, losses=losses)), flush=True)
for line in sys.stdin:
    started = time.perf_counter()
    for _ in range(int(line)):
        step()
    print((time.perf_counter() - started) * 1000, flush=True)
