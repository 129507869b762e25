//! Listings: what `-p` and `-m` print, and the page of the documentation.

use std::fmt::Write;

use crate::loaded::Loaded;
use crate::{
    BrokerConfig, KeyInfo, NamesrvConfig, Outside, ServerConfig, Standing, StoreConfig, When, properties,
};

/// All keys of the role as `key=value` lines for people: `-p`. Values are not escaped.
pub fn print_all(loaded: &Loaded) -> String {
    lines(loaded, |_| true)
}

/// The important keys as `key=value` lines: `-m`.
pub fn print_important(loaded: &Loaded) -> String {
    lines(loaded, |info| info.important)
}

/// All keys of the role as properties text for machines: the answer to a request for the configuration, and the file that
/// updates are saved in. The same as [`print_all`] except where a value needs escapes to be read back.
pub fn export(loaded: &Loaded) -> String {
    let values = loaded.values();
    properties::write(values.iter().map(|(info, value)| (info.name, value.as_str())))
}

fn lines(loaded: &Loaded, wanted: impl Fn(&KeyInfo) -> bool) -> String {
    let values = loaded.values().into_iter().filter(|(info, _)| wanted(info));
    values.map(|(info, value)| format!("{}={value}\n", info.name)).collect()
}

/// The page `docs/config.md`: every key with everything its row says.
pub fn docs_page() -> String {
    let mut page = String::from(HEAD);
    section(&mut page, "Broker", "`BrokerConfig`: read by the broker.", BrokerConfig::KEYS);
    section(&mut page, "Store", "`StoreConfig`: read by the broker.", StoreConfig::KEYS);
    section(&mut page, "Network", "`ServerConfig`: read by broker and name server.", ServerConfig::KEYS);
    section(&mut page, "Name server", "`NamesrvConfig`: read by the name server.", NamesrvConfig::KEYS);
    page
}

const HEAD: &str = "\
# Configuration keys

This page is generated from the declarations in `crates/config`; a test compares them. \
After a change: `KEROLOX_BLESS=1 cargo test -p kerolox-config`.

Files are Java properties (`key=value`, `#` comments), as `broker.conf` of the original; both servers take `-c FILE`. \
Later sources win: environment (`NAMESRV_ADDR`, `ROCKETMQ_HOME`), `-D` properties (`JAVA_OPT`, `JAVA_OPT_EXT`, command line), \
the file, `-n`, `KEY=VALUE` words after the options. `-p` prints all keys of a server, `-m` the important ones (bold here).

- Change: **live** keys can be changed by `updateBrokerConfig`, the others take effect at the next start.
- Standing: *obeyed* does what is said; *later* is read and checked, has no effect yet, and waits for the thing named; \
*no effect* is read so that existing files keep working, and says why it cannot mean anything here.
- Setting a key that has no effect, has an unknown name or is a near miss is warned about at start.
";

fn section(page: &mut String, title: &str, reader: &str, keys: &[KeyInfo]) {
    let count = |wanted: fn(&KeyInfo) -> bool| keys.iter().filter(|info| wanted(info)).count();
    let obeyed = count(|info| info.standing == Standing::Obeyed);
    let later = count(|info| matches!(info.standing, Standing::Later(_)));
    let _ = write!(
        page,
        "\n## {title}\n\n{reader} {} keys: {obeyed} obeyed, {later} later, {} without effect.\n\n\
         | Key | Kind | Default | Change | Standing | Meaning |\n|---|---|---|---|---|---|\n",
        keys.len(),
        keys.len() - obeyed - later
    );
    keys.iter().for_each(|info| row(page, info));
}

fn row(page: &mut String, info: &KeyInfo) {
    let bold = if info.important { "**" } else { "" };
    let aliases: String = info.aliases.iter().map(|alias| format!(", `{alias}`")).collect();
    let default = match info.default_text() {
        empty if empty.is_empty() => "(empty)".to_owned(),
        text => format!("`{text}`"),
    };
    let change = match info.when {
        When::Live => "live",
        When::Restart => "restart",
    };
    let standing = match info.standing {
        Standing::Obeyed => "obeyed".to_owned(),
        Standing::Later(why) => format!("later: {why}"),
        Standing::Meaningless(why) => format!("no effect: {why}"),
    };
    let doc = info.doc.split_whitespace().collect::<Vec<_>>().join(" ");
    let _ = writeln!(
        page,
        "| {bold}`{}`{bold}{aliases} | {}{} | {default} | {change} | {} | {} |",
        info.name,
        info.kind,
        limits(info),
        cell(&standing),
        cell(&doc)
    );
}

fn limits(info: &KeyInfo) -> String {
    let Some(range) = info.range else { return String::new() };
    let moved = if range.outside == Outside::Clamped { " (others are moved there)" } else { "" };
    match range.high {
        i64::MAX => format!(", at least {}{moved}", range.low),
        high if high == i64::from(i32::MAX) => format!(", at least {}{moved}", range.low),
        high => format!(", {} to {high}{moved}", range.low),
    }
}

/// Text inside a table cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}
