//! The rows: which load, with which settings, and the ratio to the original that must hold.

/// One row: servers are started anew for it.
pub struct Row {
    /// As the performance targets call it.
    pub name: &'static str,
    /// What is measured.
    pub what: &'static str,
    pub kind: Kind,
    /// Lines of `broker.conf`, the same for both.
    pub settings: &'static [&'static str],
    pub cells: &'static [Cell],
}

/// One load of a row.
pub struct Cell {
    pub name: &'static str,
    pub kind: Kind,
    pub connections: u32,
    pub window: u32,
    pub header: &'static str,
    pub size: u32,
    pub batch: u32,
    /// Ratio of rates that must hold in the worst pair.
    pub floor: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Send,
    Pull,
    /// Catching up from a cold backlog.
    CatchUp,
    /// Many queues against few.
    Many,
    /// Start after a kill and after a stop.
    Recovery,
    /// Start to first answer, and what an idle server costs.
    Start,
}

impl Cell {
    /// Each cell has a topic of its own.
    pub fn topic(&self) -> String {
        format!("Bench_{}", self.name.replace([' ', '.'], "_"))
    }

    /// Arguments of `kerolox bench`, without server and times.
    pub fn args(&self) -> Vec<String> {
        let topic = self.topic();
        let (connections, header) = (self.connections.to_string(), self.header.to_owned());
        let mut args: Vec<String> = match self.kind {
            Kind::Pull => vec!["pull".into(), "--count".into(), self.batch.to_string()],
            _ => vec![
                "send".into(),
                "-w".into(),
                self.window.to_string(),
                "--size".into(),
                self.size.to_string(),
                "--batch".into(),
                self.batch.to_string(),
            ],
        };
        args.extend(["-c".into(), connections, "--header".into(), header, "--topic".into(), topic]);
        args
    }
}

const fn send(
    name: &'static str,
    (connections, window): (u32, u32),
    header: &'static str,
    (size, batch): (u32, u32),
    floor: f64,
) -> Cell {
    Cell { name, kind: Kind::Send, connections, window, header, size, batch, floor }
}

/// The load that warms both servers.
pub const WARM: Cell = send("warm", (64, 1), "json", (1024, 1), 0.0);

pub const ROWS: &[Row] = &[
    Row {
        name: "P1",
        what: "one connection, one request at a time",
        kind: Kind::Send,
        settings: &[],
        cells: &[send("P1 json", (1, 1), "json", (1024, 1), 2.0)],
    },
    Row {
        name: "P2",
        what: "64 connections, one request at a time on each",
        kind: Kind::Send,
        settings: &[],
        cells: &[
            send("P2 json", (64, 1), "json", (1024, 1), 3.5),
            send("P2 binary", (64, 1), "binary", (1024, 1), 3.5),
        ],
    },
    Row {
        name: "P3",
        what: "pipelined, 8 connections with 64 in flight",
        kind: Kind::Send,
        settings: &[],
        cells: &[
            send("P3 json", (8, 64), "json", (1024, 1), 8.0),
            send("P3 binary", (8, 64), "binary", (1024, 1), 8.0),
        ],
    },
    Row {
        name: "P4",
        what: "client-side batches of 32, 64 connections",
        kind: Kind::Send,
        settings: &[],
        cells: &[
            send("P4 1 KiB", (64, 1), "json", (1024, 32), 5.0),
            send("P4 128 B", (64, 1), "json", (128, 32), 5.0),
        ],
    },
    Row {
        name: "P5",
        what: "64 connections, other sizes",
        kind: Kind::Send,
        settings: &[],
        cells: &[
            send("P5 128 B", (64, 1), "json", (128, 1), 2.8),
            send("P5 4 KiB", (64, 1), "json", (4096, 1), 4.5),
            send("P5 64 KiB", (64, 1), "json", (65_536, 1), 5.0),
        ],
    },
    Row {
        name: "P6",
        what: "SYNC_FLUSH",
        kind: Kind::Send,
        settings: &["flushDiskType=SYNC_FLUSH"],
        cells: &[
            send("P6 c1", (1, 1), "json", (1024, 1), 2.0),
            send("P6 c64", (64, 1), "json", (1024, 1), 3.0),
            send("P6 c8 w64", (8, 64), "json", (1024, 1), 6.0),
        ],
    },
    Row {
        name: "P10",
        what: "pulls at the hot tail, 4 queues, 32 messages an answer",
        kind: Kind::Pull,
        settings: &[],
        cells: &[Cell {
            name: "P10",
            kind: Kind::Pull,
            connections: 4,
            window: 1,
            header: "json",
            size: 1024,
            batch: 32,
            floor: 3.0,
        }],
    },
    Row {
        name: "P11",
        what: "catching up from a cold backlog while 20,000 messages per second are sent",
        kind: Kind::CatchUp,
        settings: &[],
        cells: &[],
    },
    Row {
        name: "P13",
        what: "10,000 and 50,000 queues against 4",
        kind: Kind::Many,
        settings: &[],
        cells: &[],
    },
    Row {
        name: "P18",
        what: "recovery of 10 GB with 10,000 queues",
        kind: Kind::Recovery,
        settings: &[],
        cells: &[],
    },
    Row {
        name: "P19",
        what: "start to first answer (P19), and what an idle server costs (P20)",
        kind: Kind::Start,
        settings: &[],
        cells: &[],
    },
];
