//! The kinds of value a key can have: how each is read, checked and printed.
//!
//! Owns the text forms (the original's, since operators and `broker.conf` files know them) and the units.
//! Knows no key: ranges of single keys and the keys themselves are declared in [`crate::broker`] and its neighbours.

use crate::text::shown;

/// A kind of value: one text form, read and printed without loss.
pub trait Kind: Sized {
    /// The name used in listings: a unit or a shape.
    const NAME: &'static str;

    /// Reads the text form; the error says what was wanted.
    fn parse(text: &str) -> Result<Self, String>;

    /// The original's text form.
    fn print(&self) -> String;
}

/// A kind which is a number with a unit: reads a whole decimal number between the limits of the kind.
macro_rules! number_kinds {
    ($($(#[$doc:meta])+ $name:ident($int:ty), $label:literal, $low:expr, $high:expr;)+) => {$(
        $(#[$doc])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $int);

        impl Kind for $name {
            const NAME: &'static str = $label;

            fn parse(text: &str) -> Result<Self, String> {
                let number = whole_number(text, $label, $low, $high)?;
                <$int>::try_from(number).map(Self).map_err(|_| between($label, $low, $high))
            }

            fn print(&self) -> String {
                self.0.to_string()
            }
        }
    )+};
}

number_kinds! {
    /// An amount of bytes.
    Bytes(u64), "bytes", 0, i64::MAX;
    /// A duration in milliseconds; the original's keys are signed, negative values are refused.
    Millis(i64), "ms", 0, i64::MAX;
    /// A duration in seconds.
    Seconds(i64), "s", 0, i64::from(i32::MAX);
    /// A duration in hours.
    Hours(u32), "h", 0, i64::from(i32::MAX);
    /// Whole percents.
    Percent(u8), "%", 0, 100;
    /// An amount of things: queues, files, messages, threads.
    Count(u32), "count", 0, i64::from(i32::MAX);
    /// A number with a meaning of its own that may be negative, such as a broker id.
    Number(i64), "number", i64::MIN, i64::MAX;
    /// A moment: milliseconds since 1970-01-01T00:00Z.
    Moment(i64), "ms since 1970", 0, i64::MAX;
    /// A TCP port; 0 lets the system choose.
    Port(u16), "port", 0, 65_535;
}

impl Millis {
    /// As the standard library's duration; a negative value (possible only by construction) counts as zero.
    pub fn duration(self) -> std::time::Duration {
        std::time::Duration::from_millis(u64::try_from(self.0).unwrap_or(0))
    }
}

impl Seconds {
    /// As the standard library's duration; a negative value (possible only by construction) counts as zero.
    pub fn duration(self) -> std::time::Duration {
        std::time::Duration::from_secs(u64::try_from(self.0).unwrap_or(0))
    }
}

/// Says which numbers a kind or a key takes.
pub(crate) fn between(label: &str, low: i64, high: i64) -> String {
    match (low, high) {
        (i64::MIN, i64::MAX) => format!("a whole {label}"),
        (low, i64::MAX) => format!("a whole number ({label}), at least {low}"),
        (low, high) => format!("a whole number ({label}) from {low} to {high}"),
    }
}

fn whole_number(text: &str, label: &str, low: i64, high: i64) -> Result<i64, String> {
    match text.parse::<i64>() {
        Ok(number) if (low..=high).contains(&number) => Ok(number),
        _ => Err(between(label, low, high) + number_hint(text, label)),
    }
}

/// The usual wrong forms of a number, named.
pub(crate) fn number_hint(text: &str, label: &str) -> &'static str {
    let fraction = text.parse::<f64>().is_ok_and(|value| value > 0.0 && value <= 1.0 && text.contains('.'));
    let sized = text.len() > 1
        && text.starts_with(|c: char| c.is_ascii_digit())
        && text.ends_with(|c: char| c.is_ascii_alphabetic());
    match label {
        "%" if fraction => "; a key takes percents (90), the -D form a fraction (0.90)",
        "bytes" | "ms" | "s" | "h" if sized => "; units are not written, only the number",
        _ => "",
    }
}

impl Kind for bool {
    const NAME: &'static str = "true/false";

    /// Ignores case, as the original; anything but the two words is refused, where the original takes it for false.
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            _ if text.eq_ignore_ascii_case("true") => Ok(true),
            _ if text.eq_ignore_ascii_case("false") => Ok(false),
            _ => Err("true or false".to_owned()),
        }
    }

    fn print(&self) -> String {
        self.to_string()
    }
}

impl Kind for String {
    const NAME: &'static str = "text";

    fn parse(text: &str) -> Result<Self, String> {
        Ok(text.to_owned())
    }

