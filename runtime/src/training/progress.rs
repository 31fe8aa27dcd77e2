//! What is told on the way: bars, numbers, and what was left out of the data.

use super::data::Wanted;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{self, Write};

/// Tells each row or file that was left out of the data, and why. Errors: the system's.
pub fn tell_left_out(wanted: &Wanted, out: &mut dyn Write) -> io::Result<()> {
    wanted.left_out().iter().try_for_each(|text| writeln!(out, "left out: {text}"))
}

/// A bar that is seen on terminals only.
pub fn bar(length: u64, what: String) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::stderr_with_hz(10));
    let style = ProgressStyle::with_template("{prefix:>12} {bar:36} {pos}/{len}  {msg}  {eta} left").expect("it is well formed");
    bar.set_style(style.progress_chars("━╸ "));
    bar.set_prefix(what);
    bar
}

/// A whole number with commas between thousands.
pub fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let head = digits.len() % 3;
    let mut text = digits[..head].to_owned();
    for group in digits.as_bytes()[head..].chunks(3) {
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(&String::from_utf8_lossy(group));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::grouped;

    #[test]
    fn thousands_are_grouped() {
        assert_eq!([0.0, 999.0, 1000.0, 1_234_567.0].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }
}
