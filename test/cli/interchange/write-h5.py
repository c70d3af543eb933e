"""Writes an HDF5 file as Keras does: python3 write-h5.py PLAN.json OUT.h5

The plan: {"attributes": {name: text}, "numbers": {path: {"shape": [...], "data": [...]}}}
"""
import json, sys
import h5py, numpy
plan = json.load(open(sys.argv[1]))
with h5py.File(sys.argv[2], "w") as file:
    for name, text in plan["attributes"].items():
        file.attrs[name] = text
    for path, numbers in plan["numbers"].items():
        file.create_dataset(path, data=numpy.array(numbers["data"], numpy.float32).reshape(numbers["shape"]))
