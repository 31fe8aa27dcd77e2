#!/usr/bin/env python3
"""Compares Kiln with PyTorch on an NVIDIA GPU: products, attention, rows, whole networks and steps of training; prints Markdown.

    pip install numpy onnx onnxscript torch torchvision
    python tests/bench/compare_gpu.py --kiln target/release/kiln [gemm attention rows networks training] [--rounds 3] [--breakdown DIR]

Both compute the same: networks are exported by PyTorch to ONNX files with the weights it runs itself. Times are of the device, without
copies to it and back: of Kiln from the first kernel to the end of the last one (`kiln bench --backend ptx`), of PyTorch by replaying a
CUDA graph of the same work (eager, and torch.compile), so that neither waits for its host. Steps of training are by the host's clock, from
a batch in memory to its loss. The two take turns, round by round; medians over all rounds. TF32 is off for f32 on both sides;
with --tf32 it is on, and f32 alone is compared.
"""
import argparse, json, os, statistics, subprocess, sys, tempfile, time
import numpy as np
import onnx
import torch
import torch.nn as nn
import torch.nn.functional as F
from onnx import TensorProto, helper

TYPES = {"f32": (torch.float32, TensorProto.FLOAT), "f16": (torch.float16, TensorProto.FLOAT16), "bf16": (torch.bfloat16, TensorProto.BFLOAT16)}
NETWORKS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "examples", "networks")


class Kiln:
    def __init__(self, program, place, options):
        self.program, self.place, self.options = program, place, options

    def bench(self, path, *more, runs=30):
        command = [self.program, "bench", path, "--backend", "ptx", "--json", "--runs", str(runs), "--seconds", "1", *self.options, *more]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            print(f"{' '.join(command)}\n{done.stderr[-2000:]}", file=sys.stderr)
            return None
        return json.loads(done.stdout.strip().splitlines()[-1])


def graph_us(work, copies=1):
    """The median time of `work` replayed as a CUDA graph, in microseconds."""
    side = torch.cuda.Stream()
    with torch.cuda.stream(side), torch.no_grad():
        for _ in range(3):
            work()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph), torch.no_grad():
        work()
    times = []
    for _ in range(33):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        graph.replay()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end) * 1e3)
    return statistics.median(times[3:])


def node_model(path, name, inputs, output, type, **attributes):
    """An ONNX file of one operator."""
    values = [helper.make_tensor_value_info(f"x{at}", TYPES[type][1], shape) for at, shape in enumerate(inputs)]
    result = helper.make_tensor_value_info("y", TYPES[type][1], output)
    node = helper.make_node(name, [value.name for value in values], ["y"], **attributes)
    model = helper.make_model(helper.make_graph([node], "g", values, [result]), opset_imports=[helper.make_opsetid("", 23)], ir_version=11)
    onnx.save(model, path)
    return path


def rows_of(args, kiln, cases):
    """Times of each case: (name, path of the model, extra arguments, {peer: work}, what is said of a time)."""
    for name, path, more, peers, say in cases:
        ours, theirs, kept = [], {peer: [] for peer in peers}, None
        for turn in range(args.rounds):
            extra = ["--breakdown"] if args.breakdown and turn == 0 else []
            found = kiln.bench(path, *more, *extra, runs=args.runs)
            if found is None:
                break
            if extra:
                kept = found
            ours.append(found["device_us"])
            for peer, work in peers.items():
                theirs[peer].append(graph_us(work))
        torch.cuda.empty_cache()
        if not ours:
            print(f"| {name} | failed | | |", flush=True)
            continue
        mine = statistics.median(ours)
        parts = []
        for peer, times in theirs.items():
            time_us = statistics.median(times)
            parts.append(f"{peer} {time_us:.1f} µs{say(time_us)}, ratio {time_us / mine:.2f}")
        print(f"| {name} | {mine:.1f} µs{say(mine)} | {'; '.join(parts)} | host {found['median_us']:.0f} µs, compiled in {found['compile_ms']:.0f} ms |", flush=True)
        if kept:
            with open(os.path.join(args.breakdown, f"{name.replace(' ', '_').replace('/', '_')}.json"), "w") as file:
                json.dump(kept, file)


