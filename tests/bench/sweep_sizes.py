#!/usr/bin/env python3
"""Rates of kernels over sizes, round and odd ones: where an odd size costs much more than it should, a cliff, is found here.

    pip install matplotlib
    python tests/bench/sweep_sizes.py --kiln target/release/kiln sweep.png [--only FAMILY …] [--keep sweep.json]

Each case is one operator, timed by `kiln bench` on one thread; the median of its runs counts. Weights are parameters, so they are packed
beforehand. Convolutions stand between two others of one tap, as their images lie otherwise within a network than at its ends, and their
kernels alone count; those that are "alone" read an input of the program and write its output. The table gives the rate of each odd size over that of the nearest round one; below 75 % it is a cliff. With --keep the
rates are kept in a file and what is there is not measured again, so that a sweep can be made in pieces; --only takes families, and
--no-measure draws what is kept.
"""
import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass

CLIFF = 0.75
MEASURED = "measured"


@dataclass
class Case:
    size: int
    text: str
    # What one run computes, in operations, or moves, in bytes.
    work: float
    dims: tuple = ()
    # Whether only the kernels of the layer MEASURED count.
    within: bool = False
    kind: str = ".toml"


@dataclass
class Family:
    title: str
    axis: str
    unit: str
    rounds: tuple
    cases: list


def network(shape, *layers):
    lines = "\n".join("[[layer]]\n" + "\n".join(layer) for layer in layers)
    return f'name = "case"\nseed = 1\n[[input]]\nname = "x"\nshape = {list(shape)}\n{lines}\n'


def product(m, k, n):
    return network([k], ['type = "dense"', f"units = {n}", "bias = false"]), 2.0 * m * k * n, (("batch", m),)


def between(rank, channels, filters, pixels, layer, work, alone):
    """A network with that layer, between two convolutions unless it is alone."""
    measured = [*layer, f'name = "{MEASURED}"', 'padding = "same"', 'activation = "relu"']
    around = lambda count: [f'type = "conv{rank}d"', f"filters = {count}", "kernel = 1", 'activation = "relu"']
    layers = [measured] if alone else [around(channels), measured, around(filters)]
    return network([channels] + [pixels] * rank, *layers), work, (("batch", 1),), not alone


def convolution(rank, channels, pixels, kernel=3, alone=False):
    layer = [f'type = "conv{rank}d"', f"filters = {channels}", f"kernel = {kernel}"]
    return between(rank, channels, channels, pixels, layer, 2.0 * pixels**rank * channels**2 * kernel**rank, alone)


def depthwise(channels, pixels, kernel=3):
    layer = ['type = "depthwise_conv2d"', f"kernel = {kernel}"]
    return between(2, channels, channels, pixels, layer, 2.0 * pixels**2 * channels * kernel**2, False)


def attention(length, heads=8, features=64):
    shape = f"f32[1, {heads}, {length}, {features}]"
    options = "scale = 0.125, softcap = none, causal = false, past = 0, left_window = none, right_window = none"
    text = f"""module "case" {{
  fn predict(%q: {shape}, %k: {shape}, %v: {shape}) {{
    %y = attention %q, %k, %v {{{options}, has_mask = false, has_lengths = false, scores = none}}
    return %y
  }}
}}
"""
    return text, 4.0 * heads * length**2 * features


def rows(operator, length, count=256):
    parameters, operands, options = "", "%x", "axis = 1"
    if operator == "layer_norm":
        parameters, operands, options = f", %g: f32[{length}], %b: f32[{length}]", "%x, %g, %b", "axes_from = 1, epsilon = 1e-5"
    text = f"""module "case" {{
  fn predict(%x: f32[{count}, {length}]{parameters}) {{
    %y = {operator} {operands} {{{options}}}
    return %y
  }}
}}
"""
    return text, 8.0 * count * length


