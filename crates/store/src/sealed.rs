//! What the two files that are ours alone have in common: they begin with eight letters and a version, and end with a
//! checksum of everything before it.
//!
//! Owns the frame. Knows neither file: what stands between is theirs.

use std::fmt;

/// Why bytes are no such file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsealed {
    /// Too short or too long.
    Length,
    /// It does not begin as one.
    Magic,
    /// Written by a newer Kerolox.
    Version {
        /// What it has.
        found: u32,
        /// What this program knows.
        known: u32,
    },
    /// Torn or damaged.
    Crc,
    /// A field holds what it cannot.
    Field(&'static str),
}

impl fmt::Display for Unsealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unsealed::Length => f.write_str("has the wrong length"),
            Unsealed::Magic => f.write_str("is not what its name says"),
            Unsealed::Version { found, known } => {
                write!(f, "has version {found}, newer than this program's {known}")
            }
            Unsealed::Crc => f.write_str("is damaged (CRC)"),
            Unsealed::Field(name) => write!(f, "has an impossible {name}"),
        }
    }
}

impl std::error::Error for Unsealed {}

/// Bytes of the beginning.
pub(crate) const BEGIN_LEN: usize = 12;

/// A beginning, to be followed by the fields.
pub(crate) fn begin(magic: [u8; 8], version: u32) -> Vec<u8> {
    [&magic[..], &version.to_be_bytes()].concat()
}

/// The checksum behind the fields.
pub(crate) fn seal(out: &mut Vec<u8>) {
    let crc = crc32fast::hash(out);
    out.extend(crc.to_be_bytes());
}

/// All but the checksum, which agrees; the beginning is as [`begin`] made it.
pub(crate) fn open(bytes: &[u8], magic: [u8; 8], version: u32) -> Result<&[u8], Unsealed> {
    let Some((_, rest)) = bytes.split_first_chunk().filter(|(found, _)| **found == magic) else {
        return Err(Unsealed::Magic);
    };
    let found = rest.first_chunk().copied().map(u32::from_be_bytes).ok_or(Unsealed::Length)?;
    if found != version {
        return Err(Unsealed::Version { found, known: version });
    }
    let (body, crc) = bytes.split_last_chunk().ok_or(Unsealed::Length)?;
    let is_whole = crc32fast::hash(body) == u32::from_be_bytes(*crc);
    if is_whole { Ok(body) } else { Err(Unsealed::Crc) }
}
