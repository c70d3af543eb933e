"""Every algorithm, written down once more after docs/algorithms.md alone, in float64.

Plays the federation of test/vectors with each of them, plain and with MAN, and prints how far its
weights are from those that an independent program computed: one JSON object, the largest difference
of each run relative to the largest weight.

    python3 algorithms.py <folder of examples/python> <folder of vectors>
"""

import json
import struct
import sys

import numpy as np

sys.path.insert(0, sys.argv[1])
import training  # noqa: E402

with open(f"{sys.argv[2]}/federation-mlp.json") as file:
    reference = json.load(file)
with open(f"{sys.argv[2]}/federation-mlp.safetensors", "rb") as file:
    blob = file.read()
(length,) = struct.unpack_from("<Q", blob)
tensors = {}
for name, entry in json.loads(blob[8 : 8 + length]).items():
    if name != "__metadata__":
        begin, end = (8 + length + at for at in entry["data_offsets"])
        kind = {"F32": "<f4", "I32": "<i4"}[entry["dtype"]]
        tensors[name] = np.frombuffer(blob[begin:end], kind).reshape(entry["shape"])

NAMES = reference["parameters"]
SHAPES = [tensors[f"initial.{name}"].shape for name in NAMES]
SIZES = [int(np.prod(shape)) for shape in SHAPES]
KERNEL = np.repeat([name.endswith(".kernel") for name in NAMES], SIZES)
norm = np.linalg.norm


def row(prefix):
    return np.concatenate([tensors[f"{prefix}.{n}"].astype(float).ravel() for n in NAMES])


def named(vector):
    parts = np.split(vector, np.cumsum(SIZES)[:-1])
    return {n: part.reshape(shape) for n, part, shape in zip(NAMES, parts, SHAPES)}


class Model(training.Model):
    def __init__(self, layers):
        self.dense = [(i, layer.get("activation") == "relu") for i, layer in enumerate(layers)]


model = Model(reference["model"]["layers"])
n = reference["clientSizes"]
m = len(n)


def local_round(algorithm, s, k, w, kept, c, eta, eta_0):
    """The vectors that client k sends."""
    x, y = tensors[f"client{k}.x"].astype(float), tensors[f"client{k}.y"]
    r, size = n[k] / np.mean(n), s["batchSize"]
    p, center, v, wd = 0, 0, 0, 0
    if algorithm == "fedprox":
        p, center = s["mu"], w
    if algorithm in ("feddyn", "fedspeed"):
        v, wd = s["alpha"] / r * (kept["drift"] - w), s["alpha"] / r
    if algorithm == "scaffold":
        v = c - kept["control"]
    if algorithm == "feddc":
        p, center = s["alpha"] / r, w - kept["drift"]
        v = c / r - kept["scaledControl"] / r

    def clip(g):
        return g * min(1, s["clipNorm"] / norm(g))

    def gradient(theta):
        g, _, _ = model.gradient(named(theta), x[rows], y[rows], s["zeta"], False)
        return np.concatenate([g[name].ravel() for name in NAMES])

    theta, steps = w, 0
    for _ in range(s["localEpochs"]):
        for begin in range(0, n[k], size):
            rows, at = slice(begin, begin + size), theta
            if algorithm == "fedsam":
                g = clip(gradient(theta))
                at = theta + s["rho"] * g / (norm(g) + 1e-16)
            if algorithm == "fedspeed":
                g = gradient(theta)
                at = theta + s["rho"] * g / (norm(g) + 1e-7)
            if algorithm == "fedasam":
                g, t = clip(gradient(theta)), np.where(KERNEL, abs(theta) + s["eta"], 1)
                at = theta + s["rho"] * t**2 * g / (norm(t * g) + 1e-16)
            g = clip(gradient(at) + p * (theta - center) + v)
            theta = theta - eta * (g + (s["weightDecay"] + wd) * theta)
            steps += 1
    delta = theta - w
    if algorithm == "scaffold":
        return {"delta": delta, "controlChange": -c - delta / (steps * eta)}
    if algorithm == "feddc":
        return {"delta": delta, "controlChange": -c - r * delta / (steps * eta_0)}
    return {"delta": delta}


def play(algorithm, s):
    """The weights after each round."""
    w = row("initial")
    zero = np.zeros_like(w)
    kept = [{"drift": zero, "control": zero, "scaledControl": zero} for _ in n]
    u, second = zero, zero + s["tau"] ** 2
    for t, chosen in enumerate(reference["schedule"]):
        eta = s["lr"] * s["lrDecay"] ** t
        control = "scaledControl" if algorithm == "feddc" else "control"
        c = sum(state[control] for state in kept) / m
        sent = {k: local_round(algorithm, s, k, w, kept[k], c, eta, s["lr"]) for k in chosen}
        for k in chosen:
            kept[k]["drift"] = kept[k]["drift"] + sent[k]["delta"]
            if "controlChange" in sent[k]:
                kept[k][control] = kept[k][control] + sent[k]["controlChange"]
        uniform = sum(sent[k]["delta"] for k in chosen) / len(chosen)
        mean = sum(n[k] * sent[k]["delta"] for k in chosen) / sum(n[k] for k in chosen)
        if algorithm in ("feddyn", "fedspeed", "feddc"):
            w = w + uniform + sum(state["drift"] for state in kept) / m
        elif algorithm == "scaffold":
            w = w + uniform
        elif algorithm == "fedavgm":
            u = s["beta1"] * u + mean
            w = w + s["serverLr"] * u
        elif algorithm in ("fedadam", "fedyogi", "fedadagrad"):
            u = s["beta1"] * u + (1 - s["beta1"]) * mean
            square, b2 = mean**2, s["beta2"]
            if algorithm == "fedadam":
                second = b2 * second + (1 - b2) * square
            elif algorithm == "fedyogi":
                second = second - (1 - b2) * square * np.sign(second - square)
            else:
                second = second + square
            w = w + s["serverLr"] * u / (np.sqrt(second) + s["tau"])
        else:
            w = w + mean
        yield w


apart = {}
for run in reference["runs"]:
    rounds = play(run["algorithm"], run["config"])
    expected = [row(f"{run['key']}.round{t + 1}") for t in range(len(reference["schedule"]))]
    apart[run["key"]] = max(abs(w - e).max() / abs(e).max() for w, e in zip(rounds, expected))
print(json.dumps(apart))