LONG = (15, 16, 17, 31, 32, 33, 63, 64, 65, 67, 127, 128, 131, 251, 256, 257, 509, 512, 521, 1021, 1024, 1031)
POWERS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
CHANNELS = (3, 7, 8, 13, 16, 17, 29, 31, 32, 37, 61, 64, 67, 127, 128, 131)
SQUARES = (63, 64, 65, 67, 127, 128, 131, 251, 256, 257, 509, 512, 521, 1021, 1024, 1031)
BATCHES = (1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 13, 15, 16, 17, 19, 23, 29, 31, 32, 33, 37, 47, 61, 63, 64, 65, 67, 127, 128, 131, 251, 256, 257)
COLUMNS = (1, 2, 3, 5, *CHANNELS[1:], *LONG[13:])
PIXELS = (5, 7, 8, 11, 13, 16, 17, 23, 28, 29, 31, 32, 37, 53, 56, 61, 64)
VOXELS = (5, 7, 8, 11, 13, 16, 17, 19, 23, 24)


def families():
    def toml(make, sizes):
        return [Case(size, *make(size)) for size in sizes]

    def text(make, sizes):
        return [Case(size, *make(size), kind=".kiln") for size in sizes]

    arithmetic, moved = "GFLOP/s", "GB/s"
    edges, small, depths = (8, 16, 32, 64), (8, 16, 24), CHANNELS[:-3]
    named = [
        ("square", "n×n by n×n", "n", arithmetic, POWERS, toml(lambda n: product(n, n, n), SQUARES)),
        ("batch", "m×512 by 512×512", "m, rows", arithmetic, POWERS, toml(lambda m: product(m, 512, 512), BATCHES)),
        ("columns", "128×512 by 512×n", "n, columns", arithmetic, POWERS, toml(lambda n: product(128, 512, n), COLUMNS)),
        ("channels", "convolution 3×3, 28×28 pixels", "channels", arithmetic, POWERS, toml(lambda c: convolution(2, c, 28), CHANNELS)),
        ("pixels", "convolution 3×3, 64 channels", "pixels along an edge", arithmetic, edges, toml(lambda p: convolution(2, 64, p), PIXELS)),
        ("channels3d", "convolution 3×3×3, 12×12×12 voxels", "channels", arithmetic, POWERS, toml(lambda c: convolution(3, c, 12), depths)),
        ("voxels", "convolution 3×3×3, 16 channels", "voxels along an edge", arithmetic, small, toml(lambda p: convolution(3, 16, p), VOXELS)),
        ("depthwise", "depthwise 3×3, 28×28 pixels", "channels", arithmetic, POWERS, toml(lambda c: depthwise(c, 28), CHANNELS)),
        ("alone", "alone: convolution 3×3, 28×28 pixels", "channels", arithmetic, POWERS, toml(lambda c: convolution(2, c, 28, alone=True), CHANNELS)),
        ("alone3d", "alone: convolution 3×3×3, 16 channels", "voxels along an edge", arithmetic, small, toml(lambda p: convolution(3, 16, p, alone=True), VOXELS)),
        ("attention", "attention, 8 heads of 64", "length", arithmetic, POWERS, text(attention, LONG)),
        ("softmax", "softmax of 256 rows", "elements of a row", moved, POWERS, text(lambda n: rows("softmax", n), LONG)),
        ("layer_norm", "layer norm of 256 rows", "elements of a row", moved, POWERS, text(lambda n: rows("layer_norm", n), LONG)),
    ]
    return {name: Family(*rest) for name, *rest in named}


def measure(args, case, scratch):
    path = os.path.join(scratch, "case" + case.kind)
    with open(path, "w", encoding="utf-8") as file:
        file.write(case.text)
    command = [args.kiln, "bench", path, "--threads", "1", "--runs", "2000", "--seconds", str(args.seconds), "--json"]
    command += ["--breakdown"] if case.within else []
    command += ["--tune"] if args.tune else []
    command += [option for name, value in case.dims for option in ("--dim", f"{name}={value}")]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}\n{done.stderr}\n{case.text}")
    found = json.loads(done.stdout)
    kernels = [kernel["time_us"] for kernel in found.get("kernels", ()) if MEASURED in kernel["name"]]
    return case.work / (sum(kernels) if case.within else found["median_us"]) / 1e3


def nearest_round(family, size, rates):
    known = [r for r in family.rounds if r in rates]
    return min(known, key=lambda r: abs(math.log(size / r)), default=None)


