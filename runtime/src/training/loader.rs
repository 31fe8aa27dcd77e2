//! Batches one after the other, the next one made on a thread of its own while the present one is worked on.

use crate::arrays::Array;
use kiln_ir::Diagnostic;
use std::ops::{ControlFlow, Range};
use std::sync::mpsc::{channel, sync_channel};
use std::thread;

/// Gives `take` what `make` makes for each place, in order; with `ahead`, one batch ahead of it. What is made depends on its place
/// alone, so that neither that thread nor a beginning further on changes a bit. `make` also gets a batch that is done with, for its
/// memory, or an empty one: so memory stays that of a few batches, whatever the allocator does between threads.
///
/// Errors: the first one of `make` or `take`, after which nothing is made any more.
pub fn each<E: From<Diagnostic>>(
    places: Range<usize>,
    ahead: bool,
    make: impl Fn(usize, Vec<Array>) -> Result<Vec<Array>, Diagnostic> + Sync,
    mut take: impl FnMut(usize, &[Array]) -> Result<ControlFlow<()>, E>,
) -> Result<ControlFlow<()>, E> {
    if !ahead {
        let mut batch = Vec::new();
        for place in places {
            batch = make(place, batch)?;
            if take(place, &batch)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        return Ok(ControlFlow::Continue(()));
    }
    thread::scope(|scope| {
        // Without room in between: the thread holds one batch and waits.
        let (give, get) = sync_channel(0);
        let (give_back, spent) = channel();
        let (make, all) = (&make, places.clone());
        scope.spawn(move || {
            for place in all {
                let batch = make(place, spent.try_recv().unwrap_or_default());
                let failed = batch.is_err();
                // Nobody takes it where the other side has ended, which then says why.
                if give.send(batch).is_err() || failed {
                    break;
                }
            }
        });
        for place in places {
            // The thread gives one for each place unless it panics, which the scope passes on.
            let Ok(batch) = get.recv() else { break };
            let batch = batch?;
            if take(place, &batch)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
            // After the last one, nobody wants it.
            let _ = give_back.send(batch);
        }
        Ok(ControlFlow::Continue(()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_ir::DType;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn number(value: usize, spent: Vec<Array>) -> Vec<Array> {
        let mut array = spent.into_iter().next().unwrap_or_else(|| Array::zeroed(DType::F64, Vec::new()).expect("small"));
        array.set_f64(0, value as f64);
        vec![array]
    }

    #[test]
    fn batches_come_in_order_and_at_most_one_ahead() {
        for ahead in [false, true] {
            let (made, mut taken) = (AtomicUsize::new(0), Vec::new());
            let anew = AtomicUsize::new(0);
            let make = |place, spent: Vec<Array>| {
                made.fetch_add(1, Ordering::SeqCst);
                anew.fetch_add(usize::from(spent.is_empty()), Ordering::SeqCst);
                Ok(number(place, spent))
            };
            let outcome = each::<Diagnostic>(3..9, ahead, make, |place, batch| {
                assert_eq!(batch[0].get_f64(0), place as f64);
                taken.push(place);
                // One that is taken, one that waits, one that is being made.
                assert!(made.load(Ordering::SeqCst) <= taken.len() + 2);
                Ok(if place == 6 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
            });
            assert!(outcome.expect("no error").is_break());
            assert_eq!(taken, [3, 4, 5, 6]);
            assert!(anew.load(Ordering::SeqCst) <= 3, "others come back");
        }
    }

    #[test]
    fn errors_of_either_side_end_it() {
        for ahead in [false, true] {
            let make = |place, spent| if place == 2 { Err(Diagnostic::new("file", "gone")) } else { Ok(number(place, spent)) };
            let error = each::<Diagnostic>(0..5, ahead, make, |_, _| Ok(ControlFlow::Continue(()))).expect_err("it fails");
            assert_eq!(error.message, "gone");
            let error = each::<Diagnostic>(0..5, ahead, make, |_, _| Err(Diagnostic::new("step", "no"))).expect_err("it fails");
            assert_eq!(error.message, "no");
        }
    }
}
