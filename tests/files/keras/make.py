"""Makes the Keras files of this folder: every layer with its options, random weights, and what Keras computes.

    python -m venv keras && keras/bin/pip install keras==3.15.1 jax==0.10.2 h5py && keras/bin/python make.py
    python -m venv keras2 && keras2/bin/pip install tensorflow-cpu==2.15.1 && keras2/bin/python make.py

The first writes everything but `keras2_*`, which the second writes. Beside each model, an .npz has its inputs under their names and its
outputs as output_0, output_1, …, or with their names where the model names them; archives are packed again with deflate, so that both kinds of zip are read.
"""

import os

os.environ.setdefault("KERAS_BACKEND", "jax")
import sys
import zipfile

import keras
import numpy as np
from keras import layers as L

FOLDER = os.path.dirname(os.path.abspath(__file__))


def fill(model, seed):
    """Weights that differ, variances that are positive."""
    random = np.random.default_rng(seed)
    for weight in model.weights:
        values = random.normal(0, 0.4, weight.shape)
        positive = "variance" in weight.name
        if "int" not in str(weight.dtype):
            weight.assign((np.abs(values) + 0.5 if positive else values).astype("float64" if "64" in str(weight.dtype) else "float32"))


def save(name, model, inputs, ending=".keras", deflate=True):
    if not isinstance(model, keras.Model):
        keras.backend.clear_session()  # names count from the beginning
        model = model()
    random = np.random.default_rng(1)
    given = {}
    for tensor, spec in zip(model.inputs, inputs):
        shape, high = spec if isinstance(spec[0], tuple) else (spec, None)
        values = random.normal(0, 1, shape) if high is None else random.integers(0, high, shape)
        dtype = tensor.dtype if isinstance(tensor.dtype, str) else tensor.dtype.name
        given[tensor.name.split(":")[0]] = values.astype(dtype)
    fill(model, sum(map(ord, name)))
    for layer in model.layers:
        if hasattr(layer, "finalize_state"):  # Normalization remembers what it computes of its weights
            layer.finalize_state()
    outputs = model.predict(given, verbose=0, batch_size=64)
    if not isinstance(outputs, dict):
        outputs = dict(enumerate(outputs if isinstance(outputs, (list, tuple)) else [outputs]))
    path = os.path.join(FOLDER, name + ending)
    model.save(path)
    if deflate and ending == ".keras":
        with zipfile.ZipFile(path) as archive:
            parts = [(entry, archive.read(entry)) for entry in archive.namelist()]
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for entry, data in parts:
                archive.writestr(zipfile.ZipInfo(entry), data, zipfile.ZIP_DEFLATED)
    made = {f"output_{key}": np.asarray(y).astype("float64" if "64" in str(y.dtype) else "float32") for key, y in outputs.items()}
    np.savez_compressed(os.path.join(FOLDER, name + ".npz"), **given, **made)
    print(name, len(outputs), os.path.getsize(path))


def branches(shape, *layers, **kwargs):
    x = keras.Input(shape, name="x", **kwargs)
    return keras.Model(x, [layer(x) for layer in layers])


def affine():
    x = keras.Input((5, 4), name="x")
    i = keras.Input((6,), dtype="int32", name="tokens")
    return keras.Model([x, i], [
        L.Dense(3)(x), L.Dense(2, activation="softmax", use_bias=False)(x), L.Dense(3, activation=L.LeakyReLU(negative_slope=0.3))(x),
        L.EinsumDense("abc,cde->abde", output_shape=(None, 2, 3), bias_axes="de")(x),
        L.EinsumDense("...x,xy->...y", output_shape=7, bias_axes="y", activation="relu")(x),
        L.Embedding(9, 3)(i), L.Dense(2)(L.Flatten()(x)),
    ])


CONV = dict(kernel_size=3)


