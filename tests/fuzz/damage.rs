//! Files that are no longer, or never were, what a tool wrote.

use crate::message::*;
use crate::random::Random;
use kiln::frontend::onnx::proto::ModelProto;
use prost::Message;

/// Small models that are right, and a larger one now and then.
pub struct Originals {
    small: Vec<Vec<u8>>,
    large: Vec<u8>,
}

impl Originals {
    /// Builds the small ones; `large` is a real model.
    pub fn new(large: Vec<u8>) -> Originals {
        Originals { small: [perceptron(), pictures(), sequence()].iter().map(|m| m.encode_to_vec()).collect(), large }
    }

    /// All of them, each of which must compile.
    pub fn all(&self) -> impl Iterator<Item = &Vec<u8>> {
        self.small.iter().chain([&self.large])
    }

    fn one(&self, random: &mut Random) -> &[u8] {
        // The large one is a hundred times the work.
        if random.chance(15) { &self.large } else { &self.small[random.below(self.small.len())] }
    }

    /// A damaged file.
    pub fn damaged(&self, random: &mut Random) -> Vec<u8> {
        let mut bytes = self.one(random).to_vec();
        match random.below(10) {
            0..=4 => {
                for _ in 0..1 + random.below(3) {
                    let at = random.below(bytes.len());
                    bytes[at] ^= 1 << random.below(8);
                }
            }
            5 => bytes.truncate(random.below(bytes.len())),
            6 => {
                let at = random.below(bytes.len());
                let end = bytes.len().min(at + 1 + random.below(12));
                bytes[at..end].iter_mut().for_each(|b| *b = random.next() as u8);
            }
            7 => {
                // The head of one and the tail of another, or of itself.
                let other = self.one(random);
                let (head, tail) = (random.below(bytes.len()), random.below(other.len()));
                bytes.truncate(head);
                bytes.extend_from_slice(&other[tail..]);
            }
            8 => {
                let (from, to) = (random.below(bytes.len()), random.below(bytes.len()));
                let piece: Vec<u8> = bytes[from..].iter().copied().take(1 + random.below(60)).collect();
                bytes.splice(to..to, piece);
            }
            _ => bytes = (0..random.below(400)).map(|_| random.next() as u8).collect(),
        }
        bytes
    }
}

fn perceptron() -> ModelProto {
    let nodes = vec![
        node("MatMul", &["x", "w1"], &["h1"]),
        node("Add", &["h1", "b1"], &["h2"]),
        node("Relu", &["h2"], &["h3"]),
        node("Gemm", &["h3", "w2", "b2"], &["h4"]),
        node("Softmax", &["h4"], &["y"]).with(int("axis", -1)),
    ];
    let weights = vec![floats("w1", &[3, 4]), floats("b1", &[4]), floats("w2", &[4, 2]), floats("b2", &[2])];
    model(17, graph(vec![input("x", F32, &[-1, 3], true)], weights, nodes, &["y"]))
}

fn pictures() -> ModelProto {
    let nodes = vec![
        node("Conv", &["x", "k", "kb"], &["c"]).with(int_list("pads", &[1, 1, 1, 1])).with(int_list("strides", &[2, 2])),
        node("LeakyRelu", &["c"], &["r"]).with(float("alpha", 0.1)),
        node("MaxPool", &["r"], &["p"]).with(int_list("kernel_shape", &[2, 2])),
        node("Pad", &["p", "pads"], &["q"]),
        node("Resize", &["q", "", "", "size"], &["s"]).with(text("mode", "nearest")),
        node("Flatten", &["s"], &["y"]),
    ];
    let weights =
        vec![floats("k", &[2, 2, 3, 3]), floats("kb", &[2]), ints("pads", &[0, 0, 1, 0, 0, 0, 0, 1]), ints("size", &[1, 2, 6, 6])];
    model(17, graph(vec![input("x", F32, &[1, 2, 8, 8], false)], weights, nodes, &["y"]))
}

fn sequence() -> ModelProto {
    let nodes = vec![
        node("Gather", &["table", "tokens"], &["e"]),
        node("Transpose", &["e"], &["t"]).with(int_list("perm", &[1, 0, 2])),
        node("LSTM", &["t", "w", "r"], &["o", "last"]).with(int("hidden_size", 2)),
        node("Shape", &["tokens"], &["shape"]),
        node("Concat", &["shape", "two"], &["to"]).with(int("axis", 0)),
        node("Squeeze", &["o", "one"], &["q"]),
        node("Transpose", &["q"], &["u"]).with(int_list("perm", &[1, 0, 2])),
        node("Reshape", &["u", "to"], &["v"]),
        node("ReduceMean", &["v"], &["y"]).with(int_list("axes", &[1])),
    ];
    let weights = vec![floats("table", &[5, 3]), floats("w", &[1, 8, 3]), floats("r", &[1, 8, 2]), ints("two", &[2]), ints("one", &[1])];
    model(17, graph(vec![input("tokens", I64, &[-1, -2], true)], weights, nodes, &["y"]))
}
