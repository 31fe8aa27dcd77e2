//! Which samples come when: every epoch another order, by the seed alone.

use kiln_ir::random::Stream;

/// The numbers below `count` in the order of an epoch. *Source*: Fisher & Yates; Durstenfeld 1964, algorithm 235.
pub fn shuffled(count: usize, seed: u64, epoch: u32) -> Vec<usize> {
    let stream = Stream::named(seed, &format!("order of epoch {epoch}"));
    let mut order: Vec<usize> = (0..count).collect();
    for last in (1..count).rev() {
        // Of 64 random bits the bias of a multiplication is below count / 2⁶⁴.
        let other = ((u128::from(stream.bits(last as u64)) * (last as u128 + 1)) >> 64) as usize;
        order.swap(last, other);
    }
    order
}

/// Batches in one stretch.
const STRETCH: usize = 32;

/// Samples in an order in which those of a batch are about equally long: stretches of the order given are sorted by length, and whole
/// batches shuffled again; what is left of a batch stays last.
pub fn bucketed(mut order: Vec<usize>, lengths: &[usize], batch: usize, seed: u64, epoch: u32) -> Vec<usize> {
    let whole = order.len() / batch;
    for stretch in order[..whole * batch].chunks_mut(batch * STRETCH) {
        stretch.sort_by_key(|sample| lengths[*sample]);
    }
    let mut new = Vec::with_capacity(order.len());
    // Another stream than that of samples.
    for at in shuffled(whole, !seed, epoch) {
        new.extend_from_slice(&order[at * batch..(at + 1) * batch]);
    }
    new.extend_from_slice(&order[whole * batch..]);
    new
}

/// Numbers below `count` to learn from and to hold back, by the seed: the second are the part `validation`, one at least.
pub fn held_back(count: usize, validation: f64, seed: u64) -> (Vec<usize>, Vec<usize>) {
    let back = ((count as f64 * validation).round() as usize).clamp(1, count.max(2) - 1);
    let mut order = shuffled(count, seed, u32::MAX);
    let mut held = order.split_off(count - back.min(count));
    order.sort_unstable();
    held.sort_unstable();
    (order, held)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_epoch_has_all_samples_in_another_order() {
        let (first, second) = (shuffled(1000, 1, 0), shuffled(1000, 1, 1));
        assert_ne!(first, second);
        assert_eq!(first, shuffled(1000, 1, 0));
        for mut order in [first, second] {
            order.sort_unstable();
            assert!(order.into_iter().eq(0..1000));
        }
        assert_eq!(shuffled(0, 1, 0), [0; 0]);
    }

    #[test]
    fn batches_have_samples_of_about_the_same_length() {
        let lengths: Vec<usize> = (0..1000).map(|sample| sample * 7 % 40).collect();
        let order = shuffled(1000, 1, 0);
        let bucketed = |epoch| bucketed(order.clone(), &lengths, 16, 1, epoch);
        let spread = |order: &[usize]| -> usize {
            let of = |batch: &[usize]| {
                let lengths = || batch.iter().map(|sample| lengths[*sample]);
                lengths().max().unwrap_or(0) - lengths().min().unwrap_or(0)
            };
            order.chunks_exact(16).map(of).sum()
        };
        assert!(spread(&bucketed(0)) * 5 < spread(&order));
        assert_ne!(bucketed(0), bucketed(1));
        let mut all = bucketed(0);
        all.sort_unstable();
        assert!(all.into_iter().eq(0..1000));
    }

    #[test]
    fn what_is_held_back_is_learnt_from_nowhere() {
        let (learnt, held) = held_back(101, 0.1, 3);
        assert_eq!((learnt.len(), held.len()), (91, 10));
        assert!(held.iter().all(|sample| !learnt.contains(sample)));
        assert_eq!(held_back(2, 0.001, 3).1.len(), 1);
    }
}