def convolution():
    a = keras.Input((9, 4), name="a")
    b = keras.Input((6, 7, 4), name="b")
    c = keras.Input((4, 5, 4, 2), name="c")
    f = keras.Input((4, 6, 7), name="f")
    g = keras.Input((None, None, 4), name="g")
    first = dict(data_format="channels_first")
    return keras.Model([a, b, c, f, g], [
        L.Conv1D(3, 3)(a), L.Conv1D(4, 3, padding="same", strides=2, groups=2)(a), L.Conv1D(3, 2, padding="causal", dilation_rate=3)(a),
        L.Conv2D(3, (3, 2), activation="relu")(b), L.Conv2D(2, 3, strides=(2, 1), padding="same", use_bias=False)(b),
        L.Conv2D(4, 2, dilation_rate=(2, 1), groups=2, activation="softmax")(b), L.Conv2D(3, 3, padding="same", **first)(f),
        L.Conv3D(2, 2, padding="same", strides=2)(c), L.Conv2D(2, 4, strides=3, padding="same")(g),
        L.DepthwiseConv1D(3, depth_multiplier=2, padding="same")(a), L.DepthwiseConv2D(2, strides=2, depth_multiplier=2)(b),
        L.DepthwiseConv2D(3, padding="same", **first)(f), L.SeparableConv1D(3, 3, depth_multiplier=2, padding="same")(a),
        L.SeparableConv2D(3, 2, strides=2, activation="tanh")(b), L.SeparableConv2D(2, 3, depth_multiplier=2, padding="same", **first)(f),
    ])


def convolution_transpose():
    a = keras.Input((5, 3), name="a")
    b = keras.Input((4, 5, 3), name="b")
    c = keras.Input((3, 2, 3, 2), name="c")
    f = keras.Input((3, 4, 5), name="f")
    return keras.Model([a, b, c, f], [
        L.Conv1DTranspose(2, 3)(a), L.Conv1DTranspose(2, 2, strides=3)(a), L.Conv1DTranspose(2, 4, strides=2, padding="same")(a),
        L.Conv2DTranspose(2, 3, strides=2, padding="same", activation="relu")(b), L.Conv2DTranspose(2, (3, 2), strides=(2, 3))(b),
        L.Conv2DTranspose(2, 3, strides=2, padding="same", output_padding=1)(b), L.Conv2DTranspose(2, 3, strides=3, output_padding=(2, 1))(b),
        L.Conv2DTranspose(2, 2, dilation_rate=2, use_bias=False)(b), L.Conv3DTranspose(2, 2, strides=2, padding="same")(c),
        L.Conv2DTranspose(2, 3, strides=2, data_format="channels_first")(f),
    ])


def pooling():
    a = keras.Input((7, 3), name="a")
    b = keras.Input((6, 7, 3), name="b")
    c = keras.Input((4, 5, 4, 2), name="c")
    g = keras.Input((None, 7, 3), name="g")
    made = []
    for kind in ["Max", "Average"]:
        pool = {rank: getattr(L, f"{kind}Pooling{rank}D") for rank in (1, 2, 3)}
        over = {rank: getattr(L, f"Global{kind}Pooling{rank}D") for rank in (1, 2, 3)}
        made += [
            pool[1](2)(a), pool[1](3, strides=1, padding="same")(a), pool[2]((2, 3))(b), pool[2](3, strides=2, padding="same")(b),
            pool[2](2, data_format="channels_first")(b), pool[3](2, strides=(1, 2, 1))(c), pool[2](3, strides=2, padding="same")(g),
            over[1]()(a), over[1](keepdims=True)(a), over[2]()(b), over[2](data_format="channels_first")(b), over[3](keepdims=True)(c),
        ]
    return keras.Model([a, b, c, g], made)