def cliffs(family, rates):
    """(size, round size, rate over that of the round size) of the sizes that are not round."""
    pairs = [(size, nearest_round(family, size, rates)) for size in sorted(rates) if size not in family.rounds]
    return [(size, at, rates[size] / rates[at]) for size, at in pairs if at is not None]


def draw(found, path):
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    columns = 3
    height = -(-len(found) // columns)
    figure, axes = pyplot.subplots(height, columns, figsize=(13, 3.1 * height), squeeze=False, layout="constrained")
    for axis in axes.flat[len(found):]:
        axis.set_visible(False)
    for axis, (family, rates) in zip(axes.flat, found):
        sizes = sorted(rates)
        low = {size for size, _, part in cliffs(family, rates) if part < CLIFF}
        kinds = [
            ("round", "s", "tab:blue", [s for s in sizes if s in family.rounds]),
            ("odd", "o", "tab:green", [s for s in sizes if s not in family.rounds and s not in low]),
            ("cliff", "v", "tab:red", [s for s in sizes if s in low]),
        ]
        axis.plot(sizes, [rates[s] for s in sizes], color="0.8", linewidth=1, zorder=1)
        for label, marker, colour, some in kinds:
            axis.scatter(some, [rates[s] for s in some], marker=marker, color=colour, s=26, label=label, zorder=2)
        for size in low:
            axis.annotate(str(size), (size, rates[size]), textcoords="offset points", xytext=(0, -13), ha="center", fontsize=8, color="tab:red")
        axis.set_xscale("log", base=2)
        ticks = [s for s in sizes if s in family.rounds]
        axis.set_xticks(ticks, [str(s) for s in ticks])
        axis.minorticks_off()
        axis.tick_params(labelsize=8)
        axis.set_ylim(0, 1.08 * max(rates.values()))
        axis.set_title(family.title, fontsize=10)
        axis.set_xlabel(family.axis)
        axis.set_ylabel(family.unit)
        axis.grid(alpha=0.3)
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, ["round size", "odd size", "odd size below 75 % of the nearest round one"], loc="outside lower center", ncols=3)
    figure.savefig(path, dpi=72)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    all_families = families()
    parser.add_argument("picture", metavar="OUT.png")
    parser.add_argument("--kiln", required=True, help="the kiln program")
    parser.add_argument("--only", nargs="+", choices=list(all_families), metavar="FAMILY", help=", ".join(all_families))
    parser.add_argument("--seconds", type=float, default=0.3, help="of each case")
    parser.add_argument("--keep", metavar="FILE.json", help="rates that are measured already, and the new ones")
    parser.add_argument("--tune", action="store_true", help="measure the ways to compute each kernel first: what the model of costs misses")
    parser.add_argument("--no-measure", action="store_true", help="draw what is kept")
    args = parser.parse_args()
    kept = {}
    if args.keep and os.path.exists(args.keep):
        with open(args.keep, encoding="utf-8") as file:
            kept = json.load(file)
    chosen = {name: family for name, family in all_families.items() if not args.only or name in args.only}
    with tempfile.TemporaryDirectory() as scratch:
        for name, family in chosen.items() if not args.no_measure else ():
            rates = kept.setdefault(name, {})
            for case in family.cases:
                if str(case.size) not in rates:
                    rates[str(case.size)] = measure(args, case, scratch)
                    if args.keep:
                        with open(args.keep, "w", encoding="utf-8") as file:
                            json.dump(kept, file)
    found = [(family, {int(size): rate for size, rate in kept.get(name, {}).items()}) for name, family in chosen.items()]
    found = [(family, rates) for family, rates in found if rates]
    print("| operator | size | rate | nearest round size | its rate | ratio | |\n|---|---|---|---|---|---|---|")
    for family, rates in found:
        for size, at, part in cliffs(family, rates):
            mark = "cliff" if part < CLIFF else ""
            print(f"| {family.title} | {size} | {rates[size]:.1f} {family.unit} | {at} | {rates[at]:.1f} | {part:.2f} | {mark} |")
    draw(found, args.picture)


if __name__ == "__main__":
    main()
