"""Makes gradients_*.npz of this folder: what Keras's gradients are, in training mode, of models and inputs that make.py made.

    python -m venv keras && keras/bin/pip install keras==3.15.1 tensorflow-cpu==2.21.0 && keras/bin/python gradients.py

What is differentiated is the sum of the mean squares of all floating outputs, `squares`. `weights` has the gradients by all trainable
weights one behind the other, flat, and `first` the first element of each weight itself, by which it is known: paths of weights are not
unique. `input/NAME` is the gradient by a floating input. Dropout inside attention and recurrent layers, which Kiln leaves out, is turned
off; the model of layers that do nothing but draw random numbers is left out.
"""

import os

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras
import numpy as np
import tensorflow as tf

FOLDER = os.path.dirname(os.path.abspath(__file__))
MODELS = [
    "affine", "convolution", "convolution_transpose", "pooling", "normalisation", "activation", "recurrent", "attention", "merge", "operations",
    "nested",
]

for name in MODELS:
    model = keras.saving.load_model(os.path.join(FOLDER, name + ".keras"))
    for layer in model._flatten_layers():
        for rate in ["dropout", "recurrent_dropout", "_dropout"]:
            if rate in vars(layer):
                setattr(layer, rate, 0.0)
    arrays = np.load(os.path.join(FOLDER, name + ".npz"))
    names = [tensor.name.split(":")[0] for tensor in model.inputs]
    given = {input: tf.constant(arrays[input]) for input in names}
    smooth = {input: x for input, x in given.items() if x.dtype.is_floating}
    with tf.GradientTape() as tape:
        for x in smooth.values():
            tape.watch(x)
        outputs = [y for y in tf.nest.flatten(model(given, training=True)) if y.dtype.is_floating]
        squares = sum(tf.reduce_mean(tf.square(y)) for y in outputs)
    weights = model.trainable_variables
    gradients = tape.gradient(squares, [weight.value for weight in weights] + list(smooth.values()))
    flat = [tf.reshape(tf.convert_to_tensor(g), [-1]) for g in gradients]
    np.savez_compressed(
        os.path.join(FOLDER, f"gradients_{name}.npz"),
        squares=squares.numpy(),
        first=np.array([weight.numpy().flat[0] for weight in weights], dtype="float32"),
        weights=np.concatenate([np.zeros(0, "float32"), *(g.numpy() for g in flat[: len(weights)])]),
        **{f"input/{input}": tf.convert_to_tensor(g).numpy() for input, g in zip(smooth, gradients[len(weights) :])},
    )