def normalisation():
    a = keras.Input((4, 5, 6), name="a")
    b = keras.Input((6,), name="b")
    adapted = L.Normalization(axis=-1)
    adapted.adapt(np.arange(24, dtype="float32").reshape(4, 6))
    return keras.Model([a, b], [
        L.BatchNormalization()(a), L.BatchNormalization(axis=1, epsilon=0.1)(a), L.BatchNormalization(center=False)(b),
        L.BatchNormalization(scale=False)(b), L.LayerNormalization()(a), L.LayerNormalization(axis=[1, 3])(a),
        L.LayerNormalization(axis=1, center=False)(a), L.LayerNormalization(scale=False, epsilon=0.01)(b), L.RMSNormalization()(a),
        L.RMSNormalization(axis=(2, 3))(a), L.GroupNormalization(3)(a), L.GroupNormalization(2, axis=1)(a), L.GroupNormalization(-1)(b),
        L.UnitNormalization()(a), L.UnitNormalization(axis=[1, 2])(a), adapted(b), L.Normalization(mean=1.5, variance=2.0, axis=None)(a),
        L.Normalization(mean=[1, 2, 3, 4, 5, 6], variance=[1, 4, 9, 1, 4, 9], invert=True)(b), L.Rescaling(0.5, offset=-1)(a),
        L.Rescaling([1, 2, 3, 4, 5, 6], offset=[1, 1, 1, 0, 0, 0])(b),
    ])


FUNCTIONS = """relu relu6 leaky_relu elu selu celu gelu silu sigmoid tanh softplus softsign exponential hard_sigmoid hard_silu hard_tanh
hard_shrink soft_shrink tanh_shrink threshold squareplus sparse_plus sparse_sigmoid log_sigmoid mish glu softmax log_softmax linear""".split()


def activation():
    x = keras.Input((3, 8), name="x")
    w = L.Rescaling(2.0)(x)
    made = [L.Activation(name)(w) for name in FUNCTIONS if name != "threshold"]
    return keras.Model(x, made + [
        L.ReLU()(w), L.ReLU(max_value=1.5)(w), L.ReLU(negative_slope=0.1, threshold=0.5, max_value=2)(w), L.ReLU(threshold=1)(w),
        L.LeakyReLU()(w), L.LeakyReLU(negative_slope=0.2)(w), L.ELU(alpha=0.5)(w), L.PReLU()(w), L.PReLU(shared_axes=[1])(w),
        L.Softmax()(w), L.Softmax(axis=1)(w), L.Softmax(axis=[1, 2])(w),
    ])


def shape():
    a = keras.Input((6, 4), name="a")
    b = keras.Input((4, 5, 3), name="b")
    c = keras.Input((2, 3, 4, 2), name="c")
    v = keras.Input((5,), name="v")
    first = dict(data_format="channels_first")
    return keras.Model([a, b, c, v], [
        L.Flatten()(b), L.Flatten(**first)(b), L.Reshape((3, -1))(a), L.Reshape((2, 3, 2, 2))(a), L.Permute((2, 1))(a), L.Permute((3, 1, 2))(b),
        L.RepeatVector(3)(v), L.ZeroPadding1D(2)(a), L.ZeroPadding1D((1, 0))(a), L.ZeroPadding2D(1)(b), L.ZeroPadding2D(((1, 0), (2, 3)))(b),
        L.ZeroPadding2D((1, 2), **first)(b), L.ZeroPadding3D((1, 0, 2))(c), L.Cropping1D((1, 2))(a), L.Cropping2D(((1, 0), (1, 2)))(b),
        L.Cropping2D(1, **first)(b), L.Cropping3D((0, 1, 1))(c), L.UpSampling1D(3)(a), L.UpSampling2D((2, 3))(b),
        L.UpSampling2D(2, interpolation="bilinear")(b), L.UpSampling2D(2, **first)(b), L.UpSampling3D((1, 2, 2))(c), L.Dropout(0.5)(a),
        L.SpatialDropout1D(0.5)(a), L.SpatialDropout2D(0.5)(b), L.SpatialDropout3D(0.5)(c), L.GaussianDropout(0.3)(a), L.GaussianNoise(0.3)(a), L.AlphaDropout(0.3)(a),
        L.ActivityRegularization(0.1)(a), L.Identity()(a),
    ])


