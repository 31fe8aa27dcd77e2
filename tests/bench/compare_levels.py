#!/usr/bin/env python3
"""What rewriting is worth: saturation and extraction of models, what their prices promise, and what is measured, as a table in Markdown.

    pip install numpy
    python tests/bench/tensat_networks.py networks
    python tests/bench/compare_levels.py --kiln target/release/kiln networks/*.onnx [--threads 1] [--rounds 9] [--tune 20]

"priced" is the time of kernels by the cost model, of the graph as it was over the graph that was chosen, both fused alike. "measured"
is the time of programs compiled with --opt 1 and --opt 0 over that with --opt 2: the three take turns, in another order each round,
and the median of the ratios within rounds counts, with the quartiles behind it. Inputs come from MODEL.npz beside the model. The error
is max|a - b| / max|b| between the outputs of --opt 2 and --opt 0. With --tune programs of --opt 1 and --opt 2 whose ways were
measured first, each for itself and for so many seconds, take their turns too, and their outputs count for the error.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile

import numpy as np

# Levels of --opt, and whether ways are measured first.
AS_PRICED = [(0, False), (1, False), (2, False)]
MEASURED = [(1, True), (2, True)]


def answer(command, **how):
    done = subprocess.run(command, capture_output=True, text=True, **how)
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
        programs = {way: program(args, path, options, way, scratch) for way in AS_PRICED + (MEASURED if args.tune else [])}
        outputs = {}
        for way, made in programs.items():
            answer([made, *inputs, "--output", made + ".npz"])
            outputs[way] = np.load(made + ".npz")
        times = {way: [] for way in programs}
        for turn in range(args.rounds):
            for at in range(len(programs)):
                way = list(programs)[(at + turn) % len(programs)]
                bench = [programs[way], *inputs, "--bench", "--runs", "1000", "--seconds", str(args.seconds)]
                found = json.loads(answer([*bench, "--threads", str(args.threads), "--json"]))
                times[way].append(found["median_us"])
        pairs = [((1, False), (2, False)), ((0, False), (2, False))]
        pairs += [((1, True), (2, True)), ((2, False), (2, True))] if args.tune else []
        cells += [quartiles([a / b for a, b in zip(times[one], times[other])]) for one, other in pairs]
        cells += [f"{statistics.median(times[way]) / 1e3:.3f} ms" for way in programs if way[0] == 2]
        cells.append(f"{max(error(outputs[way], outputs[0, False]) for way in programs):.1e}")
    return cells


def program(args, path, options, way, scratch):
    """Compiles one; where ways are measured, on as many cores as it will have threads."""
    level, measured = way
    made = os.path.join(scratch, f"level{level}{'measured' if measured else ''}")
    command = [args.kiln, "compile", path, "-o", made, "--emit", "exe", "--opt", str(level), *options]
    if not measured:
        answer(command)
        return made
    cores = sorted(os.sched_getaffinity(0))[: args.threads]
    # What is measured is kept in a directory of its own, so that nothing is known before.
    with tempfile.TemporaryDirectory() as kept:
        environment = os.environ | {"XDG_CACHE_HOME": kept}
        answer([*command, f"--tune={args.tune}"], env=environment, preexec_fn=lambda: os.sched_setaffinity(0, cores))
    return made


def error(found, expected):
    errors = [0.0]
    for key in expected.files:
        a, b = found[key].astype(np.float64), expected[key].astype(np.float64)
        scale = np.abs(b).max() if b.size else 0.0
        errors.append(np.abs(a - b).max() / scale if scale > 0 else 0.0)
    return max(errors)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="MODEL.onnx")
    parser.add_argument("--kiln", required=True, help="the kiln program")
    parser.add_argument("--dim", action="append", default=[], metavar="NAME=SIZE", help="binds a size (may be repeated)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=0.5, help="of each round, for each level")
    parser.add_argument("--only-search", action="store_true", help="measure no programs")
    parser.add_argument("--tune", type=float, metavar="SECONDS", help="measure also programs whose ways were measured for so long")
    args = parser.parse_args()
    args.kiln = os.path.abspath(args.kiln)
    titles = ["network", "nodes", "e-nodes", "search", "priced"]
    if not args.only_search:
        titles += ["measured, 1 over 2", "measured, 0 over 2"]
        titles += ["tuned, 1 over 2", "2 over 2 tuned", "--opt 2", "--opt 2 tuned"] if args.tune else ["--opt 2"]
        titles += ["error"]
    print(f"| {' | '.join(titles)} |\n|{'---|' * len(titles)}")
    with tempfile.TemporaryDirectory() as scratch:
        for path in args.models:
            print(f"| {' | '.join(row(args, path, scratch))} |", flush=True)


if __name__ == "__main__":
    sys.exit(main())
