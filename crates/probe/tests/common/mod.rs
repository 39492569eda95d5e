//! Servers with every kind of misbehaviour, and the resources that this process has open.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use daemon_model::Check;

/// A server that treats each connection the same way, each on its own thread, until it is dropped.
pub struct Server {
    address: SocketAddr,
    stopped: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Whether the server has been dropped, for connections that block until then.
#[derive(Clone)]
pub struct Stopped(Arc<AtomicBool>);

impl Stopped {
    pub fn wait(&self) {
        while !self.0.load(Ordering::SeqCst) {
            thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

impl Server {
    pub fn start(serve: impl Fn(TcpStream, &Stopped) + Send + Sync + 'static) -> Self {
        Self::at("127.0.0.1:0", serve)
    }

    pub fn at(address: &str, serve: impl Fn(TcpStream, &Stopped) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let stopped = Arc::new(AtomicBool::new(false));
        let (flag, serve) = (Arc::clone(&stopped), Arc::new(serve));
        let accept = move || {
            let mut connections = Vec::new();
            for stream in listener.incoming() {
                if flag.load(Ordering::SeqCst) {
                    break;
                }
                let (serve, stopped) = (Arc::clone(&serve), Stopped(Arc::clone(&flag)));
                let Ok(stream) = stream else { continue };
                connections.push(thread::spawn(move || serve(stream, &stopped)));
                connections.retain(|thread| !thread.is_finished());
            }
            for connection in connections {
                let _ = connection.join();
            }
        };
        Self {
            address,
            stopped,
            thread: Some(thread::spawn(accept)),
        }
    }

    /// Reads the request and answers with this text.
    pub fn answering(answer: impl Into<String>) -> Self {
        let answer = answer.into();
        Self::start(move |mut stream, _| {
            read_request(&mut stream);
            let _ = stream.write_all(answer.as_bytes());
        })
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    pub fn http(&self) -> Check {
        http(&self.address.ip().to_string(), self.port())
    }

    pub fn tcp(&self) -> Check {
        tcp(&self.address.ip().to_string(), self.port())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The text of a request up to its empty line.
pub fn read_request(stream: &mut TcpStream) -> String {
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") && matches!(stream.read(&mut byte), Ok(1)) {
        request.push(byte[0]);
    }
    String::from_utf8_lossy(&request).into_owned()
}

pub fn http(host: &str, port: u16) -> Check {
    Check::HttpGet {
        host: host.to_owned(),
        port,
        target: "/ready".to_owned(),
        headers: Vec::new(),
    }
}

pub fn tcp(host: &str, port: u16) -> Check {
    Check::TcpSocket {
        host: host.to_owned(),
        port,
    }
}

pub fn exec(command: &[&str]) -> Check {
    Check::Exec {
        command: command.iter().map(|&word| word.to_owned()).collect(),
        cwd: "/".into(),
        env: [("PATH", "/usr/bin:/bin")].into_iter().collect(),
    }
}

pub fn sh(text: &str) -> Check {
    exec(&["sh", "-c", text])
}

/// Runs a check that has to reach its deadline five times, and returns the time of the quickest run, because a run may be late on a
/// busy machine. `after` is called after each run.
pub fn quickest_timeout(check: &Check, after: impl Fn()) -> Duration {
    let timeout = Duration::from_millis(200);
    let run = || {
        let start = Instant::now();
        let result = probe::run(check, timeout).to_string();
        let took = start.elapsed();
        assert_eq!(result, "timeout after 200 ms");
        assert!(took >= timeout && took < Duration::from_secs(5), "{took:?}");
        after();
        took
    };
    (0..5).map(|_| run()).min().unwrap()
}

/// Waits until it holds.
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < deadline, "{what} does not come about");
        thread::sleep(Duration::from_millis(5));
    }
}

/// How many entries a directory of `/proc/self` has.
pub fn count(name: &str) -> usize {
    std::fs::read_dir(format!("/proc/self/{name}"))
        .unwrap()
        .count()
}

/// The threads of this process whose name starts with this text. A thread without a name inherits that of its parent.
pub fn threads(name: &str) -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    tasks
        .filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok())
        .filter(|found| found.starts_with(name))
        .count()
}

/// Processes, including zombies, whose command line or name contains this text.
pub fn processes(text: &str) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let own = std::process::id();
    ids.filter(|id| *id != own)
        .filter(|id: &u32| {
            let command = std::fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&command).contains(text)
        })
        .collect()
}

/// The children of this process, including zombies.
pub fn children() -> Vec<String> {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let lists =
        tasks.map(|task| std::fs::read_to_string(task.path().join("children")).unwrap_or_default());
    lists
        .flat_map(|list| {
            list.split_whitespace()
                .map(ToOwned::to_owned)
                .collect::<Vec<_>>()
        })
        .collect()
}