def recurrent():
    x = keras.Input((5, 3), name="x")
    t = keras.Input((None, 3), name="t")
    h = keras.Input((4,), name="h")
    full = dict(return_sequences=True)
    made = [
        L.SimpleRNN(4)(x), L.SimpleRNN(2, activation="relu", use_bias=False, **full)(x), L.SimpleRNN(3, go_backwards=True, **full)(x),
        L.LSTM(4)(x), L.LSTM(3, **full)(t), L.LSTM(2, recurrent_activation="hard_sigmoid", activation="softsign", go_backwards=True)(x),
        L.LSTM(2, use_bias=False, go_backwards=True, **full)(x), L.GRU(4)(x), L.GRU(3, reset_after=False, **full)(t),
        L.GRU(2, use_bias=False, reset_after=False)(x), L.GRU(2, use_bias=False)(x), L.LSTM(4)(x, initial_state=[h, h]),
        *L.LSTM(2, return_state=True)(x), *L.GRU(2, return_state=True, **full)(x),
        L.RNN(L.LSTMCell(3))(x), L.RNN([L.GRUCell(3), L.LSTMCell(2), L.SimpleRNNCell(2)], **full)(x), L.RNN(L.GRUCell(2), go_backwards=True)(x),
    ]
    for mode in ["concat", "sum", "mul", "ave"]:
        made.append(L.Bidirectional(L.LSTM(2, **full), merge_mode=mode)(x))
    made += [L.Bidirectional(L.GRU(3))(t), *L.Bidirectional(L.SimpleRNN(2), merge_mode=None)(x)]
    made += [L.Bidirectional(L.GRU(2, **full), backward_layer=L.LSTM(2, go_backwards=True, **full))(x)]
    made += list(L.Bidirectional(L.LSTM(2, return_state=True))(x))
    made += [L.TimeDistributed(L.Dense(2, activation="tanh"))(t)]
    return keras.Model([x, t, h], made)


def attention():
    q = keras.Input((4, 6), name="q")
    v = keras.Input((5, 3), name="v")
    m = keras.Input((4, 5), dtype="bool", name="m")
    n = keras.Input((None, 6), name="n")
    g = L.GroupQueryAttention(4, 4, 2)
    return keras.Model([q, v, m, n], [
        L.MultiHeadAttention(2, 3)(q, v), L.MultiHeadAttention(2, 3, value_dim=2, use_bias=False, dropout=0.1)(q, q, use_causal_mask=True),
        L.MultiHeadAttention(2, 3, output_shape=7)(q, v, v, attention_mask=m), L.MultiHeadAttention(3, 2, dropout=0.1)(n, n),
        *L.MultiHeadAttention(2, 4)(q, v, return_attention_scores=True), g(q, q), L.Attention()([n, q]),
        L.Attention(use_scale=True, dropout=0.2)([q, n, n], use_causal_mask=True),
        *L.Attention()([q, q], return_attention_scores=True),
        L.MultiHeadAttention(2, 3, sliding_window=2)(q, q),
    ])


def merge():
    a = keras.Input((3, 4), name="a")
    b = keras.Input((3, 4), name="b")
    c = keras.Input((4,), name="c")
    return keras.Model([a, b, c], [
        L.Add()([a, b, a]), L.Subtract()([a, b]), L.Multiply()([a, b]), L.Average()([a, b, a]), L.Maximum()([a, b]), L.Minimum()([a, b]),
        L.Concatenate()([a, b]), L.Concatenate(axis=1)([a, b, a]), L.Dot(axes=2)([a, b]), L.Dot(axes=(2, 1))([a, c]),
        L.Dot(axes=1, normalize=True)([c, c]), L.Dot(axes=(1, 1))([a, b]), L.Add()([a, c]), L.Multiply()([c, a]),
    ])


