//! How good a network is: its loss and the metrics of its recipe over samples.

use super::examined::Examined;
use super::history::Measured;
use super::interruption::Interruption;
use super::loader::each;
use super::metrics::Measuring;
use super::parts::Part;
use super::progress::bar;
use super::recipe::{MeasuredOutput, Recipe};
use super::stepper::Evaluates;
use kiln_ir::Diagnostic;
use std::ops::ControlFlow;

/// Measures a part of the data, whose classes have these names, batch by batch; with `ahead`, the next batch is read meanwhile;
/// `examined` looks into each answer. Gives `None` if it was interrupted.
///
/// Errors: data that cannot be read or do not fit; what generated code reports.
pub fn measure(
    recipe: &Recipe,
    network: &mut dyn Evaluates,
    part: &Part,
    names: Option<&[String]>,
    ahead: bool,
    interruption: Option<&Interruption>,
    mut examined: Option<&mut Examined>,
) -> Result<Option<Measured>, Diagnostic> {
    let spelling = recipe.spelling.as_ref();
    let mut measuring: Vec<Measuring> = recipe.metrics.iter().map(|metric| Measuring::new(*metric, names, spelling)).collect();
    let mut sum = 0.0;
    let bar = bar(part.samples.len() as u64, part.name.to_owned());
    let batches: Vec<&[usize]> = part.samples.chunks(recipe.schedule.batch as usize).collect();
    let outcome = each(
        0..batches.len(),
        ahead,
        |at, spent| part.dataset.batch(batches[at], spent, None),
        |at, data| {
            if interruption.is_some_and(|interruption| interruption.signal().is_some()) {
                return Ok(ControlFlow::Break(()));
            }
            let (loss, outputs) = network.evaluate(data)?;
            sum += loss * batches[at].len() as f64;
            measuring.iter_mut().for_each(|metric| metric.add(outputs, data));
            if let Some(examined) = &mut examined {
                examined.add(part, batches[at], outputs, data)?;
            }
            bar.inc(batches[at].len() as u64);
            Ok::<_, Diagnostic>(ControlFlow::Continue(()))
        },
    );
    bar.finish_and_clear();
    if outcome?.is_break() {
        return Ok(None);
    }
    let several = recipe.metrics.iter().any(|metric| metric.output != recipe.metrics[0].output);
    let name = |metric: &MeasuredOutput| match several {
        true => format!("{} of {}", metric.metric.name(), recipe.data[metric.target].name),
        false => metric.metric.name(),
    };
    let values = measuring.iter().map(|metric| Some(metric.value()).filter(|value| value.is_finite()));
    let metrics = recipe.metrics.iter().map(name).zip(values).collect();
    Ok(Some(Measured { part: part.name.to_owned(), loss: sum / part.samples.len().max(1) as f64, metrics }))
}
