//! FLAC, MP3 and Ogg Vorbis to samples, by the library `symphonia`.
//!
//! The library is half as large as a program, so only the programs that take sounds have it: their `main` calls [`install`], and
//! nothing else leads to it.

use super::decode::{Sound, mean_of_channels};
use std::fs::File;
use std::path::Path;
use std::sync::OnceLock;
use symphonia::core::codecs::audio::AudioDecoderOptions;
use symphonia::core::errors::Error;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatOptions, TrackType};
use symphonia::core::io::MediaSourceStream;
use symphonia::core::meta::MetadataOptions;
use symphonia::default::{get_codecs, get_probe};

/// What reads such a file, or the first so many samples of it. Errors: a text.
type Read = fn(&Path, Option<usize>) -> Result<Sound, String>;

/// Set once and before all else, by the programs that have the library.
static READ: OnceLock<Read> = OnceLock::new();

/// Endings of names of such files.
pub const ENDINGS: [&str; 4] = ["flac", "mp3", "ogg", "oga"];

/// Lets this program read such files.
pub fn install() {
    let _ = READ.set(read);
}

/// Reads the first `most` samples of a file, or all of them. Errors: a text when it is damaged, or this program reads no such files.
pub fn read_compressed(path: &Path, most: Option<usize>) -> Result<Sound, String> {
    READ.get().ok_or("this program reads .wav files alone")?(path, most)
}

fn read(path: &Path, most: Option<usize>) -> Result<Sound, String> {
    let unreadable = |error: &dyn std::fmt::Display| format!("no sound that can be read: {error}");
    let damaged = |error: Error| format!("damaged: {error}");
    let file = File::open(path).map_err(|error| unreadable(&error))?;
    let mut hint = Hint::new();
    if let Some(ending) = path.extension().and_then(|ending| ending.to_str()) {
        hint.with_extension(ending);
    }
    let stream = MediaSourceStream::new(Box::new(file), Default::default());
    let mut reader = get_probe().probe(&hint, stream, FormatOptions::default(), MetadataOptions::default()).map_err(|e| unreadable(&e))?;
    let track = reader.default_track(TrackType::Audio).ok_or("there is no sound in it")?;
    let (id, declared) = (track.id, track.num_frames);
    let codec = track.codec_params.as_ref().and_then(|codec| codec.audio()).ok_or("there is no sound in it")?;
    let mut decoder = get_codecs().make_audio_decoder(codec, &AudioDecoderOptions::default()).map_err(|error| unreadable(&error))?;

    let mut sound = Sound { samples: Vec::new(), rate: 0 };
    let mut block: Vec<f32> = Vec::new();
    while most.is_none_or(|most| sound.samples.len() < most) {
        let Some(packet) = reader.next_packet().map_err(damaged)? else { break };
        if packet.track_id != id {
            continue;
        }
        let decoded = decoder.decode(&packet).map_err(damaged)?;
        let (rate, channels) = (decoded.spec().rate(), decoded.spec().channels().count().max(1));
        if rate == 0 || (sound.rate != 0 && sound.rate != rate) {
            return Err(format!("damaged: {rate} samples a second after {}", sound.rate));
        }
        sound.rate = rate;
        decoded.copy_to_vec_interleaved(&mut block);
        sound.samples.append(&mut mean_of_channels(std::mem::take(&mut block), channels));
    }
    let wanted = declared.unwrap_or(0).min(most.map_or(u64::MAX, |most| most as u64));
    if (sound.samples.len() as u64) < wanted {
        return Err(format!("damaged: it ends after {} of {wanted} samples", sound.samples.len()));
    }
    sound.samples.truncate(most.unwrap_or(usize::MAX));
    Ok(sound)
}
