//! PM2's socket with nothing around it: the floor that everything is measured against.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use camino::Utf8Path;
use serde_json::{Value, json};

pub struct Raw {
    stream: UnixStream,
}

impl Raw {
    pub fn connect(pm2_home: &Utf8Path) -> Self {
        Self {
            stream: UnixStream::connect(pm2_home.join("rpc.sock")).unwrap(),
        }
    }

    /// Sends a call for each argument at once, and waits for all answers.
    pub fn pipelined(&mut self, method: &str, arguments: Vec<Value>) {
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
        let mut writer = self.stream.try_clone().unwrap();
        // PM2 answers while it still reads.
        let writing = std::thread::spawn(move || writer.write_all(&bytes).unwrap());
        for _ in 0..count {
            self.skip_message();
        }
        writing.join().unwrap();
    }

    fn skip_message(&mut self) {
        let mut head = [0];
        self.stream.read_exact(&mut head).unwrap();
        for _ in 0..head[0] & 0x0f {
            let mut length = [0; 4];
            self.stream.read_exact(&mut length).unwrap();
            let mut body = vec![0; u32::from_be_bytes(length) as usize];
            self.stream.read_exact(&mut body).unwrap();
        }
    }
}
