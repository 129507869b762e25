//! The original's commands: `mqnamesrv`, `mqbroker`, `mqadmin`, `mqshutdown`, with their flags.
//!
//! Owns reading the flags. Reference: `NamesrvStartup`, `BrokerStartup`, `ServerUtil`; short flags, long
//! flags, and `KEY=VALUE` words after them.

use crate::{logging, serve, settings, shutdown};
use anyhow::{Context, Result, bail};
use kerolox_config::{File, Loaded, Role, print_all, print_important};

/// Whether the original has a script of that name which this program stands in for.
pub fn is_name(name: &str) -> bool {
    matches!(name, "mqnamesrv" | "mqbroker" | "mqadmin" | "mqshutdown")
}

/// Runs as one of the original's commands.
pub fn run(name: &str, words: &[String]) -> Result<()> {
    match name {
        "mqnamesrv" => namesrv(words),
        "mqbroker" => broker(words),
        "mqadmin" => kerolox_admin::run(words),
        "mqshutdown" => shutdown::run(words),
        _ => bail!("{name} is not a command of the original"),
    }
}

/// What stands on the command line of a server.
#[derive(Debug, Default, PartialEq, Eq)]
struct Flags {
    config_file: Option<String>,
    namesrv_addr: Option<String>,
    print_all: bool,
    print_important: bool,
    help: bool,
    verbose: u8,
    settings: Vec<String>,
}

fn flags(words: &[String]) -> Result<Flags> {
    let mut flags = Flags::default();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut value = |flag: &str| words.next().cloned().with_context(|| format!("{flag} needs a value"));
        match word.as_str() {
            "-c" | "--configFile" => flags.config_file = Some(value(word)?),
            "-n" | "--namesrvAddr" => flags.namesrv_addr = Some(value(word)?),
            "-p" | "--printConfigItem" => flags.print_all = true,
            "-m" | "--printImportantConfig" => flags.print_important = true,
            "-h" | "--help" => flags.help = true,
            "-v" | "--verbose" => flags.verbose += 1,
            setting if setting.contains('=') => flags.settings.push(setting.to_owned()),
            other => bail!("{other} is neither a flag nor KEY=VALUE; -h lists the flags"),
        }
    }
    Ok(flags)
}

/// Flags of both servers, and those that only a broker has.
fn help(role: Role) -> String {
    let mut rows = vec![("-c, --configFile FILE", "properties file with KEY=VALUE lines")];
    if role == Role::Broker {
        rows.push(("-n, --namesrvAddr HOST:PORT", "name servers, joined by ;"));
    }
    rows.push(("-p, --printConfigItem", "print every key with its value, and end"));
    if role == Role::Broker {
        rows.push(("-m, --printImportantConfig", "print the important keys with their values, and end"));
    }
    rows.push(("-v, --verbose", "log requests"));
    rows.push(("-h, --help", "print this"));
    rows.push(("KEY=VALUE", "any key; wins over the file. docs/config.md lists them all"));
    rows.iter().map(|(flag, about)| format!("  {flag:<30} {about}\n")).collect()
}

fn namesrv(words: &[String]) -> Result<()> {
    let flags = flags(words)?;
    if flags.help {
        print!("usage: mqnamesrv [flags] [KEY=VALUE ...]\n{}", help(Role::Namesrv));
        return Ok(());
    }
    let loaded = configuration(Role::Namesrv, &flags)?;
    if flags.print_all || flags.print_important {
        print!("{}", print_all(&loaded));
        return Ok(());
    }
    logging::start(flags.verbose);
    serve::namesrv(loaded)
}

fn broker(words: &[String]) -> Result<()> {
    let flags = flags(words)?;
    if flags.help {
        print!("usage: mqbroker [flags] [KEY=VALUE ...]\n{}", help(Role::Broker));
        return Ok(());
    }
    let loaded = configuration(Role::Broker, &flags)?;
    if flags.print_all {
        print!("{}", print_all(&loaded));
        return Ok(());
    }
    if flags.print_important {
        print!("{}", print_important(&loaded));
        return Ok(());
    }
    logging::start(flags.verbose);
    serve::broker(loaded)
}

fn configuration(role: Role, flags: &Flags) -> Result<Loaded> {
    let text = match &flags.config_file {
        Some(name) => Some(read_file(name)?),
        None => None,
    };
    let file = flags.config_file.as_deref().zip(text.as_deref()).map(|(name, text)| File { name, text });
    settings::load(role, file, flags.namesrv_addr.as_deref(), &flags.settings)
}

/// The original reads bytes as Latin-1. Keys and values are ASCII; a comment in any other encoding must not keep a
/// server from starting, and one in UTF-8 is shown as it was written.
fn read_file(name: &str) -> Result<String> {
    let bytes = std::fs::read(name)
        .with_context(|| format!("read the configuration file {name} (name another one with -c)"))?;
    Ok(String::from_utf8(bytes)
        .unwrap_or_else(|bad| bad.as_bytes().iter().copied().map(char::from).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &[&str]) -> Result<Flags> {
        flags(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn flags_and_settings_mix_as_in_scripts() {
        let read =
            read(&["-n", "a:9876;b:9876", "-c", "conf/broker.conf", "autoCreateTopicEnable=true"]).unwrap();
        let expected = Flags {
            config_file: Some("conf/broker.conf".into()),
            namesrv_addr: Some("a:9876;b:9876".into()),
            settings: vec!["autoCreateTopicEnable=true".into()],
            ..Flags::default()
        };
        assert_eq!(read, expected);
    }

    #[test]
    fn help_lists_the_flags_of_the_role_in_one_column() {
        let (broker, namesrv) = (help(Role::Broker), help(Role::Namesrv));
        assert!(broker.contains("--namesrvAddr") && broker.contains("--printImportantConfig"));
        assert!(!namesrv.contains("--namesrvAddr") && !namesrv.contains("--printImportantConfig"));
        for line in broker.lines().chain(namesrv.lines()) {
            assert!(
                line.starts_with("  ") && line.as_bytes()[32] == b' ' && line.as_bytes()[33] != b' ',
                "{line}"
            );
        }
    }

    #[test]
    fn a_word_that_is_nothing_is_named() {
        assert!(read(&["brokr"]).unwrap_err().to_string().contains("brokr"));
        assert!(read(&["-c"]).unwrap_err().to_string().contains("-c needs a value"));
    }
}
