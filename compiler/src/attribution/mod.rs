//! Attribution: which parts of an input a prediction comes from.
//!
//! | method | says | source |
//! |---|---|---|
//! | integrated gradients | parts that add up to the difference of the scores of input and baseline | Sundararajan, Taly, Yan 2017 |
//! | gradient × input | the same of the tangent at the input, towards 0 | Shrikumar et al. 2017, §2 |
//! | Grad-CAM | where a layer of convolutions finds what speaks for the class | Selvaraju et al. 2017, equations 1 and 2 |
//! | occlusion | what the score loses when a window is covered | Zeiler & Fergus 2014, §4.2 |
//! | attention | where attention looks, through all layers (rollout) | Abnar & Zuidema 2020, §3 |
//!
//! Reading order: [`function`] (a network as the function that is differentiated), [`explain`] (methods, on compiled code), `path`, `windows` and
//! `maps` (their arithmetic), [`heat`] (colours), [`looks`] (a sample and its parts as a picture), [`page`] (what people look at).

pub mod explain;
pub mod function;
pub mod heat;
pub mod looks;
mod maps;
pub mod page;
mod path;
mod windows;

/// How parts of an input are weighed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Method {
    /// Gradients along the way from the baseline, times what differs from it.
    IntegratedGradients,
    /// The gradient times the input.
    GradientXInput,
    /// A layer of convolutions, its channels weighed by their gradients.
    GradCam,
    /// Windows covered by the baseline.
    Occlusion,
    /// Attention, layer by layer.
    Attention,
}

impl Method {
    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Method::IntegratedGradients => "integrated gradients",
            Method::GradientXInput => "gradient × input",
            Method::GradCam => "Grad-CAM",
            Method::Occlusion => "occlusion",
            Method::Attention => "attention",
        }
    }

    /// What its attributions say, in a sentence for pages.
    pub fn meaning(self) -> &'static str {
        match self {
            Method::IntegratedGradients => {
                "What each part adds to the score of the class on the way from the baseline to the sample. All parts together are the \
                 difference of the two scores."
            }
            Method::GradientXInput => {
                "The slope of the score at the sample, times the sample: what each part adds if the network were straight."
            }
            Method::GradCam => "Where the layer finds what raises the score of the class.",
            Method::Occlusion => "What the score of the class loses when the part is covered by the baseline.",
            Method::Attention => {
                "What the whole sample looks at through all layers (rollout), then where each head of each layer looks. Attention says what \
                 is looked at, and not whether it speaks for a class."
            }
        }
    }
}

/// What stands for an input that says nothing.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Baseline {
    /// This number everywhere; of tokens, in what they are embedded as.
    Number(f64),
    /// The mean of the sample.
    Mean,
}
