"""What exports give in PyTorch, or in Keras: python3 run-written.py torch|keras FOLDER ...

Each folder has x.bin, shape.json and the export: model.py with model.safetensors, or model.keras.
The outputs go to y.bin.
"""
import importlib.util, json, sys
import numpy

program, *folders = sys.argv[1:]
for folder in folders:
    with open(f"{folder}/shape.json") as file:
        shape = json.load(file)
    x = numpy.fromfile(f"{folder}/x.bin", numpy.float32).reshape(shape)
    if program == "torch":
        import torch
        spec = importlib.util.spec_from_file_location("model", f"{folder}/model.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        with torch.no_grad():
            y = module.load()(torch.from_numpy(x)).numpy()
    else:
        import keras
        y = keras.models.load_model(f"{folder}/model.keras").predict(x, verbose=0)
    numpy.ascontiguousarray(y, numpy.float32).tofile(f"{folder}/y.bin")
