//! A proxy between pm2-sync and PM2's sockets.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::Env;

/// Replaces one of PM2's sockets: each connection to it is passed to `connected`, with a connection to PM2.
fn replace(env: &Env, name: &str, connected: impl Fn(UnixStream, UnixStream) + Send + 'static) {
    let socket = env.bed.home().join(name);
    let moved = env.bed.home().join(format!("real-{name}"));
    std::fs::rename(&socket, &moved).unwrap();
    let listener = UnixListener::bind(&socket).unwrap();
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            if let Ok(server) = UnixStream::connect(&moved) {
                connected(client, server);
            }
        }
    });
}

/// Forwards the traffic of PM2's socket, and counts requests for its list.
pub fn count_lists(env: &Env) -> Arc<AtomicUsize> {
    let lists = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&lists);
    replace(env, "rpc.sock", move |client, server| {
        let answers = (server.try_clone().unwrap(), client.try_clone().unwrap());
        std::thread::spawn(move || pass_on(answers.0, answers.1, |_| {}));
        let lists = Arc::clone(&counted);
        std::thread::spawn(move || {
            pass_on(client, server, |call| {
                let count = call
                    .windows(14)
                    .filter(|it| it == b"getMonitorData")
                    .count();
                lists.fetch_add(count, Ordering::SeqCst);
            });
        });
    });
    lists
}

/// Accepts subscriptions to PM2's events, but never sends any. Returns their number.
pub fn mute_events(env: &Env) -> Arc<AtomicUsize> {
    let subscriptions = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&subscriptions);
    replace(env, "pub.sock", move |mut client, _| {
        counted.fetch_add(1, Ordering::SeqCst);
        std::thread::spawn(move || while client.read(&mut [0; 64]).is_ok_and(|n| n > 0) {});
    });
    subscriptions
}

fn pass_on(mut from: UnixStream, mut to: UnixStream, see: impl Fn(&[u8])) {
    let mut chunk = vec![0; 64 * 1024];
    while let Ok(n @ 1..) = from.read(&mut chunk) {
        see(&chunk[..n]);
        if to.write_all(&chunk[..n]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(std::net::Shutdown::Both);
}
