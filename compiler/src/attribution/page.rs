//! The page of a run: one file that needs nothing else. Pictures and spectrograms overlaid, words highlighted, features as bars.

use super::Method;
use super::explain::Attribution;
use super::heat::{Pixels, arranged, css, ink, painted, panels, scaled};
use super::looks::{Looks, strip};
use kiln_ir::Diagnostic;
use kiln_ir::tensor::unravel;
use kiln_runtime::pictures::data_address;
use kiln_runtime::training::report::escaped;

/// One sample with what was found.
pub struct Entry<'a> {
    /// Its name or number.
    pub sample: String,
    /// What it looks like.
    pub looks: Looks,
    /// What was found.
    pub found: &'a Attribution,
}

/// What the page is about.
pub struct Page<'a> {
    /// Name of the network.
    pub name: &'a str,
    /// How attributions were made.
    pub method: Method,
    /// What else there is to know: settings of the method.
    pub facts: Vec<(&'static str, String)>,
    /// What the classes are called.
    pub classes: Option<&'a [String]>,
    /// Layers that attentions are of.
    pub layers: &'a [String],
    /// Whether sequences are spectrograms.
    pub is_sound: bool,
    /// The samples.
    pub entries: Vec<Entry<'a>>,
}

const STYLE: &str = include_str!("page.css");

/// Features that are listed of a sample.
const LISTED: usize = 30;
/// Places at most whose words stand beside a map of attention.
const LABELLED: usize = 64;
/// Part of the difference of scores that attributions may miss before the page says so in red.
const NOTABLE_GAP: f64 = 0.01;

impl Page<'_> {
    /// The page. Errors: `picture`.
    pub fn text(&self) -> Result<String, Diagnostic> {
        let name = escaped(self.name);
        let mut page =
            format!("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{name}: {}</title>", self.method.name());
        page +=
            &format!("<style>{STYLE}</style></head>\n<body>\n<h1>{name}: why it says so</h1>\n<p>{}</p>\n<dl>\n", self.method.meaning());
        page += &format!("<dt>method</dt><dd>{}</dd>\n", self.method.name());
        for (what, value) in &self.facts {
            page += &format!("<dt>{}</dt><dd>{}</dd>\n", escaped(what), escaped(value));
        }
        page += "</dl>\n";
        page += &self.legend();
        for entry in &self.entries {
            page += &self.entry(entry)?;
        }
        Ok(page + "</body></html>\n")
    }

    fn legend(&self) -> String {
        let steps = |from: i32| (from..=4).map(|step| css(f64::from(step) / 4.0)).collect::<Vec<_>>().join(",");
        match self.method {
            Method::GradCam | Method::Attention => {
                format!(
                    "<div class=\"legend\">nothing<i style=\"background:linear-gradient(90deg,{})\"></i>most of the sample</div>\n",
                    steps(0)
                )
            }
            _ => format!(
                "<div class=\"legend\">against the class<i style=\"background:linear-gradient(90deg,{})\"></i>for the class</div>\n",
                steps(-4)
            ),
        }
    }

    fn class(&self, class: usize) -> String {
        escaped(&self.classes.and_then(|names| names.get(class)).cloned().unwrap_or_else(|| format!("class {class}")))
    }

    fn entry(&self, entry: &Entry) -> Result<String, Diagnostic> {
        let found = entry.found;
        let mut page = format!("<section>\n<h2>{}", escaped(&entry.sample));
        if let Some(predicted) = found.predicted {
            page += &format!(" <small>predicted</small> {}", self.class(predicted));
        }
        page += "</h2>\n<dl>\n";
        let what = found.target.map_or("score".to_owned(), |target| format!("score of {}", self.class(target)));
        page += &format!("<dt>{what}</dt><dd>{:.4}</dd>\n", found.score);
        if let (Some(base), Some(difference)) = (found.baseline_score, found.difference()) {
            page += &format!("<dt>score of the baseline</dt><dd>{base:.4}, difference {difference:.4}</dd>\n");
        }
        if let (Method::IntegratedGradients, Some(gap)) = (self.method, found.gap()) {
            let class = if gap_part(found).is_some_and(|part| part > NOTABLE_GAP) { " class=\"notable\"" } else { "" };
            page += &format!(
                "<dt>sum of attributions</dt><dd>{:.4}, completeness gap <span{class}>{}</span></dd>\n",
                found.sum(),
                gap_text(found, gap)
            );
        }
        page += "</dl>\n";
        let parts = entry.looks.pixel_parts(found);
        page += &match (&entry.looks, parts) {
            (Looks::Picture(picture), Some(parts)) => {
                overlaid(self.method, picture, &parts, "pictures", ["picture", "attributions", "both"])?
            }
            (Looks::Sequence(picture), Some(parts)) => {
                let upwards = if self.is_sound { "time to the right, frequency upwards" } else { "time to the right, features upwards" };
                let what = if self.is_sound { "spectrogram" } else { "sequence" };
                overlaid(self.method, picture, &parts, "sequences", [&format!("{what}: {upwards}"), "attributions", "both"])?
            }
            (Looks::Tokens(tokens), _) if tokens.len() == found.values.len() => words(self.method, tokens, &found.values),
            _ => bars(self.method, found)?,
        };
        if !found.attention.is_empty() {
            page += &self.attention(entry)?;
        }
        Ok(page + "</section>\n")
    }

    /// A map for each head of each layer: rows are places that look, columns those that are looked at.
    fn attention(&self, entry: &Entry) -> Result<String, Diagnostic> {
        let found = entry.found;
        let n = found.shape.first().copied().unwrap_or(0);
        let mut page = String::new();
        for (number, layer) in found.attention.iter().enumerate() {
            let name = self.layers.get(number).map_or(String::new(), |name| format!(", {}", escaped(name)));
            page += &format!("<h3>layer {number}<small>{name}: rows look at columns</small></h3>\n<div class=\"heads\">");
            for (head, looks) in layer.chunks((n * n).max(1)).enumerate() {
                let most = looks.iter().copied().fold(0.0, f64::max);
                let map = head_map(looks, n, entry)?;
                page += &format!("<figure>{map}<figcaption>head {head}, most {:.0} %</figcaption></figure>", most * 100.0);
            }
            page += "</div>\n";
        }
        Ok(page)
    }
}

