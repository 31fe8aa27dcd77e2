//! Generations of NVIDIA GPUs that kernels can be for, and the version of PTX that names each.
//!
//! *Source*: PTX ISA 9.0, release notes: which version a target came with.

use std::fmt;
use std::str::FromStr;

/// A generation of GPUs, as `sm_80`; with a letter, as `sm_90a`, code is for that one alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Generation {
    number: u32,
    letter: Option<char>,
}

/// A version of PTX: major, minor.
pub type Version = (u32, u32);

/// Number, letters that may follow, the version that named it first, the version that named it with a letter.
const KNOWN: &[(u32, &str, Version, Version)] = &[
    (80, "", (7, 0), (7, 0)),
    (86, "", (7, 1), (7, 1)),
    (87, "", (7, 4), (7, 4)),
    (89, "", (7, 8), (7, 8)),
    (90, "a", (7, 8), (8, 0)),
    (100, "af", (8, 6), (8, 8)),
    (103, "af", (8, 8), (8, 8)),
    (120, "af", (8, 7), (8, 8)),
    (121, "af", (8, 8), (8, 8)),
];

impl Generation {
    /// Ampere: the oldest one, whose code newer ones run as well.
    pub const OLDEST: Generation = Generation { number: 80, letter: None };

    /// Hopper alone: it multiplies matrices by four warps at a time.
    pub const HOPPER: Generation = Generation { number: 90, letter: Some('a') };

    /// Whether four warps multiply matrices in shared memory together.
    pub fn has_warpgroup_products(self) -> bool {
        self == Generation::HOPPER
    }

    /// Whether a kernel may be launched while the one before it still runs, and wait inside for its results.
    /// *Source*: PTX ISA 9.0, griddepcontrol; CUDA Programming Guide, "Programmatic Dependent Launch and Synchronization".
    pub fn begins_early(self) -> bool {
        self.number >= 90
    }

    /// The one whose kernels are the fastest on a device of that compute capability with a driver of that version of CUDA (12080: 12.8).
    pub fn of_device(capability: (i32, i32), driver: i32) -> Generation {
        if capability == (9, 0) && driver >= 12000 { Generation::HOPPER } else { Generation::OLDEST }
    }

    /// The machine code, as an assembler names it, that text for this generation becomes on a device of that compute capability; none
    /// where it is not for such a device.
    ///
    /// *Source*: PTX ISA 9.0, `.target`: code for a number alone goes with every newer device, with `f` with those of its family, with
    /// `a` with that device alone.
    pub fn machine(self, capability: (i32, i32)) -> Option<String> {
        let device = u32::try_from(10 * capability.0 + capability.1).ok()?;
        let is_newer = device >= self.number;
        match self.letter {
            None => is_newer.then(|| format!("sm_{device}")),
            Some('f') => (is_newer && device / 10 == self.number / 10).then(|| format!("sm_{device}")),
            Some(_) => (device == self.number).then(|| self.to_string()),
        }
    }

    /// The version of PTX for code of this generation: not older than what kernels are written in.
    pub fn version(self) -> Version {
        let known = KNOWN.iter().find(|(number, ..)| *number == self.number).expect("it was parsed");
        super::LANGUAGE.max(if self.letter.is_some() { known.3 } else { known.2 })
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sm_{}", self.number)?;
        self.letter.map_or(Ok(()), |letter| write!(f, "{letter}"))
    }
}

impl FromStr for Generation {
    type Err = String;

    fn from_str(text: &str) -> Result<Generation, String> {
        let known = KNOWN.iter().flat_map(|(number, letters, ..)| {
            let number = *number;
            std::iter::once(None).chain(letters.chars().map(Some)).map(move |letter| Generation { number, letter })
        });
        let mut known = known.collect::<Vec<_>>().into_iter();
        known.clone().find(|generation| generation.to_string() == text).ok_or_else(|| {
            let names = known.by_ref().map(|generation| generation.to_string()).collect::<Vec<_>>();
            format!("`{text}` is no generation of GPUs that kernels can be for: {}", names.join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_have_versions() {
        for (name, version) in [("sm_80", (7, 8)), ("sm_90", (7, 8)), ("sm_90a", (8, 0)), ("sm_100", (8, 6)), ("sm_120a", (8, 8))] {
            let found: Generation = name.parse().expect("known");
            assert_eq!((found.to_string().as_str(), found.version()), (name, version));
        }
        for name in ["sm_70", "sm_80a", "90", "sm_90A", ""] {
            assert!(name.parse::<Generation>().is_err_and(|error| error.contains("sm_90a, sm_100")), "{name}");
        }
    }

    #[test]
    fn machine_code_is_for_the_device_itself() {
        for (generation, capability, machine) in [
            ("sm_80", (8, 0), Some("sm_80")),
            ("sm_80", (8, 9), Some("sm_89")),
            ("sm_80", (12, 1), Some("sm_121")),
            // One that came later than this table.
            ("sm_80", (13, 0), Some("sm_130")),
            ("sm_80", (7, 5), None),
            ("sm_90a", (9, 0), Some("sm_90a")),
            ("sm_90a", (8, 9), None),
            ("sm_90a", (10, 0), None),
            ("sm_100f", (10, 3), Some("sm_103")),
            ("sm_100f", (12, 0), None),
            ("sm_103f", (10, 0), None),
            ("sm_80", (-1, 0), None),
        ] {
            let found = generation.parse::<Generation>().expect("known").machine(capability);
            assert_eq!(found.as_deref(), machine, "{generation} on {capability:?}");
        }
    }
}
