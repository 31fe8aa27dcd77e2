//! The course of training as TensorBoard reads it: event files, of records that hold protobuf messages.
//!
//! A file grows while it is read, so it is not replaced as a whole like the others. What is told twice after an interruption is not
//! written twice: going on begins a file anew, with what is known so far.
//!
//! *Source*: TensorFlow, `tensorflow/core/lib/io/record_writer.h` (framing), `core/util/event.proto` and `core/framework/summary.proto`
//! (field numbers).

use super::history::{EpochRecord, Point};
use crate::files::file_error;
use crc::{CRC_32_ISCSI, Crc};
use kiln_ir::Diagnostic;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

const PREFIX: &str = "events.out.tfevents.";
const SUFFIX: &str = ".kiln";

/// An event file that grows.
pub struct EventFile {
    path: PathBuf,
    file: File,
    /// Steps of an epoch.
    steps: u64,
    /// Epochs and points of the course that are written.
    written: [usize; 2],
}

impl EventFile {
    /// Begins the event file of a training in its directory, in place of what an earlier one left there.
    ///
    /// Errors: `file`.
    pub fn begin(directory: &Path, steps: u64) -> Result<EventFile, Diagnostic> {
        let ours = |name: &str| name.starts_with(PREFIX) && name.ends_with(SUFFIX);
        for entry in fs::read_dir(directory).map_err(|error| file_error("read", directory, &error))?.flatten() {
            if entry.file_name().to_str().is_some_and(ours) {
                fs::remove_file(entry.path()).map_err(|error| file_error("remove", &entry.path(), &error))?;
            }
        }
        let path = directory.join(format!("{PREFIX}{:.0}{SUFFIX}", now().floor()));
        let file = File::create(&path).map_err(|error| file_error("create", &path, &error))?;
        let mut events = EventFile { path, file, steps, written: [0, 0] };
        let version = Message::default().double(1, now()).bytes(3, b"brain.Event:2");
        events.append(&record(&version.0))?;
        Ok(events)
    }

    /// Writes what is not yet written of epochs and of the course of the loss. Errors: `file`.
    pub fn tell(&mut self, history: &[EpochRecord], points: &[Point]) -> Result<(), Diagnostic> {
        let mut bytes = Vec::new();
        for point in &points[self.written[1]..] {
            let step = (point.epochs * self.steps as f64).round() as u64;
            bytes.extend(record(&event(step, &[("loss/steps".to_owned(), point.loss)]).0));
        }
        for epoch in &history[self.written[0]..] {
            let mut values = vec![("loss/train".to_owned(), epoch.loss), ("learning_rate".to_owned(), epoch.learning_rate)];
            if let Some(measured) = &epoch.measured {
                values.push((format!("loss/{}", measured.part), measured.loss));
                let metrics = measured.metrics.iter().filter_map(|(name, value)| Some((format!("{name}/{}", measured.part), (*value)?)));
                values.extend(metrics);
            }
            values.push(("samples_per_second".to_owned(), epoch.samples_per_second));
            bytes.extend(record(&event(u64::from(epoch.epoch) * self.steps, &values).0));
        }
        self.append(&bytes)?;
        self.written = [history.len(), points.len()];
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), Diagnostic> {
        let written: io::Result<()> = self.file.write_all(bytes);
        written.map_err(|error| file_error("write", &self.path, &error))
    }
}

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}

/// Numbers at a step, by their tags.
fn event(step: u64, values: &[(String, f64)]) -> Message {
    let value = |(tag, value): &(String, f64)| Message::default().bytes(1, tag.as_bytes()).float(2, *value as f32);
    let summary = values.iter().fold(Message::default(), |summary, named| summary.bytes(1, &value(named).0));
    Message::default().double(1, now()).integer(2, step).bytes(5, &summary.0)
}

/// A message as it lies in the file: its length, the content, and checksums of both.
fn record(content: &[u8]) -> Vec<u8> {
    const CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);
    // Rotated and shifted, so that the checksum of data that holds checksums is no special one.
    let masked = |bytes: &[u8]| CRC.checksum(bytes).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes();
    let length = (content.len() as u64).to_le_bytes();
    [&length[..], &masked(&length), content, &masked(content)].concat()
}

/// A protobuf message under way.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn integer(mut self, field: u64, value: u64) -> Message {
        self.varint(field << 3);
        self.varint(value);
        self
    }

    fn double(mut self, field: u64, value: f64) -> Message {
        self.varint(field << 3 | 1);
        self.0.extend(value.to_le_bytes());
        self
    }

    fn float(mut self, field: u64, value: f32) -> Message {
        self.varint(field << 3 | 5);
        self.0.extend(value.to_le_bytes());
        self
    }

    fn bytes(mut self, field: u64, value: &[u8]) -> Message {
        self.varint(field << 3 | 2);
        self.varint(value.len() as u64);
        self.0.extend(value);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::tests::Scratch;
    use crate::training::history::Measured;

    /// What `RecordWriter` of TensorBoard 2.21 makes of `Event(wall_time=1.5, step=300, summary=…)` with `loss` 0.5.
    #[test]
    fn records_are_those_of_tensorboard() {
        let summary = Message::default().bytes(1, &Message::default().bytes(1, b"loss").float(2, 0.5).0);
        let event = Message::default().double(1, 1.5).integer(2, 300).bytes(5, &summary.0);
        let expected = "1b000000000000001a0d9e1309000000000000f83f10ac022a0d0a0b0a046c6f7373150000003f69f9315b";
        let found: String = record(&event.0).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn each_epoch_is_written_once_and_a_new_beginning_replaces_the_file() {
        let scratch = Scratch::new("events");
        let measured =
            Measured { part: "validation".into(), loss: 0.25, metrics: vec![("accuracy".into(), Some(0.5)), ("auc".into(), None)] };
        let epoch = |epoch| EpochRecord {
            epoch,
            loss: 0.5,
            learning_rate: 0.125,
            measured: Some(measured.clone()),
            seconds: 1.0,
            samples_per_second: 8.0,
        };
        let size = |events: &EventFile| fs::metadata(&events.path).expect("it is there").len();
        let (history, points) = ([epoch(1), epoch(2)], [Point { epochs: 0.5, loss: 0.75 }]);
        let mut events = EventFile::begin(&scratch.0, 10).expect("begins");
        let empty = size(&events);
        events.tell(&history[..1], &points).expect("writes");
        let one = size(&events);
        events.tell(&history[..1], &points).expect("writes");
        assert!(one > empty && size(&events) == one, "it is told once");
        events.tell(&history, &points).expect("writes");
        let text = String::from_utf8_lossy(&fs::read(&events.path).expect("reads")).into_owned();
        for tag in ["brain.Event:2", "loss/steps", "loss/train", "loss/validation", "accuracy/validation", "learning_rate"] {
            assert!(text.contains(tag), "{tag}");
        }
        assert!(!text.contains("auc"), "it was no number");
        fs::write(scratch.file("events.out.tfevents.1.other"), b"theirs").expect("writes");
        let again = EventFile::begin(&scratch.0, 10).expect("begins");
        assert_eq!(size(&again), empty);
        assert_eq!(fs::read_dir(&scratch.0).expect("readable").count(), 2);
    }
}
