//! From text to checked values: a file, `-n`, `KEY=VALUE` words, `-D` properties and the environment, in their order of
//! precedence, with every error and every warning collected.
//!
//! Owns precedence, routing of keys to structs, and the hints. Knows no file and no environment: both are handed in.

use std::collections::{BTreeMap, BTreeSet};

use crate::declare::{Group, KeyInfo, SetError, Standing, Taken, UpdateError, find, spellings};
use crate::loaded::{About, Loaded, Machine, Origin, Problem, Role, Warning};
use crate::properties::{self, Note};
use crate::rules;
use crate::system_properties as system;
use crate::text::{nearest, shown};
use crate::{BrokerConfig, NamesrvConfig, ServerConfig, StoreConfig};

/// A configuration file that was read by the caller.
#[derive(Debug, Clone, Copy)]
pub struct File<'a> {
    /// Its name, as messages and `configStorePath` repeat it.
    pub name: &'a str,
    /// Its content.
    pub text: &'a str,
}

/// Everything a configuration is made of. Later ones win: environment, `-D` properties, file, `-n`, `KEY=VALUE` words.
pub struct Sources<'a> {
    /// Which server reads it.
    pub role: Role,
    /// The file given with `-c`.
    pub file: Option<File<'a>>,
    /// The value of `-n`.
    pub namesrv_addr: Option<&'a str>,
    /// Words `KEY=VALUE` and `-DNAME=VALUE` after the options.
    pub words: &'a [String],
    /// Looks up an environment variable.
    pub env: &'a dyn Fn(&str) -> Option<String>,
    /// Facts of the machine.
    pub machine: Machine,
}

impl Loaded {
    /// Defaults of a role, before any source.
    fn defaults(role: Role) -> Loaded {
        let server = match role {
            Role::Broker => ServerConfig::default(),
            Role::Namesrv => ServerConfig::for_namesrv(),
        };
        Loaded {
            role,
            broker: BrokerConfig::default(),
            store: StoreConfig::default(),
            server,
            namesrv: NamesrvConfig::default(),
            file: None,
            written: BTreeSet::new(),
            warnings: Vec::new(),
        }
    }

    /// The structs of this role, in the order of listings.
    fn groups(&mut self) -> Vec<&mut dyn Group> {
        match self.role {
            Role::Broker => vec![&mut self.broker, &mut self.server, &mut self.store],
            Role::Namesrv => vec![&mut self.namesrv, &mut self.server],
        }
    }

    /// Every key of this role with its value, in the order of the original's listings.
    pub fn values(&self) -> Vec<(&'static KeyInfo, String)> {
        let values = match self.role {
            Role::Broker => [self.broker.values(), self.server.values(), self.store.values()].concat(),
            Role::Namesrv => [self.namesrv.values(), self.server.values()].concat(),
        };
        let infos = keys_of(self.role).iter().flat_map(|keys| keys.iter());
        infos.zip(values).map(|(info, (_, value))| (info, value)).collect()
    }

    /// Changes one live key of a running server. Refuses protected, restart and unknown keys and bad values; nothing changes
    /// then. A restart key "changed" to the value it has is no change and fine.
    pub fn update(&mut self, key: &str, value: &str) -> Result<(), UpdateError> {
        self.update_all([(key, value)]).map(|_| ()).map_err(|errors| match errors.into_iter().next() {
            Some(error) => error,
            None => UpdateError::Unknown { key: key.to_owned(), nearest: None },
        })
    }

