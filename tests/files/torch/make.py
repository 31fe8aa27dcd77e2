"""Makes the files of this folder: small networks as model files, and what PyTorch computes when it trains them, in f64.

    python -m venv torch && torch/bin/pip install torch==2.15.0 torchaudio==2.11.0 numpy==2.4.6 && torch/bin/python make.py

Beside NAME.toml, NAME.npz has these arrays. Where one has the values of several tensors, they stand one behind the other, flat,
parameters in the order of their names.

    x/INPUT, target/OUTPUT   the batches of all steps, [steps, batch, ..]; target/x_lengths: time steps that count
    start, end               parameters and running statistics before the first and after the last step
    average                  running means of what is trained after the last step, where `ema` asks for them
    losses                   the loss of each step
    outputs                  what the network gives in the first step
    gradient                 of what is minimised in the first step: by what gradients may change, then by inputs of floating numbers

Networks (networks.py) take parameters by Kiln's names and in Kiln's layout, and hand them to PyTorch's functions and modules.
"""

import os
import zlib

import numpy as np
import torch

from networks import CASES

FOLDER = os.path.dirname(os.path.abspath(__file__))


def rounded(values):
    """Numbers that f32 has too, and that take little room."""
    return np.round(values * 1024) / 1024


def flat(tensors):
    return torch.cat([t.detach().reshape(-1) for t in tensors]).numpy()


def draw(random, steps, spec):
    """A batch for each step: normal numbers of a shape, or integers from `low` to below `high`."""
    if isinstance(spec, tuple):
        shape, low, high = spec[:3]
        return random.integers(low, high, (steps, *shape))
    return rounded(random.normal(0, 1, (steps, *spec))).astype("float32")


def make(case):
    random = np.random.default_rng(zlib.crc32(case.name.encode()))
    x = {name: draw(random, case.steps, spec) for name, spec in case.inputs.items()}
    targets = {name: drawn(random, case.steps) for name, drawn in case.targets.items()}
    start = {name: rounded(random.normal(0, 0.5, shape)) for name, shape in case.parameters.items()}
    start |= {name: np.full(shape, value) for name, (shape, value) in case.statistics.items()}
    p = {name: torch.tensor(value, dtype=torch.float64) for name, value in start.items()}
    by = sorted(case.parameters)
    for name in by:
        p[name].requires_grad_()
    trained = [p[name] for name in by if not name.startswith(case.frozen)]
    optimiser = case.optimiser(trained)
    average = [t.detach().clone() for t in trained]
    made = {"losses": []}
    for step in range(case.steps):
        given = {name: torch.tensor(batches[step]) for name, batches in x.items()}
        given = {name: t.double().requires_grad_() if t.is_floating_point() else t for name, t in given.items()}
        outputs = case.network(p, *given.values())
        outputs = outputs if isinstance(outputs, dict) else {"output": outputs}
        loss = case.loss(*outputs.values(), *(torch.tensor(batches[step]) for batches in targets.values()))
        made["losses"].append(loss.item())
        objective = loss + case.penalty(p, *outputs.values())
        (objective / case.accumulate).backward()
        if step == 0:
            made["outputs"] = flat(outputs.values())
            smooth = [given[name] for name in given if given[name].is_floating_point()]
            made["gradient"] = flat([t.grad * case.accumulate for t in [p[name] for name in by] + smooth])
        if (step + 1) % case.accumulate == 0:
            case.clip(trained)
            optimiser.step()
            optimiser.zero_grad()
            with torch.no_grad():
                case.constrain(p)
                for mean, t in zip(average, trained):
                    mean.mul_(case.ema).add_((1 - case.ema) * t)
    made["losses"] = np.array(made["losses"])
    made["start"] = np.concatenate([start[name].reshape(-1) for name in sorted(start)]).astype("float32")
    made["end"] = flat(p[name] for name in sorted(p))
    if case.ema:
        made["average"] = flat(average)
    with open(os.path.join(FOLDER, case.name + ".toml"), "w") as file:
        file.write(case.toml)
    batches = {f"x/{name}": a for name, a in x.items()} | {f"target/{name}": a for name, a in targets.items()}
    np.savez_compressed(os.path.join(FOLDER, case.name + ".npz"), **batches, **made)


for case in CASES:
    make(case)
