//! Where in time labels are spelled: the likeliest way through the time steps. *Source*: Viterbi 1967; Graves et al. 2006, figure 3.

use super::Token;

/// The labels with their time steps, for logarithms of probabilities `[time][classes]`. Where there are fewer steps than labels take, all
/// begin at 0.
pub fn align(logs: &[Vec<f64>], labels: &[usize], blank: usize) -> Vec<Token> {
    // A blank before, between and behind: state 2i + 1 is label i.
    let spelled = |state: usize| if state % 2 == 1 { labels[state / 2] } else { blank };
    let states = 2 * labels.len() + 1;
    let mut scores = vec![f64::NEG_INFINITY; states];
    scores[0] = 0.0;
    let mut from: Vec<Vec<u8>> = Vec::with_capacity(logs.len());
    for row in logs {
        let mut back = vec![0u8; states];
        let next = (0..states).map(|state| {
            let skips = state % 2 == 1 && state >= 3 && spelled(state) != spelled(state - 2);
            // At the first step, the first label may be where the first blank would be.
            let ways = 1 + u8::from(state >= 1) + u8::from(skips);
            let best = (0..ways).fold(0, |best, way| if scores[state - way as usize] > scores[state - best as usize] { way } else { best });
            back[state] = best;
            scores[state - best as usize] + row[spelled(state)]
        });
        scores = next.collect();
        from.push(back);
    }
    let last = states - 1;
    let mut state = if last >= 1 && scores[last - 1] > scores[last] { last - 1 } else { last };
    let mut tokens: Vec<Token> = labels.iter().map(|label| Token { label: *label, begin: 0, end: 0 }).collect();
    if scores[state] == f64::NEG_INFINITY {
        return tokens;
    }
    for (step, back) in from.iter().enumerate().rev() {
        if state % 2 == 1 {
            let token = &mut tokens[state / 2];
            (token.begin, token.end) = (step, token.end.max(step + 1));
        }
        state -= back[state] as usize;
    }
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_where_they_are_likeliest() {
        let sure = |class: usize| {
            let log = |c: usize| if c == class { -0.1 } else { [-3.0, -5.0, -5.0][c] };
            (0..3).map(log).collect::<Vec<f64>>()
        };
        let logs: Vec<Vec<f64>> = [0, 1, 1, 0, 1, 2, 2, 0].map(sure).to_vec();
        let token = |label, begin, end| Token { label, begin, end };
        assert_eq!(align(&logs, &[1, 1, 2], 0), [token(1, 1, 3), token(1, 4, 5), token(2, 5, 7)]);
        assert_eq!(align(&logs, &[2], 0), [token(2, 5, 7)]);
        assert_eq!(align(&logs, &[], 0), []);
        // From the first step to the last.
        assert_eq!(align(&[sure(1), sure(2)], &[1, 2], 0), [token(1, 0, 1), token(2, 1, 2)]);
        assert_eq!(align(&[sure(1)], &[1, 1], 0), [token(1, 0, 0); 2]);
        assert_eq!(align(&[], &[1], 0), [token(1, 0, 0)]);
    }
}
