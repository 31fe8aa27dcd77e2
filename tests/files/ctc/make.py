"""Makes cases.npz: connectionist temporal classification of 1,000 random cases, and of a long one, as PyTorch computes it in f64.

    python -m venv torch && torch/bin/pip install torch==2.15.0 numpy==2.4.6 && torch/bin/python make.py

In groups of 50 with the same sizes, for a group k: k/logits [50, time, classes] in sixteenths, k/labels [50, n] padded with -1, k/lengths
[50], k/blank, k/losses [50], inf where the time steps cannot spell the labels, and k/gradient, of the sum of all losses that are finite.
Among them are empty labels, repeated labels, one time step, no time step less than needed and one less, and scores far apart.
"""

import os

import numpy as np
import torch
import torch.nn.functional as f

random = np.random.default_rng(11)
made = {}


def add(name, logits, labels, lengths, blank):
    counts = (labels >= 0).sum(1)
    x = torch.tensor(logits / 16.0, dtype=torch.float64, requires_grad=True)
    logs = f.log_softmax(x, -1).transpose(0, 1)
    targets = torch.tensor(np.where(labels < 0, 0, labels))
    losses = f.ctc_loss(logs, targets, torch.tensor(lengths), torch.tensor(counts), blank=blank, reduction="none")
    finite = f.ctc_loss(logs, targets, torch.tensor(lengths), torch.tensor(counts), blank=blank, reduction="none", zero_infinity=True)
    finite.sum().backward()
    gradient = x.grad.numpy()
    assert np.isfinite(gradient).all()
    made[f"{name}/logits"], made[f"{name}/labels"] = logits.astype("int16"), labels.astype("int8")
    made[f"{name}/lengths"], made[f"{name}/blank"] = lengths.astype("int16"), np.array(blank, "int16")
    made[f"{name}/losses"], made[f"{name}/gradient"] = losses.detach().numpy(), gradient.astype("float32")
    return np.isinf(losses.detach().numpy()).sum()


impossible = 0
for group in range(20):
    time, classes, longest = random.integers(1, 15), random.integers(2, 6), random.integers(1, 7)
    blank = random.integers(0, classes)
    spread = [16, 16, 48, 400][group % 4]
    logits = np.round(random.normal(0, spread, (50, time, classes)))
    labels, lengths = np.full((50, longest), -1), np.zeros(50, "int64")
    others = [c for c in range(classes) if c != blank]
    for row in range(50):
        count = random.integers(0, longest + 1)
        spelled = random.choice(others[: random.integers(1, len(others) + 1)], count)
        labels[row, :count] = spelled
        needed = count + (spelled[1:] == spelled[:-1]).sum()
        # As many steps as there are, or just enough, or one too few.
        lengths[row] = np.clip([time, random.integers(1, time + 1), needed, needed - 1][row % 4], 1, time)
    impossible += add(str(group), logits, labels, lengths, blank)
print(impossible, "of 1000 are impossible")
time = 1500
labels = random.integers(1, 4, (1, 120))
add("long", np.round(random.normal(0, 40, (1, time, 4))), labels, np.array([time]), 0)
np.savez_compressed(os.path.join(os.path.dirname(os.path.abspath(__file__)), "cases.npz"), **made)