    /// Changes the live keys of a properties text, the body of an update request: all of them or, on any error, none.
    /// Returns the keys that have another value now.
    pub fn update_text(&mut self, text: &str) -> Result<Vec<&'static str>, Vec<UpdateError>> {
        let entries = properties::parse(text).map_err(|errors| {
            let syntax = |error: properties::SyntaxError| UpdateError::Syntax {
                line: error.line,
                wanted: error.wanted,
            };
            errors.into_iter().map(syntax).collect::<Vec<_>>()
        })?;
        if let Some(entry) = entries.get(UPDATE_KEYS_MAX) {
            return Err(vec![UpdateError::Syntax {
                line: entry.line,
                wanted: "at most 1000 keys in one request",
            }]);
        }
        self.update_all(entries.iter().map(|entry| (entry.key.as_str(), entry.value.as_str())))
    }

    fn update_all<'a>(
        &mut self,
        pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Vec<&'static str>, Vec<UpdateError>> {
        let mut next = self.clone();
        let mut errors: Vec<_> =
            pairs.into_iter().filter_map(|(key, value)| next.update_one(key, value).err()).collect();
        if let Some(finding) = rules::disk_ratios(&next).filter(|_| self.role == Role::Broker)
            && let rules::Verdict::Refused(wanted) = finding.verdict
        {
            errors.push(UpdateError::Value { key: finding.key, value: finding.value, wanted });
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let changed = next.values().into_iter().zip(self.values()).filter(|((_, new), (_, old))| new != old);
        let changed = changed.map(|((info, _), _)| info.name).collect();
        *self = next;
        Ok(changed)
    }

    fn update_one(&mut self, key: &str, value: &str) -> Result<(), UpdateError> {
        let black_list = match self.role {
            Role::Broker => &self.broker.config_black_list,
            Role::Namesrv => &self.namesrv.config_black_list,
        };
        let info = find_of(self.role, key);
        let listed = black_list.contains(key) || info.is_some_and(|info| black_list.contains(info.name));
        if listed || ALWAYS_PROTECTED.contains(&info.map_or(key, |info| info.name)) {
            return Err(UpdateError::Protected { key: key.to_owned() });
        }
        let Some(info) = info else {
            return Err(UpdateError::Unknown {
                key: key.to_owned(),
                nearest: nearest(key, names_of(self.role)),
            });
        };
        if self.values().iter().any(|(known, current)| known.name == info.name && current == value) {
            return Ok(());
        }
        match self.groups().into_iter().find(|group| group.info(info.name).is_some()) {
            Some(group) => crate::declare::update(group, info.name, value),
            None => Err(UpdateError::Unknown { key: key.to_owned(), nearest: None }),
        }
    }
}

/// More keys in one request are refused: there are fewer, and each unknown one costs a comparison with all.
const UPDATE_KEYS_MAX: usize = 1_000;

/// Keys no request may change, whatever the black list says.
const ALWAYS_PROTECTED: [&str; 5] =
    ["rocketmqHome", "brokerConfigPath", "configBlackList", "adminNetworks", "configStorePath"];

/// The declared keys of a role, in the order of listings.
pub fn keys_of(role: Role) -> &'static [&'static [KeyInfo]] {
    match role {
        Role::Broker => &[BrokerConfig::KEYS, ServerConfig::KEYS, StoreConfig::KEYS],
        Role::Namesrv => &[NamesrvConfig::KEYS, ServerConfig::KEYS],
    }
}

fn find_of(role: Role, key: &str) -> Option<&'static KeyInfo> {
    keys_of(role).iter().find_map(|keys| find(keys, key))
}

fn names_of(role: Role) -> impl Iterator<Item = &'static str> {
    keys_of(role).iter().flat_map(|keys| spellings(keys))
}

/// Reads everything, applies the rules between keys, and returns all problems together.
pub fn load(sources: &Sources<'_>) -> Result<Loaded, Vec<Problem>> {
    let mut loader = Loader::new(sources.role);
    loader.environment(sources.env);
    let overriding = loader.java_properties(sources);
    if let Some(file) = sources.file {
        loader.file(file);
    }
    for setting in overriding {
        loader.apply(setting);
    }
    loader.command_line(sources);
    rules::machine_defaults(&mut loader.loaded, &sources.machine);
    loader.standings(&sources.machine);
    if let Err(problem) = rules::home_defaults(&mut loader.loaded, (sources.env)("HOME").as_deref()) {
        loader.problems.push(problem);
    }
    loader.settle();
    if loader.problems.is_empty() { Ok(loader.loaded) } else { Err(loader.problems) }
}

/// One key and value with its place.
#[derive(Debug, Clone)]
pub(crate) struct Setting {
    pub(crate) origin: Origin,
    pub(crate) key: String,
    pub(crate) value: String,
}

struct Loader {
    loaded: Loaded,
    problems: Vec<Problem>,
    /// Where each written key was written last.
    places: BTreeMap<&'static str, Setting>,
}

impl Loader {
    fn new(role: Role) -> Loader {
        Loader { loaded: Loaded::defaults(role), problems: Vec::new(), places: BTreeMap::new() }
    }

    fn warn(&mut self, origin: &Origin, about: About, key: &str, text: String) {
        self.loaded.warnings.push(Warning { origin: origin.clone(), about, key: key.to_owned(), text });
    }

    fn problem(&mut self, setting: &Setting, wanted: String) {
        let Setting { origin, key, value } = setting.clone();
        self.problems.push(Problem { origin, key, value, wanted });
    }

    /// Variables that the original's servers read as defaults.
    fn environment(&mut self, env: &dyn Fn(&str) -> Option<String>) {
        for (variable, key) in [("ROCKETMQ_HOME", "rocketmqHome"), ("NAMESRV_ADDR", "namesrvAddr")] {
            let known = find_of(self.loaded.role, key).is_some();
            if let Some(value) = env(variable).filter(|value| known && !value.trim().is_empty()) {
                let origin = Origin { name: format!("environment {variable}"), line: None };
                self.apply(Setting { origin, key: key.to_owned(), value: value.trim().to_owned() });
            }
        }
    }

