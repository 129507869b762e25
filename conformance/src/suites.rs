//! The suites: which foreign client each one is, what it needs, how it is built and called.
//!
//! One row each in [`ALL`]. Knows the tools' command lines; does not know what results mean.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// A client and the program of ours that drives it.
pub struct Suite {
    /// First part of its cases' names.
    pub name: &'static str,
    /// Programs that must be there.
    pub tools: &'static [&'static str],
    /// Runs alone, because its cases change what other suites see of the broker.
    pub alone: bool,
    kind: Kind,
}

enum Kind {
    /// Java 4.9.8 with this set of cases and these properties.
    Java {
        set: &'static str,
        properties: &'static [&'static str],
    },
    /// The quickstart with another release of the Java client.
    JavaRelease(&'static str),
    Go,
    Node,
    Cpp,
}

const JAVA: &[&str] = &["java", "javac", "mvn"];
/// The netty of clients before 4.9 looks into these; since Java 17 that must be allowed.
const OPEN_FOR_OLD_NETTY: &[&str] = &[
    "--add-opens=java.base/java.lang=ALL-UNNAMED",
    "--add-opens=java.base/java.nio=ALL-UNNAMED",
    "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED",
    "--add-opens=java.base/jdk.internal.misc=ALL-UNNAMED",
];
const PYTHON: &[&str] = &["python3"];

const fn java(name: &'static str, set: &'static str, properties: &'static [&'static str]) -> Suite {
    Suite { name, tools: JAVA, alone: false, kind: Kind::Java { set, properties } }
}

const fn java_release(name: &'static str, release: &'static str) -> Suite {
    Suite { name, tools: JAVA, alone: false, kind: Kind::JavaRelease(release) }
}

/// Every suite but the bulk ones, longest first.
pub const ALL: &[Suite] = &[
    java("java", "all", &[]),
    Suite { name: "go", tools: &["go"], alone: false, kind: Kind::Go },
    Suite { name: "node", tools: &["node", "npm"], alone: false, kind: Kind::Node },
    Suite { name: "cpp", tools: PYTHON, alone: false, kind: Kind::Cpp },
    java("java-binary", "basic", &["-Drocketmq.serialize.type=ROCKETMQ"]),
    java("java-vip", "basic", &["-Dcom.rocketmq.sendMessageWithVIPChannel=true"]),
    java_release("java-4.2.0", "4.2.0"),
    java_release("java-4.4.0", "4.4.0"),
    java_release("java-4.7.1", "4.7.1"),
    java_release("java-5.3.3", "5.3.3"),
    // It takes the broker's write permission away for a moment.
    Suite { name: "mqadmin", tools: JAVA, alone: true, kind: Kind::Java { set: "mqadmin", properties: &[] } },
];

impl Suite {
    /// The first tool that is missing.
    pub fn missing_tool(&self) -> Option<&'static str> {
        self.tools.iter().copied().find(|tool| !has_tool(tool))
    }

    /// Fetches the client and compiles our program; quick when nothing changed.
    pub fn build(&self, place: &Place) -> Result<()> {
        match &self.kind {
            Kind::Java { .. } => place.build_java(),
            Kind::JavaRelease(release) => place.build_java_release(release),
            Kind::Go => place.build_go(),
            Kind::Node => place.build_node(),
            Kind::Cpp => place.build_cpp(),
        }
    }

    /// The program, told to run the cases whose names contain `pattern`.
    pub fn command(&self, place: &Place, namesrv: &str, broker: &str, pattern: &str) -> Result<Command> {
        let mut command = match &self.kind {
            Kind::Java { set, properties } => {
                let mut command = place.java(&place.work.join("java/lib"), self.name)?;
                command.args(*properties).args(["Suite", namesrv, set, pattern]);
                command
            }
            Kind::JavaRelease(release) => {
                let mut command = place.java(&place.work.join(format!("java/lib-{release}")), self.name)?;
                command.args(OPEN_FOR_OLD_NETTY).args(["Suite", namesrv, "quickstart", pattern]);
                command
            }
            Kind::Go => {
                let mut command = Command::new(place.work.join("go/cases"));
                command.args([namesrv, broker, pattern]);
                command
            }
            Kind::Node => {
                let mut command = Command::new("node");
                command.env("NODE_PATH", place.work.join("node/node_modules"));
                command.arg(place.home.join("node/cases.js")).args([namesrv, broker, pattern]);
                command
            }
            Kind::Cpp => {
                let mut command = Command::new(place.work.join("py/bin/python"));
                command.arg(place.home.join("cpp/cases.py")).args([namesrv, broker, pattern]);
                command
            }
        };
        // Clients keep logs and offsets under the home folder; a run must not see those of an earlier one.
        let home = place.work.join("home").join(self.name);
        let _ = fs::remove_dir_all(&home);
        fs::create_dir_all(&home)?;
        command.env("HOME", &home).env("ROCKETMQ_GO_LOG_LEVEL", "error").current_dir(&home);
        command.stdin(Stdio::null());
        Ok(command)
    }
}

/// Where things lie.
pub struct Place {
    /// The folder `conformance`.
    pub home: PathBuf,
    /// Everything fetched, built and written.
    pub work: PathBuf,
}

