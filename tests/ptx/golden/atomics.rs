//! What atomic operations leave in memory.

use super::lane::{Row, case};
use super::operands::{bf16s, doubles, f16s, integers, singles};
use super::{Bound, Case};

pub fn cases() -> Vec<Case> {
    vec![
        case("atomic_integers", &atomics(&ATOMIC_INTEGERS), &integers()),
        case("atomic_f32", &atomics(&["add.f32"]), &singles()),
        case("atomic_f64", &atomics(&["add.f64"]), &doubles()),
        case("atomic_f16", &atomics(&["add.noftz.f16", "add.noftz.f16x2"]), &f16s()),
        case("atomic_bf16", &atomics(&["add.noftz.bf16", "add.noftz.bf16x2"]), &bf16s()),
    ]
}

const ATOMIC_INTEGERS: [&str; 21] = [
    "and.b32", "or.b32", "xor.b32", "exch.b32", "cas.b32", "add.u32", "add.s32", "inc.u32", "dec.u32", "min.s32", "max.s32", "min.u32",
    "max.u32", "and.b64", "exch.b64", "cas.b64", "add.u64", "min.s64", "max.s64", "min.u64", "max.u64",
];

/// What is in memory after an atomic operation of b on a (`cas`: c where a is found), global and shared.
fn atomics(names: &[&str]) -> Vec<Row> {
    let mut rows = Vec::new();
    for name in names {
        let (operation, ty) = name.rsplit_once('.').unwrap_or((name, ""));
        let (class, bits) = match ty {
            "f32" => ("%f", "f32"),
            "f64" => ("%d", "f64"),
            "f16" | "bf16" => ("%h", "b16"),
            _ if ty.ends_with("64") => ("%rd", "b64"),
            _ => ("%r", "b32"),
        };
        for (space, at) in [("global", "%rd11"), ("shared", "%r11")] {
            let operands = if operation == "cas" { format!("{class}2, {class}3") } else { format!("{class}2") };
            // Assemblers of CUDA 13.0 take the upper half of an operand that was taken apart from a wrong register: it is loaded anew.
            let (load, operands) = match (space, ty) {
                ("shared", "f16x2" | "bf16x2") => ("ld.global.b32 %r12, [%rd20+8]; ", "%r12".into()),
                _ => ("", operands),
            };
            rows.push(format!(
                "{load}st.{space}.{bits} [{at}], {class}1; atom.{space}.{name} {class}5, [{at}], {operands}; ld.{space}.{bits} {class}0, [{at}]"
            ));
        }
        if !matches!(operation, "cas" | "exch") {
            rows.push(format!(
                "st.global.{bits} [%rd11], {class}1; red.relaxed.gpu.global.{name} [%rd11], {class}2; ld.global.{bits} {class}0, [%rd11]"
            ));
        }
    }
    rows.push("st.global.b64 [%rd11], %rd1; atom.global.add.u64 %rd0, [%rd11], %rd2".into());
    rows.into_iter().map(|text| Row { text, bound: Bound::Exact, kind: None }).collect()
}
