"""The networks that make.py trains: each as a model file and as a function of PyTorch."""

import math

import numpy as np
import torch
import torch.nn.functional as f
from torch.func import functional_call

torch.version.cuda = None  # torchaudio asks for the same CUDA as PyTorch's, of which nothing is used here
import torchaudio  # noqa: E402

CASES = []


def nothing(*_):
    return 0


class Case:
    """A network: `layers` and `train` are parts of its model file, `parameters` has shapes, `statistics` shapes and first values."""

    def __init__(
        self, name, network, layers, inputs, parameters, statistics={}, train="", outputs=(), target=None, targets=None, loss=None,
        optimiser=None, rate=0.1, steps=3, penalty=nothing, clip=nothing, constrain=nothing, accumulate=1, ema=0.0, frozen=(),
    ):
        self.name, self.network, self.inputs, self.parameters, self.statistics = name, network, inputs, parameters, statistics
        self.targets = targets if targets is not None else {"output": values(target)}
        self.loss = loss or f.mse_loss
        self.optimiser = optimiser or (lambda p: torch.optim.SGD(p, lr=rate))
        self.steps, self.penalty, self.clip, self.constrain = steps, penalty, clip, constrain
        self.accumulate, self.ema, self.frozen = accumulate, ema, frozen
        toml = "input = [\n"
        for input, spec in inputs.items():
            shape, dtype = (spec[0], ', dtype = "i64"') if isinstance(spec, tuple) else (spec, "")
            dtype += f", text = {spec[3]}" if isinstance(spec, tuple) and len(spec) > 3 else ""
            toml += f'  {{ name = "{input}", shape = {shape[1:]}{dtype} }},\n'
        toml += "]\nlayer = [\n" + "".join(f"  {layer},\n" for layer in layers) + "]\n"
        if outputs:
            toml += "outputs = [" + ", ".join(f'"{output}"' for output in outputs) + "]\n"
        toml += "[train]\n"
        toml += "" if loss else 'loss = "mse"\n'
        toml += "" if optimiser else 'optimiser = "sgd"\n'
        toml += f"learning_rate = {rate}\n" + train
        self.toml = toml
        CASES.append(self)


def values(shape):
    return lambda random, steps: random.normal(0, 1, (steps, *shape)).round(2)


def labels(shape, classes):
    return lambda random, steps: random.integers(0, classes, (steps, *shape))


def distributions(shape):
    def make(random, steps):
        weights = random.random((steps, *shape)) + 0.1
        return weights / weights.sum(-1, keepdims=True)

    return make


def affine(p, name, x):
    y = x @ p[name + ".weight"]
    return y + p[name + ".bias"] if name + ".bias" in p else y


def affine_shapes(name, features, units):
    return {name + ".weight": (features, units), name + ".bias": (units,)}


# Affine layers and convolutions

