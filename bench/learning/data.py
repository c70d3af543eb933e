"""The data of one task as fedflat reads them, from what lies in SOURCE.

usage: data.py TASK SOURCE OUT, SOURCE with uci-har.npz, cifar-100-binary/ and tiny-shakespeare/input.txt
"""
import os, sys

import numpy as np

# Left out of training and told by its error: an activity that is neither the calmest nor the wildest.
LEFT_OUT = "WALKING_DOWNSTAIRS"
IMAGES = {"train": 5000, "test": 2000}
CHARACTERS = 300_000


def autoencoder(source, out):
    """Windows of 32, every fourth sample; the activity left out only in the test half."""
    data = np.load(f"{source}/uci-har.npz")
    left = list(data["classes"]).index(LEFT_OUT)
    for half in ("train", "test"):
        kept = data[f"y_{half}"] != left if half == "train" else slice(None)
        np.savez(f"{out}/{half}.npz", x=data[f"x_{half}"][kept, ::4], group=data[f"subject_{half}"][kept])
    np.save(f"{out}/anomalous.npy", data["y_test"] == left)


def forecast(source, out):
    """64 samples, and what all nine channels are five samples (0.1 s) behind the last of them."""
    data = np.load(f"{source}/uci-har.npz")
    for half in ("train", "test"):
        x = data[f"x_{half}"]
        np.savez(f"{out}/{half}.npz", x=x[:, :64], y=x[:, 68], group=data[f"subject_{half}"])


def images(source, out):
    """The first images of either half."""
    os.makedirs(f"{out}/cifar-100-binary", exist_ok=True)
    for half, count in IMAGES.items():
        rows = np.fromfile(f"{source}/cifar-100-binary/{half}.bin", np.uint8).reshape(-1, 3074)
        rows[:count].tofile(f"{out}/cifar-100-binary/{half}.bin")


def characters(source, out):
    """The beginning of the text, and the beginning of its last tenth."""
    with open(f"{source}/tiny-shakespeare/input.txt") as file:
        text = file.read()
    # A character that the first part lacks would be none of the model's.
    known = set(text[:CHARACTERS])
    behind = "".join(c for c in text[len(text) * 9 // 10 :][: CHARACTERS // 6] if c in known)
    for half, part in (("train", text[:CHARACTERS]), ("test", behind)):
        with open(f"{out}/{half}.txt", "w") as file:
            file.write(part)


task, source, out = sys.argv[1:]
os.makedirs(out, exist_ok=True)
{"autoencoder": autoencoder, "forecast": forecast, "resnet-8": images, "characters": characters}[task](source, out)