    /// `-D` properties of the Java options and the command line. Returns those which win over the file.
    fn java_properties(&mut self, sources: &Sources<'_>) -> Vec<Setting> {
        let mut overriding = Vec::new();
        for variable in ["JAVA_OPT", "JAVA_OPT_EXT"] {
            let Some(options) = (sources.env)(variable).filter(|options| !options.trim().is_empty()) else {
                continue;
            };
            let origin = Origin { name: format!("environment {variable}"), line: None };
            if !self.loaded.warnings.iter().any(|warning| warning.about == About::JavaOptions) {
                self.warn(&origin, About::JavaOptions, variable, system::NOTICE.to_owned());
            }
            for option in options.split_whitespace() {
                self.java_property(&origin, option, &mut overriding);
            }
        }
        let origin = Origin { name: "command line".to_owned(), line: None };
        for word in sources.words {
            self.java_property(&origin, word, &mut overriding);
        }
        overriding
    }

    fn java_property(&mut self, origin: &Origin, option: &str, overriding: &mut Vec<Setting>) {
        let Some((name, text)) = option.strip_prefix("-D").and_then(|pair| pair.split_once('=')) else {
            return;
        };
        let text = text.trim_matches('"');
        match system::meaning(name) {
            Some(system::Meaning::Key(key)) if find_of(self.loaded.role, key).is_some() => {
                self.apply(Setting { origin: origin.clone(), key: key.to_owned(), value: text.to_owned() });
            }
            Some(system::Meaning::Fraction(key)) if find_of(self.loaded.role, key).is_some() => {
                let setting = Setting { origin: origin.clone(), key: key.to_owned(), value: text.to_owned() };
                match system::percents(text) {
                    Some(value) => overriding.push(Setting { value, ..setting }),
                    None => self.problem(&setting, system::FRACTION.to_owned()),
                }
            }
            Some(system::Meaning::Later(why)) => {
                self.warn(origin, About::Later, name, format!("`-D{name}` has no effect yet: {why}"));
            }
            _ => {}
        }
    }

    fn file(&mut self, file: File<'_>) {
        self.loaded.file = Some(file.name.to_owned());
        let entries = match properties::parse(file.text) {
            Ok(entries) => entries,
            Err(errors) => {
                self.problems.extend(errors.into_iter().map(|error| Problem {
                    origin: Origin { name: file.name.to_owned(), line: Some(error.line) },
                    key: String::new(),
                    value: String::new(),
                    wanted: error.wanted.to_owned(),
                }));
                return;
            }
        };
        let mut lines: BTreeMap<String, usize> = BTreeMap::new();
        for entry in entries {
            let origin = Origin { name: file.name.to_owned(), line: Some(entry.line) };
            let key = find_of(self.loaded.role, &entry.key).map_or(entry.key.as_str(), |info| info.name);
            if let Some(before) = lines.insert(key.to_owned(), entry.line) {
                let text = format!("`{}` is already on line {before}; this line wins", shown(&entry.key));
                self.warn(&origin, About::Repeated, &entry.key, text);
            }
            for note in &entry.notes {
                self.note(&origin, &entry.key, &entry.value, *note);
            }
            self.apply(Setting { origin, key: entry.key, value: entry.value });
        }
    }

    fn note(&mut self, origin: &Origin, key: &str, value: &str, note: Note) {
        let (key_shown, value_shown) = (shown(key), shown(value));
        let (about, text) = match note {
            Note::TrailingBlanks => (
                About::TrailingBlanks,
                format!(
                    "blanks after `{key_shown}={value_shown}` are ignored; the original would read them as part of the value"
                ),
            ),
            Note::LooksLikeYaml => (
                About::LooksLikeYaml,
                format!(
                    "this looks like YAML, but the file is a properties file: write `{key_shown}={value_shown}`"
                ),
            ),
            Note::LostBackslash => (
                About::LostBackslash,
                format!(
                    "a backslash in `{key_shown}` was read as an escape, the value is `{value_shown}`: write `\\\\` or `/`"
                ),
            ),
        };
        self.warn(origin, about, key, text);
    }

