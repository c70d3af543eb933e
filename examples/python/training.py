"""Models and local rounds, after docs/models.md and docs/algorithms.md: dense layers, FedAvg, MAN."""

import json
import struct
import time

import numpy as np

# What overflows is found where the work ends.
np.seterr(all="ignore")

LAYERS = ("dense", "flatten", "relu")
# To a client the server optimizers are FedAvg.
ALGORITHMS = ("fedavg", "fedavgm", "fedadam", "fedyogi", "fedadagrad")


class NotDone(Exception):
    """Why an assignment is not done: `kind` is the message that says so, decline or failed."""

    def __init__(self, kind, code, message):
        super().__init__(message)
        self.kind, self.code = kind, code


# Blobs (protocol.md, section 6)


def read_blob(blob):
    """The tensors of a safetensors file by name, and its metadata."""
    (length,) = struct.unpack_from("<Q", blob)
    header = json.loads(blob[8 : 8 + length])
    metadata = header.pop("__metadata__", {})
    tensors = {}
    for name, entry in header.items():
        begin, end = (8 + length + at for at in entry["data_offsets"])
        tensors[name] = np.frombuffer(blob[begin:end], "<f4").reshape(entry["shape"])
    return tensors, metadata


def write_update(tensors):
    """The update blob of these tensors, the header in the form that the aggregator insists on."""
    header, at = {}, 0
    for name, tensor in tensors.items():
        offsets = [at, at + 4 * tensor.size]
        header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": offsets}
        at = offsets[1]
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    data = b"".join(tensor.astype("<f4").tobytes() for tensor in tensors.values())
    return struct.pack("<Q", len(text)) + text + data


class Model:
    """A model as it came: its card, and its weights by name in the order of the layers."""

    def __init__(self, blob):
        tensors, metadata = read_blob(blob)
        card = json.loads(metadata["model"])
        self.input = card["description"]["input"]
        self.classes = card["classes"]
        self.normalisation = card.get("normalisation")
        # Dense layers take rows, so all that flatten does is done before the first of them.
        self.dense = []  # (index of the layer, whether it ends in a ReLU)
        self.weights = {}
        layers = card["description"]["layers"]
        for index, layer in enumerate(layers):
            before = layers[index - 1]["type"] if index > 0 else None
            behind = layers[index + 1]["type"] if index + 1 < len(layers) else None
            if layer["type"] == "dense":
                self.dense.append((index, "relu" in (layer.get("activation"), behind)))
                for name in (f"{index}.kernel", f"{index}.bias"):
                    self.weights[name] = tensors[name].astype(np.float32)
            elif layer["type"] != "flatten" and (layer["type"], before) != ("relu", "dense"):
                raise NotDone("decline", "layer", f"no layer {layer['type']!r} in this place")
            known = layer.keys() <= {"type", "units", "activation", "name"}
            if not known or layer.get("activation", "relu") != "relu":
                raise NotDone("decline", "layer", f"layer {index} has more than this client does")
        if card["description"].keys() > {"input", "layers"}:
            raise NotDone("decline", "layer", "this client has no other loss than the default")

    def rows(self, x):
        """Examples as the first layer takes them."""
        x = np.asarray(x, np.float32).reshape([-1, *self.input])
        if self.normalisation is not None:
            names = ("scale", "mean", "deviation")
            scale, mean, deviation = (np.float32(self.normalisation[name]) for name in names)
            x = (x / scale - mean) / deviation
        return x.reshape(len(x), -1)

    def forward(self, weights, x):
        """The output of every dense layer behind the rows: the last are the logits."""
        outputs = [x]
        for index, rectified in self.dense:
            y = outputs[-1] @ weights[f"{index}.kernel"] + weights[f"{index}.bias"]
            outputs.append(np.maximum(y, 0) if rectified else y)
        return outputs

    def gradient(self, weights, x, labels, zeta, with_logits):
        """Gradient of F = cross-entropy + (zeta / 2) sum A_l; the cross-entropy; every A_l."""
        outputs = self.forward(weights, x)
        loss, dy = cross_entropy(outputs[-1], labels)
        dy[np.arange(len(x)), labels] -= 1
        dy /= len(x)
        gradient, norms = {}, []
        for place in reversed(range(len(self.dense))):
            (index, rectified), before, y = self.dense[place], outputs[place], outputs[place + 1]
            if rectified or (with_logits and place == len(self.dense) - 1):
                # y.size is B n_l: the examples of the batch times the elements of one.
                norms.insert(0, float(np.sum(np.square(y, dtype=np.float64)) / y.size))
                dy = dy + np.float32(zeta / y.size) * y
            if rectified:
                dy = dy * (y > 0)
            gradient[f"{index}.kernel"] = before.T @ dy
            gradient[f"{index}.bias"] = dy.sum(axis=0)
            dy = dy @ weights[f"{index}.kernel"].T
        return gradient, loss / len(x), norms


