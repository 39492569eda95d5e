//! A server whose readiness, crashes and answers are controlled by tests, and clients that put load on it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use pm2_testbed::{free_port, wait_for};

use super::planted::{ENV_FILE, IN_DEFINITION};

/// A server with the behaviour given in its variable `B`. It answers `/ready` with 200 once it is `ready`, and drains before it
/// ends.
pub const SERVER: &str = r#"
const http = require("http");
const { B = "good", PORT, V = "" } = process.env;
if (B === "crash") process.exit(7);
// Up for less than a second, however long its start took.
if (B === "flapping") setTimeout(() => process.exit(7), Math.max(0, 500 - process.uptime() * 1000));
if (B === "crash-later") setTimeout(() => process.exit(7), Math.max(0, 300 - process.uptime() * 1000));
const started = Date.now();
let isSick = false, isHealed = false;
const server = http.createServer((req, res) => {
  if (req.url === "/sicken") isSick = true;
  if (req.url === "/heal") { isSick = false; isHealed = true; }
  const isReady = isHealed ? true : B === "never" ? false : B === "slow" ? Date.now() - started > 2000 : true;
  const isProbe = req.url === "/ready";
  res.statusCode = isSick || (isProbe && !isReady) ? 500 : 200;
  res.end(`${process.pid} ${V}`);
});
if (B !== "crash-later" && B !== "flapping") server.listen(Number(PORT), "127.0.0.1");
process.on("SIGINT", () => {
  const since = Date.now();
  require("net").Server.prototype.close.call(server);
  setInterval(() => server.getConnections((_, n) => {
    if (n === 0 && Date.now() - since >= 500) process.exit(0);
  }), 50);
});
"#;

/// An app that runs the server.
pub struct Server {
    pub name: String,
    pub port: u16,
    /// How many workers in cluster mode; 0: one process in fork mode.
    workers: u32,
}

impl Server {
    pub fn new(name: &str, workers: u32) -> Self {
        Self {
            name: name.to_owned(),
            port: free_port(),
            workers,
        }
    }

    /// The app in a definition.
    pub fn app(&self, behaviour: &str, version: u32, more: &str) -> String {
        let (name, port) = (&self.name, self.port);
        let mode = match self.workers {
            0 => String::new(),
            n => format!(":exec_mode \"cluster\" :instances {n}"),
        };
        format!(
            "{{:name \"{name}\" :script \"app.js\" :kill_timeout 3000 {mode}
              :env_file {{:path \"{ENV_FILE}\" :required false}}
              :env {{:PORT {port} :B \"{behaviour}\" :V {version} :PLANTED \"{IN_DEFINITION}\"}}
              :readiness_probe {{:http_get {{:url \"http://127.0.0.1:${{PORT}}/ready\"}} :period 200}}
              {more}}}"
        )
    }
}

/// Clients that send requests without a pause until they are stopped.
pub struct Load {
    stop: Arc<AtomicBool>,
    failed: Arc<AtomicU64>,
    answered: Arc<AtomicU64>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    pub fn on(port: u16) -> Self {
        let load = Self {
            stop: Arc::default(),
            failed: Arc::default(),
            answered: Arc::default(),
            clients: Vec::new(),
        };
        let client = || {
            let (stop, failed) = (Arc::clone(&load.stop), Arc::clone(&load.failed));
            let answered = Arc::clone(&load.answered);
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let counter = match get(port, "/") {
                        Some(200) => &answered,
                        _ => &failed,
                    };
                    counter.fetch_add(1, Ordering::Relaxed);
                }
            })
        };
        let clients = (0..4).map(|_| client()).collect();
        Self { clients, ..load }
    }

    pub fn wait_for(&self, answered: u64) {
        wait_for(|| self.answered.load(Ordering::Relaxed) >= answered);
    }

    /// How many requests have been answered and how many have failed so far.
    pub fn count(&self) -> (u64, u64) {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (count(&self.answered), count(&self.failed))
    }

    /// Stops and returns how many requests were answered and how many failed.
    pub fn stop(self) -> (u64, u64) {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.join().unwrap();
        }
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (count(&self.answered), count(&self.failed))
    }
}

/// Sends one request over a new connection; returns the status of the answer.
pub fn get(port: u16, path: &str) -> Option<u16> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    )
    .ok()?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let status = line.split(' ').nth(1)?.parse().ok()?;
    reader.read_to_string(&mut String::new()).ok()?;
    Some(status)
}