def operations():
    from keras import ops

    x = keras.Input((6, 4), name="x")
    y = keras.Input((6, 4), name="y")
    i = keras.Input((6,), dtype="int32", name="i")
    p = ops.abs(x) + 0.5
    return keras.Model([x, y, i], [
        x[:, 1:, ::2], x[:, 0], x[..., None], x[:, ::-1], x[:, -2:, 1], x[:, 4:1:-2], ops.mean(x, axis=-1, keepdims=True), ops.max(x, axis=(1, 2)),
        ops.min(x, axis=1), ops.sum(x, axis=1), ops.prod(x, axis=-1), ops.var(x, axis=-1), ops.std(x, axis=[1, 2]), ops.logsumexp(x, axis=1),
        ops.reshape(x, (-1, 24)), ops.reshape(x, (-1, 3, 8)), ops.transpose(x, (0, 2, 1)), ops.swapaxes(x, 1, 2), ops.moveaxis(x, 1, 2),
        ops.matmul(x, ops.transpose(y, (0, 2, 1))), ops.einsum("abc,adc->abd", x, y), ops.einsum("abc,abd->acd", x, y), ops.softmax(x, axis=1),
        ops.log_softmax(x), ops.relu(x), ops.leaky_relu(x), ops.gelu(x), ops.gelu(x, approximate=False), ops.elu(x, alpha=0.5), ops.celu(x),
        ops.silu(x), ops.sigmoid(x), ops.softplus(x), ops.selu(x), ops.hard_sigmoid(x), ops.relu6(x), ops.log_sigmoid(x),
        ops.concatenate([x, y], axis=1), ops.stack([x, y], axis=1), *ops.split(x, 2, axis=-1), *ops.split(x, [1, 4], axis=1),
        ops.squeeze(ops.expand_dims(x, 1), 1), ops.expand_dims(x, -1), ops.cast(i, "float32"), ops.clip(x, -0.5, 0.25), ops.where(x > 0, x, 2 * y),
        ops.power(p, 1.5), x**2, ops.square(x), ops.sqrt(p), ops.rsqrt(p), ops.log(p), ops.exp(x), ops.sin(x), ops.cos(x), ops.tanh(x), ops.erf(x),
        ops.one_hot(i, 4), ops.take(x, [0, 3, 1], axis=1), ops.pad(x, ((0, 0), (1, 2), (0, 0))), ops.pad(x, ((0, 0), (1, 1), (0, 0)), mode="reflect"),
        ops.maximum(x, 0.25), ops.minimum(x, y), ops.normalize(x), ops.repeat(x, 2, axis=1), ops.tile(x, (1, 2, 1)), ops.flip(x, axis=1),
        ops.cast(ops.logical_and(i > 1, ops.logical_not(ops.equal(i, 3))), "float32"), ops.cast(ops.argmax(x, axis=-1), "float32"), -x, abs(x), 1 / p,
        x / p, x // 0.5, x % 0.75, x - y, 2 - x, x * y + 1, ops.floor(x), ops.ceil(x), ops.sign(x), ops.zeros_like(x), ops.ones_like(x),
    ])


def nested():
    a = keras.Input((3,), name="a")
    b = keras.Input((2, 3), name="b")
    inner_input = keras.Input((3,))
    inner = keras.Model(inner_input, [L.Dense(3, name="same")(inner_input), L.Dense(2)(inner_input)], name="inner")
    block = keras.Sequential([keras.Input((3,)), L.Dense(4, activation="relu"), L.BatchNormalization(), L.Dense(3, name="same")], name="block")
    shared = L.Dense(3, name="same")
    first, second = inner(a)
    again, _ = inner(shared(first))
    return keras.Model({"a": a, "b": b}, {
        "twice": shared(again), "block": block(first), "block_again": block(block(a)), "steps": L.TimeDistributed(block)(b), "second": second,
    })


def trained():
    model = keras.Sequential([
        keras.Input((8, 8, 1), name="x"),
        L.Conv2D(3, 3, activation="relu", kernel_regularizer=keras.regularizers.L2(0.01)), L.BatchNormalization(), L.MaxPooling2D(), L.Flatten(),
        L.Dropout(0.25), L.Dense(5, kernel_constraint=keras.constraints.MaxNorm(3)), L.Dense(4, trainable=False),
    ])
    model.compile(
        optimizer=keras.optimizers.SGD(0.1, momentum=0.9, nesterov=True),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"],
    )
    return model


def double():
    return keras.Sequential([keras.Input((4,), dtype="float64", name="x"), L.Dense(3, dtype="float64", activation="tanh")])