def gemm(args, kiln):
    cases = []
    for type, sizes in (("bf16", (1024, 2048, 4096, 8192)), ("f16", (4096,)), ("f32", (1024, 4096))):
        if type not in args.types:
            continue
        for n in sizes:
            path = node_model(os.path.join(kiln.place, f"gemm_{type}_{n}.onnx"), "MatMul", [[n, n], [n, n]], [n, n], type)
            a, b = (torch.randn(n, n, device="cuda").to(TYPES[type][0]) for _ in range(2))
            rate = lambda us, n=n: f" ({2 * n ** 3 / us / 1e6:.0f} TFLOP/s)"
            cases.append((f"matmul {type} {n}", path, [], {"cuBLAS": lambda a=a, b=b: a @ b}, rate))
    rows_of(args, kiln, cases)


def attention(args, kiln):
    from torch.nn.attention import SDPBackend, sdpa_kernel

    def flash(q, k, v, causal, backend):
        with sdpa_kernel(backend):
            return F.scaled_dot_product_attention(q, k, v, is_causal=causal)

    cases = []
    for causal in (False, True):
        for n in (4096, 8192, 16384):
            shape = [1, 16, n, 128]
            path = node_model(os.path.join(kiln.place, f"attention_{n}_{causal}.onnx"), "Attention", [shape] * 3, shape, "bf16", is_causal=int(causal))
            q, k, v = (torch.randn(*shape, device="cuda").to(torch.bfloat16) for _ in range(3))
            flops = 4 * 16 * n * n * 128 / (2 if causal else 1)
            rate = lambda us, flops=flops: f" ({flops / us / 1e6:.0f} TFLOP/s)"
            peers = {name: (lambda q=q, k=k, v=v, causal=causal, backend=backend: flash(q, k, v, causal, backend))
                     for name, backend in (("flash", SDPBackend.FLASH_ATTENTION), ("cuDNN", SDPBackend.CUDNN_ATTENTION))}
            cases.append((f"attention bf16 {n}{' causal' if causal else ''}", path, [], peers, rate))
    rows_of(args, kiln, cases)


def rows(args, kiln):
    cases = []
    x = torch.randn(1 << 28, device="cuda")
    copy = torch.empty_like(x)
    copied = graph_us(lambda: copy.copy_(x))
    bandwidth = 2 * x.numel() * 4 / copied / 1e3
    print(f"a copy of 1 GiB moves {bandwidth:.0f} GB/s")
    del x, copy
    for type in ("f32", "bf16"):
        for m, n in ((65536, 1024), (16384, 4096), (4096, 16384), (8191, 8191)):
            size = TYPES[type][0].itemsize
            say = lambda us, m=m, n=n, size=size: f" ({100 * 2 * m * n * size / us / 1e3 / bandwidth:.0f} % of a copy)"
            x = torch.randn(m, n, device="cuda").to(TYPES[type][0])
            path = node_model(os.path.join(kiln.place, f"softmax_{type}_{m}_{n}.onnx"), "Softmax", [[m, n]], [m, n], type, axis=-1)
            cases.append((f"softmax {type} {m}x{n}", path, [], {"PyTorch": lambda x=x: F.softmax(x, -1)}, say))
            path = os.path.join(kiln.place, f"norm_{type}_{m}_{n}.onnx")
            values = [helper.make_tensor_value_info(name, TYPES[type][1], shape) for name, shape in (("x", [m, n]), ("s", [n]), ("b", [n]))]
            node = helper.make_node("LayerNormalization", ["x", "s", "b"], ["y"], axis=-1)
            result = helper.make_tensor_value_info("y", TYPES[type][1], [m, n])
            graph = helper.make_graph([node], "g", values, [result])
            onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=11), path)
            s, b = (torch.randn(n, device="cuda").to(TYPES[type][0]) for _ in range(2))
            cases.append((f"layer norm {type} {m}x{n}", path, [], {"PyTorch": lambda x=x, s=s, b=b, n=n: F.layer_norm(x, (n,), s, b)}, say))
    rows_of(args, kiln, cases)


class Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.o = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x):
        batch, time_, width = x.shape
        split = lambda y: y.view(batch, time_, self.heads, width // self.heads).transpose(1, 2)
        y = F.scaled_dot_product_attention(split(self.q(x)), split(self.k(x)), split(self.v(x)))
        return self.o(y.transpose(1, 2).reshape(batch, time_, width))


class BertLayer(nn.Module):
    def __init__(self, width, heads, hidden):
        super().__init__()
        self.attention, self.n1, self.n2 = Attention(width, heads), nn.LayerNorm(width), nn.LayerNorm(width)
        self.f1, self.f2 = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x):
        x = self.n1(x + self.attention(x))
        return self.n2(x + self.f2(F.gelu(self.f1(x))))


