#!/usr/bin/env python3
"""Writes eight networks as ONNX files in the most primitive spelling that an exporter gives: nothing is folded, batch normalisation is
kept, attention and norms are products, sums and exponentials, projections of queries, keys and values are three products, gates four.

    pip install torch==2.15.0 torchvision==0.29.2 onnx==1.23.2
    python tests/bench/spelled_networks.py OUT_DIRECTORY [NAME ...]

Weights and inputs come from a seed; statistics of batch normalisation are made up, so that folding them changes weights.
"""
import pathlib
import sys
import warnings

import numpy as np
import torch
import torch.nn as nn
import torchvision

NETWORKS = {}


def network(*shape):
    """Registers a function that makes a network, with the shape of its input."""

    def register(make):
        NETWORKS[make.__name__] = (make, shape)
        return make

    return register


def conv(inputs, outputs, kernel, stride=1, groups=1):
    layers = [nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers)


class LayerNorm(nn.Module):
    """By its formula, as code written by hand has it."""

    def __init__(self, width):
        super().__init__()
        self.scale, self.offset = nn.Parameter(torch.rand(width) + 0.5), nn.Parameter(torch.randn(width) * 0.1)

    def forward(self, x):
        centred = x - x.mean(-1, keepdim=True)
        return centred / torch.sqrt((centred * centred).mean(-1, keepdim=True) + 1e-5) * self.scale + self.offset


