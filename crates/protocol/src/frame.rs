//! Where one frame ends and the next begins.
//!
//! ```text
//! offset  size  field
//!      0     4  total: bytes that follow this field (i32)
//!      4     1  header codec: 0 = JSON, 1 = binary
//!      5     3  header bytes H
//!      8     H  header
//!    8+H     …  body: total - 4 - H bytes
//! ```
//! Reference: `RemotingCommand.decode`, section 1.1 of the wire reference. Nothing is allocated here; a
//! claimed length only decides how many bytes to wait for, and the limit is checked before that.

use std::fmt;

/// Largest frame including its length field, as the original's default.
pub const FRAME_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bytes before the header.
pub const PREFIX_BYTES: usize = 8;
/// Largest header that is looked at: 64 KiB of JSON is far beyond any client's.
pub const HEADER_BYTES_MAX: usize = 64 * 1024;

/// How a header is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Codec {
    /// One JSON object.
    Json = 0,
    /// The original's "ROCKETMQ" binary form.
    Binary = 1,
}

/// One whole frame, borrowed from the bytes that were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// How the header is written; an answer uses the same.
    pub codec: Codec,
    /// The header's bytes.
    pub header: &'a [u8],
    /// The body's bytes, possibly none.
    pub body: &'a [u8],
}

/// The connection cannot go on: the position of the next frame is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameError {
    /// The claimed length is beyond the limit or below the smallest frame.
    Length(u32),
    /// The header is longer than its frame or than the limit.
    HeaderLength(u32),
    /// An unknown header codec.
    Codec(u8),
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FrameError::Length(n) => write!(f, "a frame of {n} bytes is not possible"),
            FrameError::HeaderLength(n) => write!(f, "a header of {n} bytes is not possible"),
            FrameError::Codec(n) => write!(f, "unknown header codec {n}"),
        }
    }
}
impl std::error::Error for FrameError {}

/// Result of looking at the start of a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Split<'a> {
    /// A frame and how many bytes of the buffer it took.
    Whole(Frame<'a>, usize),
    /// More bytes are needed: the buffer must hold at least so many in all.
    Partial(usize),
}

/// What is known of a frame before its body is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opening<'a> {
    /// How the header is written; an answer uses the same.
    pub codec: Codec,
    /// The header's bytes.
    pub header: &'a [u8],
    /// Bytes of body that the sender announces.
    pub body_bytes: usize,
}

/// Result of looking for the header of a frame that is not whole yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Head<'a> {
    /// The header is here.
    Here(Opening<'a>),
    /// More bytes are needed for it: the buffer must hold at least so many in all.
    Partial(usize),
}

/// The first eight bytes, judged.
struct Prefix {
    codec: Codec,
    /// Where the header ends.
    header_end: usize,
    /// Where the frame ends.
    end: usize,
}

/// Reads the prefix; `None` while it is not there.
#[inline]
fn prefix(buf: &[u8], bytes_max: usize) -> Result<Option<Prefix>, FrameError> {
    let Some((total, rest)) = buf.split_first_chunk::<4>() else { return Ok(None) };
    let claimed = u32::from_be_bytes(*total);
    let total = usize::try_from(claimed).unwrap_or(usize::MAX);
    if total < 4 || total > bytes_max.saturating_sub(4) {
        return Err(FrameError::Length(claimed));
    }
    // The mark is judged as soon as it is there, so that a hostile frame is refused before its body comes.
    let Some((&[codec, h2, h1, h0], _)) = rest.split_first_chunk::<4>() else { return Ok(None) };
    let codec = match codec {
        0 => Codec::Json,
        1 => Codec::Binary,
        other => return Err(FrameError::Codec(other)),
    };
    let header_claimed = u32::from_be_bytes([0, h2, h1, h0]);
    let header_bytes = usize::try_from(header_claimed).unwrap_or(usize::MAX);
    if header_bytes > total - 4 || header_bytes > HEADER_BYTES_MAX {
        return Err(FrameError::HeaderLength(header_claimed));
    }
    Ok(Some(Prefix { codec, header_end: PREFIX_BYTES + header_bytes, end: total + 4 }))
}