    fn command_line(&mut self, sources: &Sources<'_>) {
        if let Some(value) = sources.namesrv_addr {
            let origin = Origin { name: "-n".to_owned(), line: None };
            self.apply(Setting { origin, key: "namesrvAddr".to_owned(), value: value.trim().to_owned() });
        }
        let origin = Origin { name: "command line".to_owned(), line: None };
        for word in sources.words.iter().filter(|word| !word.starts_with("-D")) {
            match word.split_once('=') {
                Some((key, value)) => {
                    let (key, value) = (key.trim().to_owned(), value.trim().to_owned());
                    self.apply(Setting { origin: origin.clone(), key, value });
                }
                None => self.problems.push(Problem {
                    origin: origin.clone(),
                    key: String::new(),
                    value: word.clone(),
                    wanted: format!("KEY=VALUE, not `{}`", shown(word)),
                }),
            }
        }
    }

    /// Gives a setting to the struct that knows its key.
    fn apply(&mut self, setting: Setting) {
        let Some(info) = find_of(self.loaded.role, &setting.key) else {
            return self.unknown(&setting);
        };
        // `enableBatchPush` is how files spell a key that listings of the original spell otherwise: no old spelling.
        if setting.key != info.name && setting.key.starts_with("maped") {
            let text = format!(
                "`{}` is the old spelling of `{}`; it is obeyed here, but brokers from 4.5 on ignore it",
                setting.key, info.name
            );
            self.warn(&setting.origin, About::OldSpelling, &setting.key, text);
        }
        let group = self.loaded.groups().into_iter().find(|group| group.info(info.name).is_some());
        let outcome = group.map_or(Err(SetError::Unknown), |group| group.set_text(info.name, &setting.value));
        match outcome {
            Ok(Taken::AsIs) => {}
            Ok(Taken::Clamped(limits)) => {
                let text =
                    format!("`{}={}` is moved into the limits: {limits}", info.name, shown(&setting.value));
                self.warn(&setting.origin, About::Clamped, info.name, text);
            }
            Err(SetError::Wanted(wanted)) => return self.problem(&setting, wanted),
            Err(SetError::Unknown) => return self.unknown(&setting),
        }
        self.loaded.written.insert(info.name);
        self.places.insert(info.name, setting);
    }

    fn unknown(&mut self, setting: &Setting) {
        let key = shown(&setting.key);
        let (other, owner) = match self.loaded.role {
            Role::Broker => (Role::Namesrv, "the name server"),
            Role::Namesrv => (Role::Broker, "the broker"),
        };
        if find_of(other, &setting.key).is_some() {
            let text = format!("`{key}` is a key of {owner} and ignored here");
            return self.warn(&setting.origin, About::OtherRole, &setting.key, text);
        }
        let text = match nearest(&setting.key, names_of(self.loaded.role)) {
            Some(known) => format!("unknown key `{key}` is ignored; did you mean `{known}`?"),
            None => format!("unknown key `{key}` is ignored; `-p` lists all keys"),
        };
        self.warn(&setting.origin, About::UnknownKey, &setting.key, text);
    }

    /// Says of every written key without effect that it has none, unless it says what would be so anyway.
    fn standings(&mut self, machine: &Machine) {
        let mut defaults = Loaded::defaults(self.loaded.role);
        rules::machine_defaults(&mut defaults, machine);
        let defaults = defaults.values();
        let changed: Vec<_> = self.loaded.values().into_iter().zip(defaults).collect();
        for ((info, value), (_, default)) in changed {
            let Some(place) = self.places.get(info.name).filter(|_| value != default) else { continue };
            let (about, text) = match info.standing {
                Standing::Obeyed => continue,
                Standing::Later(why) => (
                    About::Later,
                    format!("`{}={}` has no effect yet; it waits for: {why}", info.name, shown(&value)),
                ),
                Standing::Meaningless(why) => {
                    (About::Meaningless, format!("`{}` has no effect here: {why}", info.name))
                }
            };
            let origin = place.origin.clone();
            let quiet =
                info.name == "rocketmqHome" || info.name == "brokerRole" || info.name == "haListenPort";
            if !quiet {
                self.warn(&origin, about, info.name, text);
            }
        }
    }

    /// The rules between keys, with the places of the keys they complain about.
    fn settle(&mut self) {
        if self.loaded.role != Role::Broker {
            return;
        }
        for finding in rules::between_keys(&mut self.loaded) {
            let place = self.places.get(finding.key).cloned();
            let origin = place.as_ref().map_or_else(
                || Origin { name: "defaults".to_owned(), line: None },
                |place| place.origin.clone(),
            );
            match finding.verdict {
                rules::Verdict::Refused(wanted) => self.problems.push(Problem {
                    origin,
                    key: finding.key.to_owned(),
                    value: finding.value,
                    wanted,
                }),
                rules::Verdict::Warned(about, text) => self.warn(&origin, about, finding.key, text),
            }
        }
    }
}