class RmsNorm(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.scale = nn.Parameter(torch.rand(width) + 0.5)

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * self.scale


class Attention(nn.Module):
    def __init__(self, width, heads, causal=False, bias=True):
        super().__init__()
        self.heads, self.causal = heads, causal
        self.q, self.k, self.v, self.out = (nn.Linear(width, width, bias) for _ in range(4))

    def forward(self, x):
        batch, length, width = x.shape
        split = (batch, length, self.heads, width // self.heads)
        q, k, v = (project(x).view(split).transpose(1, 2) for project in (self.q, self.k, self.v))
        scores = q @ k.transpose(-1, -2) / (width // self.heads) ** 0.5
        if self.causal:
            scores = scores + torch.full((length, length), float("-inf")).triu(1)
        powers = torch.exp(scores - scores.amax(-1, keepdim=True))
        shares = powers / powers.sum(-1, keepdim=True)
        return self.out((shares @ v).transpose(1, 2).reshape(batch, length, width))


class Block(nn.Module):
    def __init__(self, width, heads, norm, feed_forward, **attention):
        super().__init__()
        self.first, self.attention = norm(width), Attention(width, heads, **attention)
        self.second, self.feed_forward = norm(width), feed_forward(width)

    def forward(self, x):
        x = x + self.attention(self.first(x))
        return x + self.feed_forward(self.second(x))


class Gelu(nn.Module):
    def forward(self, x):
        return 0.5 * x * (1 + torch.erf(x / 2**0.5))


def dense(width):
    return nn.Sequential(nn.Linear(width, 4 * width), Gelu(), nn.Linear(4 * width, width))


class Gated(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.gate, self.up, self.down = nn.Linear(width, 3 * width, False), nn.Linear(width, 3 * width, False), nn.Linear(3 * width, width, False)

    def forward(self, x):
        gate = self.gate(x)
        return self.down(gate / (1 + torch.exp(-gate)) * self.up(x))


@network(1, 3, 224, 224)
def resnet18():
    return torchvision.models.resnet18()


@network(1, 3, 224, 224)
def mobilenet_v2():
    return torchvision.models.mobilenet_v2()


@network(1, 3, 224, 224)
def googlenet():
    return torchvision.models.googlenet(aux_logits=False, init_weights=False)


@network(1, 32, 28, 28)
def searched_cells():
    class Cell(nn.Module):
        def __init__(self, before, inputs, c):
            super().__init__()
            self.previous, self.current = conv(before, c, 1), conv(inputs, c, 1)

            def separable(kernel):
                return nn.Sequential(nn.Conv2d(c, c, kernel, 1, kernel // 2, groups=c, bias=False), nn.Conv2d(c, c, 1, bias=False), nn.BatchNorm2d(c))

            self.branches = nn.ModuleList(separable(k) for k in (3, 3, 5, 3, 5))
            self.pool = nn.AvgPool2d(3, 1, 1, count_include_pad=False)

        def forward(self, previous, current):
            p, x = self.previous(previous), self.current(current)
            a, b, c, d, e = self.branches
            return torch.cat([a(x) + x, b(p) + c(x), self.pool(x) + p, self.pool(p) + self.pool(p), d(p) + e(p)], 1)

    class Cells(nn.Module):
        def __init__(self, inputs, c, cells):
            super().__init__()
            widths = [inputs, inputs] + [5 * c] * cells
            self.cells = nn.ModuleList(Cell(widths[at], widths[at + 1], c) for at in range(cells))

        def forward(self, x):
            previous = current = x
            for cell in self.cells:
                previous, current = current, cell(previous, current)
            return current.mean((2, 3))

    return Cells(32, 48, 6)


@network(1, 128, 256)
def encoder():
    return nn.Sequential(*[Block(256, 8, LayerNorm, dense) for _ in range(6)], LayerNorm(256), nn.Linear(256, 64))


@network(1, 96, 256)
def decoder():
    blocks = [Block(256, 8, RmsNorm, Gated, causal=True, bias=False) for _ in range(6)]
    return nn.Sequential(*blocks, RmsNorm(256), nn.Linear(256, 512, False))


@network(1, 3, 112, 112)
def vision():
    class Vision(nn.Module):
        def __init__(self, width=192):
            super().__init__()
            self.patches = nn.Conv2d(3, width, 16, 16)
            self.places = nn.Parameter(torch.randn(1, 49, width) * 0.02)
            self.blocks = nn.Sequential(*[Block(width, 3, LayerNorm, dense) for _ in range(6)])
            self.norm, self.head = LayerNorm(width), nn.Linear(width, 100)

        def forward(self, x):
            x = self.patches(x).flatten(2).transpose(1, 2) + self.places
            return self.head(self.norm(self.blocks(x))[:, 0])

    return Vision()


@network(1, 12, 128)
def gates():
    class Gates(nn.Module):
        """A long short-term memory, unrolled: eight products a step."""

        def __init__(self, width=128):
            super().__init__()
            self.inputs = nn.ModuleList(nn.Linear(width, width) for _ in range(4))
            self.states = nn.ModuleList(nn.Linear(width, width, False) for _ in range(4))

        def forward(self, x):
            h = c = torch.zeros(x.shape[0], x.shape[2])
            for t in range(x.shape[1]):
                i, f, g, o = (a(x[:, t]) + b(h) for a, b in zip(self.inputs, self.states))
                c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
                h = torch.sigmoid(o) * torch.tanh(c)
            return h

    return Gates()


def save(name, directory):
    make, shape = NETWORKS[name]
    torch.manual_seed(0)
    net = make().eval()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
    x = torch.randn(*shape)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        preserved = torch.onnx.TrainingMode.PRESERVE
        options = dict(dynamo=False, do_constant_folding=False, training=preserved, opset_version=14, input_names=["x"], output_names=["y"])
        torch.onnx.export(net, (x,), str(directory / f"{name}.onnx"), **options)
    np.savez(directory / f"{name}.npz", x=x.numpy())


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    directory = pathlib.Path(sys.argv[1])
    directory.mkdir(parents=True, exist_ok=True)
    unknown = [name for name in sys.argv[2:] if name not in NETWORKS]
    if unknown:
        sys.exit(f"no network {', '.join(unknown)} among {', '.join(NETWORKS)}")
    for name in sys.argv[2:] or NETWORKS:
        save(name, directory)
