//! How a graph was rewritten, as a page: before and after side by side, and the rules that led to each kernel.

mod drawing;

use crate::egraph::provenance::Replacement;
use crate::kernel::{Kernel, Program};
use drawing::{Marks, drawing};
use kiln_ir::Graph;
use kiln_runtime::training::report::escaped;
use std::collections::{BTreeMap, BTreeSet};

/// What the page shows.
pub struct Explanation<'a> {
    /// Name of the model.
    pub name: &'a str,
    /// The graph as it was read.
    pub before: &'a Graph,
    /// The graph that kernels are made of.
    pub after: &'a Graph,
    /// Its kernels.
    pub program: &'a Program,
    /// What became what.
    pub replacements: &'a [Replacement],
    /// What else there is to say, line by line.
    pub summary: &'a str,
}

impl Explanation<'_> {
    /// The page: one file that needs nothing else.
    pub fn page(&self) -> String {
        let mut kernels: Vec<&Kernel> = Vec::new();
        self.program.steps.iter().for_each(|step| step.visit_kernels(&mut |kernel| kernels.push(kernel)));
        let places = self.places(&kernels);
        let place = |origin: &str| places.get(origin).copied();
        let gone: BTreeSet<&str> = self.replacements.iter().flat_map(|r| &r.sources).map(|(_, origin)| origin.as_str()).collect();
        let made: BTreeSet<(&str, &str)> = self.replacements.iter().map(|r| (r.op, r.origin.as_str())).collect();
        let before = |_: &str, origin: &str| if gone.contains(origin) { "gone" } else { "" };
        let after = |op: &str, origin: &str| if made.contains(&(op, origin)) { "made" } else { "" };
        let (style, script) = (include_str!("page.css"), include_str!("page.js"));
        let name = escaped(self.name);
        let rows: String = kernels.iter().enumerate().map(|(number, kernel)| self.kernel(number + 1, kernel, &places)).collect();
        format!(
            "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{name}: how it was rewritten</title>\
             <style>{style}</style></head>\n<body>\n<h1>{name}: how it was rewritten</h1>\n<p>{}</p>\n<div class=\"columns\">\n\
             <div class=\"pane\"><h2>as it was read (red: replaced)</h2>{}</div>\n\
             <div class=\"pane\"><h2>as it is compiled (green: made by rules)</h2>{}</div>\n\
             <div class=\"pane\"><h2>kernels, and the rules that led to them</h2>{rows}</div>\n</div>\n<script>{script}</script></body></html>\n",
            escaped(self.summary.trim_end()).replace('\n', "<br>"),
            drawing(self.before, &Marks { class: &before, place: &place }),
            drawing(self.after, &Marks { class: &after, place: &place }),
        )
    }

    /// A number for each place that a kernel comes from.
    fn places<'k>(&self, kernels: &[&'k Kernel]) -> BTreeMap<&'k str, usize> {
        let mut places = BTreeMap::new();
        for origin in kernels.iter().flat_map(|kernel| &kernel.origins) {
            let next = places.len();
            places.entry(origin.text.as_str()).or_insert(next);
        }
        places
    }

    fn kernel(&self, number: usize, kernel: &Kernel, places: &BTreeMap<&str, usize>) -> String {
        let origins: Vec<&str> = kernel.origins.iter().map(|origin| origin.text.as_str()).collect();
        let numbers: Vec<String> = origins.iter().filter_map(|origin| places.get(origin)).map(usize::to_string).collect();
        let mut text = format!("<div class=\"kernel\" data-o=\"{}\"><b>{number} {}</b>", numbers.join(" "), escaped(&kernel.name));
        origins.iter().for_each(|origin| text += &format!("<small>from {}</small>", escaped(origin)));
        for replacement in self.replacements.iter().filter(|r| origins.contains(&r.origin.as_str())) {
            let rules: Vec<&str> = replacement.rules.iter().map(|(rule, _)| *rule).collect();
            text += &format!("<small class=\"rule\">{}: {}</small>", replacement.op, rules.join(" → "));
        }
        text + "</div>\n"
    }
}
