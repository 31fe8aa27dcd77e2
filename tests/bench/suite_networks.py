#!/usr/bin/env python3
"""Writes thirteen common networks as ONNX files, in the spelling that PyTorch's exporter gives them, and inputs for them.

    pip install numpy onnx==1.23.2
    python tests/bench/suite_networks.py OUT_DIRECTORY [NAME ...]

PyTorch itself is not needed. All files take about 1.1 GB. Spelling: of `torch.onnx.export` of PyTorch 2.15 at opset 18, which folds
batch normalisation into convolutions, takes `Linear` of matrices for `Gemm` and of other tensors for `MatMul` and `Add`, and scales
both queries and keys of `scaled_dot_product_attention`. Architectures: torchvision's ResNet-18 and -50 (He et al. 2016) and MobileNetV2
(Sandler et al. 2018), BERT base (Devlin et al. 2019) with a small vocabulary, a step of GPT-2 (Radford et al. 2019) after 512 tokens.
Weights are made up: their variance keeps activations in range.
"""
import math

import numpy as np
from onnx import helper

from onnx_network import OnnxNetwork, write_networks


class Network(OnnxNetwork):
    """Layers as PyTorch exports them."""

    def __init__(self, name):
        super().__init__(name, opset=18)

    def scalar(self, value):
        return self.constant(np.array(value, np.float32))

    def transpose(self, x, *perm):
        return self.node("Transpose", [x], [x[1][axis] for axis in perm], perm=perm)

    def reshape(self, x, *shape, out=None):
        """`out`: the shape that comes out, where `shape` leaves an axis open."""
        return self.node("Reshape", [x, self.integers(*shape)], out or shape, allowzero=0 if out else 1)

    def linear(self, x, outputs, bias=True):
        inputs = x[1][-1]
        if len(x[1]) == 2:
            operands = [x, self.weight(outputs, inputs, terms=inputs)] + ([self.weight(outputs, terms=100)] if bias else [])
            return self.node("Gemm", operands, [x[1][0], outputs], alpha=1.0, beta=1.0, transA=0, transB=1)
        y = self.matmul(x, outputs)
        return self.element_wise("Add", y, self.weight(outputs, terms=100)) if bias else y

    def conv(self, x, channels, kernel, stride=1, padding=0, groups=1, gain=1.0):
        """With as many axes as `x` has; `gain` is the variance of what comes out over that of `x`."""
        depth, axes = x[1][1] // groups, len(x[1]) - 2
        weight = self.weight(channels, depth, *[kernel] * axes, terms=depth * kernel**axes / gain)
        return self.node(
            "Conv",
            [x, weight, self.weight(channels, terms=100)],
            [x[1][0], channels, *((size + 2 * padding - kernel) // stride + 1 for size in x[1][2:])],
            kernel_shape=[kernel] * axes,
            strides=[stride] * axes,
            pads=[padding] * 2 * axes,
            dilations=[1] * axes,
            group=groups,
        )

    def max_pool(self, x, kernel, stride, padding=0):
        out = [(size + 2 * padding - kernel) // stride + 1 for size in x[1][2:]]
        return self.node(
            "MaxPool", [x], [*x[1][:2], *out], kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[padding] * 4, ceil_mode=0
        )

    def classify(self, x, classes, bias=True):
        """The mean over positions of an image, and a linear layer."""
        batch, channels = x[1][:2]
        x = self.node("ReduceMean", [x, self.integers(-1, -2)], [batch, channels, 1, 1], keepdims=1, noop_with_empty_axes=0)
        return self.linear(self.reshape(x, batch, channels), classes, bias)

    def layer_norm(self, x):
        scale = self.constant(self.random.uniform(0.5, 1.5, x[1][-1]).astype(np.float32))
        return self.node("LayerNormalization", [x, scale, self.weight(x[1][-1], terms=100)], x[1], axis=-1, epsilon=1e-5, stash_type=1)

    def gelu(self, x):
        y = self.element_wise("Erf", self.element_wise("Div", x, self.scalar(math.sqrt(2))))
        y = self.node("Mul", [self.scalar(0.5), self.element_wise("Add", y, self.scalar(1))], x[1])
        return self.element_wise("Mul", x, y)

    def gelu_by_tanh(self, x):
        cube = self.node("Mul", [self.scalar(0.044715), self.element_wise("Pow", x, self.scalar(3))], x[1])
        y = self.node("Mul", [self.scalar(math.sqrt(2 / math.pi)), self.element_wise("Add", x, cube)], x[1])
        y = self.element_wise("Add", self.element_wise("Tanh", y), self.scalar(1))
        return self.element_wise("Mul", x, self.node("Mul", [self.scalar(0.5), y], x[1]))

    def heads(self, x, count):
        """`[batch, length, width]` → `[batch, count, length, width / count]`."""
        batch, length, width = x[1]
        return self.transpose(self.reshape(x, batch, length, count, width // count), 0, 2, 1, 3)

    def attention(self, q, k, v):
        """Of heads, together again: → `[batch, length, width]`."""
        batch, heads, length, depth = q[1]
        keys = k[1][2]
        scale = np.array([depth**-0.25], np.float32)
        k = self.transpose(self.reshape(k, -1, keys, depth, out=[batch * heads, keys, depth]), 0, 2, 1)
        k = self.reshape(k, batch, heads, depth, keys, out=[batch, heads, depth, keys])
        q, k = self.element_wise("Mul", q, self.constant(scale)), self.element_wise("Mul", k, self.constant(scale))
        scores = self.node("MatMul", [q, k], [batch, heads, length, keys])
        y = self.node("MatMul", [self.node("Softmax", [scores], scores[1], axis=-1), v], q[1])
        return self.reshape(self.transpose(y, 0, 2, 1, 3), batch, length, heads * depth)

    def self_attention(self, x, heads):
        width = x[1][-1]
        q, k, v = (self.heads(self.linear(x, width), heads) for _ in range(3))
        return self.linear(self.attention(q, k, v), width)

    def embed(self, indices, table, width):
        """`table`: the name of a constant `[any, width]`."""
        return self.node("Gather", [table, indices], [*indices[1], width], axis=0)


def mnist_cnn(name, batch):
    """Pictures with channels last, as Keras has them."""
    n = Network(name)
    x = n.transpose(n.input(batch, 28, 28, 1), 0, 3, 1, 2)
    for channels in (32, 64):
        x = n.max_pool(n.element_wise("Relu", n.conv(x, channels, 3, gain=2)), 2, 2)
    x = n.transpose(n.element_wise("Relu", n.conv(x, 64, 3, gain=2)), 0, 2, 3, 1)
    x = n.element_wise("Relu", n.linear(n.reshape(x, batch, 576), 64))
    x = n.linear(x, 10)
    n.output(n.node("Softmax", [x], x[1], axis=-1))
    return n


def mnist_cnn_b1():
    return mnist_cnn("mnist_cnn_b1", 1)


def mnist_cnn_b64():
    return mnist_cnn("mnist_cnn_b64", 64)


def mlp():
    n = Network("mlp")
    x = n.input(1, 784)
    for _ in range(2):
        x = n.element_wise("Relu", n.linear(x, 512))
    n.output(n.linear(x, 10))
    return n


def matmul1024():
    n = Network("matmul1024")
    n.output(n.matmul(n.input(1024, 1024), 1024))
    return n


def resnet(name, blocks, bottleneck):
    n = Network(name)
    x = n.max_pool(n.element_wise("Relu", n.conv(n.input(1, 3, 224, 224), 64, 7, 2, 3, gain=2)), 3, 2, 1)
    for stage, count in enumerate(blocks):
        channels = 64 << stage
        outputs = 4 * channels if bottleneck else channels
        for block in range(count):
            stride = 2 if block == 0 and stage > 0 else 1
            if bottleneck:
                y = n.element_wise("Relu", n.conv(x, channels, 1, gain=2))
                y = n.element_wise("Relu", n.conv(y, channels, 3, stride, 1, gain=2))
                y = n.conv(y, outputs, 1, gain=0.2)
            else:
                y = n.element_wise("Relu", n.conv(x, channels, 3, stride, 1, gain=2))
                y = n.conv(y, outputs, 3, 1, 1, gain=0.2)
            if stride > 1 or x[1][1] != outputs:
                x = n.conv(x, outputs, 1, stride)
            x = n.element_wise("Relu", n.element_wise("Add", y, x))
    n.output(n.classify(x, 1000))
    return n


def resnet18():
    return resnet("resnet18", [2, 2, 2, 2], bottleneck=False)


def resnet50():
    return resnet("resnet50", [3, 4, 6, 3], bottleneck=True)


def mobilenet_v2():
    n = Network("mobilenet_v2")

    def relu6(x):
        return n.node("Clip", [x, n.scalar(0), n.scalar(6)], x[1])

    x = relu6(n.conv(n.input(1, 3, 224, 224), 32, 3, 2, 1, gain=2))
    stages = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]
    for expansion, channels, repeats, first_stride in stages:
        for repeat in range(repeats):
            stride, wide = first_stride if repeat == 0 else 1, expansion * x[1][1]
            y = relu6(n.conv(x, wide, 1, gain=2)) if expansion > 1 else x
            y = relu6(n.conv(y, wide, 3, stride, 1, groups=wide, gain=2))
            y = n.conv(y, channels, 1)
            x = n.element_wise("Add", x, y) if stride == 1 and x[1][1] == channels else y
    n.output(n.classify(relu6(n.conv(x, 1280, 1, gain=2)), 1000))
    return n


def bert_base(layers=12, length=128, width=768, heads=12, vocabulary=1000):
    """Returns the last hidden state; positions and types of tokens are constants."""
    n = Network("bert_base")
    x = n.embed(n.indices(1, length, below=vocabulary), n.weight(vocabulary, width, terms=1), width)
    positions = n.constant(np.arange(length, dtype=np.int64)[None])
    x = n.element_wise("Add", x, n.embed((positions, [1, length]), n.weight(512, width, terms=1), width))
    x = n.layer_norm(n.element_wise("Add", x, n.weight(width, terms=1)))
    for _ in range(layers):
        x = n.layer_norm(n.element_wise("Add", x, n.self_attention(x, heads)))
        y = n.linear(n.gelu(n.linear(x, 4 * width)), width)
        x = n.layer_norm(n.element_wise("Add", x, y))
    n.output(x)
    return n


def text_transformer(length=128, width=768, heads=12, vocabulary=10000):
    """A classifier of texts with one attention."""
    n = Network("text_transformer")
    x = n.embed(n.indices(1, length, below=vocabulary), n.weight(vocabulary, width, terms=1), width)
    x = n.self_attention(x, heads)
    x = n.linear(n.node("ReduceMean", [x, n.integers(1)], [1, width], keepdims=0, noop_with_empty_axes=0), 10)
    n.output(n.node("Softmax", [x], x[1], axis=-1))
    return n


def speech_encoder(layers=6, width=256, heads=4, characters=29):
    """From a spectrogram `[batch, bands, frames]` to logarithms of probabilities of characters, at every fourth frame."""
    n = Network("speech_encoder")
    x = n.input(1, 80, 1000)
    for _ in range(2):
        x = n.gelu(n.conv(x, width, 3, 2, 1, gain=2))
    x = n.transpose(x, 0, 2, 1)
    x = n.element_wise("Add", x, n.weight(*x[1], terms=10))
    for _ in range(layers):
        x = n.element_wise("Add", x, n.self_attention(n.layer_norm(x), heads))
        y = n.linear(n.gelu(n.linear(n.layer_norm(x), 4 * width)), width)
        x = n.element_wise("Add", x, y)
    x = n.linear(n.layer_norm(x), characters)
    n.output(n.node("LogSoftmax", [x], x[1], axis=-1))
    return n


def recurrent(op, gates, length=100, inputs=128, hidden=256, **attributes):
    """Two layers of an ONNX operator; the second takes what the first gives at every step."""
    n = Network(op.lower())
    x = n.input(length, 1, inputs)
    for _ in range(2):
        rows, depth = gates * hidden, x[1][-1]
        weights = [n.weight(1, rows, depth, terms=depth), n.weight(1, rows, hidden, terms=4 * hidden), n.weight(1, 2 * rows, terms=100)]
        y = n.node(op, [x, *weights], [length, 1, 1, hidden], hidden_size=hidden, **attributes)
        x = n.node("Squeeze", [y, n.integers(1)], [length, 1, hidden])
    n.output(x)
    return n


def lstm():
    return recurrent("LSTM", 4)


def rnn():
    return recurrent("RNN", 1, activations=["Tanh"])


def gpt2_decode(layers=12, width=768, heads=12, vocabulary=50257, before=512):
    """One token after `before`, whose keys and values come in and go out with those of the token."""
    n = Network("gpt2_decode")
    depth, tokens = width // heads, n.weight(vocabulary, width, terms=width)
    token, position = n.indices(1, 1, below=vocabulary, name="input_ids"), n.indices(1, 1, below=1024, name="position_ids")
    past = [[n.input(1, heads, before, depth, name=f"past.{layer}.{kind}") for kind in "kv"] for layer in range(layers)]
    caches = []
    x = n.element_wise("Add", n.embed(token, tokens, width), n.embed(position, n.weight(1024, width, terms=width), width))
    for keys, values in past:
        parts = [(f"{kind}_of_{len(caches) // 2}", [1, 1, width]) for kind in "qkv"]
        qkv = n.linear(n.layer_norm(x), 3 * width)
        n.graph.node.append(helper.make_node("Split", [qkv[0]], [name for name, _ in parts], axis=2, num_outputs=3))
        q, k, v = (n.heads(part, heads) for part in parts)
        k, v = (n.node("Concat", [old, new], [1, heads, before + 1, depth], axis=2) for old, new in ((keys, k), (values, v)))
        caches += [k, v]
        x = n.element_wise("Add", x, n.linear(n.attention(q, k, v), width))
        x = n.element_wise("Add", x, n.linear(n.gelu_by_tanh(n.linear(n.layer_norm(x), 4 * width)), width))
    head = n.transpose((tokens, [vocabulary, width]), 1, 0)
    n.output(n.node("MatMul", [n.layer_norm(x), head], [1, 1, vocabulary]), *caches)
    return n


NETWORKS = [mnist_cnn_b1, mnist_cnn_b64, mlp, matmul1024, resnet18, resnet50, mobilenet_v2]
NETWORKS += [bert_base, text_transformer, speech_encoder, lstm, rnn, gpt2_decode]

if __name__ == "__main__":
    write_networks({make.__name__: make for make in NETWORKS}, __doc__)
