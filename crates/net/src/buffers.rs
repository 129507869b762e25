//! Bytes between a socket and frames: what came of an unfinished frame, and what could not be sent yet.
//!
//! Knows no socket. Both buffers give their memory back when they are empty, so that an idle connection costs
//! next to nothing, and neither grows in proportion to a claimed length. A large frame is kept only if whoever
//! it is for wants it: that is asked when its header is here, and the body of one that is refused is thrown away
//! as it comes.

use crate::limits::{Came, Limits};
use kerolox_protocol::frame::{Frame, FrameError, Head, Opening, Split, open, split};

/// Memory that an empty buffer may keep.
pub(crate) const KEPT_BYTES_MAX: usize = 2048;
/// Sent bytes that may stand before unsent ones before they are moved out of the way.
const SENT_BYTES_MAX: usize = 256 * 1024;
/// Largest spare buffer, and how many are kept: together they bound what a quiet server holds.
const SPARE_BYTES_MAX: usize = 512 * 1024;
const SPARES_MAX: usize = 8;

/// Where the frames of one stream go.
pub trait Intake {
    /// A whole frame, in order.
    fn frame(&mut self, frame: Frame<'_>);
    /// Whether the rest of a large frame, of which only the header must be here, is worth its memory. If not,
    /// it is never handed over. Asked once per frame, and only beyond [`Limits::judged_bytes_min`].
    fn wants(&mut self, opening: &Opening<'_>) -> bool;
}

/// Takes everything.
impl<F: FnMut(Frame<'_>)> Intake for F {
    fn frame(&mut self, frame: Frame<'_>) {
        self(frame);
    }
    fn wants(&mut self, _: &Opening<'_>) -> bool {
        true
    }
}

/// Cuts what is read into frames, keeping the start of an unfinished one.
#[derive(Debug, Default)]
pub struct Inbound {
    partial: Vec<u8>,
    /// Whether the unfinished frame was judged, and is wanted.
    wanted: bool,
    /// Bytes of a refused frame that are still to come.
    unwanted: usize,
    /// Bytes of the refused frame that came.
    thrown: usize,
}

impl Inbound {
    /// Hands every frame that `chunk` completes to `intake`, in order, and returns how many ended; a refused one
    /// counts when its last byte was thrown away.
    ///
    /// On an error nothing more can be read from this stream.
    pub fn feed(
        &mut self,
        chunk: &[u8],
        limits: &Limits,
        intake: &mut impl Intake,
    ) -> Result<usize, FrameError> {
        let frame_bytes_max = limits.frame_bytes_max;
        let mut rest = chunk;
        let mut frames = 0;
        if self.unwanted > 0 {
            frames += self.throw_away(&mut rest);
        }
        while !self.partial.is_empty() {
            match split(&self.partial, frame_bytes_max)? {
                Split::Whole(frame, _) => {
                    intake.frame(frame);
                    frames += 1;
                    self.wanted = false;
                    release(&mut self.partial);
                }
                Split::Partial(need) if need > limits.judged_bytes_min && !self.wanted => {
                    match open(&self.partial, frame_bytes_max)? {
                        Head::Here(opening) if intake.wants(&opening) => self.wanted = true,
                        Head::Here(_) => {
                            self.refuse(self.partial.len(), need);
                            release(&mut self.partial);
                            frames += self.throw_away(&mut rest);
                        }
                        Head::Partial(_) if rest.is_empty() => return Ok(frames),
                        Head::Partial(need) => self.keep(need, &mut rest),
                    }
                }
                Split::Partial(_) if rest.is_empty() => return Ok(frames),
                Split::Partial(need) => self.keep(need, &mut rest),
            }
        }
        while !rest.is_empty() {
            match split(rest, frame_bytes_max)? {
                Split::Whole(frame, taken) => {
                    intake.frame(frame);
                    frames += 1;
                    rest = rest.get(taken..).unwrap_or_default();
                }
                Split::Partial(need) => {
                    if need > limits.judged_bytes_min
                        && let Head::Here(opening) = open(rest, frame_bytes_max)?
                    {
                        if !intake.wants(&opening) {
                            self.refuse(rest.len(), need);
                            break;
                        }
                        self.wanted = true;
                    }
                    self.partial.extend_from_slice(rest);
                    break;
                }
            }
        }
        Ok(frames)
    }

    /// What a read came to that ended so many frames.
    pub fn came(&self, frames: usize) -> Came {
        Came { ended: frames > 0, header: self.is_wanted(), unfinished: self.arrived_bytes() }
    }

    /// Moves what is missing of the first `need` bytes of a frame into the buffer, as far as it came.
    fn keep(&mut self, need: usize, rest: &mut &[u8]) {
        let wanted = need.saturating_sub(self.partial.len()).min(rest.len());
        let (head, tail) = rest.split_at(wanted);
        self.partial.extend_from_slice(head);
        *rest = tail;
    }

    /// The frame of `need` bytes, of which so many came, is not wanted.
    fn refuse(&mut self, came: usize, need: usize) {
        self.thrown = came;
        self.unwanted = need.saturating_sub(came);
    }

    /// Throws away what came of a refused frame; how many frames ended by that.
    fn throw_away(&mut self, rest: &mut &[u8]) -> usize {
        let n = self.unwanted.min(rest.len());
        self.unwanted -= n;
        self.thrown += n;
        *rest = rest.get(n..).unwrap_or_default();
        usize::from(self.unwanted == 0)
    }

    /// Bytes of an unfinished frame that came, whether they are here or were thrown away.
    pub fn arrived_bytes(&self) -> usize {
        if self.unwanted > 0 { self.thrown } else { self.partial.len() }
    }

    /// Whether the unfinished frame was judged by its header, and is wanted.
    pub fn is_wanted(&self) -> bool {
        self.wanted
    }

    /// Bytes of an unfinished frame that are here.
    pub fn partial_bytes(&self) -> usize {
        self.partial.len()
    }

    /// Memory held.
    pub fn capacity(&self) -> usize {
        self.partial.capacity()
    }
}

/// What waits to be sent, in order.
#[derive(Debug, Default)]
pub struct Outbound {
    bytes: Vec<u8>,
    sent: usize,
}

impl Outbound {
    /// The buffer to append to. Nothing that is in it may be changed.
    pub fn tail(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// What is to be sent next.
    pub fn unsent(&self) -> &[u8] {
        self.bytes.get(self.sent..).unwrap_or_default()
    }

    /// How much is to be sent.
    pub fn len(&self) -> usize {
        self.bytes.len().saturating_sub(self.sent)
    }

    /// Whether all has been sent.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The peer's socket took `n` bytes.
    pub fn took(&mut self, n: usize) {
        self.sent += n;
        if self.is_empty() {
            self.sent = 0;
            self.bytes.clear();
        } else if self.sent >= SENT_BYTES_MAX && self.sent >= self.len() {
            // Moves at most as many bytes as were sent since the last time, so the cost stays linear.
            self.bytes.drain(..self.sent);
            self.sent = 0;
        }
    }
}

/// Large buffers between two uses: the connections of a group take them and give them back at its end, so that
/// memory for answers is neither asked for again and again nor kept by idle connections.
#[derive(Debug, Default)]
pub struct Spares(Vec<Vec<u8>>);

impl Spares {
    /// Lends memory to a buffer that has none.
    pub fn lend(&mut self, to: &mut Outbound) {
        if to.bytes.capacity() == 0
            && let Some(spare) = self.0.pop()
        {
            to.bytes = spare;
        }
    }

    /// Takes the memory of an empty buffer, unless it is small enough to stay.
    pub fn take_back(&mut self, from: &mut Outbound) {
        if !from.is_empty() || from.bytes.capacity() <= KEPT_BYTES_MAX {
            return;
        }
        let bytes = std::mem::take(&mut from.bytes);
        if bytes.capacity() <= SPARE_BYTES_MAX && self.0.len() < SPARES_MAX {
            self.0.push(bytes);
        }
    }
}

/// Empties a buffer, and gives its memory back unless it is small.
fn release(buffer: &mut Vec<u8>) {
    if buffer.capacity() > KEPT_BYTES_MAX {
        *buffer = Vec::new();
    } else {
        buffer.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kerolox_protocol::frame::{Codec, begin, finish};

    fn framed(body: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let start = begin(&mut out);
        out.extend_from_slice(b"{}");
        finish(&mut out, start, Codec::Json, 2, body.len());
        out.extend_from_slice(body);
        out
    }

    fn cut(stream: &[u8], chunk_bytes: usize) -> (Vec<Vec<u8>>, Inbound) {
        let (mut inbound, mut bodies) = (Inbound::default(), Vec::new());
        for chunk in stream.chunks(chunk_bytes) {
            inbound
                .feed(chunk, &Limits::default(), &mut |frame: Frame<'_>| bodies.push(frame.body.to_vec()))
                .unwrap();
        }
        (bodies, inbound)
    }

    #[test]
    fn frames_are_the_same_however_the_stream_is_cut() {
        let bodies: Vec<Vec<u8>> = (0..9u8).map(|n| vec![n; usize::from(n) * 37]).collect();
        let stream: Vec<u8> = bodies.iter().flat_map(|body| framed(body)).collect();
        for chunk_bytes in 1..=stream.len() {
            let (seen, inbound) = cut(&stream, chunk_bytes);
            assert_eq!(seen, bodies, "cut every {chunk_bytes} bytes");
            assert_eq!(inbound.partial_bytes(), 0);
        }
    }

    #[test]
    fn memory_follows_the_bytes_that_came_and_goes_with_the_frame() {
        let frame = framed(&vec![7; 8 << 20]);
        let mut inbound = Inbound::default();
        inbound.feed(&frame[..100], &Limits::default(), &mut |_: Frame<'_>| panic!("not yet")).unwrap();
        assert!(inbound.capacity() <= 200, "{} bytes for 100", inbound.capacity());
        let (done, inbound) = cut(&frame, 1 << 16);
        assert_eq!(done.len(), 1);
        assert!(inbound.capacity() <= KEPT_BYTES_MAX);
    }

    /// Wants the frames whose header is `{}`, and takes down what it is asked and given.
    #[derive(Default)]
    struct Picky {
        asked: Vec<usize>,
        got: Vec<usize>,
    }

    impl Intake for Picky {
        fn frame(&mut self, frame: Frame<'_>) {
            self.got.push(frame.body.len());
        }
        fn wants(&mut self, opening: &Opening<'_>) -> bool {
            self.asked.push(opening.body_bytes);
            opening.header == b"{}"
        }
    }

    fn refused(body_bytes: usize) -> Vec<u8> {
        let mut out = framed(&vec![1; body_bytes]);
        out[8..10].copy_from_slice(b"[]");
        out
    }

    #[test]
    fn a_refused_body_is_never_held_and_its_neighbours_arrive() {
        let (large, small) = (300_000, 5);
        let stream = [framed(&[7; 5]), refused(4 << 20), framed(&[7; 5]), framed(&vec![7; large])].concat();
        for chunk_bytes in [1, 7, 1 << 10, 1 << 16, 1 << 20, 5 << 20] {
            let (mut inbound, mut picky, mut ended) = (Inbound::default(), Picky::default(), 0);
            for chunk in stream.chunks(chunk_bytes) {
                ended += inbound.feed(chunk, &Limits::default(), &mut picky).unwrap();
                if !inbound.is_wanted() {
                    assert!(
                        inbound.capacity() <= Limits::default().judged_bytes_min,
                        "cut every {chunk_bytes} bytes"
                    );
                }
            }
            assert_eq!(inbound.arrived_bytes(), 0, "cut every {chunk_bytes} bytes");
            match chunk_bytes {
                // What is whole in one read costs nothing to take.
                n if n > 4 << 20 => assert_eq!((ended, picky.got), (4, vec![small, 4 << 20, small, large])),
                _ => {
                    assert_eq!((ended, picky.got), (4, vec![small, small, large]));
                    assert_eq!(picky.asked.first(), Some(&(4 << 20)));
                    assert!(picky.asked.len() <= 2, "a frame is judged once: {:?}", picky.asked);
                }
            }
        }
    }

    #[test]
    fn a_frame_is_judged_with_the_last_byte_of_its_header() {
        let frame = refused(1 << 20);
        let (mut inbound, mut picky) = (Inbound::default(), Picky::default());
        inbound.feed(&frame[..9], &Limits::default(), &mut picky).unwrap();
        assert_eq!((picky.asked.len(), inbound.partial_bytes()), (0, 9));
        inbound.feed(&frame[9..10], &Limits::default(), &mut picky).unwrap();
        assert_eq!((picky.asked.len(), inbound.partial_bytes(), inbound.arrived_bytes()), (1, 0, 10));
        inbound.feed(&frame[10..1_000], &Limits::default(), &mut picky).unwrap();
        assert_eq!((inbound.partial_bytes(), inbound.arrived_bytes()), (0, 1_000));
    }

    #[test]
    fn small_frames_are_not_judged() {
        let body = Limits::default().judged_bytes_min - 10;
        let (mut inbound, mut picky) = (Inbound::default(), Picky::default());
        for chunk in refused(body).chunks(100) {
            inbound.feed(chunk, &Limits::default(), &mut picky).unwrap();
        }
        assert_eq!((picky.asked, picky.got), (vec![], vec![body]));
    }

    #[test]
    fn frames_before_a_malformed_one_are_still_delivered() {
        let mut stream = framed(b"good");
        stream.extend_from_slice(&[0, 0, 0, 1]);
        let mut seen = 0;
        let fed = Inbound::default().feed(&stream, &Limits::default(), &mut |_: Frame<'_>| seen += 1);
        assert_eq!((fed, seen), (Err(FrameError::Length(1)), 1));
    }

    #[test]
    fn an_oversize_frame_is_refused_by_its_length_field_alone() {
        let mut inbound = Inbound::default();
        let limits = Limits { frame_bytes_max: 64, ..Limits::default() };
        let mut nobody = |_: Frame<'_>| ();
        assert_eq!(inbound.feed(&[0, 0], &limits, &mut nobody), Ok(0));
        assert_eq!(inbound.feed(&[1, 0], &limits, &mut nobody), Err(FrameError::Length(256)));
    }

    #[test]
    fn sent_bytes_leave_and_the_order_stays() {
        let mut outbound = Outbound::default();
        let all: Vec<u8> = (0..1_000_000u32).map(|n| n.to_le_bytes()[0]).collect();
        let mut seen = Vec::new();
        for chunk in all.chunks(100_000) {
            outbound.tail().extend_from_slice(chunk);
            let taken = outbound.unsent().get(..70_000).unwrap().to_vec();
            outbound.took(taken.len());
            seen.extend(taken);
        }
        assert!(outbound.bytes.len() < 700_000, "sent bytes are kept: {}", outbound.bytes.len());
        seen.extend_from_slice(outbound.unsent());
        let rest = outbound.len();
        outbound.took(rest);
        assert_eq!(seen, all);
        assert_eq!(outbound.len(), 0);
    }

    #[test]
    fn an_idle_connection_keeps_little_and_spares_are_few() {
        let mut spares = Spares::default();
        let used = |bytes: usize| {
            let mut outbound = Outbound::default();
            outbound.tail().extend_from_slice(&vec![0; bytes]);
            outbound.took(bytes);
            outbound
        };
        let [mut small, mut large, mut huge] = [used(100), used(100_000), used(SPARE_BYTES_MAX + 1)];
        for outbound in [&mut small, &mut large, &mut huge] {
            spares.take_back(outbound);
        }
        assert!(small.bytes.capacity() >= 100, "a small buffer stays where it is");
        assert_eq!((large.bytes.capacity(), huge.bytes.capacity(), spares.0.len()), (0, 0, 1));
        let mut next = Outbound::default();
        spares.lend(&mut next);
        assert!(next.bytes.capacity() >= 100_000 && spares.0.is_empty());
        for _ in 0..100 {
            spares.take_back(&mut used(100_000));
        }
        assert_eq!(spares.0.len(), SPARES_MAX);
    }

    #[test]
    fn unsent_bytes_are_never_lent_away() {
        let (mut spares, mut outbound) = (Spares::default(), Outbound::default());
        outbound.tail().extend_from_slice(&[1; 10_000]);
        outbound.took(9_999);
        spares.take_back(&mut outbound);
        assert_eq!((outbound.unsent(), spares.0.len()), (&[1][..], 0));
    }
}
