"""Makes the files of this folder that are about training: compiled models, and what Keras computes when it trains them.

    python -m venv keras && keras/bin/pip install keras==3.15.1 tensorflow-cpu==2.21.0 && keras/bin/python train.py

Beside train_NAME.keras, train_NAME.npz has `x/INPUT` and `target/OUTPUT`, the batches of all steps, [steps, batch, ..]; `losses`, those of
each step before it, without what weights cost; and `after/OUTPUT`, what the network predicts for the first batch after the last step.
"""

import os

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import zipfile

import keras
import numpy as np
from keras import layers as L

FOLDER = os.path.dirname(os.path.abspath(__file__))
STEPS, BATCH = 5, 6


def picture():
    model = keras.Sequential([
        keras.Input((6, 6, 2), name="x"),
        L.Conv2D(4, 3, padding="same", use_bias=False, kernel_regularizer=keras.regularizers.L2(0.01)), L.BatchNormalization(momentum=0.8),
        L.ReLU(), L.MaxPooling2D(), L.SeparableConv2D(3, 2, activation="gelu"), L.LayerNormalization(), L.Flatten(),
        L.Dense(4, activation="tanh", kernel_constraint=keras.constraints.MaxNorm(1)), L.Dense(3, activation="softmax", name="y"),
    ])
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9, nesterov=True), "sparse_categorical_crossentropy")
    return model, {"x": (6, 6, 2)}, {"y": ((), 3)}


def sequence():
    tokens = keras.Input((5,), dtype="int32", name="x")
    x = L.Embedding(7, 4)(tokens)
    x = L.Bidirectional(L.LSTM(2, return_sequences=True))(x)
    x = L.LayerNormalization()(L.Add()([x, L.MultiHeadAttention(2, 2)(x, x)]))
    model = keras.Model(tokens, L.Dense(2, activation="sigmoid", name="y")(L.GRU(3)(x)))
    model.compile(keras.optimizers.Adam(0.01, global_clipnorm=0.5), "binary_crossentropy")
    return model, {"x": ((5,), 7)}, {"y": (2,)}


def several():
    a, b = keras.Input((6, 2), name="a"), keras.Input((4,), name="b")
    x = L.PReLU(shared_axes=[1])(L.BatchNormalization(scale=False, momentum=0.5)(L.Conv1D(4, 3, padding="causal")(a)))
    x = L.SimpleRNN(3)(L.GroupNormalization(2)(x))
    y = L.Concatenate()([x, L.Dense(3, trainable=False, activation="elu")(b), L.UnitNormalization()(b)])
    first, second = L.Dense(2, name="first")(y), L.Dense(3, name="second")(y)
    model = keras.Model([a, b], {"first": first, "second": second})
    model.compile(
        keras.optimizers.RMSprop(0.01, centered=True, momentum=0.5, clipvalue=0.2),
        {"first": keras.losses.Huber(), "second": keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1)},
        loss_weights={"first": 2.0, "second": 0.5},
    )
    return model, {"a": (6, 2), "b": (4,)}, {"first": (2,), "second": (3,)}


def optimiser(optimiser):
    def make():
        # Gradients are small, so that the place of epsilon shows.
        model = keras.Sequential([keras.Input((3,), name="x"), L.Dense(3, activation="tanh"), L.Rescaling(0.01), L.Dense(2, name="y")])
        model.compile(optimiser, "mse")
        return model, {"x": (3,)}, {"y": (2,)}

    return make


O = keras.optimizers
MODELS = {
    "picture": picture, "sequence": sequence, "several": several,
    "rmsprop": optimiser(O.RMSprop(0.01)), "adagrad": optimiser(O.Adagrad(0.1, epsilon=0.01)), "adadelta": optimiser(O.Adadelta(1.0)),
    "adam": optimiser(O.Adam(0.01, epsilon=0.01, amsgrad=True)), "adamw": optimiser(O.AdamW(0.01, weight_decay=0.1)),
    "lion": optimiser(O.Lion(0.01, weight_decay=0.1)), "accumulate": optimiser(O.SGD(0.1, gradient_accumulation_steps=2)),
}


def batches(random, spec):
    if isinstance(spec, tuple) and spec and isinstance(spec[0], tuple):
        shape, high = spec
        return random.integers(0, high, (STEPS, BATCH, *shape)).astype("int32")
    return random.normal(0, 1, (STEPS, BATCH, *spec)).astype("float32")


def targets(random, output, spec):
    drawn = batches(random, spec)
    if output == "second":  # a distribution
        return np.exp(drawn) / np.exp(drawn).sum(-1, keepdims=True)
    if drawn.dtype == "int32":
        return drawn.astype("int64")
    return (drawn > 0).astype("float32")


for name, make in MODELS.items():
    keras.backend.clear_session()
    model, inputs, outputs = make()
    random = np.random.default_rng(sum(map(ord, name)))
    for weight in model.weights:
        values = random.normal(0, 0.4, weight.shape)
        weight.assign(np.abs(values) + 0.5 if "variance" in weight.name else values)
    path = os.path.join(FOLDER, f"train_{name}")
    model.save(path + ".keras")
    with zipfile.ZipFile(path + ".keras") as archive:
        parts = [(entry, archive.read(entry)) for entry in archive.namelist()]
    with zipfile.ZipFile(path + ".keras", "w", zipfile.ZIP_DEFLATED) as archive:
        for entry, data in parts:
            archive.writestr(zipfile.ZipInfo(entry), data, zipfile.ZIP_DEFLATED)
    x = {input: batches(random, spec) for input, spec in inputs.items()}
    y = {output: targets(random, output, spec) for output, spec in outputs.items()}
    one = lambda arrays, step: {key: a[step] for key, a in arrays.items()} if len(arrays) > 1 else next(iter(arrays.values()))[step]
    losses = []
    for step in range(STEPS):
        cost = float(sum(model.losses)) if model.losses else 0.0
        model.reset_metrics()
        loss = model.train_on_batch(one(x, step), one(y, step), return_dict=True)["loss"]
        losses.append(float(loss) - cost)
    after = model.predict(one(x, 0), verbose=0)
    after = after if isinstance(after, dict) else {next(iter(outputs)): after}
    made = {f"x/{key}": a for key, a in x.items()} | {f"target/{key}": a for key, a in y.items()} | {f"after/{key}": a for key, a in after.items()}
    np.savez_compressed(path + ".npz", losses=np.array(losses, dtype="float64"), **made)
    print(name, losses)
