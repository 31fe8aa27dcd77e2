//! Instructions of one lane: a list of them and operands make a case, through the frame in `kernels/golden/lane.ptx`.

use super::{Bound, Case, Kind, Parameter, Stretch};

const FRAME: &str = include_str!("../kernels/golden/lane.ptx");
const THREADS: usize = 128;

/// An instruction, or several, and how its result in register 0 is compared.
pub struct Row {
    pub text: String,
    pub bound: Bound,
    /// Of a float in bits: packed halves.
    pub kind: Option<Kind>,
}

/// Rows whose results are compared bit by bit, from a list with semicolons.
pub fn exact(list: &str) -> Vec<Row> {
    list.split(';').map(|text| Row { text: text.trim().to_string(), bound: Bound::Exact, kind: None }).collect()
}

/// Register 0 of which class is written, and what is in it.
fn class(text: &str) -> Option<(&'static str, Kind)> {
    let classes = [
        ("%h0", Kind::Bits16),
        ("%r0", Kind::Bits32),
        ("%rd0", Kind::Bits64),
        ("%f0", Kind::F32),
        ("%d0", Kind::F64),
        ("%p0", Kind::Bits16),
    ];
    let words: Vec<&str> = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '%')).collect();
    classes.into_iter().find(|(name, _)| words.contains(name))
}

/// One kernel that does all rows on all operands.
pub fn case(name: &str, rows: &[Row], operands: &[[u64; 3]]) -> Case {
    let n = operands.len();
    let (mut text, mut at, mut stretches) = (String::new(), 0, Vec::new());
    for row in rows {
        let (register, natural) = class(&row.text).unwrap_or_else(|| panic!("{}: no register 0", row.text));
        let kind = row.kind.unwrap_or(natural);
        let width = natural.bytes();
        // Stores of 8 bytes must be aligned.
        if at % width != 0 {
            let gap = width - at % width;
            stretches.push(Stretch { label: "nothing".into(), count: gap, kind: Kind::Bits8, bound: Bound::Exact });
            at += gap;
        }
        let pointer = [("%rd24", 2), ("%rd25", 4), ("%rd26", 8)].into_iter().find(|p| p.1 == width).map_or("", |p| p.0);
        let store = match register {
            "%p0" => format!("selp.u16 %h4, 1, 0, %p0; st.global.u16 [{pointer}+{at}], %h4;"),
            _ => format!(
                "st.global.{} [{pointer}+{at}], {register};",
                match natural {
                    Kind::F32 => "f32",
                    Kind::F64 => "f64",
                    Kind::Bits16 => "b16",
                    Kind::Bits32 => "b32",
                    _ => "b64",
                }
            ),
        };
        text += &format!("    {};\n    {store}\n", row.text);
        stretches.push(Stretch { label: row.text.clone(), count: n * width / kind.bytes(), kind, bound: row.bound });
        at += n * width;
    }
    Case {
        name: name.into(),
        text: FRAME.replace("$count", &n.to_string()).replace("$instructions\n", &text),
        kernel: "k",
        blocks: n.div_ceil(THREADS) as u32,
        threads: THREADS as u32,
        parameters: vec![
            Parameter::input(operands.iter().flatten().flat_map(|w| w.to_le_bytes()).collect()),
            Parameter::output(at),
            Parameter::input(vec![0; 8 * n]),
        ],
        stretches,
    }
}
