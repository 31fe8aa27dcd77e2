//! What a network takes for what, where it is most wrong, and what it is made of.

use super::escaped;
use crate::pictures::data_address;
use crate::training::examined::{Examined, ExaminedOutput, Mistake};
use crate::training::progress::grouped;
use crate::training::recipe::{Answer, LayerSummary};
use std::cmp::Reverse;
use std::collections::BTreeSet;

/// More classes than these are told as the pairs that are confused most.
const MOST_CLASSES: usize = 40;
/// So many pairs of them.
const MOST_PAIRS: usize = 40;

/// The table of classes by what they were called; nothing where there are none.
pub fn confusion(output: &ExaminedOutput, examined: &Examined, of: &str, names: Option<&[String]>) -> String {
    if output.confusion.is_empty() {
        return String::new();
    }
    let classes: BTreeSet<usize> = output.confusion.keys().flat_map(|(right, said)| [*right, *said]).collect();
    let name = |class: usize| escaped(&class_name(output, names, class as f64));
    let mut page = format!("<h2>Confusion{of}</h2>\n");
    if classes.len() > MOST_CLASSES {
        let mut pairs: Vec<((usize, usize), u64)> =
            output.confusion.iter().filter(|((right, said), _)| right != said).map(|(pair, count)| (*pair, *count)).collect();
        pairs.sort_by_key(|(_, count)| Reverse(*count));
        page += &format!("<p>The pairs of the {} classes that are confused most, on {}.</p>\n", classes.len(), escaped(&examined.part));
        page += "<table>\n<tr><th>is</th><th class=\"text\">was called</th><th>how often</th></tr>\n";
        for ((right, said), count) in pairs.into_iter().take(MOST_PAIRS) {
            page += &format!("<tr><td>{}</td><td class=\"text\">{}</td><td>{count}</td></tr>\n", name(right), name(said));
        }
        return page + "</table>\n";
    }
    page += &format!(
        "<p>Rows: what it is. Columns: what it was called. {} samples for {}.</p>\n<div class=\"wide\"><table class=\"confusion\">\n<tr><th></th>",
        grouped(examined.samples as f64),
        escaped(&examined.part)
    );
    classes.iter().for_each(|class| page += &format!("<th>{}</th>", name(*class)));
    page += "<th>recall</th></tr>\n";
    let count = |right: usize, said: usize| output.confusion.get(&(right, said)).copied().unwrap_or(0);
    let share = |part: u64, whole: u64| if whole == 0 { "–".to_owned() } else { format!("{:.1} %", 100.0 * part as f64 / whole as f64) };
    for &right in &classes {
        let whole: u64 = classes.iter().map(|said| count(right, *said)).sum();
        page += &format!("<tr><th>{}</th>", name(right));
        for &said in &classes {
            let (n, part) = (count(right, said), count(right, said) as f64 / whole.max(1) as f64);
            let colour = if right == said { "31,119,180" } else { "214,39,40" };
            // Mistakes are rare: the root makes them seen.
            let opacity = if right == said { part * 0.6 } else { part.sqrt() * 0.8 };
            let shown = if n == 0 { "·".to_owned() } else { n.to_string() };
            page += &format!("<td style=\"background:rgba({colour},{opacity:.3})\">{shown}</td>");
        }
        page += &format!("<td>{}</td></tr>\n", share(count(right, right), whole));
    }
    page += "<tr><th>precision</th>";
    for &said in &classes {
        page += &format!("<td>{}</td>", share(count(said, said), classes.iter().map(|right| count(*right, said)).sum()));
    }
    page + "<td></td></tr>\n</table></div>\n"
}

/// The examples with the worst answers, as pictures where they are some.
pub fn worst(output: &ExaminedOutput, examined: &Examined, of: &str, names: Option<&[String]>) -> String {
    let mut page = format!("<h2>Most wrong{of}</h2>\n");
    let Some(first) = output.worst.first() else {
        return page + &format!("<p>Nothing was wrong on {}.</p>\n", escaped(&examined.part));
    };
    let said = |class: f64| escaped(&class_name(output, names, class));
    let sample = |mistake: &Mistake| {
        let position = mistake.position.map_or(String::new(), |position| format!(", {position}"));
        format!("{}{position}", escaped(&mistake.sample))
    };
    let sure = |mistake: &Mistake| mistake.confidence.map_or(String::new(), |confidence| format!("{:.1} %", 100.0 * confidence));
    let why = match output.answer {
        Answer::Labels | Answer::Distribution => "The wrong answers to which the right one seemed least likely",
        Answer::YesOrNo(_) => "The wrong answers furthest on the wrong side",
        Answer::Values | Answer::Spelling(_) => "The largest errors",
    };
    page += &format!("<p>{why}, on {}.</p>\n", escaped(&examined.part));
    if first.picture.is_some() {
        page += "<div class=\"examples\">\n";
        for mistake in &output.worst {
            let picture = mistake.picture.as_deref().map_or(String::new(), data_address);
            page += &format!(
                "<figure><img alt=\"sample {0}\" src=\"{picture}\"><div>{1}</div><div class=\"said\">{2} {3}</div><div>sample {0}</div></figure>\n",
                sample(mistake),
                said(mistake.right),
                said(mistake.said),
                sure(mistake)
            );
        }
        return page + "</div>\n";
    }
    let is_numbers = output.answer == Answer::Values;
    page += "<table>\n<tr><th>sample</th><th class=\"text\">right</th><th class=\"text\">said</th>";
    page += if is_numbers { "<th>error</th></tr>\n" } else { "<th>confidence</th></tr>\n" };
    for mistake in &output.worst {
        let last = if is_numbers { format!("{:.4}", mistake.badness) } else { sure(mistake) };
        page += &format!(
            "<tr><td>{}</td><td class=\"text\">{}</td><td class=\"text\">{}</td><td>{last}</td></tr>\n",
            sample(mistake),
            said(mistake.right),
            said(mistake.said)
        );
    }
    page + "</table>\n"
}

/// The layers with what they give and how many parameters they have.
pub fn layers(layers: &[LayerSummary]) -> String {
    if layers.is_empty() {
        return String::new();
    }
    let mut page = "<h2>Model</h2>\n<table>\n<tr><th>layer</th><th class=\"text\">gives</th><th>parameters</th></tr>\n".to_owned();
    for LayerSummary { name, gives, parameters } in layers {
        let count = if *parameters == 0 { "–".to_owned() } else { grouped(*parameters as f64) };
        page += &format!("<tr><td>{}</td><td class=\"text\">{}</td><td>{count}</td></tr>\n", escaped(name), escaped(gives));
    }
    let all: usize = layers.iter().map(|layer| layer.parameters).sum();
    page + &format!("<tr><td>all</td><td></td><td>{}</td></tr>\n</table>\n", grouped(all as f64))
}

fn class_name(output: &ExaminedOutput, names: Option<&[String]>, class: f64) -> String {
    match output.answer {
        Answer::Values | Answer::Spelling(_) => format!("{class:.4}"),
        Answer::YesOrNo(_) => if class == 0.0 { "no" } else { "yes" }.to_owned(),
        Answer::Labels | Answer::Distribution => {
            names.and_then(|names| names.get(class as usize)).cloned().unwrap_or_else(|| class.to_string())
        }
    }
}
