//! Faults planted in the text of kernels, to see whether tests notice them.

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
}
