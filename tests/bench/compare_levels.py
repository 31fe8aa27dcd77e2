#!/usr/bin/env python3
"""What rewriting is worth: saturation and extraction of models, what their prices promise, and what is measured, as a table in Markdown.

    pip install numpy
    python tests/bench/tensat_networks.py networks
    python tests/bench/compare_levels.py --kiln target/release/kiln networks/*.onnx [--threads 1] [--rounds 9]

"priced" is the time of kernels by the cost model, of the graph as it was over the graph that was chosen, both fused alike. "measured"
is the time of programs compiled with --opt 1 and --opt 0 over that with --opt 2: the three take turns, in another order each round,
and the median of the ratios within rounds counts, with the quartiles behind it. Inputs come from MODEL.npz beside the model. The error
is max|a - b| / max|b| between the outputs of --opt 2 and --opt 0.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile

import numpy as np

LEVELS = (0, 1, 2)


def answer(command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}\n{done.stderr}")
    return done.stdout


def quartiles(ratios):
    low, middle, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
    return f"{middle:.3f} ({low:.3f}–{high:.3f})"


def row(args, path, scratch):
    name = os.path.splitext(os.path.basename(path))[0]
    options = [option for dim in args.dim for option in ("--dim", dim)]
    # The first call reads the file into memory.
    for _ in range(2):
        explained = json.loads(answer([args.kiln, "explain", path, "--json", *options]))
    took = sum(explained["seconds"].values())
    searches = explained["optimised"]
    before = sum(search["candidates"][0]["kernels_us"] or 0.0 for search in searches)
    after = sum(search["candidates"][search["chosen"]]["kernels_us"] or 0.0 for search in searches)
    e_nodes = max([graph["e_nodes"] for graph in explained["recognised"] + searches], default=0)
    priced = f"{before / after:.3f}" if after > 0 else "1 (no candidate)"
    cells = [name, str(explained["nodes"]), str(e_nodes), f"{took:.2f} s", priced]
    if not args.only_search:
        beside = os.path.splitext(path)[0] + ".npz"
        if not os.path.exists(beside):
            sys.exit(f"no inputs at {beside}; --only-search needs none")
        inputs = ["--inputs", beside]
        programs = {level: os.path.join(scratch, f"level{level}") for level in LEVELS}
        outputs = {}
        for level, program in programs.items():
            answer([args.kiln, "compile", path, "-o", program, "--emit", "exe", "--opt", str(level), *options])
            answer([program, *inputs, "--output", program + ".npz"])
            outputs[level] = np.load(program + ".npz")
        times = {level: [] for level in LEVELS}
        for turn in range(args.rounds):
            for at in range(len(LEVELS)):
                level = LEVELS[(at + turn) % len(LEVELS)]
                bench = [programs[level], *inputs, "--bench", "--runs", "1000", "--seconds", str(args.seconds)]
                found = json.loads(answer([*bench, "--threads", str(args.threads), "--json"]))
                times[level].append(found["median_us"])
        for level in (1, 0):
            cells.append(quartiles([a / b for a, b in zip(times[level], times[2])]))
        cells.append(f"{statistics.median(times[2]) / 1e3:.3f} ms")
        errors = [0.0]
        for key in outputs[0].files:
            a, b = outputs[2][key].astype(np.float64), outputs[0][key].astype(np.float64)
            scale = np.abs(b).max() if b.size else 0.0
            errors.append(np.abs(a - b).max() / scale if scale > 0 else 0.0)
        cells.append(f"{max(errors):.1e}")
    return cells


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="MODEL.onnx")
    parser.add_argument("--kiln", required=True, help="the kiln program")
    parser.add_argument("--dim", action="append", default=[], metavar="NAME=SIZE", help="binds a size (may be repeated)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=0.5, help="of each round, for each level")
    parser.add_argument("--only-search", action="store_true", help="measure no programs")
    args = parser.parse_args()
    args.kiln = os.path.abspath(args.kiln)
    titles = ["network", "nodes", "e-nodes", "search", "priced"]
    titles += [] if args.only_search else ["measured, 1 over 2", "measured, 0 over 2", "--opt 2", "error"]
    print(f"| {' | '.join(titles)} |\n|{'---|' * len(titles)}")
    with tempfile.TemporaryDirectory() as scratch:
        for path in args.models:
            print(f"| {' | '.join(row(args, path, scratch))} |", flush=True)


if __name__ == "__main__":
    sys.exit(main())
