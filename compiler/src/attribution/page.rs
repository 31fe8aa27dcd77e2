//! The page of attributions: one file that needs nothing else. Pictures are overlaid, tokens and steps highlighted, features listed.

use super::Method;
use super::explain::Attribution;
use super::heat::{Pixels, css, panels, scaled, strip};
use kiln_ir::Diagnostic;
use kiln_runtime::pictures::data_address;
use kiln_runtime::training::report::escaped;

/// What a sample is, for people to look at.
#[derive(Clone, PartialEq, Debug)]
pub enum Looks {
    /// A picture.
    Picture(Pixels),
    /// A sequence `[time, features]`, drawn as spectrograms are: time to the right, features upwards.
    Sequence(Pixels),
    /// Numbers of tokens: see [`word`].
    Tokens(Vec<i64>),
    /// Anything else: its values count by their places.
    Numbers,
}

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
    /// The samples.
    pub entries: Vec<Entry<'a>>,
}

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:900px;margin:2rem auto;padding:0 1rem;color:#222}\
h1{font-size:1.5rem;margin-bottom:.2rem}h2{font-size:1.1rem;margin:1.8rem 0 .2rem;border-top:1px solid #e5e5e5;padding-top:.8rem}\
dl{display:grid;grid-template-columns:max-content 1fr;gap:.1rem 1rem;margin:.4rem 0}dt{color:#666}dd{margin:0}\
img{max-width:100%;image-rendering:pixelated;display:block;margin:.4rem 0}p{margin:.3rem 0;color:#666}.tokens{line-height:2.2}\
.tokens span{padding:.15rem .3rem;border-radius:3px;margin:0 .1rem;white-space:nowrap}table{border-collapse:collapse;\
font-variant-numeric:tabular-nums}td,th{padding:.1rem .6rem;text-align:right}.heads{display:flex;flex-wrap:wrap;gap:.6rem}\
.heads figure{margin:0;font-size:12.5px;width:150px}.heads img{width:150px}.legend span{padding:.1rem .5rem;color:#fff;border-radius:3px}";

/// Features that are listed of a sample.
const LISTED: usize = 30;

/// What a token is shown as. A tokeniser's words go here.
fn word(token: i64) -> String {
    token.to_string()
}

impl Page<'_> {
    /// The page. Errors: `picture`.
    pub fn text(&self) -> Result<String, Diagnostic> {
        let name = escaped(self.name);
        let mut page = format!("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{name}: attributions</title>");
        page += &format!("<style>{STYLE}</style></head>\n<body>\n<h1>{name}: {}</h1>\n<dl>\n", self.method.name());
        for (what, value) in &self.facts {
            page += &format!("<dt>{}</dt><dd>{}</dd>\n", escaped(what), escaped(value));
        }
        page += "</dl>\n";
        page += &match self.method {
            Method::GradCam | Method::Attention => "<p>The redder, the more counts what is there.</p>\n".to_owned(),
            _ => format!(
                "<p class=\"legend\"><span style=\"background:{}\">red</span> speaks for the class, <span style=\"background:{}\">blue</span> against it.</p>\n",
                css(1.0),
                css(-1.0)
            ),
        };
        for entry in &self.entries {
            page += &self.entry(entry)?;
        }
        Ok(page + "</body></html>\n")
    }

    fn class(&self, class: usize) -> String {
        escaped(&self.classes.and_then(|names| names.get(class)).cloned().unwrap_or_else(|| format!("class {class}")))
    }

    fn entry(&self, entry: &Entry) -> Result<String, Diagnostic> {
        let found = entry.found;
        let mut page = format!("<h2>Sample {}</h2>\n<dl>\n", escaped(&entry.sample));
        if let Some(predicted) = found.predicted {
            page += &format!("<dt>predicted</dt><dd>{}</dd>\n", self.class(predicted));
        }
        let what = found.target.map_or("score".to_owned(), |target| format!("score of {}", self.class(target)));
        page += &format!("<dt>{what}</dt><dd>{:.4}", found.score);
        if let Some(base) = found.baseline_score {
            page += &format!(", {base:.4} of the baseline, difference {:.4}", found.score - base);
        }
        page += "</dd>\n";
        if self.method == Method::IntegratedGradients {
            page += &format!("<dt>sum of attributions</dt><dd>{:.4}</dd>\n", found.values.iter().sum::<f64>());
        }
        page += "</dl>\n";
        match &entry.looks {
            Looks::Picture(picture) | Looks::Sequence(picture) => match parts_of(&entry.looks, found) {
                Some(parts) => page += &image(&panels(picture, &parts)?, "sample, attributions, both"),
                None => page += &self.numbers(found)?,
            },
            Looks::Tokens(tokens) if tokens.len() == found.values.len() => {
                page += "<div class=\"tokens\">";
                for (token, part) in tokens.iter().zip(scaled(&found.values)) {
                    page += &format!("<span style=\"background:{}\" title=\"{part:.3}\">{}</span> ", css(part), escaped(&word(*token)));
                }
                page += "</div>\n";
            }
            Looks::Tokens(_) | Looks::Numbers => page += &self.numbers(found)?,
        }
        for (number, layer) in found.attention.iter().enumerate() {
            let n = found.shape.first().copied().unwrap_or(0);
            page += &format!("<p>attention {number}: rows look, columns are looked at</p>\n<div class=\"heads\">");
            for (head, looks) in layer.chunks((n * n).max(1)).enumerate() {
                page += &format!("<figure>{}head {head}</figure>", image(&strip(&scaled(looks), n, n)?, &format!("head {head}")));
            }
            page += "</div>\n";
        }
        Ok(page)
    }

    /// What has no looks of its own: a strip of places, and the features that count most.
    fn numbers(&self, found: &Attribution) -> Result<String, Diagnostic> {
        let parts = scaled(&found.values);
        let (height, width) = match found.shape[..] {
            [] => (1, 1),
            [n] => (1, n),
            // Sequences run to the right, features upwards, as in a spectrogram.
            [time, features] => (features, time),
            _ => (found.shape[..found.shape.len() - 1].iter().product(), found.shape[found.shape.len() - 1]),
        };
        let drawn: Vec<f64> = match found.shape[..] {
            [time, features] => {
                (0..features).rev().flat_map(|f| (0..time).map(move |t| (t, f))).map(|(t, f)| parts[t * features + f]).collect()
            }
            _ => parts.clone(),
        };
        if drawn.is_empty() {
            return Ok("<p>The sample has no parts.</p>\n".to_owned());
        }
        let mut page = image(&strip(&drawn, height, width)?, "attributions by place");
        let mut order: Vec<usize> = (0..parts.len()).collect();
        order.sort_by(|a, b| found.values[*b].abs().total_cmp(&found.values[*a].abs()));
        page += "<table>\n<tr><th>place</th><th>attribution</th></tr>\n";
        for at in order.into_iter().take(LISTED) {
            let place: Vec<String> = kiln_ir::tensor::unravel(at, &found.shape).iter().map(usize::to_string).collect();
            page += &format!(
                "<tr><td>{}</td><td style=\"background:{}\">{:.5}</td></tr>\n",
                place.join(", "),
                css(parts[at]),
                found.values[at]
            );
        }
        Ok(page + "</table>\n")
    }
}

/// The parts of each pixel of what is drawn, channels added up; `None` where places are no pixels.
pub fn parts_of(looks: &Looks, found: &Attribution) -> Option<Vec<f64>> {
    let values = &found.values;
    let by_pixel: Vec<f64> = match looks {
        Looks::Picture(picture) => {
            let pixels = picture.height * picture.width;
            let fits = |height: usize, width: usize| (height, width) == (picture.height, picture.width);
            match found.shape[..] {
                [height, width] if fits(height, width) => values.clone(),
                [channels, height, width] if fits(height, width) => {
                    (0..pixels).map(|at| (0..channels).map(|channel| values[channel * pixels + at]).sum()).collect()
                }
                [height, width, channels] if fits(height, width) => values.chunks(channels.max(1)).map(|all| all.iter().sum()).collect(),
                _ => return None,
            }
        }
        Looks::Sequence(Pixels { height, width, .. }) => {
            let features = match found.shape[..] {
                [time] if time == *width => 1,
                [time, features] if (time, features) == (*width, *height) => features,
                _ => return None,
            };
            // What counts for a time as a whole is told at each of its features.
            let value = |at: usize| values[at % width * features + (height - 1 - at / width) % features];
            (0..height * width).map(value).collect()
        }
        Looks::Tokens(_) | Looks::Numbers => return None,
    };
    Some(scaled(&by_pixel))
}

/// A sequence `[time, features]` as a picture in grey, from its smallest number to its largest.
pub fn drawn(values: &[f64], time: usize, features: usize) -> Pixels {
    let (low, high) = values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(*value), high.max(*value)));
    let grey = |at: usize| {
        let value = values[at % time * features + features - 1 - at / time];
        ((value - low) / (high - low).max(f64::MIN_POSITIVE) * 255.0).round() as u8
    };
    Pixels { height: features, width: time, components: 1, bytes: (0..time * features).map(grey).collect() }
}

fn image(png: &[u8], what: &str) -> String {
    format!("<img alt=\"{what}\" src=\"{}\">\n", data_address(png))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(shape: &[usize], values: &[f64]) -> Attribution {
        Attribution {
            target: Some(1),
            predicted: Some(1),
            score: 2.0,
            scores: vec![0.0, 2.0],
            baseline_score: Some(0.5),
            shape: shape.to_vec(),
            values: values.to_vec(),
            attention: Vec::new(),
        }
    }

    #[test]
    fn sequences_run_to_the_right_and_features_upwards() {
        // Two times of three features.
        let picture = drawn(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0], 2, 3);
        assert_eq!((picture.height, picture.width, picture.bytes.as_slice()), (3, 2, [102, 255, 51, 204, 0, 153].as_slice()));
        let looks = Looks::Sequence(picture);
        let parts = parts_of(&looks, &found(&[2, 3], &[0.0, 0.1, 0.2, 0.3, 0.4, 1.0])).expect("places are pixels");
        assert_eq!(parts, [0.2, 1.0, 0.1, 0.4, 0.0, 0.3]);
        assert_eq!(parts_of(&looks, &found(&[2], &[0.5, 1.0])), Some(vec![0.5, 1.0, 0.5, 1.0, 0.5, 1.0]));
        assert_eq!(parts_of(&looks, &found(&[4], &[0.5, 1.0, 0.0, 0.0])), None);
    }

    #[test]
    fn a_page_needs_nothing_else_and_quotes_what_it_is_given() {
        let token = found(&[2], &[1.0, -0.5]);
        let entries = vec![
            Entry { sample: "<a>".into(), looks: Looks::Tokens(vec![7, 12]), found: &token },
            Entry { sample: "b".into(), looks: Looks::Numbers, found: &token },
        ];
        let classes = ["no".to_string(), "y&s".to_string()];
        let method = Method::IntegratedGradients;
        let text = Page { name: "net", method, facts: vec![], classes: Some(&classes), entries }.text().expect("it is drawn");
        assert!(text.contains("Sample &lt;a&gt;") && text.contains("y&amp;s") && text.contains(">7</span>"), "{text}");
        assert!(text.contains("difference 1.5000") && text.contains("data:image/png") && !text.contains("http"));
    }
}
