//! Starts the real binary and talks to it: a process with its lines, a socket with its frames, a directory that
//! goes away. Everything waits for an event with a deadline; nothing sleeps.

use kerolox_protocol::{
    frame::{Codec, FRAME_BYTES_MAX, Split, split},
    header::{Ext, Header},
};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs,
    io::{self, BufRead, BufReader, ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

/// Longest wait for anything; only a failing test waits so long.
pub const DEADLINE: Duration = Duration::from_secs(60);
/// The binary under test.
pub const KEROLOX: &str = env!("CARGO_BIN_EXE_kerolox");
/// Small log files, so that a test's store takes megabytes.
pub const SMALL_LOG: &str = "mappedFileSizeCommitLog=16777216";
pub const NAMESRV_BOOTED: &str = "The Name Server boot success. serializeType=JSON";

/// A directory of one test, removed with everything in it.
pub struct Dir(PathBuf);

impl Dir {
    pub fn new() -> Dir {
        Dir::below(&std::env::temp_dir())
    }

    /// One in memory where the system has that, for a test of time: a busy disk's is not the server's.
    pub fn in_memory() -> Dir {
        let memory = Path::new("/dev/shm");
        if memory.is_dir() { Dir::below(memory) } else { Dir::new() }
    }

    fn below(parent: &Path) -> Dir {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("kerolox-binary-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = parent.join(name);
        fs::create_dir(&path).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
        Dir(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub fn text(&self, name: &str) -> String {
        self.join(name).display().to_string()
    }

    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("make the directory");
        fs::write(&path, text).expect("write a file");
        path
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Index files have 400 MB, nearly all of it holes; what a start changes stands near the beginning of files.
const SUMMED_BYTES_MAX: u64 = 32 << 20;

/// Everything below a directory: name, length and a sum of the content, `-1` and 0 for a directory.
pub fn listing(dir: &Path) -> BTreeMap<PathBuf, (i64, u32)> {
    let mut found = BTreeMap::new();
    let mut left = vec![dir.to_owned()];
    while let Some(dir) = left.pop() {
        let Ok(entries) = fs::read_dir(&dir) else { continue };
        for entry in entries {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                found.insert(path.clone(), (-1, 0));
                left.push(path);
            } else {
                let mut bytes = Vec::new();
                let file = fs::File::open(&path).expect("open a listed file");
                let length = file.metadata().expect("its length").len() as i64;
                file.take(SUMMED_BYTES_MAX).read_to_end(&mut bytes).expect("read a listed file");
                found.insert(path, (length, kerolox_protocol::record::crc(&bytes)));
            }
        }
    }
    found
}

/// Lines of an output, as they come.
#[derive(Clone, Default)]
struct Lines(Arc<(Mutex<Seen>, Condvar)>);

#[derive(Default)]
struct Seen {
    lines: Vec<String>,
    ended: bool,
}

impl Lines {
    fn follow(output: impl Read + Send + 'static) -> Lines {
        let lines = Lines::default();
        let mine = lines.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                mine.change(|seen| seen.lines.push(line));
            }
            mine.change(|seen| seen.ended = true);
        });
        lines
    }

    fn change(&self, change: impl FnOnce(&mut Seen)) {
        change(&mut self.0.0.lock().expect("no test panics with the lines"));
        self.0.1.notify_all();
    }

    fn all(&self) -> Vec<String> {
        self.0.0.lock().expect("no test panics with the lines").lines.clone()
    }

    /// The first line that `wanted` makes something of.
    fn wait<T>(&self, wanted: impl Fn(&str) -> Option<T>) -> Result<T, Vec<String>> {
        let until = Instant::now() + DEADLINE;
        let mut seen = self.0.0.lock().expect("no test panics with the lines");
        loop {
            if let Some(found) = seen.lines.iter().find_map(|line| wanted(line)) {
                return Ok(found);
            }
            let left = until.saturating_duration_since(Instant::now());
            if seen.ended || left.is_zero() {
                return Err(seen.lines.clone());
            }
            seen = self.0.1.wait_timeout(seen, left).expect("no test panics with the lines").0;
        }
    }

    fn wait_end(&self) {
        let until = Instant::now() + DEADLINE;
        let mut seen = self.0.0.lock().expect("no test panics with the lines");
        while !seen.ended {
            let left = until.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "an output never ended; so far: {:?}", seen.lines);
            seen = self.0.1.wait_timeout(seen, left).expect("no test panics with the lines").0;
        }
    }
}

/// A running server; killed when dropped.
pub struct Server {
    child: Child,
    out: Lines,
    err: Lines,
}

/// How a server ended.
pub struct Ended {
    pub status: ExitStatus,
    pub out: Vec<String>,
    pub err: Vec<String>,
}

impl Server {
    pub fn start<S: AsRef<OsStr>>(words: &[S]) -> Server {
        Server::start_as(Path::new(KEROLOX), words)
    }

