"""Writes state_dicts of PyTorch as safetensors, with inputs and outputs: python3 state-dict.py FOLDER"""
import json, struct, sys
import torch
from torch import nn
torch.manual_seed(7)

class Last(nn.Module):
    """The last step of a recurrent layer."""
    def __init__(self, layer):
        super().__init__()
        self.layer = layer
    def forward(self, x):
        return self.layer(x)[0][:, -1]

def save(name, state, x, y):
    header, data, at = {}, b"", 0
    for key in sorted(state):
        part = state[key].detach().contiguous().float().numpy().tobytes()
        header[key] = {"dtype": "F32", "shape": list(state[key].shape), "data_offsets": [at, at + len(part)]}
        data += part
        at += len(part)
    text = json.dumps(header).encode()
    with open(f"{sys.argv[1]}/{name}.safetensors", "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)
    with open(f"{sys.argv[1]}/{name}.json", "w") as file:
        json.dump({"x": x.flatten().tolist(), "y": y.flatten().tolist()}, file)

images = nn.Sequential(
    nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3, groups=4), nn.GroupNorm(2, 4), nn.MaxPool2d(2),
    nn.ConvTranspose2d(4, 5, 2, stride=2), nn.Flatten(), nn.Linear(5 * 36, 6), nn.Tanh(), nn.Linear(6, 3))
x = torch.randn(2, 3, 8, 8)
save("images", images.state_dict(), x.permute(0, 2, 3, 1), images(x))
for name, layer in (("gru", nn.GRU), ("lstm", nn.LSTM)):
    steps = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), Last(layer(4, 5, batch_first=True)), nn.Linear(5, 2))
    x = torch.randn(2, 6, 3)
    save(name, steps.state_dict(), x, steps(x))