def cross_entropy(logits, labels):
    """Its sum over the examples, and the softmax."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    exponentials = np.exp(shifted)
    sums = exponentials.sum(axis=1, keepdims=True)
    own = shifted[np.arange(len(labels)), labels] - np.log(sums[:, 0])
    return -float(own.sum(dtype=np.float64)), exponentials / sums


def evaluate(model, x, labels):
    """What a `report` says."""
    logits = model.forward(model.weights, model.rows(x))[-1]
    loss, _ = cross_entropy(logits, labels)
    if not loss < 1e30:
        raise NotDone("failed", "diverged", "the loss is not finite")
    return {"count": len(x), "correct": int((logits.argmax(1) == labels).sum()), "loss": loss}


# The local round (algorithms.md)

# Type, least and most of each setting (protocol.md, `assign`).
SETTINGS = {
    "algorithm": (str, 0, 64),
    "algorithmSettings": (dict, 0, 1000),
    "localEpochs": (int, 1, 10_000),
    "batchSize": (int, 1, 65_536),
    "learningRate": (float, 0, 1e6),
    "initialLearningRate": (float, 0, 1e6),
    "weightDecay": (float, 0, 1e6),
    "clipNorm": (float, 0, 1e12),
    "zeta": (float, 0, 1e6),
    "manIncludesLogits": (bool, 0, 1),
    "shuffle": (bool, 0, 1),
    "population": (int, 1, 1e9),
    "meanSamples": (float, 0, 1e12),
    "seed": (str, 0, 256),
}


def check(settings):
    """Raises NotDone for a setting that this client does not know, or that is out of bounds."""
    for name in settings.keys() - SETTINGS.keys():
        if settings[name] is not None:
            raise NotDone("decline", "settings", f"this client has no setting {name!r}")
    for name, (kind, least, most) in SETTINGS.items():
        value = settings.get(name)
        fits = type(value) is kind or (kind is float and type(value) is int)
        size = len(value) if fits and kind in (str, dict) else value
        if not fits or not least <= size <= most:
            raise NotDone("decline", "settings", f"{name} is missing or out of bounds")
    if settings["algorithm"].split("+")[0] not in ALGORITHMS:
        raise NotDone("decline", "algorithm", f"this client has no {settings['algorithm']!r}")


def train(model, x, labels, settings, told, stopped):
    """One local round: the update's tensors, and the metrics of the offer.

    `told(epoch, batch, batches, loss)` hears of every step; `stopped()` says that nobody wants
    the rest. Raises NotDone where the loss or the weights are no longer finite.
    """
    began = time.monotonic()
    x = model.rows(x)
    weights = {name: value.copy() for name, value in model.weights.items()}

    def mean_loss():
        logits = model.forward(weights, x[:100])[-1]
        return cross_entropy(logits, labels[:100])[0] / len(logits)

    chance = np.random.default_rng(list(settings["seed"].encode()))
    size, eta = settings["batchSize"], np.float32(settings["learningRate"])
    batches = settings["localEpochs"] * -(-len(x) // size)
    before, batch = mean_loss(), 0
    for epoch in range(settings["localEpochs"]):
        order = chance.permutation(len(x)) if settings["shuffle"] else np.arange(len(x))
        norms = 0.0
        for begin in range(0, len(x), size):
            if stopped():
                raise NotDone("failed", "stopped", "the work is void")
            rows = order[begin : begin + size]
            man = settings["zeta"], settings["manIncludesLogits"]
            gradient, loss, measured = model.gradient(weights, x[rows], labels[rows], *man)
            norms += np.array(measured) * len(rows) / len(x)
            norm = sum(np.sum(np.square(g, dtype=np.float64)) for g in gradient.values()) ** 0.5
            clipped = 0 < settings["clipNorm"] < norm
            scale = np.float32(settings["clipNorm"] / norm if clipped else 1)
            for name, theta in weights.items():
                decay = np.float32(settings["weightDecay"]) * theta
                theta -= eta * (scale * gradient[name] + decay)
            batch += 1
            told(epoch, batch, batches, loss)
    delta = {f"delta/{name}": theta - model.weights[name] for name, theta in weights.items()}
    after = mean_loss()
    if not all(np.isfinite(d).all() for d in delta.values()) or not before + after < 1e30:
        raise NotDone("failed", "diverged", "the loss or the update is not finite")
    metrics = {"lossBefore": before, "lossAfter": after, "activationNorms": list(norms)}
    return delta, {**metrics, "seconds": time.monotonic() - began}
