//! How a token is chosen by scores.

/// How a token is chosen.
#[derive(Clone, PartialEq, Debug)]
pub struct Choice {
    /// Scores are divided by it; 0 takes the likeliest token.
    pub temperature: f64,
    /// Among how many of the likeliest ones.
    pub top_k: Option<usize>,
    /// Among the likeliest ones that have this probability together. *Source*: Holtzman et al. 2020, §3.1.
    pub top_p: f64,
}

impl Default for Choice {
    fn default() -> Choice {
        Choice { temperature: 1.0, top_k: None, top_p: 1.0 }
    }
}

/// Chooses, in memory that is kept between choices.
#[derive(Default)]
pub struct Chooser {
    order: Vec<usize>,
    weights: Vec<f64>,
}

impl Chooser {
    /// The token for a number in 0..1, by logarithms of probabilities up to a summand; `None` where none is possible. Ties go to the
    /// smaller number of a token.
    pub fn token(&mut self, choice: &Choice, scores: &[f64], drawn: f64) -> Option<usize> {
        let by_score = |a: &usize, b: &usize| scores[*b].total_cmp(&scores[*a]).then(a.cmp(b));
        let possible = (0..scores.len()).filter(|token| scores[*token] > f64::NEG_INFINITY);
        if choice.temperature == 0.0 {
            return possible.min_by(by_score);
        }
        self.order.clear();
        self.order.extend(possible);
        let most = choice.top_k.unwrap_or(usize::MAX).max(1);
        if most < self.order.len() {
            self.order.select_nth_unstable_by(most - 1, by_score);
            self.order.truncate(most);
        }
        // Only a sum up to some share needs them in order.
        let is_cut = choice.top_p < 1.0;
        if is_cut {
            self.order.sort_unstable_by(by_score)
        } else {
            self.order.sort_unstable()
        }
        let largest = self.order.iter().map(|token| scores[*token]).fold(f64::NEG_INFINITY, f64::max);
        self.weights.clear();
        self.weights.extend(self.order.iter().map(|token| ((scores[*token] - largest) / choice.temperature).exp()));
        if is_cut {
            let enough = choice.top_p * self.weights.iter().sum::<f64>();
            let mut kept = 0.0;
            let goes_on = |weight: &&f64| {
                let goes_on = kept < enough;
                kept += **weight;
                goes_on
            };
            let count = self.weights.iter().take_while(goes_on).count().max(1);
            self.weights.truncate(count);
        }
        let mut left = drawn * self.weights.iter().sum::<f64>();
        let mut last = None;
        for (token, weight) in self.order.iter().zip(&self.weights).filter(|(_, weight)| **weight > 0.0) {
            left -= weight;
            last = Some(*token);
            if left < 0.0 {
                break;
            }
        }
        last
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn choices_are_among_the_likeliest_and_as_often_as_they_are_likely() {
        let scores = [1.0, 3.0, 2.0, 3.0, f64::NEG_INFINITY];
        let of = |choice: Choice| {
            let mut counts = BTreeMap::new();
            let mut chooser = Chooser::default();
            for n in 0..1000 {
                let token = chooser.token(&choice, &scores, (f64::from(n) + 0.5) / 1000.0).expect("possible");
                *counts.entry(token).or_insert(0) += 1;
            }
            counts.into_iter().collect::<Vec<(usize, i32)>>()
        };
        assert_eq!(of(Choice { temperature: 0.0, ..Choice::default() }), [(1, 1000)]);
        assert_eq!(of(Choice { top_k: Some(2), ..Choice::default() }), [(1, 500), (3, 500)]);
        // e¹ : e³ : e² : e³ = 0.0541 : 0.3995 : 0.1470 : 0.3995.
        assert_eq!(of(Choice::default()), [(0, 54), (1, 400), (2, 147), (3, 399)]);
        // The first two have 0.799 together, so the third is needed for 0.8; of these three they have 0.4223 each.
        assert_eq!(of(Choice { top_p: 0.8, ..Choice::default() }), [(1, 422), (2, 155), (3, 423)]);
        assert_eq!(of(Choice { top_p: 0.0, ..Choice::default() }), [(1, 1000)]);
        assert_eq!(of(Choice { temperature: 0.01, ..Choice::default() }), [(1, 500), (3, 500)]);
        assert_eq!(Chooser::default().token(&Choice::default(), &[f64::NEG_INFINITY], 0.5), None);
    }
}
