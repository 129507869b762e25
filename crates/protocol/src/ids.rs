//! Numbers that must not be mixed up, each with its own type.
//!
//! On the wire they are signed 64-bit; a negative number from outside never becomes one of these: the edge
//! decides what it means (usually "none") and converts with `try_from`.

use std::fmt;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number! {
    /// A position in the endless commit log, in bytes ("physical offset").
    LogOffset(u64)
}
number! {
    /// A position in one queue, counted in messages ("logic offset").
    QueueOffset(u64)
}
number! {
    /// A queue of a topic.
    QueueId(u32)
}
number! {
    /// A time in Unix milliseconds, or a span in milliseconds.
    Millis(i64)
}

/// The number from outside was negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Negative(pub i64);

macro_rules! from_wire {
    ($name:ident) => {
        impl TryFrom<i64> for $name {
            type Error = Negative;
            fn try_from(wire: i64) -> Result<Self, Negative> {
                u64::try_from(wire).map($name).map_err(|_| Negative(wire))
            }
        }
        impl $name {
            /// As the wire and the files carry it. Offsets beyond `i64::MAX` cannot be reached: the log would
            /// hold eight exabytes.
            pub fn wire(self) -> i64 {
                i64::try_from(self.0).unwrap_or(i64::MAX)
            }
        }
        impl std::ops::Add<u64> for $name {
            type Output = $name;
            fn add(self, n: u64) -> $name {
                $name(self.0 + n)
            }
        }
        impl std::ops::AddAssign<u64> for $name {
            fn add_assign(&mut self, n: u64) {
                self.0 += n;
            }
        }
    };
}
from_wire!(LogOffset);
from_wire!(QueueOffset);

impl TryFrom<i32> for QueueId {
    type Error = Negative;
    fn try_from(wire: i32) -> Result<Self, Negative> {
        u32::try_from(wire).map(QueueId).map_err(|_| Negative(i64::from(wire)))
    }
}

impl QueueId {
    /// As the wire and the files carry it.
    pub fn wire(self) -> i32 {
        i32::try_from(self.0).unwrap_or(i32::MAX)
    }
}

impl std::ops::Add for Millis {
    type Output = Millis;
    fn add(self, other: Millis) -> Millis {
        Millis(self.0.saturating_add(other.0))
    }
}
impl std::ops::Sub for Millis {
    type Output = Millis;
    fn sub(self, other: Millis) -> Millis {
        Millis(self.0.saturating_sub(other.0))
    }
}
