"""One SGD step of a described network in PyTorch, one thread: the peer of bench/steps.ts.

usage: pytorch.py FOLDER, which holds job.json and raw files; writes after.bin (weights after the checked steps), prints
one JSON line, then answers each line "n" on standard input with the milliseconds that n steps took.
"""
import json, os, sys, time

os.environ["OMP_NUM_THREADS"] = "1"
import numpy as np
import torch
import torch.nn.functional as F

torch.set_num_threads(1)
folder = sys.argv[1]
job = json.load(open(f"{folder}/job.json"))
batch, shape, layers = job["batch"], job["input"], job["layers"]
loss_type = job["loss"]["type"]
# Convolutions want channels first; recurrent layers and attention want them last, as ours do.
channels_first = any("onv" in l["type"] for l in layers)
x = torch.from_numpy(np.fromfile(f"{folder}/x.bin", np.float32).reshape([batch] + shape))
if layers[0]["type"] == "embedding":
    x = x.long()
elif channels_first and len(shape) > 1:
    x = x.movedim(-1, 1).contiguous()
if job["loss"].get("target") == "input":
    y = x
elif loss_type == "softmaxCrossEntropy":
    y = torch.from_numpy(np.fromfile(f"{folder}/y.bin", np.int32).astype(np.int64))
else:
    y = torch.from_numpy(np.fromfile(f"{folder}/y.bin", np.float32).reshape(batch, -1))
flat = np.fromfile(f"{folder}/weights.bin", np.float32)


def order_of(name, rank):
    """The axes of PyTorch's tensor: filters (out, in, ...), other kernels (out, in)."""
    kind = layers[int(name.split(".")[0])]["type"]
    if kind in ("embedding", "positionEmbedding") or rank == 1:
        return tuple(range(rank))
    if kind == "depthwiseConv2d":
        return (2, 3, 0, 1)
    return {4: (3, 2, 0, 1), 3: (2, 1, 0), 2: (1, 0)}[rank]


parameters, orders, of_layer = [], [], {}
for p in job["parameters"]:
    t = torch.from_numpy(flat[p["offset"] : p["offset"] + p["size"]].reshape(p["shape"]).copy())
    order = order_of(p["name"], t.dim())
    orders.append(order)
    t = t.permute(order).contiguous().requires_grad_()
    parameters.append(t)
    of_layer.setdefault(int(p["name"].split(".")[0]), []).append(t)

ACTIVATIONS = dict(relu=F.relu, gelu=F.gelu, tanh=torch.tanh, sigmoid=torch.sigmoid)
zeros = {}


def nothing(*sizes):
    return zeros.setdefault(sizes, torch.zeros(*sizes))


def padded(h, l, rank):
    """The padding that F.conv does itself, and h with what it cannot do."""
    if l.get("padding", "valid") == "valid":
        return h, 0
    kernel, stride = ([v, v] if isinstance(v, int) else v for v in (l["kernelSize"], l.get("strides", 1)))
    pads = []
    for size, k, s in zip(h.shape[-rank:], kernel, stride):
        total = max((-(-size // s) - 1) * s + k - size, 0)
        pads.append((total // 2, total - total // 2))
    if all(a == b for a, b in pads):
        return h, tuple(a for a, _ in pads)
    return F.pad(h, [v for pair in reversed(pads) for v in pair]), 0


def attention(h, l, w, b, wo, bo):
    (n, t, c), heads = h.shape, l["heads"]
    q, k, v = F.linear(h, w, b).view(n, t, 3, heads, -1).permute(2, 0, 3, 1, 4)
    scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
    if l.get("causal"):
        mask = zeros.setdefault(("mask", t), torch.triu(torch.full((t, t), float("-inf")), 1))
        scores = scores + mask
    return F.linear((scores.softmax(-1) @ v).transpose(1, 2).reshape(n, t, -1), wo, bo)


def lstm(h, l, w, u, b):
    units = l["units"]
    state = nothing(1, h.shape[0], units)
    out, last, _ = torch._VF.lstm(h, (state, state), [w, u, b, nothing(4 * units)], True, 1, 0.0, True, False, True)
    return out, out if l.get("returnSequences") else last[0]


def forward(h):
    taps, named, outputs = [], {"input": h}, []
    for i, l in enumerate(layers):
        kind, w = l["type"], of_layer.get(i, [])
        read = [named[name] for name in l.get("inputs", [])]
        h = read[0] if read else h
        if kind == "conv2d":
            h, pad = padded(h, l, 2)
            h = F.conv2d(h, *w, stride=l.get("strides", 1), padding=pad)
        elif kind == "depthwiseConv2d":
            h, pad = padded(h, l, 2)
            kernel = w[0].reshape(-1, 1, *w[0].shape[2:])
            h = F.conv2d(h, kernel, w[1], stride=l.get("strides", 1), padding=pad, groups=h.shape[1])
        elif kind == "conv1d":
            h = F.conv1d(h, *w)
        elif kind == "dense":
            h = F.linear(h, *w)
        elif kind == "maxPool":
            h = F.max_pool2d(h, l["size"]) if h.dim() == 4 else F.max_pool1d(h, l["size"])
        elif kind == "flatten":
            h = (h.movedim(1, -1) if channels_first else h).flatten(1)
        elif kind == "globalAvgPool":
            h = h.flatten(2).mean(-1) if channels_first else h.mean(1)
        elif kind == "groupNorm":
            h = F.group_norm(h, l["groups"], *w)
        elif kind == "layerNorm":
            h = F.layer_norm(h, h.shape[-1:], *w)
        elif kind == "add":
            h = read[0] + read[1]
        elif kind == "embedding":
            h = F.embedding(h, w[0])
        elif kind == "positionEmbedding":
            h = h + w[0]
        elif kind == "multiHeadAttention":
            h = attention(h, l, *w)
        elif kind == "lstm":
            states, h = lstm(h, l, *w)
        elif kind not in ("relu", "activation"):
            sys.exit(f"no PyTorch for {kind} here")
        activation = "relu" if kind == "relu" else l.get("activation")
        if activation:
            h = ACTIVATIONS[activation](h)
        if activation or kind == "lstm":
            taps.append(states if kind == "lstm" else h)
        if "name" in l:
            named[l["name"]] = h
    return h, taps


zeta, clip, rate, decay = job["zeta"], job["clipNorm"], job["learningRate"], job["weightDecay"]


def step():
    out, taps = forward(x)
    if loss_type == "softmaxCrossEntropy":
        loss = F.cross_entropy(out.reshape(-1, out.shape[-1]), y)
    else:
        loss = F.mse_loss(out, y)
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
for p, order in zip(parameters, orders):
    inverse = [order.index(i) for i in range(len(order))]
    back.append(p.detach().permute(inverse).contiguous().numpy().ravel())
np.concatenate(back).astype(np.float32).tofile(f"{folder}/after.bin")
print(json.dumps(dict(version=torch.__version__, losses=losses)), flush=True)
for line in sys.stdin:
    started = time.perf_counter()
    for _ in range(int(line)):
        step()
    print((time.perf_counter() - started) * 1000, flush=True)
