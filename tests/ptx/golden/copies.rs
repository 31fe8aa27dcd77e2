//! Copies in the background and mbarriers.

use super::values::{Random, words};
use super::{Bound, Case, Kind, Parameter, Stretch};

const TEXT: &str = include_str!("../kernels/golden/copies.ptx");

/// Questions that `phases` answers before it shows what was copied.
const ANSWERS: usize = 28;

fn stretch(label: &str, count: usize) -> Stretch {
    Stretch { label: label.into(), count, kind: Kind::Bits32, bound: Bound::Exact }
}

pub fn cases() -> Vec<Case> {
    let mut random = Random(100);
    let input = words((0..512).map(|_| random.next() as u32));
    let sizes = words((0..32).map(|i| i % 17));
    let case = |kernel: &'static str, threads, parameters, stretches| Case {
        name: format!("copies_{kernel}"),
        text: TEXT.into(),
        kernel,
        blocks: 1,
        threads,
        parameters,
        stretches,
    };
    let data = || Parameter::input(input.clone());
    vec![
        case("source_sizes", 32, vec![data(), Parameter::input(sizes), Parameter::output(2048)], vec![stretch("cp.async", 512)]),
        case(
            "phases",
            1,
            vec![data(), Parameter::output(4 * ANSWERS + 256)],
            vec![stretch("answers", ANSWERS), stretch("what cp.async.bulk brought", 64)],
        ),
        case("back", 128, vec![data(), Parameter::output(512)], vec![stretch("cp.async.bulk to global memory", 128)]),
    ]
}
