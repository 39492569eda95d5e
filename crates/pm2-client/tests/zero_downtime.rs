//! A cluster app that drains loses no request while its environment, arguments and number of instances change.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test that cannot go on fails, and says why"
)]

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use common::{World, host};
use pm2_client::{ConnectOptions, SocketAdapter};
use pm2_testbed::{Testbed, free_port, wait_for};
use serde_json::{Value, json};

const REQUESTS: u64 = 20_000;
const CLIENTS: usize = 8;

#[derive(Default)]
struct Tally {
    answered: AtomicU64,
    failed: AtomicU64,
    stop: AtomicBool,
}

/// Sends requests over keep-alive connections until it is stopped.
fn client(port: u16, tally: &Tally) {
    let mut connection: Option<BufReader<TcpStream>> = None;
    while !tally.stop.load(Ordering::Relaxed) {
        match request(port, &mut connection) {
            Ok(_) => tally.answered.fetch_add(1, Ordering::Relaxed),
            Err(error) => {
                eprintln!("a request failed: {error}");
                connection = None;
                tally.failed.fetch_add(1, Ordering::Relaxed)
            }
        };
    }
}

/// One request; the answer's body.
fn request(port: u16, connection: &mut Option<BufReader<TcpStream>>) -> std::io::Result<String> {
    let stream = match connection {
        Some(stream) => stream,
        None => {
            let stream = TcpStream::connect(("127.0.0.1", port))?;
            stream.set_read_timeout(Some(Duration::from_secs(10)))?;
            stream.set_nodelay(true)?;
            connection.insert(BufReader::new(stream))
        }
    };
    stream
        .get_mut()
        .write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")?;
    let (mut length, mut close, mut first) = (0, false, true);
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let line = line.trim_end().to_ascii_lowercase();
        if first && !line.ends_with(" 200 ok") {
            return Err(std::io::Error::other(line));
        }
        first = false;
        if let Some(value) = line.strip_prefix("content-length: ") {
            length = value.parse().unwrap();
        }
        close |= line == "connection: close";
        if line.is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    if close {
        *connection = None;
    }
    Ok(String::from_utf8_lossy(&body).into_owned())
}

#[test]
fn no_request_is_lost_while_a_draining_app_changes() {
    change_under_load(&json!({ "exec_mode": "cluster" }));
}

/// PM2 chooses cluster mode for a node app with `instances`, whatever their number.
#[test]
fn no_request_is_lost_where_cluster_mode_follows_from_instances() {
    change_under_load(&json!({}));
}

/// Changes an app repeatedly under load; `mode` is the exec mode in its definition.
fn change_under_load(mode: &Value) {
    let bed = Testbed::start();
    let root = bed.dir().join("w");
    std::fs::create_dir_all(root.join("watched")).unwrap();
    let script = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../fixtures/zero-downtime/server.js"
    );
    std::fs::copy(script, root.join("server.js")).unwrap();
    let port = free_port();
    let mut world = World {
        root,
        pm2_home: bed.home().to_owned(),
        host: host(bed.env()),
        adapter: Box::new(SocketAdapter::connect(bed.home(), ConnectOptions::default()).unwrap()),
    };
    let app = |colour: &str, args: &[&str], instances: u32, more: Value| {
        let mut app = json!({
            "name": "web", "script": "./server.js", "instances": instances, "args": args,
            "kill_timeout": 8000, "env": { "COLOUR": colour, "LISTEN_PORT": port },
        });
        let more = more.as_object().unwrap().iter();
        for (key, value) in more.chain(mode.as_object().unwrap()) {
            app[key] = value.clone();
        }
        app
    };
    let first = app("red", &[], 2, json!({}));
    world.converge(&[("web", &[first])]);
    wait_for(|| request(port, &mut None).is_ok());

    let tally = Tally::default();
    let mut actions = Vec::new();
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| client(port, &tally));
        }
        // Whatever fails here, the clients have to end.
        let changes = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let steps = [
                app("green", &[], 2, json!({})),
                app("green", &["--fast"], 2, json!({})),
                app("green", &["--fast"], 4, json!({})),
                app(
                    "blue",
                    &["--fast"],
                    4,
                    json!({ "max_memory_restart": "1G" }),
                ),
                app("blue", &[], 2, json!({})),
                app("blue", &[], 2, json!({ "watch": ["watched"] })),
                app("white", &["--last"], 3, json!({})),
            ];
            for step in steps {
                actions.extend(world.converge(&[("web", &[step])]));
            }
            wait_for(|| tally.answered.load(Ordering::Relaxed) >= REQUESTS);
        }));
        tally.stop.store(true, Ordering::Relaxed);
        if let Err(panic) = changes {
            std::panic::resume_unwind(panic);
        }
    });
    let (answered, failed) = (tally.answered.into_inner(), tally.failed.into_inner());
    eprintln!("{answered} requests answered, {failed} failed, during {actions:?}");
    assert_eq!(failed, 0, "of {answered}");
    assert!(
        actions.contains(&"reload")
            && actions.contains(&"replace")
            && !actions.contains(&"restart"),
        "{actions:?}"
    );
    assert_eq!(request(port, &mut None).unwrap(), "white --last\n");
}