Case(
    "dense",
    lambda p, x: affine(p, "second", torch.tanh(affine(p, "first", x))),
    ['{ type = "dense", name = "first", units = 4, activation = "tanh", l1 = 0.02, l2 = 0.03 }',
     '{ type = "dense", name = "second", units = 2, bias = false, activity_l1 = 0.05, activity_l2 = 0.01 }'],
    {"x": [3, 2, 5]}, {**affine_shapes("first", 5, 4), "second.weight": (4, 2)}, target=(3, 2, 2), outputs=["second"],
    targets={"second": values((3, 2, 2))},
    penalty=lambda p, y: 0.02 * p["first.weight"].abs().sum() + 0.03 * p["first.weight"].square().sum()
    + (0.05 * y.abs().sum() + 0.01 * y.square().sum()) / 3,
)
Case(
    "conv1d",
    lambda p, x: f.silu(f.conv1d(f.pad(x, (1, 1)), p["conv1d.weight"], p["conv1d.bias"], stride=2, groups=2)),
    ['{ type = "conv1d", filters = 6, kernel = 3, strides = 2, groups = 2, padding = "same", activation = "silu" }'],
    {"x": [2, 4, 7]}, {"conv1d.weight": (6, 2, 3), "conv1d.bias": (6,)}, target=(2, 6, 4),
)
Case(
    "conv2d",
    lambda p, x: f.softplus(f.conv2d(f.pad(x, (1, 1, 1, 1)), p["conv2d.weight"], p["conv2d.bias"], stride=(2, 1), dilation=(1, 2), groups=2)),
    ['{ type = "conv2d", filters = 4, kernel = [3, 2], strides = [2, 1], dilation = [1, 2], groups = 2, padding = "same", '
     'activation = "softplus" }'],
    {"x": [2, 2, 5, 6]}, {"conv2d.weight": (4, 1, 3, 2), "conv2d.bias": (4,)}, target=(2, 4, 3, 6),
)
Case(
    "conv3d",
    lambda p, x: f.conv3d(x, p["conv3d.weight"], p["conv3d.bias"], stride=(1, 2, 1), dilation=(1, 1, 2), padding=1),
    ['{ type = "conv3d", filters = 2, kernel = 2, strides = [1, 2, 1], dilation = [1, 1, 2], padding = 1 }'],
    {"x": [2, 3, 3, 4, 3]}, {"conv3d.weight": (2, 3, 2, 2, 2), "conv3d.bias": (2,)}, target=(2, 2, 4, 3, 3),
)
Case(
    "depthwise",
    lambda p, x: f.conv2d(
        f.conv1d(x, p["depthwise_conv1d.weight"], p["depthwise_conv1d.bias"], stride=2, groups=2).reshape(-1, 2, 4, 4),
        p["depthwise_conv2d.weight"], stride=(1, 2), groups=2),
    ['{ type = "depthwise_conv1d", kernel = 3, multiplier = 2, strides = 2 }',
     '{ type = "reshape", shape = [2, 4, 4] }',
     '{ type = "depthwise_conv2d", kernel = [2, 3], multiplier = 3, strides = [1, 2], bias = false }'],
    {"x": [3, 2, 17]},
    {"depthwise_conv1d.weight": (4, 1, 3), "depthwise_conv1d.bias": (4,), "depthwise_conv2d.weight": (6, 1, 2, 3)}, target=(3, 6, 3, 1),
)
Case(
    "conv_transpose",
    lambda p, x, y, z: {
        "a": f.conv_transpose1d(x, p["a.weight"], p["a.bias"], stride=2, padding=1, output_padding=1),
        "b": f.conv_transpose2d(y, p["b.weight"], p["b.bias"], stride=2, padding=1, output_padding=(1, 0)),
        "c": f.conv_transpose3d(z, p["c.weight"], stride=(1, 2, 1), padding=(0, 1, 1), output_padding=(0, 1, 0)),
    },
    ['{ type = "conv_transpose1d", name = "a", inputs = "x", filters = 3, kernel = 3, strides = 2, padding = 1, output_padding = 1 }',
     '{ type = "conv_transpose2d", name = "b", inputs = "y", filters = 2, kernel = [3, 2], strides = 2, padding = 1, '
     'output_padding = [1, 0] }',
     '{ type = "conv_transpose3d", name = "c", inputs = "z", filters = 2, kernel = [2, 3, 2], strides = [1, 2, 1], padding = [0, 1, 1], '
     'output_padding = [0, 1, 0], bias = false }'],
    {"x": [2, 2, 5], "y": [2, 2, 4, 3], "z": [2, 2, 2, 1, 3]},
    {"a.weight": (2, 3, 3), "a.bias": (3,), "b.weight": (2, 2, 3, 2), "b.bias": (2,), "c.weight": (2, 2, 2, 3, 2)},
    outputs=["a", "b", "c"],
    targets={"a": values((2, 3, 10)), "b": values((2, 2, 8, 4)), "c": values((2, 2, 3, 2, 2))},
    loss=lambda a, b, c, s, t, u: f.mse_loss(a, s) + 0.5 * f.mse_loss(b, t) + 2 * f.mse_loss(c, u),
    train='loss = [{ type = "mse", output = "a" }, { type = "mse", output = "b", weight = 0.5 }, { type = "mse", output = "c", weight = 2 }]\n',
)

# Pooling


def pooled1d(p, x):
    x = f.conv1d(x, p["conv1d.weight"], p["conv1d.bias"])
    x = f.max_pool1d(f.pad(x, (1, 1), value=-math.inf), 3, stride=2)
    return f.avg_pool1d(x, 3, stride=1, padding=1, count_include_pad=False)


def pooled2d(p, x):
    x = f.conv2d(x, p["conv2d.weight"], p["conv2d.bias"])
    y = f.max_pool2d(f.pad(x, (0, 1, 0, 1), value=-math.inf), 2)
    z = f.avg_pool2d(x, 3, stride=(1, 2), padding=1, count_include_pad=False)
    return {"largest": y.amax((2, 3)), "mean": z.mean((2, 3))}


def pooled3d(p, x):
    x = f.conv3d(x, p["conv3d.weight"], p["conv3d.bias"])
    return f.avg_pool3d(f.max_pool3d(x, (2, 3, 2), stride=1, padding=1), (1, 2, 3), stride=(1, 2, 2))


Case(
    "pool1d", pooled1d,
    ['{ type = "conv1d", filters = 3, kernel = 2 }', '{ type = "max_pool1d", size = 3, strides = 2, padding = "same" }',
     '{ type = "avg_pool1d", size = 3, strides = 1, padding = 1 }'],
    {"x": [2, 2, 8]}, {"conv1d.weight": (3, 2, 2), "conv1d.bias": (3,)}, target=(2, 3, 4),
)
Case(
    "pool2d", pooled2d,
    ['{ type = "conv2d", name = "conv2d", filters = 3, kernel = 2 }', '{ type = "max_pool2d", size = 2, padding = "same" }',
     '{ type = "global_max_pool", name = "largest" }',
     '{ type = "avg_pool2d", inputs = "conv2d", size = 3, strides = [1, 2], padding = 1 }',
     '{ type = "global_avg_pool", name = "mean" }'],
    {"x": [2, 1, 6, 6]}, {"conv2d.weight": (3, 1, 2, 2), "conv2d.bias": (3,)},
    outputs=["largest", "mean"], targets={"largest": values((2, 3)), "mean": values((2, 3))},
    loss=lambda a, b, s, t: f.mse_loss(a, s) + f.mse_loss(b, t),
    train='loss = [{ type = "mse", output = "largest" }, { type = "mse", output = "mean" }]\n',
)
Case(
    "pool3d", pooled3d,
    ['{ type = "conv3d", filters = 2, kernel = 2 }', '{ type = "max_pool3d", size = [2, 3, 2], strides = 1, padding = 1 }',
     '{ type = "avg_pool3d", size = [1, 2, 3], strides = [1, 2, 2] }'],
    {"x": [2, 1, 3, 4, 4]}, {"conv3d.weight": (2, 1, 2, 2, 2), "conv3d.bias": (2,)}, target=(2, 2, 3, 1, 1),
)

