"""Makes network.npz: what PyTorch says of the attributions of network.toml, in f64.

    python -m venv torch && torch/bin/pip install torch==2.15.0 numpy==2.4.6 && torch/bin/python make.py

network.npz has the parameters by Kiln's names and in Kiln's layout, two samples `x`, the class `target` that scores highest for each,
and of that score:

    gradient_x_input      the gradient times x
    integrated_gradients  between -0.25 and x, 256 points of Gauss-Legendre quadrature, gradients by autograd
    grad_cam              of the layer `seen`, enlarged to the picture by interpolate(mode="bilinear", align_corners=False)
"""

import os

import numpy as np
import torch
import torch.nn.functional as F

random = np.random.default_rng(5)


def draw(*shape, scale=0.5):
    return torch.tensor(random.normal(size=shape) * scale)


p = {
    "conv2d.weight": draw(4, 2, 3, 3),
    "conv2d.bias": draw(4),
    "seen.weight": draw(5, 4, 3, 3, scale=0.3),
    "seen.bias": draw(5),
    "scores.weight": draw(5, 3),
    "scores.bias": draw(3),
}
x = draw(2, 2, 9, 7, scale=1.0)


def seen(x):
    h = F.relu(F.conv2d(x, p["conv2d.weight"], p["conv2d.bias"], padding=1))
    return F.relu(F.conv2d(h, p["seen.weight"], p["seen.bias"], stride=2))


def scores(seen):
    return seen.mean(dim=(2, 3)) @ p["scores.weight"] + p["scores.bias"]


target = scores(seen(x)).argmax(dim=1)


def score(seen):
    return scores(seen).gather(1, target[:, None]).sum()


def gradient(x):
    x = x.clone().requires_grad_(True)
    return torch.autograd.grad(score(seen(x)), x)[0]


base = torch.full_like(x, -0.25)
nodes, weights = np.polynomial.legendre.leggauss(256)
integrated = sum(w / 2 * gradient(base + (t + 1) / 2 * (x - base)) for t, w in zip(nodes, weights)) * (x - base)
activation = seen(x).detach().requires_grad_(True)
weights = torch.autograd.grad(score(activation), activation)[0].mean(dim=(2, 3), keepdim=True)
cam = F.relu((weights * activation).sum(dim=1, keepdim=True))
cam = F.interpolate(cam, size=(9, 7), mode="bilinear", align_corners=False)[:, 0]

arrays = {name: value.numpy() for name, value in p.items()}
arrays |= {"x": x.numpy(), "target": target.numpy(), "gradient_x_input": (gradient(x) * x).numpy()}
arrays |= {"integrated_gradients": integrated.numpy(), "grad_cam": cam.detach().numpy()}
np.savez(os.path.join(os.path.dirname(os.path.abspath(__file__)), "network.npz"), **arrays)
