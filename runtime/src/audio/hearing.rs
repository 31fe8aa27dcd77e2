//! Sounds piece by piece, for functions that remember what they have heard (see [`SoundStream`]).

use super::{row_of, sound_input};
use crate::arrays::Array;
use crate::program::network::Network;
use kiln_ir::Diagnostic;
use kiln_ir::artifact::{AudioInput, Extent, Signature, SoundStream, TensorDecl};

/// A function with what it remembers of a sound.
pub struct Hearing {
    audio: AudioInput,
    stream: SoundStream,
    states: Vec<Array>,
    /// Whether it has heard anything.
    has_begun: bool,
}

impl Hearing {
    /// Before the first samples; `None` for functions that remember nothing.
    ///
    /// Errors: `signature` when the inputs are not those of such a function; `memory`.
    pub fn new(audio: &AudioInput, signature: &Signature) -> Result<Option<Hearing>, Diagnostic> {
        let Some(stream) = audio.stream.clone() else { return Ok(None) };
        let is_end = signature.inputs.get(1).is_some_and(|input| input.name == Signature::END);
        if !is_end || signature.inputs[0].name != audio.input || signature.outputs.len() + 2 <= signature.inputs.len() {
            return Err(Diagnostic::new("signature", "the model hears streams, and its inputs are not those of such a function"));
        }
        let states = signature.inputs[2..].iter().map(|decl| silent(decl, &stream)).collect::<Result<_, _>>()?;
        Ok(Some(Hearing { audio: audio.clone(), stream, states, has_begun: false }))
    }

    /// Samples that must be there for a piece, and how many of them are kept back for the last one, unless the sound ends.
    pub fn least(&self) -> (usize, usize) {
        let least = self.stream.least as usize;
        (if self.has_begun { least } else { self.stream.first.max(self.stream.least) as usize }, least)
    }

    /// The seconds at which a time step of the first output begins.
    pub fn seconds(&self, step: usize) -> f64 {
        (step as f64 * self.stream.step as f64 + self.stream.begin as f64).max(0.0) / f64::from(self.audio.sample_rate)
    }

    /// The inputs for a piece of the sound, among them what is remembered; behind a last one that is too short stand zeros.
    ///
    /// Errors: `memory`; as [`sound_input`].
    pub fn inputs(&mut self, samples: &[f32], ends: bool, signature: &Signature) -> Result<Vec<Array>, Diagnostic> {
        let taken = samples.len().max(if ends { self.least().0 } else { 0 });
        let sound = row_of(samples, taken, sound_input(&self.audio, signature)?)?;
        let end = Array::zeroed(signature.inputs[1].dtype, vec![usize::from(ends)])?;
        Ok([sound, end].into_iter().chain(self.states.drain(..)).collect())
    }

    /// Runs the network on a piece, and gives its outputs, states left out.
    ///
    /// Errors: as [`Network::prepare`] and [`Network::run`].
    pub fn hear<'n>(&mut self, samples: &[f32], ends: bool, network: &'n mut dyn Network) -> Result<&'n [Array], Diagnostic> {
        let inputs = self.inputs(samples, ends, network.signature())?;
        network.prepare(&inputs)?;
        network.run(&inputs)?;
        self.has_begun = true;
        let (own, states) = network.outputs().split_at(network.outputs().len() - (inputs.len() - 2));
        let copied = states.iter().map(|state| Array::from_bytes(state.dtype(), state.shape().to_vec(), state.bytes()));
        self.states = copied.collect::<Result<_, _>>()?;
        Ok(own)
    }
}

/// A state before the first samples.
fn silent(decl: &TensorDecl, stream: &SoundStream) -> Result<Array, Diagnostic> {
    let size = |extent: &Extent| match extent {
        Extent::Fixed(size) => usize::try_from(*size).unwrap_or(0),
        Extent::Expression(name) => stream.past.get(name).map_or(1, |size| *size as usize),
    };
    Array::zeroed(decl.dtype, decl.shape.iter().map(size).collect())
}
