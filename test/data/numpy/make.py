# The files of this folder, as NumPy 2.4.6 writes them: python3 make.py (needs nothing else). The readers' tests expect these numbers.
import numpy as np


def save(name, array, version):
    with open(f"{name}.npy", "wb") as file:
        np.lib.format.write_array(file, array, version=version)


save("u1", np.array([[0, 255], [7, 8]], dtype="u1"), (1, 0))
save("i1", np.array([-128, 127], dtype="i1"), (1, 0))
save("i2-version2", np.array([-(2**15), 2**15 - 1], dtype="<i2"), (2, 0))
save("i4-big-endian-version3", np.array([-(2**31), 2**31 - 1], dtype=">i4"), (3, 0))
save("i8", np.array([1 - 2**53, 2**53 - 1], dtype="i8"), (1, 0))
save("f4", np.array([0.1, -1e30], dtype="f4"), (1, 0))
save("f8", np.array([0.1, -1e300], dtype="f8"), (1, 0))
save("scalar", np.array(3.5), (1, 0))
save("fortran", np.asfortranarray(np.arange(6.0).reshape(2, 3)), (1, 0))
save("complex", np.array([1j]), (1, 0))
save("record", np.zeros(2, dtype=[("a", "i4")]), (1, 0))

x = np.arange(24, dtype="f4").reshape(2, 3, 4) / 8
np.savez_compressed(
    "deflated.npz",
    x_train=x,
    y_train=np.array([1, 0]),
    subject_train=np.array([5, -7], dtype="i2"),
    x_test=-x[:1],
    y_test=np.array([2], dtype="u1"),
    classes=np.array(["sit", "stand", "gehön"]),
)
np.savez("stored.npz", x=np.arange(4, dtype="u1").reshape(1, 2, 2), y=np.array([3]))

# Orders, halves and texts.
save("fortran-u1", np.asfortranarray(np.arange(24, dtype="u1").reshape(2, 3, 4)), (1, 0))
save("f2", np.array([1, -2.5, 65504, 2**-24, -(2**-14), 1 / 3, np.inf], dtype="f2"), (1, 0))
two = np.zeros((2, 1), dtype="f4")
np.savez(
    "big-endian-names.npz",
    x=two,
    y=np.array([0, 2]),
    classes=np.array(["aa", "bb", "gehön"]).astype(">U5"),
)
np.savez(
    "texts.npz",
    x=np.zeros((4, 1), dtype="f4"),
    y=np.array(["walk", "sit", "stand", "walk"]),
    subject=np.array(["bob", "ann", "ann", "bob"]),
)
np.savez("byte-texts.npz", x=two, y=np.array([b"walk", b"sit"]))
np.savez("extra-object.npz", x=two, y=np.array([0, 1]), meta=np.array([{"a": 1}, None], dtype=object))
wrong = np.zeros((2, 3, 4), dtype="f4")
wrong[1, 2, 3] = np.nan
np.savez("nan.npz", x=wrong, y=np.array([0, 1]))