def mixed():
    return keras.Sequential([keras.Input((4,), name="x"), L.Dense(3, dtype="mixed_bfloat16"), L.Dense(2, dtype="float32")])


def keras3():
    save("affine", affine, [(2, 5, 4), ((2, 6), 9)])
    save("convolution", convolution, [(2, 9, 4), (2, 6, 7, 4), (2, 4, 5, 4, 2), (2, 4, 6, 7), (2, 8, 5, 4)])
    save("convolution_transpose", convolution_transpose, [(2, 5, 3), (2, 4, 5, 3), (2, 3, 2, 3, 2), (2, 3, 4, 5)])
    save("pooling", pooling, [(2, 7, 3), (2, 6, 7, 3), (2, 4, 5, 4, 2), (2, 5, 7, 3)])
    save("normalisation", normalisation, [(2, 4, 5, 6), (2, 6)])
    save("activation", activation, [(2, 3, 8)])
    save("shape", shape, [(2, 6, 4), (2, 4, 5, 3), (2, 2, 3, 4, 2), (2, 5)])
    save("recurrent", recurrent, [(2, 5, 3), (2, 7, 3), (2, 4)])
    save("attention", attention, [(2, 4, 6), (2, 5, 3), ((2, 4, 5), 2), (2, 5, 6)])
    save("merge", merge, [(2, 3, 4), (2, 3, 4), (2, 4)])
    save("operations", operations, [(2, 6, 4), (2, 6, 4), ((2, 6), 4)])
    save("nested", nested, [(2, 3), (2, 2, 3)])
    save("nested_old", nested, [(2, 3), (2, 2, 3)], ending=".h5")
    save("trained", trained, [(2, 8, 8, 1)], deflate=False)
    save("mixed", mixed, [(2, 4)])
    keras.backend.clear_session()
    with open(os.path.join(FOLDER, "config.json"), "w") as file:
        file.write(trained().to_json(indent=1))


def keras2():
    a = keras.Input((3,), name="a")
    b = keras.Input((4, 3), name="b")
    block = keras.Sequential([keras.Input((3,)), L.Dense(4, activation="hard_sigmoid"), L.BatchNormalization(), L.Dense(3)], name="block")
    inner_input = keras.Input((3,))
    inner = keras.Model(inner_input, L.Dense(3)(inner_input), name="inner")
    shared = L.Dense(3, name="shared")
    x = L.Add()([shared(block(a)), inner(inner(shared(a)))])
    y = L.Bidirectional(L.LSTM(2, return_sequences=True))(b)
    y = L.GRU(3, reset_after=True)(L.TimeDistributed(L.Dense(3))(y))
    z = L.MultiHeadAttention(2, 2)(b, b)
    z = L.GlobalAveragePooling1D()(L.LeakyReLU(alpha=0.2)(z))
    picture = keras.Input((6, 6, 2), name="picture")
    w = L.DepthwiseConv2D(3, padding="same")(L.Conv2D(3, 3)(picture))
    w = L.Flatten()(L.ReLU(6.0)(L.BatchNormalization()(w)))
    model = keras.Model([a, b, picture], [L.Concatenate()([x, y]), z, L.Dense(2, activation="softmax")(w)])
    model.compile("adam", "mse")
    inputs = [(2, 3), (2, 4, 3), (2, 6, 6, 2)]
    save("keras2_functional", model, inputs, ending=".h5")
    save("keras2_archive", model, inputs)
    save("keras2_double", double, [(2, 4)])
    sequential = keras.Sequential([L.Embedding(7, 3, input_length=5, name="tokens"), L.LSTM(4), L.Dense(2, activation="sigmoid")])
    sequential.build((None, 5))
    fill(sequential, 3)
    tokens = np.random.default_rng(2).integers(0, 7, (2, 5)).astype("int32")
    outputs = sequential.predict(tokens, verbose=0)
    sequential.save(os.path.join(FOLDER, "keras2_sequential.h5"))
    np.savez_compressed(os.path.join(FOLDER, "keras2_sequential.npz"), tokens_input=tokens, output_0=outputs)


if keras.__version__.startswith("3"):
    keras3()
else:
    keras2()