/// What sum and difference differ by, and which part of the difference that is.
pub fn gap_text(found: &Attribution, gap: f64) -> String {
    match gap_part(found) {
        Some(part) if part < 1e-4 => format!("{gap:.1e} (less than 0.01 % of the difference)"),
        Some(part) => format!("{gap:.1e} ({:.2} % of the difference)", part * 100.0),
        None => format!("{gap:.1e}"),
    }
}

/// Which part of the difference of scores the attributions miss; `None` where the scores are the same, or there is no baseline.
pub fn gap_part(found: &Attribution) -> Option<f64> {
    let difference = found.difference().filter(|difference| *difference != 0.0)?;
    Some(found.gap()?.abs() / difference.abs())
}

/// A number with its sign, in few digits.
fn signed(value: f64) -> String {
    if value == 0.0 {
        "0".to_owned()
    } else if (1e-3..1e5).contains(&value.abs()) {
        format!("{value:+.3}")
    } else {
        format!("{value:+.1e}")
    }
    .replace('-', "\u{2212}")
}

/// A part as its method means it: attentions are shares, maps have no sign.
fn told(method: Method, value: f64) -> String {
    match method {
        Method::Attention => format!("{:.1} %", value * 100.0),
        Method::GradCam => signed(value).replace('+', ""),
        Method::IntegratedGradients | Method::GradientXInput | Method::Occlusion => signed(value),
    }
}

/// What the deepest colour stands for.
fn scale(method: Method, values: &[f64]) -> String {
    let shown = scaled(values)
        .iter()
        .zip(values)
        .find(|(part, value)| part.abs() < 1.0 && **part != 0.0 && value.is_finite())
        .map(|(part, value)| value / part);
    let most = shown.unwrap_or_else(|| values.iter().fold(0.0f64, |most, value| most.max(value.abs())));
    format!("<p class=\"scale\">deepest colour: {}</p>\n", told(method, most.abs()).replace('+', "±"))
}

