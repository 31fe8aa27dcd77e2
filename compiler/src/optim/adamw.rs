//! AdamW: Adam whose weight decay does not pass through the running means.

use super::{Adam, Optimiser, StateTensor, Step, Update, times_scalar};
use kiln_ir::{Builder, DType};

/// p ← (1 − lr·weight_decay)·p, then the step of [`Adam`] for the bare gradient.
///
/// *Shapes*: all tensors like the parameter. *State*: that of Adam. *Units*: the decay is scaled by lr, as in PyTorch and Keras.
/// *Source*: Loshchilov & Hutter 2019, algorithm 2.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct AdamW {
    /// Everything else; its own `weight_decay` is the one that is decoupled.
    pub adam: Adam,
}

impl Default for AdamW {
    fn default() -> AdamW {
        AdamW { adam: Adam { weight_decay: 0.01, ..Adam::default() } }
    }
}

impl Optimiser for AdamW {
    fn state(&self) -> Vec<StateTensor> {
        self.adam.state()
    }

    fn update(&self, b: &mut Builder, step: &Step) -> Update {
        let (change, state) = self.adam.change(b, step, step.gradient);
        let (decay, one) = (b.scalar(DType::F64, self.adam.weight_decay), b.scalar(DType::F64, 1.0));
        let lost = b.mul(step.learning_rate, decay);
        let kept = b.sub(one, lost);
        let decayed = times_scalar(b, step.parameter, kept);
        Update { parameter: b.sub(decayed, change), state }
    }
}