    pub fn start_as<S: AsRef<OsStr>>(program: &Path, words: &[S]) -> Server {
        Server::spawn(Command::new(program).args(words))
    }

    pub fn spawn(command: &mut Command) -> Server {
        let mut child = clean(command)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|why| panic!("{command:?}: {why}"));
        let out = Lines::follow(child.stdout.take().expect("its output"));
        let err = Lines::follow(child.stderr.take().expect("its errors"));
        Server { child, out, err }
    }

    /// Waits for a line of the standard output.
    pub fn out<T>(&self, wanted: impl Fn(&str) -> Option<T>) -> T {
        self.out.wait(wanted).unwrap_or_else(|seen| panic!("not said: {seen:#?}\n{:#?}", self.err.all()))
    }

    /// Waits for a line of the log.
    pub fn err<T>(&self, wanted: impl Fn(&str) -> Option<T>) -> T {
        self.err.wait(wanted).unwrap_or_else(|seen| panic!("not logged: {seen:#?}\n{:#?}", self.out.all()))
    }

    /// The address that a server's log says it listens on.
    pub fn listens(&self, name: &str) -> SocketAddr {
        let mark = format!("{name} listens on ");
        self.err(|line| line.split_once(&mark)?.1.split([' ', ',']).next()?.parse().ok())
    }

    /// What it logged so far.
    pub fn log(&self) -> Vec<String> {
        self.err.all()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Asks it to stop, and waits until it has.
    pub fn stop(self) -> Ended {
        self.signal(Signal::TERM);
        self.end()
    }

    pub fn kill(self) -> Ended {
        self.signal(Signal::KILL);
        self.end()
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id() as i32).expect("a process id");
        kill_process(pid, signal).expect("signal the server");
    }

    /// Stops it from running, as a debugger does, until [`Signal::CONT`]. It halts thread by thread; this
    /// returns after the last one.
    pub fn halt(&self) {
        self.signal(Signal::STOP);
        let until = Instant::now() + DEADLINE;
        while !self.threads().all(|state| state == "T") {
            assert!(Instant::now() < until, "it does not halt");
            std::thread::yield_now();
        }
    }

    fn threads(&self) -> impl Iterator<Item = String> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.pid())).expect("its threads");
        tasks.map_while(Result::ok).filter_map(|task| {
            let stat = fs::read_to_string(task.path().join("stat")).ok()?;
            Some(stat.rsplit(") ").next()?.split(' ').next()?.to_owned())
        })
    }

    /// Waits for its end; the ends of both outputs are the event to wait for.
    pub fn end(mut self) -> Ended {
        self.out.wait_end();
        self.err.wait_end();
        let status = self.child.wait().expect("wait for the server");
        Ended { status, out: self.out.all(), err: self.err.all() }
    }

    /// Anonymous memory in bytes, as the system counts it.
    pub fn anonymous_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("the process");
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("RssAnon");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Already ended is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The environment of whoever runs the tests must not choose their name servers.
fn clean(command: &mut Command) -> &mut Command {
    command.env_remove("NAMESRV_ADDR").env_remove("ROCKETMQ_HOME").env_remove("JAVA_OPT")
}

/// Runs the binary to its end.
pub fn run<S: AsRef<OsStr>>(words: &[S]) -> Output {
    output(Command::new(KEROLOX).args(words))
}

pub fn output(command: &mut Command) -> Output {
    let ended = Server::spawn(command).end();
    let text =
        |lines: Vec<String>| lines.iter().flat_map(|line| [line, "\n"].map(String::from)).collect::<String>();
    Output { status: ended.status, stdout: text(ended.out).into(), stderr: text(ended.err).into() }
}

/// Runs a verb against name servers; it must succeed.
pub fn admin(namesrv: &str, words: &[&str]) -> String {
    let mut all = vec!["admin", words[0], "-n", namesrv];
    all.extend(&words[1..]);
    let output = run(&all);
    let stdout = String::from_utf8(output.stdout).expect("text");
    assert!(output.status.success(), "{words:?}: {stdout} {}", String::from_utf8_lossy(&output.stderr));
    stdout
}

/// `kerolox dev` on ports of the system's choice.
pub struct Dev {
    pub server: Server,
    pub namesrv: SocketAddr,
    pub broker: SocketAddr,
}

impl Dev {
    pub fn start(store: &Path) -> Dev {
        Dev::start_with(store, &[])
    }

    pub fn start_with(store: &Path, settings: &[&str]) -> Dev {
        let mut command = Command::new(KEROLOX);
        command.args(["dev", "--namesrv-port", "0", "--broker-port", "0", "--store"]);
        command.arg(store).arg(SMALL_LOG).args(settings);
        let server = Server::spawn(&mut command);
        let (broker, namesrv) = server.out(boot_line);
        server.err(|line| line.contains("registered").then_some(()));
        Dev { server, namesrv, broker }
    }