    fn print(&self) -> String {
        self.clone()
    }
}

/// A file or directory name, as written; empty means "derived from another key".
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct PathText(pub String);

impl PathText {
    /// As the standard library's path.
    pub fn as_path(&self) -> &std::path::Path {
        std::path::Path::new(&self.0)
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<&str> for PathText {
    fn from(text: &str) -> Self {
        PathText(text.to_owned())
    }
}

impl Kind for PathText {
    const NAME: &'static str = "path";

    fn parse(text: &str) -> Result<Self, String> {
        if text.contains('\0') {
            return Err("a path without zero bytes".to_owned());
        }
        Ok(PathText(text.to_owned()))
    }

    fn print(&self) -> String {
        self.0.clone()
    }
}

/// Several directories, comma separated as in the original (one store over several disks).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Paths(pub Vec<String>);

impl Kind for Paths {
    const NAME: &'static str = "path,path";

    fn parse(text: &str) -> Result<Self, String> {
        if text.contains('\0') {
            return Err("paths without zero bytes".to_owned());
        }
        Ok(Paths(pieces(text, ',').map(str::to_owned).collect()))
    }

    fn print(&self) -> String {
        self.0.join(",")
    }
}

/// Several names, `;` separated.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Names(pub Vec<String>);

impl Names {
    /// From literal names.
    pub fn of(names: &[&str]) -> Names {
        Names(names.iter().map(|name| (*name).to_owned()).collect())
    }

    /// Whether `name` is one of them.
    pub fn contains(&self, name: &str) -> bool {
        self.0.iter().any(|one| one == name)
    }
}

impl Kind for Names {
    const NAME: &'static str = "name;name";

    fn parse(text: &str) -> Result<Self, String> {
        Ok(Names(pieces(text, ';').map(str::to_owned).collect()))
    }

    fn print(&self) -> String {
        self.0.join(";")
    }
}

/// The non-empty pieces of a separated list, blanks around them removed.
fn pieces(text: &str, separator: char) -> impl Iterator<Item = &str> {
    text.split(separator).map(str::trim).filter(|piece| !piece.is_empty())
}

/// An enum of exact words; another case is refused with the right word, since the original refuses it silently.
macro_rules! word_kinds {
    ($($(#[$doc:meta])+ $name:ident, $label:literal { $($(#[$vdoc:meta])+ $variant:ident = $word:literal),+ $(,)? })+) => {$(
        $(#[$doc])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$vdoc])+ $variant),+ }

        impl Kind for $name {
            const NAME: &'static str = $label;

            fn parse(text: &str) -> Result<Self, String> {
                match text {
                    $($word => Ok(Self::$variant),)+
                    _ => Err(wanted_word(text, &[$($word),+])),
                }
            }

            fn print(&self) -> String {
                match self { $(Self::$variant => $word,)+ }.to_owned()
            }
        }
    )+};
}

word_kinds! {
    /// What a send waits for before it is acknowledged: the page cache or the disk.
    FlushDiskType, "ASYNC_FLUSH/SYNC_FLUSH" {
        /// Acknowledge from the page cache; the disk follows within the flush interval.
        AsyncFlush = "ASYNC_FLUSH",
        /// Acknowledge after the disk has it.
        SyncFlush = "SYNC_FLUSH",
    }

    /// The place of a broker in its group.
    BrokerRole, "ASYNC_MASTER/SYNC_MASTER/SLAVE" {
        /// Takes writes; replicas follow behind.
        AsyncMaster = "ASYNC_MASTER",
        /// Takes writes; a write waits for a replica.
        SyncMaster = "SYNC_MASTER",
        /// Follows a master.
        Slave = "SLAVE",
    }
}

fn wanted_word(text: &str, words: &[&str]) -> String {
    let all = words.join(" or ");
    match words.iter().find(|word| word.eq_ignore_ascii_case(text)) {
        Some(word) => format!("{all}, in capitals: {word}"),
        None => all,
    }
}

/// Hours of the day (local time), `;` separated: `04` or `04;16`. Empty for none, where the original's deletion
/// throws (`UtilAll.isItTimeToDo`).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HourList(pub Vec<u8>);

impl HourList {
    /// Whether `hour` (0 to 23) is one of them.
    pub fn contains(&self, hour: u8) -> bool {
        self.0.contains(&hour)
    }
}

impl Kind for HourList {
    const NAME: &'static str = "hh;hh";

    fn parse(text: &str) -> Result<Self, String> {
        let wanted = || {
            "hours of the day from 00 to 23, separated by `;`, such as 04 or 04;16; nothing for none"
                .to_owned()
        };
        let hours = pieces(text, ';')
            .map(|piece| piece.parse::<u8>().ok().filter(|hour| *hour < 24).ok_or_else(wanted))
            .collect::<Result<Vec<_>, _>>()?;
        if hours.len() > 24 { Err(wanted()) } else { Ok(HourList(hours)) }
    }

    fn print(&self) -> String {
        self.0.iter().map(|hour| format!("{hour:02}")).collect::<Vec<_>>().join(";")
    }
}

/// The delays of the levels, level 1 first, written `1s 5s 1m 2h 1d`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DelayLevels {
    text: String,
    millis: Vec<i64>,
}

/// More levels than this are refused: each one is a queue of the schedule topic.
const DELAY_LEVELS_MAX: usize = 256;

impl DelayLevels {
    /// Delay of each level in milliseconds; index 0 is level 1.
    pub fn millis(&self) -> &[i64] {
        &self.millis
    }

    /// The highest level, which larger wishes are cut to.
    pub fn max_level(&self) -> usize {
        self.millis.len()
    }

    /// Delay of a level counted from 1, in milliseconds; `None` for a level that does not exist.
    pub fn delay_ms(&self, level: usize) -> Option<i64> {
        self.millis.get(level.checked_sub(1)?).copied()
    }
}

impl Default for DelayLevels {
    /// The 18 levels that clients know by number.
    fn default() -> Self {
        const SECOND: i64 = 1_000;
        const MINUTE: i64 = 60 * SECOND;
        let minutes = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 20, 30, 60, 120].map(|minutes| minutes * MINUTE);
        let mut millis = [1, 5, 10, 30].map(|seconds| seconds * SECOND).to_vec();
        millis.extend(minutes);
        DelayLevels { text: "1s 5s 10s 30s 1m 2m 3m 4m 5m 6m 7m 8m 9m 10m 20m 30m 1h 2h".to_owned(), millis }
    }
}

impl Kind for DelayLevels {
    const NAME: &'static str = "delays";

    fn parse(text: &str) -> Result<Self, String> {
        let mut millis = Vec::new();
        for piece in text.split_whitespace() {
            let delay = delay_ms(piece).ok_or_else(|| wanted_delays(piece))?;
            if millis.len() == DELAY_LEVELS_MAX {
                return Err(format!("at most {DELAY_LEVELS_MAX} delay levels"));
            }
            millis.push(delay);
        }
        if millis.is_empty() {
            return Err(wanted_delays(text));
        }
        Ok(DelayLevels { text: text.to_owned(), millis })
    }

    fn print(&self) -> String {
        self.text.clone()
    }
}

fn wanted_delays(piece: &str) -> String {
    format!(
        "delays like `1s 5s 1m 2h 1d` (units s, m, h, d), one blank between them; `{}` is none",
        shown(piece)
    )
}

fn delay_ms(piece: &str) -> Option<i64> {
    let unit = match piece.chars().next_back()? {
        's' => 1_000,
        'm' => 60_000,
        'h' => 3_600_000,
        'd' => 86_400_000,
        _ => return None,
    };
    let amount = piece.get(..piece.len() - 1)?.parse::<u32>().ok()?;
    i64::from(amount).checked_mul(unit)
}

/// `host:port` of a server; the host is a name, an IPv4 or an IPv6 address.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Address {
    /// Name or address, without the brackets of IPv6.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl std::fmt::Display for Address {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            write!(out, "[{}]:{}", self.host, self.port)
        } else {
            write!(out, "{}:{}", self.host, self.port)
        }
    }
}

impl std::str::FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wanted = || format!("`host:port` (port 1 to 65535); `{}` is none", shown(text));
        let (host, port) = text.rsplit_once(':').ok_or_else(wanted)?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let port = port.parse::<u16>().ok().filter(|port| *port > 0).ok_or_else(wanted)?;
        let bad = |c: char| c.is_whitespace() || c.is_control() || "[]/;,".contains(c);
        if host.is_empty() || host.contains(bad) {
            return Err(wanted());
        }
        Ok(Address { host: host.to_owned(), port })
    }
}

/// A list of servers, `;` separated: `host:port;host:port`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Addresses(pub Vec<Address>);

impl Kind for Addresses {
    const NAME: &'static str = "host:port;host:port";

    fn parse(text: &str) -> Result<Self, String> {
        let list = pieces(text, ';').map(str::parse).collect::<Result<Vec<_>, _>>();
        list.map(Addresses).map_err(|wanted| match text.contains(',') {
            true => format!("{wanted}; addresses are separated by `;`, not by `,`"),
            false => wanted,
        })
    }

    fn print(&self) -> String {
        self.0.iter().map(Address::to_string).collect::<Vec<_>>().join(";")
    }
}
