"""Models that Keras 3 itself wrote, with inputs and outputs: python3 keras-models.py FOLDER"""
import os
os.environ.setdefault("KERAS_BACKEND", "jax")
import json, sys
import keras, numpy
from keras import layers

keras.utils.set_random_seed(3)
folder = sys.argv[1]


def shaken(model):
    """Random weights, so that no bias, shift or variance is where it began."""
    draw = numpy.random.default_rng(5)
    model.set_weights([
        draw.uniform(0.5, 1.5, w.shape) if w.path.endswith("variance") else draw.uniform(-0.4, 0.4, w.shape)
        for w in model.weights])
    return model


def images():
    x = keras.Input((8, 7, 3))
    y = layers.Rescaling(0.5, offset=0.1)(x)
    y = layers.Conv2D(4, 3, strides=2, padding="same", use_bias=False)(y)
    y = layers.BatchNormalization()(y)
    stem = layers.ReLU(max_value=6)(y)
    y = layers.ZeroPadding2D(((1, 1), (0, 2)))(stem)
    y = layers.DepthwiseConv2D(3, depth_multiplier=2)(y)
    y = layers.GlobalAveragePooling2D(keepdims=True)(y)
    y = layers.Conv2D(4, 1, activation="hard_sigmoid")(y)
    y = layers.Multiply()([stem, y])
    y = layers.GroupNormalization(2)(y)
    y = layers.Activation("silu")(y)
    y = layers.Conv2DTranspose(3, 3, strides=2, padding="same")(y)
    y = layers.Add()([y, layers.SeparableConv2D(3, 3, padding="same")(y)])
    y = layers.Flatten()(layers.MaxPooling2D(2)(y))
    return keras.Model(x, layers.Dense(1, activation="sigmoid")(layers.Dropout(0.5)(y)))


def steps():
    x = keras.Input((7, 3))
    y = layers.Conv1D(4, 3, padding="causal", activation="gelu")(x)
    y = layers.Bidirectional(layers.LSTM(2, return_sequences=True))(y)
    y = layers.LayerNormalization()(y)
    y = layers.MultiHeadAttention(2, 3)(y, y, use_causal_mask=True)
    y = layers.GRU(3, return_sequences=True)(y)
    y = layers.TimeDistributed(layers.Dense(4, activation="elu"))(y)
    y = layers.GRU(3, reset_after=False)(layers.LeakyReLU(negative_slope=0.01)(y))
    return keras.Model(x, layers.Dense(2)(y))


for make in (images, steps):
    model = shaken(make())
    name = make.__name__
    model.save(f"{folder}/{name}.keras")
    model.save(f"{folder}/{name}.h5")
    size = numpy.prod(model.input_shape[1:])
    x = numpy.sin(1.7 * numpy.arange(2 * size)).astype("float32").reshape((2, *model.input_shape[1:]))
    y = numpy.asarray(model(x))
    if name == "images":
        y = numpy.log(y / (1 - y))
    with open(f"{folder}/{name}.json", "w") as file:
        json.dump({"keras": keras.__version__, "x": x.flatten().tolist(), "y": y.flatten().tolist()}, file)