fn overlaid(method: Method, picture: &Pixels, values: &[f64], class: &str, captions: [&str; 3]) -> Result<String, Diagnostic> {
    let mut page = format!("<div class=\"{class}\">");
    let sharp = if picture.height.max(picture.width) < 160 { " class=\"sharp\"" } else { "" };
    for (panel, caption) in panels(picture, &scaled(values)).iter().zip(captions) {
        let png = arranged(std::slice::from_ref(panel), 1, (1, 1))?;
        page +=
            &format!("<figure><img{sharp} alt=\"{caption}\" src=\"{}\"><figcaption>{caption}</figcaption></figure>", data_address(&png));
    }
    Ok(page + "</div>\n" + &scale(method, values))
}

fn words(method: Method, tokens: &[String], values: &[f64]) -> String {
    let mut page = "<div class=\"words\">".to_owned();
    for ((token, part), value) in tokens.iter().zip(scaled(values)).zip(values) {
        let colours = format!("background:{};color:{}", css(part), ink(part));
        page += &format!("<span><b style=\"{colours}\">{}</b>{}</span>", escaped(token), told(method, *value));
    }
    page + "</div>\n"
}

/// The features that count most as bars to both sides, under a strip of all of them where they are not all listed.
fn bars(method: Method, found: &Attribution) -> Result<String, Diagnostic> {
    if found.values.is_empty() {
        return Ok("<p>The sample has no parts.</p>\n".to_owned());
    }
    let mut page = String::new();
    if found.values.len() > LISTED {
        let (height, width, parts) = strip(found);
        let png = arranged(&[painted(&parts, height, width)], 1, (1, 1))?;
        page += &format!("<figure class=\"strip\"><img class=\"sharp\" alt=\"attributions by place\" src=\"{}\">", data_address(&png));
        page += &format!("<figcaption>all {} parts by place; the {LISTED} that count most:</figcaption></figure>\n", found.values.len());
    }
    let most = found.values.iter().fold(0.0f64, |most, value| most.max(value.abs()));
    let mut order: Vec<usize> = (0..found.values.len()).collect();
    order.sort_by(|a, b| found.values[*b].abs().total_cmp(&found.values[*a].abs()));
    page += "<table class=\"bars\">\n<tr><th>place</th><th>value</th><th></th><th>attribution</th></tr>\n";
    for at in order.into_iter().take(LISTED) {
        let place: Vec<String> = unravel(at, &found.shape).iter().map(usize::to_string).collect();
        let value = found.values[at];
        let part = if most > 0.0 && value.is_finite() { value / most } else { 0.0 };
        let side = if part < 0.0 { "right" } else { "left" };
        let bar = format!("<i style=\"{side}:50%;width:{:.1}%;background:{}\"></i>", part.abs() * 50.0, css(part.signum()));
        let input = if found.shape == found.point_shape { format!("{:.4}", found.point[at]) } else { String::new() };
        page += &format!(
            "<tr><td>[{}]</td><td>{input}</td><td class=\"track\">{bar}</td><td>{}</td></tr>\n",
            place.join(", "),
            told(method, value)
        );
    }
    Ok(page + "</table>\n")
}