impl Place {
    /// A JVM call with our classes and the client's jars, up to the name of the class to run; `user` names its home folder.
    pub fn java(&self, jars: &Path, user: &str) -> Result<Command> {
        let path = |path: &Path| path.to_str().map(str::to_owned).context("a folder's name is not text");
        let classes = path(&self.work.join("java/classes"))?;
        let conf = path(&self.home.join("java/conf"))?;
        let home = path(&self.work.join("home").join(user))?;
        let mut command = Command::new("java");
        command
            .args(["-Xmx1g", "-XX:TieredStopAtLevel=1", "-Drocketmq.client.rebalance.waitInterval=2000"])
            .arg(format!("-Duser.home={home}"))
            .arg(format!("-Drocketmq.client.localOffsetStoreDir={home}/offsets-{}", unique()))
            .arg(format!("-Drocketmq.home.dir={}", path(&self.home.join("java"))?))
            .arg("-cp")
            .arg(format!("{classes}:{conf}:{}/*", path(jars)?));
        Ok(command)
    }

    /// Fetches the jars and compiles all Java programs.
    pub fn build_java(&self) -> Result<()> {
        let jars = self.work.join("java/lib");
        let pom = self.home.join("java/pom.xml");
        self.fetch_jars(&pom, &jars, &["-DincludeScope=runtime"])?;
        let classes = self.work.join("java/classes");
        fs::create_dir_all(&classes)?;
        let sources = files(&self.home.join("java/src"), "java")?;
        if newest(&sources)? < modified(&classes.join("Suite.class")) {
            return Ok(());
        }
        let mut javac = Command::new("javac");
        javac.args(["-nowarn", "-Xlint:-deprecation", "-encoding", "UTF-8", "-cp"]);
        javac.arg(format!("{}/*", jars.display())).arg("-d").arg(&classes).args(&sources);
        self.run(javac, "javac")
    }

    fn build_java_release(&self, release: &str) -> Result<()> {
        self.build_java()?;
        let jars = self.work.join(format!("java/lib-{release}"));
        self.fetch_jars(&self.home.join("java/release.xml"), &jars, &[&format!("-Dclient={release}")])
    }

    fn fetch_jars(&self, pom: &Path, jars: &Path, more: &[&str]) -> Result<()> {
        let done = jars.join(".done");
        if modified(&done) > modified(pom) {
            return Ok(());
        }
        let mut mvn = Command::new("mvn");
        mvn.args(["-q", "-B", "-f"]).arg(pom).arg("dependency:copy-dependencies");
        mvn.arg(format!("-DoutputDirectory={}", jars.display())).args(more);
        self.run(mvn, "mvn")?;
        Ok(fs::write(done, "")?)
    }

    fn build_go(&self) -> Result<()> {
        let mut go = Command::new("go");
        go.args(["build", "-o"]).arg(self.work.join("go/cases")).arg(".").current_dir(self.home.join("go"));
        self.run(go, "go-build")
    }

    fn build_node(&self) -> Result<()> {
        let (from, folder) = (self.home.join("node"), self.work.join("node"));
        let done = folder.join(".done");
        if modified(&done) > modified(&from.join("package-lock.json")) {
            return Ok(());
        }
        fs::create_dir_all(&folder)?;
        for name in ["package.json", "package-lock.json"] {
            fs::copy(from.join(name), folder.join(name))?;
        }
        let mut npm = Command::new("npm");
        npm.args(["ci", "--no-audit", "--no-fund"]).current_dir(&folder);
        self.run(npm, "npm")?;
        Ok(fs::write(done, "")?)
    }

    /// A virtual environment with the wheel, which ships the C++ client as a shared object.
    fn build_cpp(&self) -> Result<()> {
        let env = self.work.join("py");
        let done = env.join(".done");
        if done.exists() {
            return Ok(());
        }
        let mut venv = Command::new("python3");
        venv.args(["-m", "venv"]).arg(&env);
        self.run(venv, "venv")?;
        let mut pip = Command::new(env.join("bin/pip"));
        pip.args(["install", "-q", "rocketmq==0.4.4"]);
        self.run(pip, "pip")?;
        Ok(fs::write(done, "")?)
    }

    fn run(&self, mut command: Command, what: &str) -> Result<()> {
        let log_path = self.log(what)?;
        let log = File::create(&log_path)?;
        let status = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .status()
            .with_context(|| format!("run {what}"))?;
        if !status.success() {
            bail!("{what} ended with {status}; see {}", log_path.display());
        }
        Ok(())
    }

    /// Path of a log file; its folder exists.
    pub fn log(&self, name: &str) -> Result<PathBuf> {
        let folder = self.work.join("log");
        fs::create_dir_all(&folder)?;
        Ok(folder.join(format!("{name}.log")))
    }
}

fn has_tool(tool: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(tool).is_file()))
}

fn files(folder: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|each| each == extension) {
            found.push(path);
        }
    }
    Ok(found)
}

/// When a file changed last; the beginning of time when it is not there.
fn modified(path: &Path) -> std::time::SystemTime {
    fs::metadata(path).and_then(|data| data.modified()).unwrap_or(std::time::UNIX_EPOCH)
}

fn newest(paths: &[PathBuf]) -> Result<std::time::SystemTime> {
    paths.iter().map(|path| modified(path)).max().context("no sources")
}

/// A number no other run on this machine uses at the same time.
fn unique() -> u128 {
    std::time::UNIX_EPOCH.elapsed().map(|since| since.as_micros()).unwrap_or_default()
}
