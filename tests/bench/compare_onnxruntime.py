#!/usr/bin/env python3
"""Times models compiled by Kiln against ONNX Runtime, both in one run, and prints a table in Markdown.

    pip install numpy onnxruntime
    python tests/bench/compare_onnxruntime.py --kiln target/release/kiln MODEL.onnx [MODEL.onnx ...] [--threads 1] [--rounds 7]

The two take turns, round by round; of each round the median time of a run counts, of all rounds the median (the least with --best).
Inputs come from MODEL.npz beside the model, or are made up: ones, and zeros for integers. The error is max|a - b| / max|b| over all
outputs. Machines that others use drift by tens of per cent between runs: the ratio is what counts, not the times.
"""
import argparse, json, os, statistics, subprocess, sys, tempfile, time
import numpy as np
import onnxruntime


def inputs_of(path, session):
    beside = os.path.splitext(path)[0] + ".npz"
    if os.path.exists(beside):
        arrays = np.load(beside)
        return {name: arrays[name] for name in arrays.files}
    made = {}
    for value in session.get_inputs():
        shape = [size if isinstance(size, int) else 1 for size in value.shape]
        kind = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(int32)": np.int32}.get(value.type, np.int64)
        made[value.name] = np.ones(shape, kind) if np.issubdtype(kind, np.floating) else np.zeros(shape, kind)
    return made


def timed(run, seconds):
    run()
    times, begin = [], time.perf_counter()
    while not times or (time.perf_counter() - begin < seconds and len(times) < 1000):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def open_session(path, threads):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def timed_peer(path, inputs, args):
    # A session of its own: threads of an idle one spin for a while and would slow down what is measured next.
    session = open_session(path, args.threads)
    return timed(lambda: session.run(None, inputs), args.seconds)


def compare(kiln, path, args, scratch):
    name = os.path.splitext(os.path.basename(path))[0]
    session = open_session(path, args.threads)
    inputs = inputs_of(path, session)
    program, arrays, found = (os.path.join(scratch, name + end) for end in (".exe", ".npz", ".out.npz"))
    np.savez(arrays, **inputs)
    subprocess.run([kiln, "compile", path, "-o", program, "--emit", "exe"], check=True, stdout=subprocess.DEVNULL)
    subprocess.run([program, "--inputs", arrays, "--output", found], check=True, stdout=subprocess.DEVNULL)
    expected, outputs = session.run(None, inputs), np.load(found)
    errors = [0.0]
    for value, want in zip(session.get_outputs(), expected):
        scale = float(np.abs(want).max()) if want.size else 0.0
        if scale > 0:
            errors.append(float(np.abs(outputs[value.name].astype(np.float64) - want).max()) / scale)
    del session
    bench = [program, "--inputs", arrays, "--bench", "--runs", "1000", "--seconds", str(args.seconds), "--threads", str(args.threads), "--json"]
    ours, theirs = [], []
    for _ in range(args.rounds):
        theirs.append(timed_peer(path, inputs, args))
        ours.append(json.loads(subprocess.run(bench, check=True, capture_output=True, text=True).stdout)["median_us"] * 1e-6)
    pick = min if args.best else statistics.median
    return name, pick(ours) * 1e3, pick(theirs) * 1e3, max(errors)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="MODEL.onnx")
    parser.add_argument("--kiln", required=True, help="the kiln program")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.5, help="of each round, for each of the two")
    parser.add_argument("--best", action="store_true", help="the least of all rounds instead of the median")
    args = parser.parse_args()
    print(f"ONNX Runtime {onnxruntime.__version__}, {args.threads} thread(s), {args.rounds} rounds of {args.seconds} s\n")
    print("| network | Kiln | ONNX Runtime | ratio | error |\n|---|---|---|---|---|")
    logs = []
    with tempfile.TemporaryDirectory() as scratch:
        for path in args.models:
            name, ours, theirs, error = compare(os.path.abspath(args.kiln), path, args, scratch)
            logs.append(np.log(theirs / ours))
            print(f"| {name} | {ours:.3f} ms | {theirs:.3f} ms | {theirs / ours:.2f} | {error:.1e} |", flush=True)
    print(f"\ngeometric mean of the ratios: {np.exp(np.mean(logs)):.2f}")


if __name__ == "__main__":
    sys.exit(main())
