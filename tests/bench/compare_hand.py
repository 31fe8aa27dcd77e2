#!/usr/bin/env python3
"""Compiled products of square matrices beside one written by hand (hand_product.c), and how threads scale, as a table in Markdown.

    python tests/bench/compare_hand.py --kiln target/release/kiln [--size 1024] [--rounds 9] [--threads 1 2]

Both take turns within each round; the median of the ratios of their median times counts, with the quartiles behind it: above 1, compiled
code is faster. "packed" has the right factor as a parameter, which both pack beforehand; "whole" packs it in every run. "scaling" is
the rate with all threads over that with the first number of them, beside that of a loop of multiply-adds in registers, which is the
most that this machine gives. Needs a C compiler.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
# Levels of the CPU with the micro-kernels for them.
UNITS = {"x86-64-v3": ["avx2"], "x86-64-v4": ["avx512", "avx512-14"]}
NEEDED = {"x86-64-v3": {"avx2", "fma"}, "x86-64-v4": {"avx512f", "avx512bw", "avx512dq", "avx512vl"}}


def answer(command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}\n{done.stderr}")
    return done.stdout


def models(n, scratch):
    """The product with a parameter, and of two inputs: mode → file."""
    packed, whole = os.path.join(scratch, "packed.toml"), os.path.join(scratch, "whole.kiln")
    with open(packed, "w", encoding="utf-8") as file:
        file.write(f'seed = 1\n[[input]]\nname = "x"\nshape = [{n}]\n[[layer]]\ntype = "dense"\nunits = {n}\nbias = false\n')
    options = "{a_batch = [], b_batch = [], a_contract = [1], b_contract = [0]}"
    with open(whole, "w", encoding="utf-8") as file:
        file.write(f'module "whole" {{\n  fn predict(%x: f32[{n}, {n}], %w: f32[{n}, {n}]) {{\n')
        file.write(f"    %y = dot %x, %w {options}\n    return %y\n  }}\n}}\n")
    return {"packed": (packed, ["--dim", f"batch={n}"]), "whole": (whole, [])}


def quartiles(values):
    low, middle, high = statistics.quantiles(values, n=4) if len(values) > 1 else values * 3
    return f"{middle:.3f} ({low:.3f}–{high:.3f})"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kiln", required=True, help="the kiln program")
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--runs", type=int, default=12, help="of each round")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--mode", nargs="+", choices=("packed", "whole"), default=["packed", "whole"])
    parser.add_argument("--level", nargs="+", choices=tuple(UNITS), default=list(UNITS))
    args = parser.parse_args()
    kiln, n = os.path.abspath(args.kiln), args.size
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        features = next((set(line.split()) for line in file if line.startswith("flags")), set())
    flops = 2.0 * n**3
    with tempfile.TemporaryDirectory() as scratch:
        hand = os.path.join(scratch, "hand")
        answer(["cc", "-O3", "-pthread", os.path.join(HERE, "hand_product.c"), "-o", hand])
        print("| level | mode | threads | by hand | its GFLOP/s | compiled, GFLOP/s | compiled over by hand |\n|---|---|---|---|---|---|---|")
        scaling = []
        for level in args.level:
            if not NEEDED[level] <= features:
                print(f"| {level} | not on this CPU | | | | | |")
                continue
            rates = {}
            for mode in args.mode:
                path, options = models(n, scratch)[mode]
                program = os.path.join(scratch, "program")
                answer([kiln, "compile", path, "-o", program, "--emit", "exe", "--cpu", level, *options])
                for threads in args.threads:
                    ours, theirs = [], {unit: [] for unit in UNITS[level]}
                    command = [program, "--bench", "--runs", str(args.runs), "--seconds", "5", "--threads", str(threads), "--json"]
                    for turn in range(args.rounds):
                        for unit in UNITS[level][:: 1 if turn % 2 else -1]:
                            theirs[unit].append(json.loads(answer([hand, unit, mode, str(n), str(threads), str(args.runs)]))["median_us"])
                        ours.append(json.loads(answer(command))["median_us"])
                    for unit, times in theirs.items():
                        ratio = quartiles([a / b for a, b in zip(times, ours)])
                        middle = [flops / statistics.median(some) / 1e3 for some in (times, ours)]
                        print(f"| {level} | {mode} | {threads} | {unit} | {middle[0]:.0f} | {middle[1]:.0f} | {ratio} |", flush=True)
                        rates[f"{mode}, {unit} by hand", threads] = middle[0]
                    rates[f"{mode}, compiled", threads] = flops / statistics.median(ours) / 1e3
            unit = UNITS[level][0]
            for threads in args.threads:
                peaks = [json.loads(answer([hand, unit, "peak", str(n), str(threads), str(args.runs)]))["gflops"] for _ in range(args.rounds)]
                rates["multiply-adds alone", threads] = statistics.median(peaks)
            scaling += [(level, what, [rates[what, threads] for threads in args.threads]) for what in dict.fromkeys(what for what, _ in rates)]
    titles = [f"{threads} threads" for threads in args.threads]
    print(f"\n| level | what, GFLOP/s | {' | '.join(titles)} | scaling |\n|---|---|{'---|' * len(titles)}---|")
    for level, what, rates in scaling:
        print(f"| {level} | {what} | {' | '.join(f'{rate:.0f}' for rate in rates)} | {rates[-1] / rates[0]:.2f} |")


if __name__ == "__main__":
    main()
