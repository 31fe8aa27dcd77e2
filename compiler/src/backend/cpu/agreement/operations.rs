//! Every operation on every lane kind and count, on special and random values.

use super::{Output, Random, check, special_bits};
use crate::tile::{Binary, Builder, Compare, Convert, Lane, Mem, Reg, Shuffle, Type, Unary};

const LANES: [Lane; 7] = [Lane::I8, Lane::I16, Lane::I32, Lane::I64, Lane::F32, Lane::F64, Lane::Mask];
const COUNTS: [u32; 6] = [1, 2, 4, 8, 16, 32];

/// The memory type that keeps a lane as it is.
pub(super) fn kept(lane: Lane) -> Mem {
    match lane {
        Lane::I8 => Mem::I8,
        Lane::I16 => Mem::I16,
        Lane::I32 => Mem::I32,
        Lane::I64 => Mem::I64,
        Lane::F32 => Mem::F32,
        Lane::F64 => Mem::F64,
        Lane::Mask => Mem::Bool,
    }
}

/// Writes one program that applies every entry of `cases` to each of `TURNS` groups of inputs of the type,
/// and checks it. A case gets three operands and gives one value.
fn check_each(name: &str, from: Mem, ty: Type, cases: &[(String, Case<'_>)]) {
    const TURNS: usize = 24;
    let mut random = Random::new(name.len() as u64 * 64 + u64::from(ty.lanes));
    let size = from.size_bytes() as usize;
    let group = ty.lanes as usize * size;
    let mut input = vec![];
    for _ in 0..TURNS * 3 * ty.lanes as usize {
        input.extend(&special_bits(&mut random, from).to_le_bytes()[..size]);
    }
    let mut b = Builder::new(name, 2);
    let [input_address, output_address] = b.params();
    let (start, end) = (b.index(0), b.index(TURNS as i64));
    let row_bytes = 64 * 8 * cases.len();
    let mut outputs: Vec<Output> = vec![];
    b.for_each(start, end, 1, |b, turn| {
        let skip = b.mul_int(turn, 3 * group as i64);
        let input = b.add(input_address, skip);
        let operands: Vec<Reg> = (0..3).map(|k| b.load(from, ty, input, (k * group) as i32)).collect();
        let skip = b.mul_int(turn, row_bytes as i64);
        let output = b.add(output_address, skip);
        for (at, (label, case)) in cases.iter().enumerate() {
            let value = case(b, [operands[0], operands[1], operands[2]]);
            let offset = 64 * 8 * at;
            let mem = kept(value.ty.lane);
            b.store(mem, value, output, offset as i32);
            outputs.extend((0..TURNS).map(|turn| Output {
                offset: turn * row_bytes + offset,
                mem,
                lanes: value.ty.lanes as usize,
                label: format!("{label} of {ty}, turn {turn}"),
            }));
        }
    });
    check(&b.finish(), &input, TURNS * row_bytes, &outputs);
}

type Case<'a> = Box<dyn Fn(&mut Builder, [Reg; 3]) -> Reg + 'a>;

fn case<'a>(label: impl std::fmt::Debug, f: impl Fn(&mut Builder, [Reg; 3]) -> Reg + 'a) -> (String, Case<'a>) {
    (format!("{label:?}"), Box::new(f))
}

fn each_type(f: impl Fn(Type)) {
    for lane in LANES {
        for lanes in COUNTS {
            f(Type { lane, lanes });
        }
    }
}

#[test]
fn unary_operations_agree() {
    use Unary::*;
    each_type(|ty| {
        let ops = [Neg, Abs, Not, Sqrt, Ceil, Floor, Trunc, Nearest, RoundF16, RoundBF16];
        let cases: Vec<_> = ops.into_iter().filter(|op| op.accepts(ty.lane)).map(|op| case(op, move |b, [x, ..]| b.unary(op, x))).collect();
        check_each("unary", kept(ty.lane), ty, &cases);
    });
}

#[test]
fn binary_operations_agree() {
    use Binary::*;
    each_type(|ty| {
        let ops = [
            Add,
            Sub,
            Mul,
            Div,
            DivS,
            DivU,
            RemS,
            RemU,
            And,
            Or,
            Xor,
            Shl,
            ShrS,
            ShrU,
            Minimum,
            Maximum,
            MinOrSecond,
            MaxOrSecond,
            MinS,
            MinU,
            MaxS,
            MaxU,
        ];
        let cases: Vec<_> =
            ops.into_iter().filter(|op| op.accepts(ty.lane)).map(|op| case(op, move |b, [x, y, _]| b.binary(op, x, y))).collect();
        check_each("binary", kept(ty.lane), ty, &cases);
    });
}

#[test]
fn scaling_agrees() {
    each_type(|ty| {
        if !ty.lane.is_float() {
            return;
        }
        // From what overflows to what leaves no bit, through every subnormal exponent.
        let exponents = if ty.lane == Lane::F32 { -152..=130 } else { -1080..=1026 };
        let cases: Vec<_> = exponents
            .step_by(if ty.lanes == 8 { 3 } else { 41 })
            .map(|exponent| {
                case(exponent, move |b, [x, ..]| {
                    // A fraction of the operand's bits and a magnitude within 1..2, or NaN.
                    let int = x.ty.lane.same_width_int();
                    let fraction = if x.ty.lane == Lane::F32 { 23 } else { 52 };
                    let bits = b.bitcast(x, int);
                    let mask = b.int(bits.ty, (1 << fraction) - 1);
                    let bits = b.and(bits, mask);
                    let one = b.float(x.ty, 1.0);
                    let one = b.bitcast(one, int);
                    let bits = b.or(bits, one);
                    let near_one = b.bitcast(bits, x.ty.lane);
                    let exponent = b.float(x.ty, f64::from(exponent));
                    b.scale(near_one, exponent)
                })
            })
            .collect();
        check_each("scale", kept(ty.lane), ty, &cases);
    });
}

#[test]
fn shifts_and_divisions_by_constants_and_splats_agree() {
    use Binary::*;
    each_type(|ty| {
        if !ty.lane.is_int() {
            return;
        }
        let mut cases = vec![];
        for op in [Shl, ShrS, ShrU, DivS, DivU, RemS, RemU] {
            for constant in [0, 1, 3, 7, 8, 15, 31, 32, 63, 64, 127, 200, 256, -1] {
                cases.push(case((op, constant), move |b, [x, ..]| {
                    let y = b.int(x.ty, constant);
                    b.binary(op, x, y)
                }));
            }
            cases.push(case((op, "splat"), move |b, [x, y, _]| {
                let scalar = b.extract(y, 0);
                let y = b.splat(scalar, x.ty.lanes);
                b.binary(op, x, y)
            }));
        }
        check_each("constants", kept(ty.lane), ty, &cases);
    });
}

#[test]
fn compares_selects_and_fma_agree() {
    use Compare::*;
    each_type(|ty| {
        let mut cases = vec![];
        for op in [Eq, Ne, Lt, Le, Gt, Ge, LtU, LeU, GtU, GeU] {
            if op.accepts(ty.lane) {
                cases.push(case(op, move |b, [x, y, _]| b.compare(op, x, y)));
                cases.push(case(("select", op), move |b, [x, y, z]| {
                    let mask = b.compare(op, x, y);
                    b.select(mask, y, z)
                }));
                // A mask of one width chooses among lanes of all others, and meets masks of other widths.
                for lane in LANES.into_iter().filter(|l| l.is_int()) {
                    cases.push(case(("wide select", op, lane), move |b, [x, y, _]| {
                        let mask = b.compare(op, x, y);
                        let (one, two) = (b.int(x.ty.with_lane(lane), 1), b.int(x.ty.with_lane(lane), 2));
                        let chosen = b.select(mask, one, two);
                        let again = b.eq(chosen, two);
                        let differ = b.xor(again, mask);
                        let both = b.and(mask, again);
                        let value = b.select(differ, chosen, two);
                        b.select(both, one, value)
                    }));
                }
            }
        }
        if ty.lane.is_float() {
            cases.push(case("fma", |b, [x, y, z]| b.fma(x, y, z)));
        }
        if ty.lane == Lane::Mask {
            cases.push(case("select of masks", |b, [x, y, z]| b.select(x, y, z)));
        }
        check_each("compare", kept(ty.lane), ty, &cases);
    });
}

#[test]
fn conversions_agree() {
    use Convert::*;
    each_type(|ty| {
        let mut cases = vec![];
        for op in [ExtendS, ExtendU, Wrap, IntToFloatS, IntToFloatU, FloatToIntS, FloatToIntU, FloatToFloat, Bitcast] {
            for to in LANES.into_iter().filter(|to| op.accepts(ty.lane, *to)) {
                cases.push(case((op, to), move |b, [x, ..]| {
                    let mut x = x;
                    if op == Bitcast && x.ty.lane.is_float() {
                        // Which NaN it is must not become visible.
                        let (nan, zero) = (b.ne(x, x), b.float(x.ty, 0.0));
                        x = b.select(nan, zero, x);
                    }
                    b.convert(op, x, to)
                }));
            }
        }
        check_each("convert", kept(ty.lane), ty, &cases);
    });
}

#[test]
fn lane_moves_agree() {
    each_type(|ty| {
        let mut cases = vec![
            case("copy", |_, [x, ..]| x),
            case("concat", |b, [x, y, _]| b.concat(x, y)),
            case("splat", |b, [x, ..]| {
                let scalar = b.extract(x, x.ty.lanes - 1);
                b.splat(scalar, x.ty.lanes)
            }),
        ];
        if ty.lanes > 1 {
            cases.push(case("low half", |b, [x, ..]| b.low_half(x)));
            cases.push(case("high half", |b, [x, ..]| b.high_half(x)));
        }
        use Shuffle::*;
        let shuffles = [UnpackLow, UnpackHigh, UnpackLowPairs, UnpackHighPairs, EvenFours, OddFours];
        cases.extend(shuffles.into_iter().filter(|op| op.accepts(ty)).map(|op| case(op, move |b, [x, y, _]| b.shuffle(op, x, y))));
        for lane in 0..ty.lanes {
            cases.push(case(("extract", lane), move |b, [x, ..]| b.extract(x, lane)));
            cases.push(case(("insert", lane), move |b, [x, y, _]| {
                let scalar = b.extract(y, 0);
                b.insert(x, lane, scalar)
            }));
        }
        check_each("lanes", kept(ty.lane), ty, &cases);
    });
}

#[test]
fn memory_types_agree() {
    let mems =
        [Mem::Bool, Mem::I8, Mem::U8, Mem::I16, Mem::U16, Mem::I32, Mem::U32, Mem::I64, Mem::U64, Mem::F16, Mem::BF16, Mem::F32, Mem::F64];
    for mem in mems {
        for lane in LANES.into_iter().filter(|lane| mem.fits(*lane)) {
            for lanes in COUNTS {
                check_memory(mem, Type { lane, lanes });
            }
        }
    }
}

/// Consecutive, strided (both directions) and indexed loads and stores of one memory type.
fn check_memory(mem: Mem, ty: Type) {
    let size = mem.size_bytes() as usize;
    let (lanes, elements) = (ty.lanes as usize, 256);
    let mut random = Random::new(size as u64 + u64::from(ty.lanes));
    let mut input = vec![];
    for _ in 0..elements {
        input.extend(&special_bits(&mut random, mem).to_le_bytes()[..size]);
    }
    let mut b = Builder::new("memory", 2);
    let [from, to] = b.params();
    let stride = b.index(3 * size as i64);
    let back = b.index(-(size as i64));
    let mut indices = b.int(ty.with_lane(Lane::I64), 5 * size as i64);
    for lane in 1..ty.lanes {
        let index = b.index(((lane as usize * 37) % elements * size) as i64);
        indices = b.insert(indices, lane, index);
    }
    let values = [
        b.load(mem, ty, from, 2 * size as i32),
        b.load_strided(mem, ty, from, 0, stride),
        b.load_strided(mem, ty, from, (100 * size) as i32, back),
        b.gather(mem, ty, from, 0, indices),
        b.load_splat(mem, ty, from, 7 * size as i32),
    ];
    let mut outputs = vec![];
    let region = elements * size;
    let mut record = |at: usize, mem: Mem, lanes: usize, label: &str| {
        let label = format!("{label} of {ty} through {}", mem.name());
        outputs.push(Output { offset: at, mem, lanes, label });
        at as i32
    };
    for (k, &value) in values.iter().enumerate() {
        let label = format!("load {k}");
        let at = record(k * 512, kept(ty.lane), lanes, &label);
        b.store(kept(ty.lane), value, to, at);
    }
    let base = 512 * values.len();
    let (twice, scattered) = (b.index(2 * size as i64), b.add_int(to, (base + 2 * region) as i64));
    let at = record(base, mem, lanes, "store");
    b.store(mem, values[0], to, at);
    let at = record(base + region, mem, 2 * lanes, "strided store");
    b.store_strided(mem, values[1], to, at, twice);
    record(base + 2 * region, mem, elements, "scatter");
    b.scatter(mem, values[2], scattered, 0, indices);
    check(&b.finish(), &input, base + 3 * region, &outputs);
}

#[test]
fn every_half_float_is_widened() {
    const LANES: u32 = 16;
    for mem in [Mem::F16, Mem::BF16] {
        let input: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
        let mut b = Builder::new("widen", 2);
        let [from, to] = b.params();
        let (start, end) = (b.index(0), b.index(1 << 16));
        b.for_each(start, end, i64::from(LANES), |b, i| {
            let (narrow, wide) = (b.mul_int(i, 2), b.mul_int(i, 4));
            let (from, to) = (b.add(from, narrow), b.add(to, wide));
            let value = b.load(mem, Type::F32.times(LANES), from, 0);
            b.store(Mem::F32, value, to, 0);
        });
        let label = format!("{} widened", mem.name());
        check(&b.finish(), &input, 4 << 16, &[Output { offset: 0, mem: Mem::F32, lanes: 1 << 16, label }]);
    }
}

#[test]
fn floats_are_rounded_to_halves_at_and_beside_every_tie() {
    const LANES: u32 = 16;
    for (mem, op) in [(Mem::F16, Unary::RoundF16), (Mem::BF16, Unary::RoundBF16)] {
        let value = |bits: u16| match mem {
            Mem::F16 => half::f16::from_bits(bits).to_f32(),
            _ => half::bf16::from_bits(bits).to_f32(),
        };
        let mut input: Vec<u8> = vec![];
        for bits in 0..=u16::MAX {
            // Half of the way to the next, also where that is infinite, and what lies beside it.
            let (this, next) = (value(bits), value(bits.wrapping_add(1)));
            let next = if next.is_infinite() { 2.0 * this - value(bits - 1) } else { next };
            let tie = (f64::from(this) / 2.0 + f64::from(next) / 2.0) as f32;
            for x in [this, tie, f32::from_bits(tie.to_bits().wrapping_sub(1)), f32::from_bits(tie.to_bits().wrapping_add(1))] {
                input.extend(x.to_le_bytes());
            }
        }
        let count = input.len() / 4;
        let mut b = Builder::new("round", 2);
        let [from, to] = b.params();
        let (start, end, rounded) = (b.index(0), b.index(count as i64), b.add_int(to, 2 * count as i64));
        b.for_each(start, end, i64::from(LANES), |b, i| {
            let (narrow, wide) = (b.mul_int(i, 2), b.mul_int(i, 4));
            let (from, to, rounded) = (b.add(from, wide), b.add(to, narrow), b.add(rounded, wide));
            let value = b.load(Mem::F32, Type::F32.times(LANES), from, 0);
            b.store(mem, value, to, 0);
            let value = b.unary(op, value);
            b.store(Mem::F32, value, rounded, 0);
        });
        let outputs = [
            Output { offset: 0, mem, lanes: count, label: format!("stored as {}", mem.name()) },
            Output { offset: 2 * count, mem: Mem::F32, lanes: count, label: format!("{op:?}") },
        ];
        check(&b.finish(), &input, 6 * count, &outputs);
    }
}

/// Types of elements as they lie in memory and as they are held.
const HELD: [(Mem, Lane); 14] = [
    (Mem::F16, Lane::F32),
    (Mem::BF16, Lane::F32),
    (Mem::F32, Lane::F32),
    (Mem::F64, Lane::F64),
    (Mem::U8, Lane::I8),
    (Mem::I16, Lane::I16),
    (Mem::U16, Lane::I32),
    (Mem::I8, Lane::I32),
    (Mem::I32, Lane::I32),
    (Mem::U32, Lane::I64),
    (Mem::I8, Lane::I64),
    (Mem::I64, Lane::I64),
    (Mem::Bool, Lane::Mask),
    (Mem::U64, Lane::I64),
];

/// Elements up to the last byte of what may be read, and around what is written: what a mask leaves out is not touched.
#[test]
fn masked_loads_and_stores_agree() {
    for (mem, lane) in HELD {
        for lanes in COUNTS {
            let ty = Type { lane, lanes };
            let (size, room) = (mem.size_bytes() as usize, 8 * 32);
            let mut random = Random::new(u64::from(lanes));
            let mut input = vec![];
            for _ in 0..lanes {
                input.extend(&special_bits(&mut random, mem).to_le_bytes()[..size]);
            }
            let mut outputs = vec![];
            let mut b = Builder::new("masked", 2);
            let [from, to] = b.params();
            let mut put = |b: &mut Builder, value: Reg, mask: Reg, label: String| {
                let offset = outputs.len() * room;
                b.store_masked(mem, value, to, offset as i32, mask);
                // What lies behind stays as it was.
                outputs.push(Output { offset, mem, lanes: room / size, label });
            };
            // Code that lacks such instructions takes each lane on its own, so not every number is tried.
            let counts = std::collections::BTreeSet::from([0, 1, 3, lanes / 2 + 1, lanes.saturating_sub(1), lanes].map(|n| n.min(lanes)));
            for count in counts {
                let (zero, known) = (b.index(0), b.index(i64::from(count)));
                // A number that only shows when the program runs: that of the turns of a loop.
                let turns = b.loop_carrying(zero, known, 1, &[zero], |b, _, n| vec![b.add_int(n[0], 1)])[0];
                let skipped = (lanes - count) as i32 * size as i32;
                for (kind, count_reg) in [("known", known), ("counted", turns)] {
                    let mask = b.first_lanes(count_reg, lanes);
                    // The last elements there are: more would be read beyond the end.
                    let value = b.load_masked(mem, ty, from, skipped, mask);
                    let all = b.index(i64::from(lanes));
                    let all = b.first_lanes(all, lanes);
                    put(&mut b, value, all, format!("the first {count} ({kind}) of {ty} loaded as {}", mem.name()));
                    put(&mut b, value, mask, format!("the first {count} ({kind}) of {ty} stored as {}", mem.name()));
                }
            }
            if lane != Lane::Mask {
                // Lanes that are not the first ones.
                let value = b.load(mem, ty, from, 0);
                let half = b.load(Mem::Bool, Type::MASK.times(lanes), from, 0);
                let loaded = b.load_masked(mem, ty, from, 0, half);
                put(&mut b, value, half, format!("some of {ty} stored as {}", mem.name()));
                put(&mut b, loaded, half, format!("some of {ty} loaded as {}", mem.name()));
            }
            check(&b.finish(), &input, outputs.len() * room, &outputs);
        }
    }
}
