#!/usr/bin/env python3
"""Times whole steps of training (forward, backward, Adam, the loss read back) by Kiln against PyTorch, and prints a table in Markdown.

    pip install numpy torch
    python tests/bench/compare_pytorch_training.py --kiln target/debug/kiln [mnist_cnn lstm text_transformer] [--threads 1] [--rounds 5] [--compile]

The networks are those of examples/networks. The two take turns, round by round, each in a process of its own; of each round the median
time of a step counts, of all rounds the median. Losses are of steps 1 and 10 from each one's own first values: ln 10 at first, then less.
"""
import argparse, json, os, statistics, subprocess, sys, tempfile, time

NETWORKS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "examples", "networks")


def network(name):
    import torch
    from torch import nn

    class Lstm(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm, self.scores = nn.LSTM(128, 256, num_layers=2), nn.Linear(256, 10)

        def forward(self, x):
            return self.scores(self.lstm(x)[0][-1])

    class Transformer(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(10000, 768)
            self.attention, self.scores = nn.MultiheadAttention(768, 12, batch_first=True), nn.Linear(768, 10)

        def forward(self, x):
            x = self.embedding(x)
            return self.scores(self.attention(x, x, x, need_weights=False)[0].mean(1))

    class Cnn(nn.Module):
        def __init__(self):
            super().__init__()
            layers = [nn.Conv2d(1, 32, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2)]
            layers += [nn.Conv2d(64, 64, 3), nn.ReLU(), nn.Flatten(), nn.Linear(576, 64), nn.ReLU(), nn.Linear(64, 10)]
            self.layers = nn.Sequential(*layers)

        def forward(self, x):
            return self.layers(x.permute(0, 3, 1, 2))

    torch.manual_seed(1)
    return {"mnist_cnn": Cnn, "lstm": Lstm, "text_transformer": Transformer}[name]()


def batch(name):
    import numpy as np
    random = np.random.default_rng(1)
    if name == "mnist_cnn":
        return random.random((64, 28, 28, 1), np.float32), random.integers(0, 10, 64)
    if name == "lstm":
        return random.standard_normal((100, 32, 128), np.float32), random.integers(0, 10, 32)
    return random.integers(0, 10000, (16, 128)), random.integers(0, 10, 16)


def pytorch(name, args):
    import torch
    torch.set_num_threads(args.threads)
    model = network(name).train()
    optimiser = torch.optim.Adam(model.parameters(), 1e-3, fused=True)
    x, y = (torch.from_numpy(array) for array in batch(name))
    loss_of = lambda: torch.nn.functional.cross_entropy(model(x), y)
    if args.compile:
        loss_of = torch.compile(loss_of)

    def step():
        optimiser.zero_grad(set_to_none=True)
        loss = loss_of()
        loss.backward()
        optimiser.step()
        return loss.item()

    losses = [step() for _ in range(10)]
    times, begin = [], time.perf_counter()
    while len(times) < 3 or time.perf_counter() - begin < args.seconds:
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return {"median_us": statistics.median(times) * 1e6, "losses": losses}


def answer(command):
    told = subprocess.run(command, capture_output=True, text=True)
    if told.returncode:
        sys.exit(told.stderr or told.stdout)
    return json.loads(told.stdout.splitlines()[-1])


def compare(name, args, scratch):
    import numpy as np
    arrays = os.path.join(scratch, name + ".npz")
    x, y = batch(name)
    np.savez(arrays, X=x, Y=y)
    limits = ["--seconds", str(args.seconds), "--threads", str(args.threads)]
    ours = [args.kiln, "bench", os.path.join(NETWORKS, name + ".toml"), "--train-step", "--inputs", arrays, "--runs", "2000", "--json"]
    theirs = [sys.executable, os.path.abspath(__file__), "--kiln", args.kiln, "--only-pytorch", name] + (["--compile"] if args.compile else [])
    rounds = [(answer(ours + limits), answer(theirs + limits)) for _ in range(args.rounds)]
    kiln, peer = (statistics.median(found["median_us"] for found in side) / 1e3 for side in zip(*rounds))
    told = " | ".join(f"{side['losses'][0]:.3f} → {side['losses'][9]:.3f}" for side in rounds[0])
    print(f"| {name} | {kiln:.2f} ms | {peer:.2f} ms | **{kiln / peer:.2f}** | {told} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", default=["mnist_cnn", "lstm", "text_transformer"])
    parser.add_argument("--kiln", required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--compile", action="store_true", help="PyTorch by torch.compile")
    parser.add_argument("--only-pytorch", action="store_true", help="one measurement of PyTorch, as JSON")
    args = parser.parse_args()
    if args.only_pytorch:
        return print(json.dumps(pytorch(args.networks[0], args)))
    print("| network | Kiln | PyTorch | Kiln / PyTorch | loss, Kiln | loss, PyTorch |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as scratch:
        for name in args.networks:
            compare(name, args, scratch)


if __name__ == "__main__":
    main()
