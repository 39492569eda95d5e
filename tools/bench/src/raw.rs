//! PM2's bare socket: the floor for all comparisons.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use camino::Utf8Path;
use serde_json::{Value, json};

/// A connection.
pub struct Raw {
    stream: UnixStream,
}

/// Prepared calls in PM2's wire format.
pub struct Calls {
    bytes: Vec<u8>,
    count: usize,
}

impl Calls {
    /// A call for each argument.
    pub fn new(method: &str, arguments: Vec<Value>) -> Self {
        let count = arguments.len();
        let mut bytes = Vec::new();
        for (n, argument) in arguments.into_iter().enumerate() {
            let call = json!({ "type": "call", "method": method, "args": [argument] });
            bytes.push(0x12);
            for part in [format!("j:{call}"), format!("s:{n}")] {
                bytes.extend(u32::try_from(part.len()).unwrap().to_be_bytes());
                bytes.extend(part.as_bytes());
            }
        }
        Self { bytes, count }
    }
}

impl Raw {
    /// Connects to the PM2 of this home.
    pub fn connect(pm2_home: &Utf8Path) -> Self {
        Self {
            stream: UnixStream::connect(pm2_home.join("rpc.sock")).unwrap(),
        }
    }

    /// Sends all calls at once, and waits for all answers.
    pub fn send(&mut self, calls: &Calls) {
        let mut writer = self.stream.try_clone().unwrap();
        std::thread::scope(|scope| {
            // PM2 answers while it is still reading.
            scope.spawn(move || writer.write_all(&calls.bytes).unwrap());
            for _ in 0..calls.count {
                self.message();
            }
        });
    }

    /// PM2's list, parsed as JSON.
    pub fn list(&mut self) -> Value {
        let calls = Calls::new("getMonitorData", vec![json!({})]);
        self.stream.write_all(&calls.bytes).unwrap();
        let parts = self.message();
        let answer = parts[0].strip_prefix(b"j:").unwrap();
        serde_json::from_slice(answer).unwrap()
    }

    /// Sends a call for each argument without waiting, and then waits for all answers.
    pub fn pipelined(&mut self, method: &str, arguments: Vec<Value>) {
        self.send(&Calls::new(method, arguments));
    }

    fn message(&mut self) -> Vec<Vec<u8>> {
        let mut head = [0];
        self.stream.read_exact(&mut head).unwrap();
        let part = |_| {
            let mut length = [0; 4];
            self.stream.read_exact(&mut length).unwrap();
            let mut body = vec![0; u32::from_be_bytes(length) as usize];
            self.stream.read_exact(&mut body).unwrap();
            body
        };
        (0..head[0] & 0x0f).map(part).collect()
    }
}
