//! Faults planted in the text of kernels, to see whether tests notice them.

use crate::gpu::interpreted_after;
use kiln::artifact::describe::ModelFacts;
use kiln::pipeline::Config;
use kiln_ir::{Module, Tensor};

/// A fault: what is replaced, which time it is met (from the end where negative), and by what.
pub struct Fault {
    /// The case whose kernels get it.
    pub case: &'static str,
    /// What it is.
    pub what: &'static str,
    /// What is replaced.
    pub from: &'static str,
    /// Which time.
    pub nth: isize,
    /// By what; `FMA` makes a multiply-add a product alone.
    pub to: &'static str,
}

impl Fault {
    /// The text with the fault. Panics when there is nothing to replace.
    pub fn planted(&self, text: &str) -> String {
        let found: Vec<usize> = text.match_indices(self.from).map(|(at, _)| at).collect();
        let nth = if self.nth < 0 { found.len().wrapping_add_signed(self.nth) } else { self.nth as usize };
        let at = *found.get(nth).unwrap_or_else(|| panic!("{}: nothing to replace", self.what));
        let line_end = at + text[at..].find('\n').expect("lines end");
        let line = &text[at..line_end];
        let new = match self.to {
            // d ← a · b, without what was summed before.
            "FMA" => {
                let parts: Vec<&str> = line.trim_end_matches(';').split([' ', ',']).filter(|part| !part.is_empty()).collect();
                format!("mul.rn.f32 {}, {}, {};", parts[1], parts[2], parts[3])
            }
            other => line.replacen(self.from, other, 1),
        };
        format!("{}{new}{}", &text[..at], &text[line_end..])
    }

    /// Whether results of a module with the fault differ from those without it, or are none, under one of so many schedules.
    pub fn is_noticed(&self, module: &Module, facts: &ModelFacts, config: &Config, inputs: &[Tensor], schedules: u64) -> bool {
        let run = |seed, change: &dyn Fn(&str) -> String| {
            let session = interpreted_after(module, facts, config, seed, change);
            session.and_then(|mut session| session.run(inputs).map_err(|error| error.to_string()))
        };
        let right = run(1, &str::to_string).expect("it runs");
        (0..schedules).any(|seed| {
            let found = run(seed, &|text| self.planted(text));
            found.map_or(true, |found| found.iter().zip(&right).any(|(found, right)| found.bytes() != right.bytes()))
        })
    }
}
