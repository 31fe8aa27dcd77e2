"""Makes network.npz and tokens.npz: what PyTorch says of the attributions of network.toml and tokens.toml, in f64.

    python -m venv torch && torch/bin/pip install torch==2.15.0 numpy==2.4.6 && torch/bin/python make.py

network.npz has the parameters by Kiln's names and in Kiln's layout, two samples `x`, the class `target` that scores highest for each,
and of that score:

    gradient_x_input      the gradient times x
    integrated_gradients  between -0.25 and x, 2,000 panels of 4 points of Gauss-Legendre quadrature, gradients by autograd
    grad_cam              of the layer `seen`, enlarged to the picture by interpolate(mode="bilinear", align_corners=False)

tokens.npz has the same of two texts `tokens`, where embeddings are what is varied and a token's part is the sum over its embedding, and

    attention.first, attention.second    [text, head, query, key]: the weights that multi_head_attention_forward gives
    rollout                              [text, key]: Abnar & Zuidema 2020, section 3, the mean over queries
"""

import math
import os

import numpy as np
import torch
import torch.nn.functional as F

random = np.random.default_rng(5)
# Places between baseline and sample, denser next to the baseline, with their weights.
EDGES = (np.arange(2001) / 2000) ** 2
WAY = [(a + (t + 1) / 2 * (b - a), w / 2 * (b - a)) for a, b in zip(EDGES, EDGES[1:]) for t, w in zip(*np.polynomial.legendre.leggauss(4))]


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


def on_the_way(slope, base, x):
    """Integrated gradients of one sample, by the gradients of all places at once."""
    at, weights = [torch.tensor(column).reshape(-1, *[1] * x.dim()) for column in zip(*WAY)]
    return (weights * slope(base + at * (x - base))).sum(0) * (x - base)


def gradient_of(label):
    def slope(x):
        x = x.clone().requires_grad_(True)
        return torch.autograd.grad(scores(seen(x))[:, label].sum(), x)[0]

    return slope


base = torch.full_like(x, -0.25)
integrated = torch.stack([on_the_way(gradient_of(target[i]), base[i], x[i]) for i in range(2)])
activation = seen(x).detach().requires_grad_(True)
weights = torch.autograd.grad(score(activation), activation)[0].mean(dim=(2, 3), keepdim=True)
cam = F.relu((weights * activation).sum(dim=1, keepdim=True))
cam = F.interpolate(cam, size=(9, 7), mode="bilinear", align_corners=False)[:, 0]

arrays = {name: value.numpy() for name, value in p.items()}
arrays |= {"x": x.numpy(), "target": target.numpy(), "gradient_x_input": (gradient(x) * x).numpy()}
arrays |= {"integrated_gradients": integrated.numpy(), "grad_cam": cam.detach().numpy()}
here = os.path.dirname(os.path.abspath(__file__))
np.savez(os.path.join(here, "network.npz"), **arrays)

# Tokens: two blocks of a Transformer.

q = {"embedding.weight": draw(12, 6, scale=1.0), "scores.weight": draw(30, 3), "scores.bias": draw(3)}
for name in ["first", "second"]:
    for word in ["query", "key", "value", "output"]:
        q |= {f"{name}.attention.{word}.weight": draw(6, 6), f"{name}.attention.{word}.bias": draw(6)}
    q |= {f"{name}.feed_forward.first.weight": draw(6, 8), f"{name}.feed_forward.first.bias": draw(8)}
    q |= {f"{name}.feed_forward.second.weight": draw(8, 6), f"{name}.feed_forward.second.bias": draw(6)}
    for part in ["attention", "feed_forward"]:
        q |= {f"{name}.{part}_norm.scale": 1 + draw(6, scale=0.2), f"{name}.{part}_norm.bias": draw(6, scale=0.2)}
tokens = torch.tensor([[3, 7, 0, 11, 7], [1, 4, 9, 2, 5]])


def affine(name, x):
    return x @ q[f"{name}.weight"] + q[f"{name}.bias"]


def norm(name, x):
    return F.layer_norm(x, (6,), q[f"{name}_norm.scale"], q[f"{name}_norm.bias"], eps=1e-5)


def attend(name, x, heads, causal):
    mask = torch.triu(torch.full((5, 5), -math.inf, dtype=torch.float64), 1) if causal else None
    part = lambda word: q[f"{name}.attention.{word}.weight"].T
    t = x.transpose(0, 1)
    y, weights = F.multi_head_attention_forward(
        t, t, t, 6, heads, None, torch.cat([q[f"{name}.attention.{word}.bias"] for word in ["query", "key", "value"]]), None, None,
        False, 0.0, part("output"), q[f"{name}.attention.output.bias"], attn_mask=mask, need_weights=True, average_attn_weights=False,
        use_separate_proj_weight=True, q_proj_weight=part("query"), k_proj_weight=part("key"), v_proj_weight=part("value"))
    return y.transpose(0, 1), weights


def forward(x):
    added, first = attend("first", x, 2, False)
    x = norm("first.attention", x + added)
    x = norm("first.feed_forward", x + affine("first.feed_forward.second", F.relu(affine("first.feed_forward.first", x))))
    added, second = attend("second", norm("second.attention", x), 3, True)
    x = x + added
    x = x + affine("second.feed_forward.second", F.gelu(affine("second.feed_forward.first", norm("second.feed_forward", x))))
    return affine("scores", x.flatten(1)), first, second


embedded = q["embedding.weight"][tokens]
answers, first, second = forward(embedded)
target = answers.argmax(dim=1)


def slope_of(label):
    def slope(x):
        x = x.clone().requires_grad_(True)
        return torch.autograd.grad(forward(x)[0][:, label].sum(), x)[0]

    return slope


slopes = torch.cat([slope_of(target[i])(embedded[i : i + 1]) for i in range(2)])
integrated = torch.stack([on_the_way(slope_of(target[i]), torch.zeros(5, 6, dtype=torch.float64), embedded[i]) for i in range(2)])
half = lambda layer: 0.5 * layer.mean(dim=1) + 0.5 * torch.eye(5, dtype=torch.float64)
rolled = half(second) @ half(first)

arrays = {name: value.numpy() for name, value in q.items()}
arrays |= {"tokens": tokens.numpy(), "target": target.numpy(), "gradient_x_input": (slopes * embedded).sum(-1).numpy()}
arrays |= {"integrated_gradients": integrated.sum(-1).numpy(), "rollout": rolled.mean(dim=1).numpy()}
arrays |= {"attention.first": first.numpy(), "attention.second": second.numpy()}
np.savez(os.path.join(here, "tokens.npz"), **arrays)