class Bert(nn.Module):
    def __init__(self):
        super().__init__()
        self.words, self.places, self.norm = nn.Embedding(30522, 768), nn.Parameter(0.02 * torch.randn(128, 768)), nn.LayerNorm(768)
        self.layers = nn.Sequential(*[BertLayer(768, 12, 3072) for _ in range(12)])

    def forward(self, ids):
        return self.layers(self.norm(self.words(ids) + self.places))


class DecoderLayer(nn.Module):
    def __init__(self, width=768, heads=12):
        super().__init__()
        self.width, self.heads, self.n1, self.n2 = width, heads, nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.o = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.f1, self.f2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x, past_k, past_v):
        batch, time_, width = x.shape
        q, k, v = self.qkv(self.n1(x)).split(width, -1)
        split = lambda y: y.view(batch, time_, self.heads, width // self.heads).transpose(1, 2)
        k, v = torch.cat([past_k, split(k)], 2), torch.cat([past_v, split(v)], 2)
        y = F.scaled_dot_product_attention(split(q), k, v)
        x = x + self.o(y.transpose(1, 2).reshape(batch, time_, width))
        return x + self.f2(F.gelu(self.f1(self.n2(x)), approximate="tanh")), k, v


class Decoder(nn.Module):
    """A step of GPT-2: one token after 512 in the cache."""
    def __init__(self):
        super().__init__()
        self.words, self.places, self.norm = nn.Embedding(50257, 768), nn.Embedding(1024, 768), nn.LayerNorm(768)
        self.layers = nn.ModuleList(DecoderLayer() for _ in range(12))

    def forward(self, ids, place, *past):
        x, kept = self.words(ids) + self.places(place), []
        for at, layer in enumerate(self.layers):
            x, k, v = layer(x, past[2 * at], past[2 * at + 1])
            kept += [k, v]
        return F.linear(self.norm(x), self.words.weight), *kept


def resnet():
    import torchvision
    model = torchvision.models.resnet50(weights=None).train()
    with torch.no_grad():  # Statistics that are not those of nothing.
        for _ in range(2):
            model(torch.randn(8, 3, 224, 224))
    return model


def recurrent(layer):
    """Two layers of 256 units over 100 steps; of PyTorch the outputs alone."""
    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = layer(128, 256, num_layers=2)

        def forward(self, x):
            return self.layers(x)[0]
    return Recurrent


KNOWN = {
    "resnet50_b1": (resnet, lambda: [torch.randn(1, 3, 224, 224)]),
    "resnet50_b32": (resnet, lambda: [torch.randn(32, 3, 224, 224)]),
    "bert_base_b1": (Bert, lambda: [torch.randint(0, 30522, (1, 128))]),
    "bert_base_b16": (Bert, lambda: [torch.randint(0, 30522, (16, 128))]),
    "lstm_b1": (recurrent(nn.LSTM), lambda: [torch.randn(100, 1, 128)]),
    "lstm_b32": (recurrent(nn.LSTM), lambda: [torch.randn(100, 32, 128)]),
    "gru_b1": (recurrent(nn.GRU), lambda: [torch.randn(100, 1, 128)]),
    "gpt2_decode": (Decoder, lambda: [torch.randint(0, 50257, (1, 1)), torch.full((1, 1), 512)] + [torch.randn(1, 12, 512, 64) for _ in range(24)]),
}


def network(name, type, place):
    """A network with inputs, and the path of the ONNX file that it is exported to."""
    torch.manual_seed(1)
    make, inputs = KNOWN[name]
    model = make().eval().to(TYPES[type][0])
    given = [t.to(TYPES[type][0]) if t.is_floating_point() else t for t in inputs()]
    path = os.path.join(place, f"{name}_{type}.onnx")
    if not os.path.exists(path):
        with torch.no_grad():
            is_recurrent = name.startswith(("lstm", "gru"))  # Which the newer exporter writes step by step.
            more = {} if is_recurrent else {"external_data": False, "optimize": not name.startswith("resnet")}  # Which folds norms into f32.
            torch.onnx.export(model, tuple(given), path + ".part", opset_version=20, dynamo=not is_recurrent, verbose=False, **more)
        os.replace(path + ".part", path)
    return model, given, path


def wanted(args):
    return [(name, type) for name in KNOWN for type in ("f32", "bf16") if type in args.types and (not args.only or f"{name}_{type}" in args.only)]


def export(args, kiln):
    for name, type in wanted(args):
        network(name, type, kiln.place)


def networks(args, kiln):
    for name, type in wanted(args):
        model, given, path = network(name, type, kiln.place)
        model, given = model.cuda(), [t.cuda() for t in given]
        if type == "bf16" and name.startswith("resnet"):
            model = model.to(memory_format=torch.channels_last)
        compiled = torch.compile(model)
        rows_of(args, kiln, [(f"{name} {type}", path, [], {"eager": lambda: model(*given), "compile": lambda: compiled(*given)}, lambda us: "")])


def training(args, kiln):
    random = np.random.default_rng(1)
    cases = {"mnist_cnn": (random.random((64, 28, 28, 1), np.float32), random.integers(0, 10, 64))}
    for name, (x, y) in cases.items():
        batch = os.path.join(kiln.place, f"{name}.npz")
        np.savez(batch, x=x, y=y)
        layers = [nn.Conv2d(1, 32, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2)]
        layers += [nn.Conv2d(64, 64, 3), nn.ReLU(), nn.Flatten(), nn.Linear(576, 64), nn.ReLU(), nn.Linear(64, 10)]
        model = nn.Sequential(*layers).cuda()
        optimiser = torch.optim.Adam(model.parameters(), 1e-3, fused=True, capturable=True)
        data, labels = torch.tensor(x).permute(0, 3, 1, 2).contiguous(), torch.tensor(y)

        def step(call):
            given, wanted = data.cuda(), labels.cuda()
            optimiser.zero_grad(set_to_none=True)
            loss = F.cross_entropy(call(given), wanted)
            loss.backward()
            optimiser.step()
            return loss.item()

        def timed(call):
            times = []
            for _ in range(110):
                begin = time.perf_counter()
                step(call)
                times.append(1e6 * (time.perf_counter() - begin))
            return statistics.median(times[10:])

        description = os.path.join(kiln.place, f"{name}.toml")
        for type in [type for type in ("f32", "bf16") if type in args.types]:
            # Mixed precision on both sides: parameters and updates in f32, the network in bf16.
            with open(os.path.join(NETWORKS, f"{name}.toml")) as file:
                text = file.read()
            with open(description, "w") as file:
                file.write(text if type == "f32" else text.replace("[train]\n", f'[train]\nprecision = "{type}"\n'))
            compiled = torch.compile(model, mode="reduce-overhead")
            ours, eager, compile_ = [], [], []
            for _ in range(args.rounds):
                found = kiln.bench(description, "--train-step", "--inputs", batch, runs=200)
                if found is None:
                    break
                ours.append(found["median_us"])
                with torch.autocast("cuda", dtype=torch.bfloat16, enabled=type == "bf16"):
                    eager.append(timed(model))
                    compile_.append(timed(compiled))
            if not ours:
                print(f"| step of {name} {type} | failed | | |")
                continue
            mine, eager, compile_ = map(statistics.median, (ours, eager, compile_))
            print(f"| step of {name} {type} b64 | {mine:.1f} µs | eager {eager:.1f} µs, ratio {eager / mine:.2f}; compile {compile_:.1f} µs, ratio {compile_ / mine:.2f} | by the host's clock |", flush=True)


def main():
    parts = {"export": export, "gemm": gemm, "attention": attention, "rows": rows, "networks": networks, "training": training}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=[], help=" ".join(parts))
    parser.add_argument("--kiln", required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--runs", type=int, default=30, help="runs of Kiln in a round")
    parser.add_argument("--breakdown", help="directory for the times of kernels")
    parser.add_argument("--models", help="directory for ONNX files, which are kept there")
    parser.add_argument("--only", nargs="*", help=f"networks: {' '.join(KNOWN)} with _f32 or _bf16")
    parser.add_argument("--tf32", action="store_true", help="f32 alone, which both may round to tf32")
    parser.add_argument("--tune", type=int, metavar="SECONDS", help="let Kiln measure its ways of computing first, in so many seconds for each")
    args = parser.parse_args()
    args.types = ["f32"] if args.tf32 else list(TYPES)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = args.tf32
    if args.parts != ["export"]:
        print(f"{torch.cuda.get_device_name()}, PyTorch {torch.__version__}, CUDA {torch.version.cuda}")
    with tempfile.TemporaryDirectory() as place:
        if args.models:
            os.makedirs(args.models, exist_ok=True)
        options = ["--tf32"] if args.tf32 else []
        options += [f"--tune={args.tune}"] if args.tune else []
        kiln = Kiln(args.kiln, args.models or place, options)
        for part in args.parts or parts:
            print(f"\n{part}\n\n| what | Kiln | PyTorch | |\n|---|---|---|---|", flush=True)
            try:
                parts[part](args, kiln)
            except Exception as error:  # The other parts count too.
                print(f"{part} ended: {type(error).__name__}: {str(error)[:500]}", flush=True)


main()