# Normalisation


def batch_norm(p, name, x, momentum, epsilon=1e-5):
    scale, bias, mean, variance = (p[f"{name}.{part}"] for part in ["scale", "bias", "mean", "variance"])
    return f.batch_norm(x, mean, variance, scale, bias, training=True, momentum=1 - momentum, eps=epsilon)


def norm_shapes(name, features):
    return {name + ".scale": (features,), name + ".bias": (features,)}


def norm_statistics(name, features):
    return {name + ".mean": ((features,), 0.0), name + ".variance": ((features,), 1.0)}


Case(
    "batch_norm",
    lambda p, x: affine(p, "dense", torch.tanh(batch_norm(p, "batch_norm", f.conv2d(x, p["conv2d.weight"]), 0.9)).flatten(1)),
    ['{ type = "conv2d", filters = 3, kernel = 2, bias = false }', '{ type = "batch_norm" }', '{ type = "activation", function = "tanh" }',
     '{ type = "flatten" }', '{ type = "dense", units = 2 }'],
    {"x": [3, 2, 3, 4]}, {"conv2d.weight": (3, 2, 2, 2), **norm_shapes("batch_norm", 3), **affine_shapes("dense", 18, 2)},
    norm_statistics("batch_norm", 3), target=(3, 2), steps=5,
)
# The same layer twice in a step: its statistics move twice.
Case(
    "batch_norm_shared",
    lambda p, x: batch_norm(p, "norm", torch.tanh(batch_norm(p, "norm", affine(p, "dense", x), 0.7, 0.01)), 0.7, 0.01),
    ['{ type = "dense", units = 4 }', '{ type = "batch_norm", name = "norm", momentum = 0.7, epsilon = 0.01 }',
     '{ type = "activation", function = "tanh" }',
     '{ type = "batch_norm", name = "output", share = "norm", momentum = 0.7, epsilon = 0.01 }'],
    {"x": [5, 3]}, {**affine_shapes("dense", 3, 4), **norm_shapes("norm", 4)}, norm_statistics("norm", 4), target=(5, 4), steps=5,
)
Case(
    "norms",
    lambda p, x: f.rms_norm(
        f.group_norm(f.layer_norm(x, (5,), p["layer_norm.scale"], p["layer_norm.bias"]), 2, p["group_norm.scale"], p["group_norm.bias"]),
        (5,), p["rms_norm.scale"], eps=1e-6),
    ['{ type = "layer_norm" }', '{ type = "group_norm", groups = 2 }', '{ type = "rms_norm" }'],
    {"x": [3, 4, 5]}, {**norm_shapes("layer_norm", 5), **norm_shapes("group_norm", 4), "rms_norm.scale": (5,)}, target=(3, 4, 5),
)
Case(
    "norms_with_epsilon",
    lambda p, x: f.rms_norm(
        f.group_norm(f.layer_norm(x, (3,), p["layer_norm.scale"], p["layer_norm.bias"], eps=0.1), 3, p["group_norm.scale"],
                     p["group_norm.bias"], eps=0.2), (3,), p["rms_norm.scale"], eps=0.3),
    ['{ type = "layer_norm", epsilon = 0.1 }', '{ type = "group_norm", groups = 3, epsilon = 0.2 }', '{ type = "rms_norm", epsilon = 0.3 }'],
    {"x": [2, 6, 3]}, {**norm_shapes("layer_norm", 3), **norm_shapes("group_norm", 6), "rms_norm.scale": (3,)}, target=(2, 6, 3),
)

# Sequences


