//! A stand-in for PM2's daemon: answers its command line, starts nothing, and records what it is asked to start.

use std::io::{BufReader, ErrorKind, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, Mutex};

use camino::Utf8Path;
use serde_json::{Value, json};

/// The methods that PM2's command line may call.
const METHODS: &[&str] = &[
    "ping",
    "getVersion",
    "getReport",
    "getSystemData",
    "getMonitorData",
    "prepare",
    "notifyByProcessId",
];

/// The requests so far.
#[derive(Clone, Default)]
pub struct Asked(Arc<Mutex<Vec<Value>>>);

impl Asked {
    /// The arguments of all calls of `prepare`, in order.
    pub fn to_prepare(&self) -> Vec<Value> {
        self.0.lock().unwrap().clone()
    }
}

/// Listens in this home for as long as the test runs.
pub fn listen(home: &Utf8Path) -> Asked {
    let asked = Asked::default();
    let calls = UnixListener::bind(home.join("rpc.sock")).unwrap();
    let events = UnixListener::bind(home.join("pub.sock")).unwrap();
    let recorder = asked.clone();
    std::thread::spawn(move || {
        for stream in calls.incoming() {
            let (stream, recorder) = (stream.unwrap(), recorder.clone());
            std::thread::spawn(move || serve(&stream, &recorder));
        }
    });
    // Subscribers receive nothing.
    std::thread::spawn(move || events.incoming().collect::<Vec<_>>());
    asked
}

fn serve(stream: &UnixStream, asked: &Asked) {
    let mut reader = BufReader::new(stream);
    while let Some(args) = message(&mut reader) {
        let [call, id] = &args[..] else {
            panic!("a call has two arguments, this one {}", args.len());
        };
        let call: Value = serde_json::from_slice(call.strip_prefix(b"j:").unwrap()).unwrap();
        let answer = answer(&call, asked).to_string();
        let mut bytes = vec![0x12];
        for arg in [format!("j:{answer}").as_bytes(), id] {
            bytes.extend(u32::try_from(arg.len()).unwrap().to_be_bytes());
            bytes.extend(arg);
        }
        let mut writer = stream;
        match writer.write_all(&bytes) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return,
            written => written.unwrap(),
        }
    }
}

/// The arguments of the next message; none if the other end has closed.
fn message(reader: &mut impl Read) -> Option<Vec<Vec<u8>>> {
    let mut head = [0];
    reader.read_exact(&mut head).ok()?;
    let mut args = Vec::new();
    for _ in 0..head[0] & 0x0f {
        let mut length = [0; 4];
        reader.read_exact(&mut length).ok()?;
        let mut arg = vec![0; u32::from_be_bytes(length) as usize];
        reader.read_exact(&mut arg).ok()?;
        args.push(arg);
    }
    Some(args)
}

fn answer(call: &Value, asked: &Asked) -> Value {
    if call["type"] == "methods" {
        let methods: serde_json::Map<String, Value> = METHODS
            .iter()
            .map(|name| {
                let method = json!({ "name": name, "params": ["env", "cb"] });
                ((*name).to_owned(), method)
            })
            .collect();
        return json!({ "methods": methods });
    }
    let result = match call["method"].as_str().unwrap_or("") {
        "ping" => json!({ "msg": "pong" }),
        "getVersion" => json!("7.0.4"),
        "getMonitorData" => json!([]),
        "prepare" => {
            let app = call["args"][0].clone();
            asked.0.lock().unwrap().push(app.clone());
            json!([{ "pm2_env": app, "pid": 1, "process": { "pid": 1 } }])
        }
        _ => json!({}),
    };
    json!({ "args": [result] })
}