/// Looks at the start of `buf` for one frame of at most `bytes_max` bytes.
pub fn split(buf: &[u8], bytes_max: usize) -> Result<Split<'_>, FrameError> {
    let Some(Prefix { codec, header_end, end }) = prefix(buf, bytes_max)? else {
        return Ok(Split::Partial(PREFIX_BYTES));
    };
    let Some((header, body)) =
        buf.get(PREFIX_BYTES..end).map(|whole| whole.split_at(header_end - PREFIX_BYTES))
    else {
        return Ok(Split::Partial(end));
    };
    Ok(Split::Whole(Frame { codec, header, body }, end))
}

/// Looks at the start of `buf` for the header of one frame of at most `bytes_max` bytes; for frames of which
/// [`split`] said that more is needed.
pub fn open(buf: &[u8], bytes_max: usize) -> Result<Head<'_>, FrameError> {
    let Some(Prefix { codec, header_end, end }) = prefix(buf, bytes_max)? else {
        return Ok(Head::Partial(PREFIX_BYTES));
    };
    Ok(match buf.get(PREFIX_BYTES..header_end) {
        Some(header) => Head::Here(Opening { codec, header, body_bytes: end - header_end }),
        None => Head::Partial(header_end),
    })
}

/// Starts a frame in `out`; returns where it starts, for [`finish`].
pub fn begin(out: &mut Vec<u8>) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0; PREFIX_BYTES]);
    start
}

/// Fills in the prefix of a frame whose header has just been written, and whose body of `body_bytes` bytes
/// follows (is already there or will be appended by the caller).
pub fn finish(out: &mut [u8], start: usize, codec: Codec, header_bytes: usize, body_bytes: usize) {
    let total = u32::try_from(4 + header_bytes + body_bytes).unwrap_or(u32::MAX);
    let header = u32::try_from(header_bytes).unwrap_or(u32::MAX);
    let mark = ((codec as u32) << 24) | (header & 0x00ff_ffff);
    if let Some(prefix) = out.get_mut(start..start + PREFIX_BYTES) {
        prefix[..4].copy_from_slice(&total.to_be_bytes());
        prefix[4..].copy_from_slice(&mark.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(codec: u8, header: &[u8], body: &[u8]) -> Vec<u8> {
        let mut out = ((4 + header.len() + body.len()) as u32).to_be_bytes().to_vec();
        out.extend_from_slice(&[codec, 0, 0, header.len() as u8]);
        out.extend_from_slice(header);
        out.extend_from_slice(body);
        out
    }

    #[test]
    fn every_prefix_of_a_frame_asks_for_more_and_the_whole_is_found() {
        let mut bytes = framed(1, b"head", b"body");
        let len = bytes.len();
        for n in 0..len {
            assert!(
                matches!(split(&bytes[..n], FRAME_BYTES_MAX), Ok(Split::Partial(need)) if need > n && need <= len)
            );
        }
        bytes.extend_from_slice(b"next");
        let frame = Frame { codec: Codec::Binary, header: b"head", body: b"body" };
        assert_eq!(split(&bytes, FRAME_BYTES_MAX), Ok(Split::Whole(frame, len)));
    }

    #[test]
    fn a_header_is_found_as_soon_as_it_is_there() {
        let bytes = framed(1, b"head", b"body");
        for n in 0..bytes.len() {
            let found = open(&bytes[..n], FRAME_BYTES_MAX);
            let opening = Opening { codec: Codec::Binary, header: b"head", body_bytes: 4 };
            match n {
                0..8 => assert_eq!(found, Ok(Head::Partial(8))),
                8..12 => assert_eq!(found, Ok(Head::Partial(12))),
                _ => assert_eq!(found, Ok(Head::Here(opening))),
            }
        }
        assert_eq!(open(&[0, 0, 1, 0], 64), Err(FrameError::Length(256)));
    }

    #[test]
    fn hostile_lengths_are_refused_before_a_body_is_waited_for() {
        assert_eq!(split(&[0xff, 0xff, 0xff, 0xff], FRAME_BYTES_MAX), Err(FrameError::Length(u32::MAX)));
        assert_eq!(split(&[0, 0, 0, 3], FRAME_BYTES_MAX), Err(FrameError::Length(3)));
        assert_eq!(split(&[0, 0, 0, 9, 0, 0, 0, 6], FRAME_BYTES_MAX), Err(FrameError::HeaderLength(6)));
        assert_eq!(split(&[0, 0, 0, 9, 7, 0, 0, 1], FRAME_BYTES_MAX), Err(FrameError::Codec(7)));
        assert_eq!(split(&[0, 0, 1, 0], 64), Err(FrameError::Length(256)));
    }
}