/// One head's `[n, n]` with the words, or the numbers, of its places where they can be read.
fn head_map(looks: &[f64], n: usize, entry: &Entry) -> Result<String, Diagnostic> {
    let png = arranged(&[painted(&scaled(looks), n, n)], 1, (1, 1))?;
    let cell = (300 / n.max(1)).clamp(4, 18);
    let label = |at: usize| match &entry.looks {
        Looks::Tokens(tokens) if tokens.len() == n => tokens[at].chars().take(14).collect(),
        _ => at.to_string(),
    };
    let longest = (0..n).map(|at| label(at).chars().count()).max().unwrap_or(0);
    let (side, margin) = (cell * n, if n <= LABELLED && cell >= 8 { 7 * longest + 8 } else { 0 });
    let whole = side + margin;
    let mut svg = format!(
        "<svg width=\"{whole}\" height=\"{whole}\" viewBox=\"0 0 {whole} {whole}\"><image x=\"{margin}\" y=\"{margin}\" width=\"{side}\" height=\"{side}\" \
         preserveAspectRatio=\"none\" href=\"{}\"/><rect x=\"{margin}\" y=\"{margin}\" width=\"{side}\" height=\"{side}\"/>",
        data_address(&png)
    );
    if margin > 0 {
        for at in 0..n {
            let (middle, before, text) = (margin + at * cell + cell / 2, margin - 4, escaped(&label(at)));
            svg += &format!("<text x=\"{before}\" y=\"{}\" text-anchor=\"end\">{text}</text>", middle + 4);
            svg += &format!("<text transform=\"translate({},{before}) rotate(-90)\">{text}</text>", middle + 4);
        }
    }
    Ok(svg + "</svg>")
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Something found in a sample that gives so many numbers.
    pub(in crate::attribution) fn found(shape: &[usize], values: &[f64]) -> Attribution {
        Attribution {
            target: Some(1),
            predicted: Some(1),
            score: 2.0,
            scores: vec![0.0, 2.0],
            baseline_score: Some(0.5),
            shape: shape.to_vec(),
            values: values.to_vec(),
            point: values.to_vec(),
            point_shape: shape.to_vec(),
            attention: Vec::new(),
        }
    }

    fn page(method: Method, entries: Vec<Entry>) -> String {
        let classes = ["no".to_string(), "y&s".to_string()];
        let page = Page { name: "net", method, facts: vec![], classes: Some(&classes), layers: &["a<b".into()], is_sound: false, entries };
        page.text().expect("it is drawn")
    }

    #[test]
    fn a_page_needs_nothing_else_and_quotes_what_it_is_given() {
        let two = found(&[2], &[1.0, -0.52]);
        let entries = vec![
            Entry { sample: "<a>".into(), looks: Looks::Tokens(vec!["w<".into(), "12".into()]), found: &two },
            Entry { sample: "b".into(), looks: Looks::Numbers, found: &two },
        ];
        let text = page(Method::IntegratedGradients, entries);
        for told in
            ["<h2>&lt;a&gt; ", "y&amp;s", ">w&lt;</b>+1.000", "\u{2212}0.520", "difference 1.5000", "width:26.0%", "against the class"]
        {
            assert!(text.contains(told), "{told}: {text}");
        }
        // Two of the difference of 150 hundredths are missed.
        assert!(text.contains("completeness gap <span class=\"notable\">-1.0e0 (68.00 % of the difference)</span>"), "{text}");
        assert!(!text.contains("http") && !text.contains("<script"));
    }

    #[test]
    fn maps_of_attention_have_a_figure_for_each_head_and_words_at_its_sides() {
        let mut two = found(&[2], &[0.5, 0.5]);
        two.attention = vec![vec![0.25, 0.75, 1.0, 0.0, 0.5, 0.5, 0.5, 0.5]];
        let text =
            page(Method::Attention, vec![Entry { sample: "0".into(), looks: Looks::Tokens(vec!["to".into(), "be".into()]), found: &two }]);
        assert_eq!((text.matches("<svg").count(), text.matches(">to</text>").count()), (2, 4));
        assert!(text.contains(">to</b>50.0 %"), "{text}");
        assert!(text.contains("head 0, most 100 %") && text.contains("head 1, most 50 %") && text.contains("layer 0<small>, a&lt;b"));
    }

    #[test]
    fn what_has_many_parts_lists_those_that_count_most() {
        let values: Vec<f64> = (0..100).map(f64::from).collect();
        let many = found(&[10, 10], &values);
        let text = page(Method::Occlusion, vec![Entry { sample: "0".into(), looks: Looks::Numbers, found: &many }]);
        assert!(text.contains("all 100 parts") && text.contains("[9, 9]") && text.contains("[7, 0]") && !text.contains("[6, 9]"));
        let none = found(&[0], &[]);
        let text = page(Method::Occlusion, vec![Entry { sample: "0".into(), looks: Looks::Numbers, found: &none }]);
        assert!(text.contains("has no parts"));
    }
}
