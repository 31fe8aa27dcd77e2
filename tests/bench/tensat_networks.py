#!/usr/bin/env python3
"""Writes the networks that TENSAT is measured on as ONNX files, with made-up weights, and inputs for them.

    pip install numpy onnx
    python tests/bench/tensat_networks.py OUT_DIRECTORY [NAME ...]

Source: Yang et al. 2021, "Equality Saturation for Tensor Graph Superoptimization" (MLSys), table 1, and the definitions in the
repository of its authors; SqueezeNet 1.1 (Iandola et al. 2016), VGG-19 (Simonyan & Zisserman 2015) and Inception-v3 (Szegedy et al.
2016) by their papers. Batch 1, no batch normalisation, as there. Weights have the variance that keeps activations in range.
"""
from onnx_network import OnnxNetwork, write_networks


class Network(OnnxNetwork):
    """Layers with the padding of TensorFlow, as the networks' authors write them."""

    def window(self, x, kernel, strides, padding):
        """Pads and the size that comes out; "same" and "valid" as in TensorFlow."""
        sizes = x[1][2:]
        out = [-(-s // t) if padding == "same" else (s - k) // t + 1 for s, k, t in zip(sizes, kernel, strides)]
        total = [max((o - 1) * t + k - s, 0) for o, t, k, s in zip(out, strides, kernel, sizes)]
        return [t // 2 for t in total] + [t - t // 2 for t in total], out

    def conv(self, x, channels, kernel, stride=1, padding="same", groups=1, relu=True):
        kernel = [kernel, kernel] if isinstance(kernel, int) else list(kernel)
        pads, out = self.window(x, kernel, [stride] * 2, padding)
        depth = x[1][1] // groups
        weight = self.weight(channels, depth, *kernel, terms=depth * kernel[0] * kernel[1] / (2 if relu else 1))
        y = self.node(
            "Conv", [x, weight], [x[1][0], channels, *out], kernel_shape=kernel, strides=[stride] * 2, pads=pads, group=groups
        )
        return self.element_wise("Relu", y) if relu else y

    def pool(self, op, x, kernel, stride, padding):
        pads, out = self.window(x, [kernel] * 2, [stride] * 2, padding)
        return self.node(op, [x], [*x[1][:2], *out], kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=pads)

    def max_pool(self, x, kernel, stride, padding="same"):
        return self.pool("MaxPool", x, kernel, stride, padding)

    def mean_pool(self, x, kernel, stride, padding="same"):
        return self.pool("AveragePool", x, kernel, stride, padding)

    def concat(self, *values):
        shape = list(values[0][1])
        shape[1] = sum(value[1][1] for value in values)
        return self.node("Concat", values, shape, axis=1)


def nasrnn(length=5, hidden=512):
    n = Network("nasrnn")
    inputs = [n.input(1, hidden) for _ in range(length)]
    state = n.input(1, hidden)
    for x in inputs:
        gates = [n.element_wise("Add", n.matmul(x, hidden), n.matmul(state, hidden)) for _ in range(8)]

        def f(name, at, of=gates):
            return n.element_wise(name, of[at])

        middle = [
            n.element_wise("Add", f("Relu", 0), f("Sigmoid", 3)),
            n.element_wise("Add", f("Sigmoid", 1), f("Tanh", 2)),
            n.element_wise("Mul", f("Sigmoid", 4), f("Tanh", 5)),
            n.element_wise("Mul", f("Sigmoid", 6), f("Relu", 7)),
        ]
        middle.append(n.element_wise("Add", f("Sigmoid", 1, middle), f("Tanh", 2, middle)))
        middle.append(n.element_wise("Mul", f("Tanh", 0, middle), f("Tanh", 3, middle)))
        state = n.element_wise("Tanh", n.element_wise("Mul", f("Tanh", 4, middle), f("Tanh", 5, middle)))
    n.output(state)
    return n


def nasnet_a(cells=3, repeats=5):
    n = Network("nasnet_a")

    def separable(x, channels, kernel, stride=1):
        x = n.conv(x, channels, kernel, stride, groups=channels, relu=False)
        return n.conv(x, channels, 1, relu=False)

    def fit(current, x):
        if x[1][2] == current[1][2]:
            return n.conv(x, current[1][1], 1)
        return n.conv(x, current[1][1], 3, stride=2)

    def add(a, b):
        return n.element_wise("Add", a, b)

    def normal(previous, current, c):
        current = n.conv(current, c, 1)
        previous = fit(current, previous)
        return n.concat(
            add(separable(current, c, 3), current),
            add(separable(previous, c, 3), separable(current, c, 3)),
            add(n.mean_pool(current, 3, 1), previous),
            add(n.mean_pool(previous, 3, 1), n.mean_pool(previous, 3, 1)),
            add(separable(previous, c, 3), separable(previous, c, 3)),
        )

    def reduction(previous, current, c):
        current = n.conv(current, c, 1)
        previous = fit(current, previous)
        first = add(separable(previous, c, 7, 2), separable(current, c, 5, 2))
        second = add(n.max_pool(current, 3, 2), separable(previous, c, 7, 2))
        return n.concat(
            first,
            second,
            add(n.mean_pool(current, 3, 2), separable(previous, c, 5, 2)),
            add(n.max_pool(current, 3, 2), separable(first, c, 3)),
            add(n.mean_pool(first, 3, 1), second),
        )

    x = n.max_pool(n.conv(n.input(1, 3, 224, 224), 64, 7, 2), 3, 2)
    channels = 128
    for _ in range(cells):
        previous = current = x
        for _ in range(repeats):
            previous, current = current, normal(previous, current, channels)
        channels *= 2
        x = reduction(previous, current, channels)
    n.output(x)
    return n


def resnext50(groups=32):
    n = Network("resnext50")
    x = n.max_pool(n.conv(n.input(1, 3, 224, 224), 64, 7, 2), 3, 2)
    for stage, (blocks, channels) in enumerate([(3, 128), (4, 256), (6, 512), (3, 1024)]):
        for block in range(blocks):
            stride = 2 if block == 0 and stage > 0 else 1
            y = n.conv(n.conv(x, channels, 1), channels, 3, stride, groups=groups)
            y = n.conv(y, 2 * channels, 1, relu=False)
            if stride > 1 or x[1][1] != 2 * channels:
                x = n.conv(x, 2 * channels, 1, stride)
            x = n.element_wise("Relu", n.element_wise("Add", x, y))
    n.output(x)
    return n


def squeezenet():
    n = Network("squeezenet")
    x = n.max_pool(n.conv(n.input(1, 3, 224, 224), 64, 3, 2, "valid"), 3, 2, "valid")
    for block, squeeze in enumerate([16, 16, 32, 32, 48, 48, 64, 64]):
        x = n.conv(x, squeeze, 1)
        x = n.concat(n.conv(x, 4 * squeeze, 1), n.conv(x, 4 * squeeze, 3))
        x = n.max_pool(x, 3, 2, "valid") if block in (1, 3) else x
    x = n.conv(x, 1000, 1)
    n.output(n.mean_pool(x, x[1][2], 1, "valid"))
    return n


def vgg19():
    n = Network("vgg19")
    x = n.input(1, 3, 224, 224)
    for convs, channels in [(2, 64), (2, 128), (4, 256), (4, 512), (4, 512)]:
        for _ in range(convs):
            x = n.conv(x, channels, 3)
        x = n.max_pool(x, 2, 2, "valid")
    x = n.node("Reshape", [x, n.integers(1, -1)], [1, 512 * 7 * 7])
    x = n.element_wise("Relu", n.matmul(x, 4096))
    x = n.element_wise("Relu", n.matmul(x, 4096))
    n.output(n.matmul(x, 1000))
    return n


def inception_v3():
    n = Network("inception_v3")
    x = n.input(1, 3, 299, 299)
    x = n.conv(n.conv(n.conv(x, 32, 3, 2, "valid"), 32, 3, 1, "valid"), 64, 3)
    x = n.conv(n.conv(n.max_pool(x, 3, 2, "valid"), 80, 1), 192, 3, 1, "valid")
    x = n.max_pool(x, 3, 2, "valid")
    for pooled in (32, 64, 64):
        x = n.concat(
            n.conv(x, 64, 1),
            n.conv(n.conv(x, 48, 1), 64, 5),
            n.conv(n.conv(n.conv(x, 64, 1), 96, 3), 96, 3),
            n.conv(n.mean_pool(x, 3, 1), pooled, 1),
        )
    x = n.concat(
        n.conv(x, 384, 3, 2, "valid"),
        n.conv(n.conv(n.conv(x, 64, 1), 96, 3), 96, 3, 2, "valid"),
        n.max_pool(x, 3, 2, "valid"),
    )
    for c in (128, 160, 160, 192):
        y = n.conv(n.conv(n.conv(x, c, 1), c, (7, 1)), c, (1, 7))
        x = n.concat(
            n.conv(x, 192, 1),
            n.conv(n.conv(n.conv(x, c, 1), c, (1, 7)), 192, (7, 1)),
            n.conv(n.conv(y, c, (7, 1)), 192, (1, 7)),
            n.conv(n.mean_pool(x, 3, 1), 192, 1),
        )
    y = n.conv(n.conv(n.conv(x, 192, 1), 192, (1, 7)), 192, (7, 1))
    x = n.concat(n.conv(n.conv(x, 192, 1), 320, 3, 2, "valid"), n.conv(y, 192, 3, 2, "valid"), n.max_pool(x, 3, 2, "valid"))
    for _ in range(2):
        y, z = n.conv(x, 384, 1), n.conv(n.conv(x, 448, 1), 384, 3)
        x = n.concat(
            n.conv(x, 320, 1),
            n.concat(n.conv(y, 384, (1, 3)), n.conv(y, 384, (3, 1))),
            n.concat(n.conv(z, 384, (1, 3)), n.conv(z, 384, (3, 1))),
            n.conv(n.max_pool(x, 3, 1), 192, 1),
        )
    n.output(n.mean_pool(x, x[1][2], 1, "valid"))
    return n


def bert(layers=8, length=64, width=1024, heads=16):
    """The projections and products of the attention of BERT, without softmax, as TENSAT has them."""
    n = Network("bert")
    depth = width // heads
    apart, together = n.integers(length, heads, depth), n.integers(length, width)
    x = n.element_wise("Relu", n.input(length, width))
    for _ in range(layers):
        split = [n.node("Reshape", [n.matmul(x, width), apart], [length, heads, depth]) for _ in range(3)]
        q, v = (n.node("Transpose", [split[i]], [heads, length, depth], perm=[1, 0, 2]) for i in (0, 2))
        k = n.node("Transpose", [split[1]], [heads, depth, length], perm=[1, 2, 0])
        y = n.node("MatMul", [n.node("MatMul", [q, k], [heads, length, length]), v], [heads, length, depth])
        y = n.node("Transpose", [y], [length, heads, depth], perm=[1, 0, 2])
        n.output(n.node("Reshape", [y, together], [length, width]))
        x = n.matmul(x, width)
    n.output(x)
    return n


NETWORKS = [nasrnn, nasnet_a, resnext50, squeezenet, vgg19, inception_v3, bert]

if __name__ == "__main__":
    write_networks({make.__name__: make for make in NETWORKS}, __doc__)
