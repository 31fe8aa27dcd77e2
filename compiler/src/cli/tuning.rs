//! What is told while ways to compute a network are measured.

use kiln::tuning::Subject;
use kiln::tuning::search::{Outcome, Progress};
use kiln_runtime::training::progress::bar;
use std::sync::Arc;

/// Shows a bar, on terminals, and says at the end what was found.
pub fn told() -> Arc<dyn Fn(Progress) + Send + Sync> {
    let bar = bar(0, "tuning".to_string());
    Arc::new(move |progress| match progress {
        Progress::Rounds { subject, done, of } => {
            bar.set_length(of as u64);
            bar.set_position(done as u64);
            bar.set_message(match subject {
                Subject::Graph => "graphs",
                Subject::Convolution => "algorithms of convolutions",
                Subject::Lines => "lines of images",
                Subject::Tile => "tiles",
                Subject::TaskRows => "rows of tasks",
                Subject::Axis => "axes of vectors",
                Subject::Loop => "turns of loops",
            });
        }
        Progress::Done(outcome) => {
            bar.finish_and_clear();
            eprintln!("{}", summary(&outcome));
        }
    })
}

fn summary(outcome: &Outcome) -> String {
    let Outcome { seconds, answered, otherwise, in_time } = *outcome;
    let Some([before, after]) = seconds else {
        return match in_time {
            true => "tuned before: nothing is left to measure".to_string(),
            false => "tuning: the time was over before anything was measured; give it more with --tune=SECONDS".to_string(),
        };
    };
    let over = if in_time { "" } else { "; the time was over before all was tried, and goes on the next time" };
    let (before, after) = (before * 1e6, after * 1e6);
    format!("tuned: {otherwise} of {answered} choices are made otherwise, kernels take {after:.1} µs in place of {before:.1}{over}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_says_what_changed() {
        let outcome = Outcome { seconds: Some([3.0e-6, 2.5e-6]), answered: 7, otherwise: 2, in_time: true };
        assert_eq!(summary(&outcome), "tuned: 2 of 7 choices are made otherwise, kernels take 2.5 µs in place of 3.0");
        assert!(summary(&Outcome { in_time: false, ..outcome }).ends_with("goes on the next time"));
        assert!(summary(&Outcome { seconds: None, ..outcome }).starts_with("tuned before"));
        assert!(summary(&Outcome { seconds: None, in_time: false, ..outcome }).contains("--tune=SECONDS"));
    }
}