    pub fn admin(&self, words: &[&str]) -> String {
        admin(&self.namesrv.to_string(), words)
    }

    /// Sends through the command, so that route, choice of queue and answer are all used.
    pub fn send(&self, topic: &str, body: &str) -> String {
        self.admin(&["sendMessage", "-t", topic, "-p", body])
    }

    /// Bodies of all messages of a topic, sorted.
    pub fn bodies(&self, topic: &str) -> Vec<String> {
        bodies(&self.namesrv.to_string(), topic)
    }
}

pub fn bodies(namesrv: &str, topic: &str) -> Vec<String> {
    let text = admin(namesrv, &["consumeMessage", "-t", topic, "--json", "-c", "100000"]);
    let shown: serde_json::Value = serde_json::from_str(&text).unwrap_or_else(|why| panic!("{why}: {text}"));
    let bodies = shown.as_array().expect("a list").iter().map(|one| one["body"].as_str().expect("text"));
    let mut bodies: Vec<_> = bodies.map(str::to_owned).collect();
    bodies.sort();
    bodies
}

/// Broker and name server of a broker's boot line.
pub fn boot_line(line: &str) -> Option<(SocketAddr, SocketAddr)> {
    let rest = line.strip_prefix("The broker[")?;
    let (_name, rest) = rest.split_once(", ")?;
    let (broker, rest) = rest.split_once("] boot success. serializeType=JSON and name server is ")?;
    Some((broker.parse().ok()?, rest.split(';').next()?.parse().ok()?))
}

/// A connection that speaks frames.
pub struct Wire(TcpStream);

/// An answer with its body.
#[derive(Debug)]
pub struct Answer {
    pub header: Header,
    pub body: Vec<u8>,
}

impl Wire {
    pub fn connect(addr: SocketAddr) -> Wire {
        Wire::try_connect(addr).unwrap_or_else(|| panic!("nobody listens on {addr}"))
    }

    /// A connection, or nothing where nobody listens.
    pub fn try_connect(addr: SocketAddr) -> Option<Wire> {
        let socket = TcpStream::connect_timeout(&addr, DEADLINE).ok()?;
        socket.set_read_timeout(Some(DEADLINE)).expect("a read timeout");
        socket.set_write_timeout(Some(DEADLINE)).expect("a write timeout");
        socket.set_nodelay(true).expect("no delay");
        Some(Wire(socket))
    }

    /// Whether all was taken; a server that closes early takes less.
    pub fn send(&mut self, bytes: &[u8]) -> bool {
        self.0.write_all(bytes).is_ok()
    }

    /// Says that nothing more comes.
    pub fn finish(&mut self) {
        // Refused when the other side has closed already.
        let _ = self.0.shutdown(std::net::Shutdown::Write);
    }

    /// The next frame, or `None` when the server closed the connection.
    pub fn next(&mut self) -> Option<Answer> {
        let mut bytes = vec![0; 4];
        if !self.fill(&mut bytes) {
            return None;
        }
        let more = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize;
        assert!(more < FRAME_BYTES_MAX, "the server claims a frame of {more} bytes");
        bytes.resize(4 + more, 0);
        assert!(self.fill(&mut bytes[4..]), "the server broke off in a frame");
        let Ok(Split::Whole(frame, _)) = split(&bytes, FRAME_BYTES_MAX) else {
            panic!("not a frame: {bytes:?}")
        };
        let header = Header::decode(frame.codec, frame.header).expect("the server's header");
        Some(Answer { header, body: frame.body.to_vec() })
    }

    /// Reads all of `bytes`, or finds the connection closed before the first of them.
    fn fill(&mut self, bytes: &mut [u8]) -> bool {
        let mut done = 0;
        while done < bytes.len() {
            match self.0.read(&mut bytes[done..]) {
                Ok(0) if done == 0 => return false,
                Ok(0) => panic!("the server closed within a frame"),
                Ok(n) => done += n,
                Err(why) if is_closed(&why) => return false,
                Err(why) => panic!("no answer: {why}"),
            }
        }
        true
    }

    /// Asks and waits for the answer of the same number.
    pub fn ask(&mut self, code: i32, ext: &[(&str, &str)], body: &[u8]) -> Answer {
        assert!(self.send(&request(code, GOOD, ext, body)), "the connection is closed");
        let answer = self.next().expect("an answer");
        assert_eq!(answer.header.opaque, GOOD);
        answer
    }
}

/// Number of requests that are as they should be.
pub const GOOD: i32 = 770_077;

/// A whole frame with a JSON header.
pub fn request(code: i32, opaque: i32, ext: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let ext: Ext = ext.iter().copied().collect();
    let mut out = Vec::new();
    Header::request(code, opaque, Some(ext)).write_frame(Codec::Json, body, &mut out);
    out
}

fn is_closed(why: &io::Error) -> bool {
    matches!(why.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::ConnectionAborted)
}
