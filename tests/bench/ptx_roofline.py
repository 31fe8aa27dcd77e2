#!/usr/bin/env python3
"""Tells of each kernel that Kiln makes of a model for NVIDIA GPUs: registers, shared memory, blocks on a multiprocessor, and its least time.

    pip install --target nvcc nvidia-cuda-nvcc==13.0.88
    python tests/bench/ptx_roofline.py --kiln target/release/kiln --ptxas nvcc/nvidia/cu13/bin/ptxas MODEL [--top 20] [-- --dim batch=8]

What follows `--` goes to `kiln compile`. Nothing is measured: the least time is the longer of operations by the GPU's rate and bytes by
the rate of its memory; the time by the grid is the same where blocks leave multiprocessors without work. Launches are not counted.

Rates are of an H100 SXM (NVIDIA H100 data sheet, dense, at boost clock), but for matrix units: mma.sync reaches about 400 of their
989 TFLOP/s on Hopper, which only wgmma exhausts.
"""
import argparse, csv, io, re, subprocess, sys, tempfile, os

MULTIPROCESSORS, REGISTERS, SHARED, THREADS, BLOCKS = 132, 65536, 227 << 10, 2048, 32
RATES = {"f32": 67e12, "f64": 34e12, "matrix": 400e12}
MEMORY = 3.35e12
# As many threads of a multiprocessor keep its share of memory busy.
BUSY_THREADS = 512


def run(command):
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode != 0:
        sys.exit(f"{' '.join(command)}\n{result.stdout}{result.stderr}")
    return result.stdout + result.stderr


def assembled(ptxas, arch, text):
    """Registers, shared bytes and spilled bytes of each entry."""
    with tempfile.TemporaryDirectory() as place:
        path = os.path.join(place, "module.ptx")
        version = {"sm_80": "7.8", "sm_90": "7.8", "sm_90a": "8.0"}.get(arch, "8.7")
        text = re.sub(r"\.version [\d.]+\n\.target \w+", f".version {version}\n.target {arch}", text, count=1)
        open(path, "w").write(text)
        said = run([ptxas, f"-arch={arch}", "-v", path, "-o", os.path.join(place, "module.cubin")])
    found = {}
    for part in re.split(r"Compiling entry function '", said)[1:]:
        name = part.split("'")[0]
        number = lambda pattern: int((re.search(pattern, part) or [0, 0])[1])
        found[name] = (number(r"Used (\d+) registers"), number(r"(\d+) bytes smem"), number(r"(\d+) bytes spill stores"))
    return found


def kinds(text):
    """What limits the operations of each entry."""
    found = {}
    for part in text.split(".visible .entry ")[1:]:
        name = part.split("(")[0]
        found[name] = "matrix" if "mma.sync" in part else "f64" if "fma.rn.f64" in part and "fma.rn.f32" not in part else "f32"
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--kiln", required=True)
    parser.add_argument("--ptxas", required=True)
    parser.add_argument("--arch", default="sm_90a")
    parser.add_argument("--top", type=int, default=15, help="kernels that are listed, those of the longest time first")
    given = sys.argv[1:] + ["--"]
    own, rest = given[:given.index("--")], given[given.index("--") + 1:]
    args = parser.parse_args(own)
    emit = lambda what: run([args.kiln, "compile", args.model, "-o", "-", "--emit", what, *[word for word in rest if word != "--"]])
    text = emit("ptx")
    text = text[text.index("// Made by Kiln"):]
    table = emit("ptx-costs")
    rows = list(csv.DictReader(io.StringIO(table[table.index("entry\t"):]), delimiter="\t", quoting=csv.QUOTE_NONE))
    machine, kind = assembled(args.ptxas, args.arch, text), kinds(text)
    listed = []
    for row in rows:
        runs, blocks, threads, operations, moved = (int(row[k]) for k in ("runs", "blocks", "threads", "operations", "bytes"))
        registers, shared, spilled = machine[row["entry"]]
        # Registers come in eights for each thread, shared memory with a kilobyte for each block.
        beside = min(THREADS // threads, BLOCKS, REGISTERS // (threads * ((registers + 7) // 8 * 8)), SHARED // (shared + 1024))
        rate = RATES[kind[row["entry"]]]
        least = max(operations / rate, moved / MEMORY)
        busy = min(1, max(blocks, 1) / MULTIPROCESSORS)
        flowing = min(1, max(blocks, 1) * threads / (MULTIPROCESSORS * BUSY_THREADS))
        grid = max(operations / (rate * busy), moved / (MEMORY * flowing))
        listed.append((runs * grid, runs * least, row, registers, shared, spilled, beside * threads / THREADS, kind[row["entry"]], runs * operations, runs * moved))
    total = lambda at: sum(entry[at] for entry in listed)
    print(f"{sum(int(e[2]['runs']) for e in listed)} launches of {len(machine)} kernels: {total(8) / 1e9:.3f} GFLOP, {total(9) / 1e6:.2f} MB, "
          f"least {total(1) * 1e6:.1f} us, by the grid {total(0) * 1e6:.1f} us; {sum(e[5] > 0 for e in listed)} spill")
    print("| layer | runs | blocks x threads | unit | regs | shared | occupancy | GFLOP | MB | least us | by the grid us |")
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for grid, least, row, registers, shared, spilled, occupancy, unit, operations, moved in sorted(listed, key=lambda e: -e[0])[:args.top]:
        print(f"| {row['layer'][:40]} | {row['runs']} | {row['blocks']} x {row['threads']} | {unit} | {registers} | {shared} | {occupancy:.0%} | "
              f"{operations / 1e9:.3f} | {moved / 1e6:.2f} | {least * 1e6:.1f} | {grid * 1e6:.1f} |")


main()