def sinusoids(time, features, base):
    table = torch.zeros(time, features, dtype=torch.float64)
    for t in range(time):
        for i in range(features):
            angle = t / base ** (i // 2 * 2 / features)
            table[t, i] = math.cos(angle) if i % 2 else math.sin(angle)
    return table


Case(
    "embedding",
    lambda p, x: affine(
        p, "output",
        f.embedding(x, p["embedding.weight"]) + sinusoids(3, 4, 10000) + p["learned_position.weight"][:3]),
    ['{ type = "embedding", vocabulary = 6, features = 4 }', '{ type = "sinusoidal_position" }', '{ type = "learned_position", length = 5 }',
     '{ type = "dense", name = "output", units = 4 }'],
    {"x": ([4, 3], 0, 6)}, {"embedding.weight": (6, 4), "learned_position.weight": (5, 4), **affine_shapes("output", 4, 4)},
    targets={"output": labels((4, 3), 4)},
    loss=lambda y, t: f.cross_entropy(y.transpose(1, 2), t), train='loss = "sparse_cross_entropy"\n',
)


def attention(p, name, asks, answers, heads, causal=False):
    features = asks.shape[-1]
    part = lambda word: p[f"{name}.{word}.weight"].T
    mask = torch.triu(torch.full((asks.shape[1], answers.shape[1]), -math.inf, dtype=torch.float64), 1) if causal else None
    y, _ = f.multi_head_attention_forward(
        asks.transpose(0, 1), answers.transpose(0, 1), answers.transpose(0, 1), features, heads, None,
        torch.cat([p[f"{name}.{word}.bias"] for word in ["query", "key", "value"]]), None, None, False, 0.0, part("output"),
        p[f"{name}.output.bias"], attn_mask=mask, need_weights=False, use_separate_proj_weight=True, q_proj_weight=part("query"),
        k_proj_weight=part("key"), v_proj_weight=part("value"))
    return y.transpose(0, 1)


def attention_shapes(name, asks, answers):
    shapes = {}
    for word, features in [("query", asks), ("key", answers), ("value", answers), ("output", asks)]:
        shapes |= affine_shapes(f"{name}.{word}", features, asks)
    return shapes


def rotary(p, name, x, heads, size):
    split = lambda word: affine(p, f"{name}.{word}", x).unflatten(-1, (heads, size)).transpose(1, 2)
    angles = torch.arange(x.shape[1])[:, None] / 10000 ** (torch.arange(0, size, 2, dtype=torch.float64) / size)

    def turned(y):
        first, second = y.chunk(2, -1)
        return torch.cat([first * angles.cos() - second * angles.sin(), second * angles.cos() + first * angles.sin()], -1)

    y = f.scaled_dot_product_attention(turned(split("query")), turned(split("key")), split("value"))
    return affine(p, f"{name}.output", y.transpose(1, 2).flatten(2))


Case(
    "attention",
    lambda p, x, y: attention(p, "output", attention(p, "self", x, x, 2, causal=True), y, 2),
    ['{ type = "multi_head_attention", name = "self", inputs = "x", heads = 2, causal = true }',
     '{ type = "multi_head_attention", name = "output", inputs = ["self", "y"], heads = 2 }'],
    {"x": [2, 3, 4], "y": [2, 5, 3]}, {**attention_shapes("self", 4, 4), **attention_shapes("output", 4, 3)}, target=(2, 3, 4),
)
Case(
    "attention_rotary",
    lambda p, x: rotary(p, "output", x, 3, 4),
    ['{ type = "multi_head_attention", name = "output", heads = 3, head_features = 4, rotary = true, bias = false }'],
    {"x": [2, 4, 3]},
    {f"output.{word}.weight": (3, 12) for word in ["query", "key", "value"]} | {"output.output.weight": (12, 3)}, target=(2, 4, 3),
)


def block(p, name, module, parts):
    """Kiln's parameters of a block as those of PyTorch's module."""
    mapped = {}
    for number, part in enumerate(parts, 1):
        mapped[f"norm{number}.weight"], mapped[f"norm{number}.bias"] = p[f"{name}.{part}_norm.scale"], p[f"{name}.{part}_norm.bias"]
    for theirs, ours in [("self_attn", "attention"), ("multihead_attn", "memory_attention")][: len(parts) - 1]:
        three = ["query", "key", "value"]
        mapped[f"{theirs}.in_proj_weight"] = torch.cat([p[f"{name}.{ours}.{word}.weight"].T for word in three])
        mapped[f"{theirs}.in_proj_bias"] = torch.cat([p[f"{name}.{ours}.{word}.bias"] for word in three])
        mapped[f"{theirs}.out_proj.weight"] = p[f"{name}.{ours}.output.weight"].T
        mapped[f"{theirs}.out_proj.bias"] = p[f"{name}.{ours}.output.bias"]
    for theirs, ours in [("linear1", "first"), ("linear2", "second")]:
        mapped[f"{theirs}.weight"] = p[f"{name}.feed_forward.{ours}.weight"].T
        mapped[f"{theirs}.bias"] = p[f"{name}.feed_forward.{ours}.bias"]
    assert mapped.keys() == dict(module.named_parameters()).keys()
    return mapped


def block_shapes(name, features, hidden, parts):
    shapes = {**affine_shapes(f"{name}.feed_forward.first", features, hidden), **affine_shapes(f"{name}.feed_forward.second", hidden, features)}
    for part in parts:
        shapes |= norm_shapes(f"{name}.{part}_norm", features)
        shapes |= {} if part == "feed_forward" else attention_shapes(f"{name}.{part}", features, features)
    return shapes


def encoder(p, x, causal=False, name="output", padding=None, **choices):
    module = torch.nn.TransformerEncoderLayer(4, 2, 3, dropout=0.0, batch_first=True, dtype=torch.float64, **choices)
    mask = torch.nn.Transformer.generate_square_subsequent_mask(x.shape[1], dtype=torch.float64) if causal else None
    return functional_call(module, block(p, name, module, ["attention", "feed_forward"]), (x, mask, padding))


def decoder(p, x, y, **choices):
    module = torch.nn.TransformerDecoderLayer(4, 2, 3, dropout=0.0, batch_first=True, dtype=torch.float64, **choices)
    mask = torch.nn.Transformer.generate_square_subsequent_mask(x.shape[1], dtype=torch.float64)
    return functional_call(module, block(p, "output", module, ["attention", "memory_attention", "feed_forward"]), (x, y, mask))


Case(
    "encoder", lambda p, x: encoder(p, x, causal=True),
    ['{ type = "transformer_encoder", name = "output", heads = 2, hidden = 3, causal = true }'],
    {"x": [2, 3, 4]}, block_shapes("output", 4, 3, ["attention", "feed_forward"]), target=(2, 3, 4),
)
Case(
    "encoder_norm_first", lambda p, x: encoder(p, x, norm_first=True, activation="gelu", layer_norm_eps=0.01),
    ['{ type = "transformer_encoder", name = "output", heads = 2, hidden = 3, norm_first = true, activation = "gelu", epsilon = 0.01 }'],
    {"x": [2, 3, 4]}, block_shapes("output", 4, 3, ["attention", "feed_forward"]), target=(2, 3, 4),
)
Case(
    "decoder", decoder,
    ['{ type = "transformer_decoder", name = "output", inputs = ["x", "y"], heads = 2, hidden = 3 }'],
    {"x": [2, 3, 4], "y": [2, 2, 4]}, block_shapes("output", 4, 3, ["attention", "memory_attention", "feed_forward"]), target=(2, 3, 4),
)
Case(
    "decoder_norm_first", lambda p, x, y: decoder(p, x, y, norm_first=True, activation=f.silu),
    ['{ type = "transformer_decoder", name = "output", inputs = ["x", "y"], heads = 2, hidden = 3, norm_first = true, activation = "silu" }'],
    {"x": [2, 2, 4], "y": [2, 3, 4]}, block_shapes("output", 4, 3, ["attention", "memory_attention", "feed_forward"]), target=(2, 2, 4),
)

# Where PyTorch's gates stand in Kiln's order, which is ONNX's: LSTM input, forget, cell, output; GRU reset, update, new.
GATES = {"rnn": [0], "lstm": [0, 2, 3, 1], "gru": [1, 0, 2]}


def recurrent(kind, p, name, x, directions, sequences):
    weights = []
    units = p[f"{name}.{directions[0]}recurrent"].shape[1]
    count = len(GATES[kind])
    order = lambda t: torch.cat([t[gate * units : (gate + 1) * units] for gate in GATES[kind]])
    for direction in directions:
        w, r, bias = (p[f"{name}.{direction}{part}"] for part in ["weight", "recurrent", "bias"])
        weights += [order(w), order(r), order(bias[: count * units]), order(bias[count * units :])]
    state = torch.zeros(len(directions), x.shape[0], units, dtype=torch.float64)
    call = {"rnn": torch.rnn_tanh, "lstm": torch.lstm, "gru": torch.gru}[kind]
    outputs, last, *_ = call(x, (state, state) if kind == "lstm" else state, weights, True, 1, 0.0, True, len(directions) == 2, True)
    return outputs if sequences else last.transpose(0, 1).flatten(1)


def recurrent_shapes(kind, name, features, units, directions):
    rows = len(GATES[kind]) * units
    shapes = {}
    for direction in directions:
        shapes |= {f"{name}.{direction}{part}": shape for part, shape in
                   [("weight", (rows, features)), ("recurrent", (rows, units)), ("bias", (2 * rows,))]}
    return shapes


for kind in GATES:
    both = ["forward.", "backward."]
    Case(
        kind,
        lambda p, x, kind=kind: recurrent(kind, p, "output", recurrent(kind, p, "first", x, [""], True), [""], False),
        [f'{{ type = "{kind}", name = "first", units = 2, return_sequences = true }}', f'{{ type = "{kind}", name = "output", units = 3 }}'],
        {"x": [2, 5, 2]}, {**recurrent_shapes(kind, "first", 2, 2, [""]), **recurrent_shapes(kind, "output", 2, 3, [""])}, target=(2, 3),
    )
    Case(
        f"{kind}_bidirectional",
        lambda p, x, kind=kind: recurrent(kind, p, "output", recurrent(kind, p, "first", x, both, True), both, False),
        [f'{{ type = "{kind}", name = "first", units = 2, bidirectional = true, return_sequences = true }}',
         f'{{ type = "{kind}", name = "output", units = 1, bidirectional = true }}'],
        {"x": [2, 4, 1]}, {**recurrent_shapes(kind, "first", 1, 2, both), **recurrent_shapes(kind, "output", 4, 1, both)}, target=(2, 2),
    )

# Activation functions, layers of several values, shapes

# The gradient of PyTorch's hardsigmoid has a sixth in f32 even in f64.
ACTIVATIONS = {
    "linear": lambda x: x, "relu": f.relu, "leaky_relu": f.leaky_relu, "elu": f.elu, "selu": f.selu, "gelu": f.gelu,
    "gelu_tanh": lambda x: f.gelu(x, approximate="tanh"), "silu": f.silu, "sigmoid": torch.sigmoid, "tanh": torch.tanh,
    "softplus": f.softplus, "softsign": f.softsign, "hard_swish": f.hardswish, "hard_sigmoid": lambda x: (x / 6 + 0.5).clamp(0, 1), "mish": f.mish,
    "softmax": lambda x: f.softmax(x, -1),
}


def activations(p, x):
    h = affine(p, "dense", x)
    parts = [function(h) for function in ACTIVATIONS.values()]
    return torch.cat([*parts, f.leaky_relu(h, 0.2), f.elu(h, 0.7), f.softmax(h, 1), f.log_softmax(h, 2)], -1)


Case(
    "activation", activations,
    ['{ type = "dense", name = "dense", units = 3 }',
     *(f'{{ type = "activation", name = "f_{word}", inputs = "dense", function = "{word}" }}' for word in ACTIVATIONS),
     '{ type = "leaky_relu", name = "a", inputs = "dense", slope = 0.2 }', '{ type = "elu", name = "b", inputs = "dense", alpha = 0.7 }',
     '{ type = "softmax", name = "c", inputs = "dense", axis = 1 }', '{ type = "log_softmax", name = "d", inputs = "dense" }',
     '{ type = "concat", name = "output", inputs = [' + ", ".join(f'"f_{word}"' for word in ACTIVATIONS) + ', "a", "b", "c", "d"] }'],
    {"x": [2, 2, 4]}, affine_shapes("dense", 4, 3), target=(2, 2, 60),
)


def several(p, x, y):
    h = x
    for turn in range(2):
        h = h + torch.tanh(affine(p, f"residual.{turn}.dense", h))
    a = torch.cat([h * y, h + y], 1)
    a = a.reshape(3, 4, 2).permute(0, 2, 1)
    return affine(p, "sequence.last", affine(p, "sequence.last", a)).flatten(1)


Case(
    "several_values", several,
    ['{ type = "residual", name = "residual", inputs = "x", repeat = 2, layers = [{ type = "dense", units = 4, activation = "tanh" }] }',
     '{ type = "multiply", name = "product", inputs = ["residual", "y"] }', '{ type = "add", name = "sum", inputs = ["residual", "y"] }',
     '{ type = "concat", name = "both", inputs = ["product", "sum"], axis = 1 }', '{ type = "reshape", shape = [4, -1] }',
     '{ type = "permute", order = [2, 1] }', '{ type = "sequence", layers = [{ type = "dense", name = "last", units = 4 }] }',
     '{ type = "sequence", share = "sequence", layers = [{ type = "dense", name = "last", units = 4 }] }',
     '{ type = "flatten", name = "output" }'],
    {"x": [3, 1, 4], "y": [3, 1, 1]},
    {**affine_shapes("residual.0.dense", 4, 4), **affine_shapes("residual.1.dense", 4, 4), **affine_shapes("sequence.last", 4, 4)}, target=(3, 8),
)

# Sounds: torchaudio's own functions, in f64


def log_mel(x):
    """Sound to features as torchaudio makes them."""
    torch.set_default_dtype(torch.float64)
    transform = torchaudio.transforms.MelSpectrogram(8000, n_fft=16, win_length=12, hop_length=5, n_mels=5, f_min=50, f_max=3800,
                                                     norm="slaney", mel_scale="slaney", window_fn=torch.hamming_window)
    torch.set_default_dtype(torch.float32)
    return transform(x).clamp(min=1e-2).log().transpose(1, 2)


def sounds(p, x):
    x = affine(p, "sound", x)
    spectrum = torch.stft(x, 8, 3, window=torch.hann_window(8, dtype=torch.float64), center=False, return_complex=True)
    torch.set_default_dtype(torch.float64)
    mel = torchaudio.transforms.MelScale(4, 8000, n_stft=5)
    torch.set_default_dtype(torch.float32)
    magnitudes = spectrum.abs()
    features = log_mel(x)
    mean, variance = features.mean(1, keepdim=True), features.var(1, unbiased=False, keepdim=True)
    utterance = (features - mean) / (variance + 1e-5).sqrt()
    turned = utterance.transpose(1, 2)
    slopes = torchaudio.functional.compute_deltas(turned)
    second = torchaudio.functional.compute_deltas(slopes)
    both = torch.cat([turned, slopes, second], 1)
    normed = f.batch_norm(both, p["end.mean"], p["end.variance"], training=True, momentum=0.1)
    return {"stft": torch.view_as_real(spectrum).transpose(1, 2), "mel": mel(magnitudes).transpose(1, 2), "end": normed.transpose(1, 2)}


Case(
    "sounds", sounds,
    ['{ type = "dense", name = "sound", units = 41 }',
     '{ type = "stft", name = "stft", inputs = "sound", n_fft = 8, hop_length = 3, center = false }',
     '{ type = "spectrogram", inputs = "sound", n_fft = 8, hop_length = 3, center = false, power = 1 }',
     '{ type = "mel", name = "mel", n_mels = 4, sample_rate = 8000 }',
     '{ type = "log_mel", inputs = "sound", n_fft = 16, win_length = 12, hop_length = 5, window = "hamming", n_mels = 5, '
     'sample_rate = 8000, f_min = 50, f_max = 3800, norm = "slaney", mel_scale = "slaney", floor = 0.01 }',
     '{ type = "normalise" }', '{ type = "deltas", order = 2 }', '{ type = "normalise", name = "end", over = "global" }'],
    {"x": [3, 6]}, affine_shapes("sound", 6, 41), {"end.mean": ((15,), 0.0), "end.variance": ((15,), 1.0)},
    outputs=["stft", "mel", "end"],
    targets={"stft": values((3, 12, 5, 2)), "mel": values((3, 12, 4)), "end": values((3, 9, 15))},
    loss=lambda a, b, c, s, t, u: f.mse_loss(a, s) + f.mse_loss(b, t) + f.mse_loss(c, u),
    train='loss = [{ type = "mse", output = "stft" }, { type = "mse", output = "mel" }, { type = "mse", output = "end" }]\n',
)

# Losses: of one dense layer, or what it becomes

def of_dense(name, words, loss, target, last=lambda y: y, layer=None, units=4, shape=(5, 3), more={}):
    layers = [f'{{ type = "dense", name = "{"dense" if layer else "output"}", units = {units} }}']
    path = "dense" if layer else "output"
    layers += [f'{{ {layer}, name = "output" }}'] if layer else []
    Case(
        "loss_" + name, lambda p, x: last(affine(p, path, x)), layers, {"x": list(shape)}, affine_shapes(path, shape[-1], units),
        targets={"output": target, **more}, loss=loss, train=f"loss = {words}\n",
    )


def binary(shape):
    return lambda random, steps: random.integers(0, 2, (steps, *shape)).astype("float64")


def signs(shape):
    return lambda random, steps: random.integers(0, 2, (steps, *shape)) * 2.0 - 1.0


def spellings(batch, longest, classes):
    def make(random, steps):
        rows = random.integers(1, classes, (steps, batch, longest))
        lengths = random.integers(1, longest + 1, (steps, batch, 1))
        return np.where(np.arange(longest) < lengths, rows, -1)

    return make


def ctc(y, t, steps=None):
    lengths = (t >= 0).sum(1)
    logs = f.log_softmax(y, -1).transpose(0, 1)
    return f.ctc_loss(logs, t, torch.full((len(t),), y.shape[1]) if steps is None else steps, lengths)


of_dense("sparse", '{ type = "sparse_cross_entropy", label_smoothing = 0.2 }',
         lambda y, t: f.cross_entropy(y, t, label_smoothing=0.2), labels((5,), 4))
of_dense("sparse_weighted", '{ type = "sparse_cross_entropy", class_weights = [1, 0.5, 2, 0.25] }',
         lambda y, t: f.cross_entropy(y, t, torch.tensor([1, 0.5, 2, 0.25], dtype=torch.float64)), labels((5,), 4))
of_dense("sparse_shares", '{ type = "sparse_cross_entropy", logits = false }', lambda y, t: f.nll_loss(torch.log(y), t), labels((5,), 4),
         lambda y: f.softmax(y, -1), 'type = "softmax"')
of_dense("dense", '{ type = "cross_entropy", label_smoothing = 0.1 }',
         lambda y, t: f.cross_entropy(y, t, label_smoothing=0.1), distributions((5, 4)))
of_dense("binary", '"binary_cross_entropy"', f.binary_cross_entropy_with_logits, binary((5, 4)))
of_dense("binary_shares", '{ type = "binary_cross_entropy", logits = false, label_smoothing = 0.1 }',
         lambda y, t: f.binary_cross_entropy(y, t * 0.9 + 0.05), binary((5, 4)), torch.sigmoid, 'type = "activation", function = "sigmoid"')
of_dense("kl", '"kl_divergence"', lambda y, t: f.kl_div(y, t, reduction="batchmean"), distributions((5, 4)),
         lambda y: f.log_softmax(y, -1), 'type = "log_softmax"')
of_dense("mae", '"mae"', f.l1_loss, values((5, 4)))
of_dense("huber", '{ type = "huber", delta = 0.6 }', lambda y, t: f.huber_loss(y, t, delta=0.6), values((5, 4)))
of_dense("smooth_l1", '{ type = "smooth_l1", beta = 0.6 }', lambda y, t: f.smooth_l1_loss(y, t, beta=0.6), values((5, 4)))
of_dense("hinge", '"hinge"', lambda y, t: (1 - y * t).clamp(min=0).mean(), signs((5, 4)))
of_dense("ctc", '"ctc"', ctc, spellings(3, 2, 4), shape=(3, 6, 3))
of_dense("ctc_lengths", '{ type = "ctc", input_lengths = "x_lengths" }', ctc, spellings(4, 2, 4), shape=(4, 7, 3),
         more={"x_lengths": lambda random, steps: random.integers(3, 8, (steps, 4))})

# Optimisers and what else a step may be told, on two dense layers


def steps_of(name, words, optimiser=None, rate=0.05, **choices):
    Case(
        "step_" + name, lambda p, x: affine(p, "output", torch.tanh(affine(p, "first", x))),
        ['{ type = "dense", name = "first", units = 4, activation = "tanh"' + choices.pop("first", "") + ' }',
         '{ type = "dense", name = "output", units = 2' + choices.pop("second", "") + ' }'],
        {"x": [3, 3]}, {**affine_shapes("first", 3, 4), **affine_shapes("output", 4, 2)}, target=(3, 2), train=words, rate=rate, steps=6,
        optimiser=(lambda p: optimiser(p, lr=rate)) if optimiser else None, **choices,
    )


class Lion(torch.optim.Optimizer):
    """Chen et al. 2023, algorithm 2, which PyTorch has not got."""

    def __init__(self, parameters, lr, betas=(0.9, 0.99), weight_decay=0.0):
        super().__init__(parameters, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            (beta1, beta2), lr, decay = group["betas"], group["lr"], group["weight_decay"]
            for p in group["params"]:
                m = self.state[p].setdefault("m", torch.zeros_like(p))
                p -= lr * (torch.sign(beta1 * m + (1 - beta1) * p.grad) + decay * p)
                m.mul_(beta2).add_((1 - beta2) * p.grad)


def with_choices(optimiser, **choices):
    return lambda p, lr: optimiser(p, lr=lr, **choices)


def clip_value(trained):
    torch.nn.utils.clip_grad_value_(trained, 0.1)


def clip_norm(trained):
    torch.nn.utils.clip_grad_norm_(trained, 0.3)


def constrain(p):
    # Norms of the weights of each output, over the axis of inputs; 1e-7 as Keras adds.
    norms = p["first.weight"].norm(dim=0, keepdim=True)
    p["first.weight"] *= norms.clamp(max=0.8) / (norms + 1e-7)
    p["output.weight"].clamp_(min=0)


def constrain_to_units(p):
    for name in ["first.weight", "output.weight"]:
        p[name] /= p[name].norm(dim=0, keepdim=True) + 1e-7


optim = torch.optim
steps_of("sgd", 'optimiser = { type = "sgd", momentum = 0.9, nesterov = true, weight_decay = 0.01 }\n',
         with_choices(optim.SGD, momentum=0.9, nesterov=True, weight_decay=0.01))
steps_of("rmsprop", 'optimiser = { type = "rmsprop", decay = 0.9, centred = true, momentum = 0.8 }\n',
         with_choices(optim.RMSprop, alpha=0.9, centered=True, momentum=0.8), rate=0.01)
steps_of("adagrad", 'optimiser = { type = "adagrad", initial = 0.1, rate_decay = 0.2 }\n',
         with_choices(optim.Adagrad, initial_accumulator_value=0.1, lr_decay=0.2))
steps_of("adadelta", 'optimiser = "adadelta"\n', optim.Adadelta, rate=1.0)
steps_of("adam", 'optimiser = { type = "adam", amsgrad = true }\n', with_choices(optim.Adam, amsgrad=True))
steps_of("adamw", 'optimiser = { type = "adamw", beta1 = 0.8, beta2 = 0.95 }\n', with_choices(optim.AdamW, betas=(0.8, 0.95), weight_decay=0.01))
steps_of("lion", 'optimiser = { type = "lion", weight_decay = 0.1 }\n', with_choices(Lion, weight_decay=0.1), rate=0.01)
steps_of("clip_value", "clip_value = 0.1\n", clip=clip_value)
steps_of("clip_norm", "clip_norm = 0.3\n", clip=clip_norm)
steps_of("ema", "ema = 0.75\n", ema=0.75)
steps_of("accumulate", "accumulate = 3\nclip_norm = 0.3\n", accumulate=3, clip=clip_norm)
steps_of("freeze", 'freeze = ["first.*"]\n', frozen="first.")
steps_of("constraint", "", first=', constraint = "max_norm(0.8)"', second=', constraint = "non_negative"', constrain=constrain)
steps_of("unit_norm", "", first=', constraint = "unit_norm"', second=', constraint = "unit_norm"', constrain=constrain_to_units)

# Texts: 0 is padding behind the last word, which the first draw of a batch may put in between as well.
WORDS = '{ tokens = "word", vocabulary = 6 }'


def lengths(x):
    """Up to the last word that is no padding; every text has one here."""
    return (torch.arange(1, x.shape[1] + 1) * (x != 0)).amax(1)


def text_encoder(p, x):
    counted = torch.arange(x.shape[1]) < lengths(x)[:, None]
    y = encoder(p, f.embedding(x, p["embedding.weight"]), name="transformer_encoder", padding=~counted, norm_first=True)
    mean = (y * counted[..., None]).sum(1) / counted.sum(1, keepdim=True)
    largest = y.masked_fill(~counted[..., None], -torch.inf).amax(1)
    first, last = y[:, 0], y[torch.arange(len(y)), lengths(x) - 1]
    return affine(p, "output", torch.cat([mean, largest, first, last], -1))


def text_recurrent(p, x, kind, units, sequences):
    rows = []
    for row, length in zip(f.embedding(x, p["embedding.weight"]), lengths(x)):
        y = recurrent(kind, p, kind, row[None, :length], ["forward.", "backward."], sequences)
        rows.append(f.pad(y, (0, 0, 0, x.shape[1] - length)) if sequences else y)
    return affine(p, "output", torch.cat(rows))


Case(
    "text_encoder", text_encoder,
    ['{ type = "embedding", features = 4 }',
     '{ type = "transformer_encoder", name = "transformer_encoder", heads = 2, hidden = 3, norm_first = true }',
     '{ type = "sequence_pool", name = "mean" }']
    + [f'{{ type = "sequence_pool", name = "{kind}", inputs = "transformer_encoder", kind = "{kind}" }}' for kind in ["max", "first", "last"]]
    + ['{ type = "concat", inputs = ["mean", "max", "first", "last"] }', '{ type = "dense", name = "output", units = 3 }'],
    {"x": ([4, 5], 0, 6, WORDS)},
    {"embedding.weight": (6, 4), **block_shapes("transformer_encoder", 4, 3, ["attention", "feed_forward"]), **affine_shapes("output", 16, 3)},
    target=(4, 3),
)
for kind, sequences in [("lstm", True), ("lstm", False), ("gru", True), ("rnn", False)]:
    Case(
        f"text_{kind}" + ("_sequences" if sequences else ""),
        lambda p, x, kind=kind, sequences=sequences: text_recurrent(p, x, kind, 2, sequences),
        ['{ type = "embedding", features = 3 }',
         f'{{ type = "{kind}", units = 2, bidirectional = true, return_sequences = {str(sequences).lower()} }}',
         '{ type = "dense", name = "output", units = 3 }'],
        {"x": ([4, 5], 0, 6, WORDS)},
        {"embedding.weight": (6, 3), **recurrent_shapes(kind, kind, 3, 2, ["forward.", "backward."]), **affine_shapes("output", 4, 3)},
        target=(4, 5, 3) if sequences else (4, 3),
    )
