//! The learning rate over time.

use super::recipe::{RateSchedule, Schedule};
use serde::{Deserialize, Serialize};
use std::f64::consts::PI;

/// What schedules that look at results remember.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Plateau {
    best: Option<f64>,
    waited: u32,
    factor: f64,
}

impl Default for Plateau {
    fn default() -> Plateau {
        Plateau { best: None, waited: 0, factor: 1.0 }
    }
}

impl Plateau {
    /// Takes note of an epoch's loss.
    pub fn observe(&mut self, schedule: &Schedule, loss: f64) {
        let RateSchedule::ReduceOnPlateau { patience, factor, least } = schedule.rate else { return };
        if self.best.is_none_or(|best| loss < best) {
            (self.best, self.waited) = (Some(loss), 0);
        } else {
            self.waited += 1;
            if self.waited > patience {
                (self.factor, self.waited) = ((self.factor * factor).max(least), 0);
            }
        }
    }
}

impl Schedule {
    /// The learning rate of a step of that length after `epochs` of training, parts of one included.
    pub fn rate_at(&self, epochs: f64, step: f64, plateau: &Plateau) -> f64 {
        if epochs < self.warmup {
            // The first step has a rate above 0.
            return self.learning_rate * ((epochs + step) / self.warmup).min(1.0);
        }
        let left = f64::from(self.epochs) - self.warmup;
        let time = if left > 0.0 { ((epochs - self.warmup) / left).clamp(0.0, 1.0) } else { 1.0 };
        let cosine = |from: f64, to: f64, part: f64| to + (from - to) * (1.0 + (PI * part).cos()) / 2.0;
        let part = match self.rate {
            RateSchedule::Constant => 1.0,
            RateSchedule::Step { every, factor } => factor.powf((epochs / f64::from(every)).floor()),
            RateSchedule::Exponential { factor } => factor.powf(epochs),
            RateSchedule::Cosine { last } => cosine(1.0, last, time),
            RateSchedule::Linear { last } => 1.0 + (last - 1.0) * time,
            RateSchedule::OneCycle { first, peak, .. } if time < peak => cosine(first, 1.0, time / peak),
            RateSchedule::OneCycle { peak, last, .. } if peak < 1.0 => cosine(1.0, last, (time - peak) / (1.0 - peak)),
            RateSchedule::OneCycle { .. } => 1.0,
            RateSchedule::ReduceOnPlateau { .. } => plateau.factor,
        };
        self.learning_rate * part
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(rate: RateSchedule, warmup: f64) -> Schedule {
        Schedule { epochs: 10, batch: 1, accumulate: 1, learning_rate: 2.0, rate, warmup }
    }

    #[test]
    fn rates_rise_and_fall_where_they_should() {
        let at = |rate, warmup, epochs| schedule(rate, warmup).rate_at(epochs, 0.0, &Plateau::default());
        assert_eq!(at(RateSchedule::Constant, 2.0, 1.0), 1.0);
        assert_eq!(at(RateSchedule::Constant, 2.0, 7.0), 2.0);
        assert_eq!(at(RateSchedule::Step { every: 3, factor: 0.5 }, 0.0, 6.5), 0.5);
        assert!((at(RateSchedule::Exponential { factor: 0.5 }, 0.0, 2.0) - 0.5).abs() < 1e-12);
        assert!((at(RateSchedule::Cosine { last: 0.0 }, 0.0, 5.0) - 1.0).abs() < 1e-12);
        assert!((at(RateSchedule::Cosine { last: 0.1 }, 0.0, 10.0) - 0.2).abs() < 1e-12);
        assert!((at(RateSchedule::Linear { last: 0.0 }, 2.0, 6.0) - 1.0).abs() < 1e-12);
        let cycle = RateSchedule::OneCycle { first: 0.04, peak: 0.3, last: 0.0 };
        assert!((at(cycle, 0.0, 0.0) - 0.08).abs() < 1e-12);
        assert!((at(cycle, 0.0, 3.0) - 2.0).abs() < 1e-12);
        assert!(at(cycle, 0.0, 10.0).abs() < 1e-12);
    }

    #[test]
    fn a_plateau_lowers_the_rate_after_its_patience() {
        let schedule = schedule(RateSchedule::ReduceOnPlateau { patience: 1, factor: 0.5, least: 0.3 }, 0.0);
        let mut plateau = Plateau::default();
        let rates: Vec<f64> = [1.0, 1.0, 1.0, 0.5, 0.6, 0.6, 0.6, 0.6]
            .into_iter()
            .map(|loss| {
                plateau.observe(&schedule, loss);
                schedule.rate_at(1.0, 0.0, &plateau)
            })
            .collect();
        assert_eq!(rates, [2.0, 2.0, 1.0, 1.0, 1.0, 0.6, 0.6, 0.6]);
    }
}
