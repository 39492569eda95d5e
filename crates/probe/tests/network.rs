//! HTTP and TCP probes against servers of every kind.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::io::Write;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use common::{Server, http, quickest_timeout, read_request, tcp};
use daemon_model::Check;
use pm2_testbed::free_port;
use probe::ProbeResult;

fn run(check: &Check) -> String {
    probe::run(check, Duration::from_secs(10)).to_string()
}

fn assert_timeout(check: &Check) {
    let took = quickest_timeout(check, || {});
    assert!(took < Duration::from_millis(250), "{took:?}");
}

fn answer(status: &str) -> String {
    run(&Server::answering(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n")).http())
}

#[test]
fn the_status_decides() {
    for (status, result) in [
        ("200 OK", "ready"),
        ("204 No Content", "ready"),
        ("301 Moved Permanently", "ready"),
        ("399 Odd", "ready"),
        ("400 Bad Request", "HTTP 400"),
        ("404 Not Found", "HTTP 404"),
        ("500 Internal Server Error", "HTTP 500"),
        ("503", "HTTP 503"),
        ("600 Odd", "HTTP 600"),
        ("101 Switching Protocols", "HTTP 101"),
    ] {
        assert_eq!(answer(status), result, "{status}");
    }
}

#[test]
fn old_and_odd_answers_are_understood() {
    for text in [
        "HTTP/1.0 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\nServer: x\n\n",
        "HTTP/1.1 200 \u{e4}\r\nX-\u{e4}: \u{e4}\r\n\r\n",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nNot a header\r\n\r\n",
    ] {
        assert_eq!(run(&Server::answering(text).http()), "ready", "{text}");
    }
}

#[test]
fn an_answer_that_is_not_http_is_a_failure() {
    for text in [
        "SSH-2.0-OpenSSH_9.6\r\n",
        "\u{15}\u{3}\u{3}\r\n\r\n",
        "HTTP/2.0 200 OK\r\n\r\n",
    ] {
        assert_eq!(
            run(&Server::answering(text).http()),
            "the answer is not HTTP",
            "{text}"
        );
    }
    let closed = "connection closed without an answer";
    for text in ["", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nA: b\r\n"] {
        assert_eq!(run(&Server::answering(text).http()), closed, "{text}");
    }
    assert_eq!(run(&Server::answering("hello").http()), closed);
}

#[test]
fn a_request_is_complete_and_independent_of_this_process() {
    let (sender, requests) = channel();
    let server = Server::start(move |mut stream, _| {
        sender.send(read_request(&mut stream)).unwrap();
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
    });
    let version = env!("CARGO_PKG_VERSION");
    let port = server.port();
    assert_eq!(run(&server.http()), "ready");
    assert_eq!(
        requests.recv().unwrap(),
        format!(
            "GET /ready HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUser-Agent: pm2-sync-probe/{version}\r\n\
             Accept: */*\r\nConnection: close\r\n\r\n"
        )
    );
    let headers = [("host", "api.internal"), ("X-Probe", "yes")];
    let check = Check::HttpGet {
        host: "localhost".to_owned(),
        port,
        target: "/a?b=c".to_owned(),
        headers: headers
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
    };
    assert_eq!(run(&check), "ready");
    assert_eq!(
        requests.recv().unwrap(),
        format!(
            "GET /a?b=c HTTP/1.1\r\nUser-Agent: pm2-sync-probe/{version}\r\nAccept: */*\r\nConnection: close\r\n\
             host: api.internal\r\nX-Probe: yes\r\n\r\n"
        )
    );
}

#[test]
fn redirects_are_not_followed() {
    let (sender, requests) = channel();
    let elsewhere = Server::start(move |_, stopped| {
        if !stopped.is_set() {
            sender.send(()).unwrap();
        }
    });
    let location = format!("http://127.0.0.1:{}/", elsewhere.port());
    let server = Server::answering(format!(
        "HTTP/1.1 302 Found\r\nLocation: {location}\r\n\r\n"
    ));
    assert_eq!(run(&server.http()), "ready");
    drop(elsewhere);
    assert!(requests.recv().is_err(), "the redirect was followed");
}

#[test]
fn a_server_that_hangs_runs_into_the_deadline() {
    let server = Server::start(|_, stopped| stopped.wait());
    assert_timeout(&server.http());
    // It accepts connections, which is all that is needed here.
    assert_eq!(run(&server.tcp()), "ready");
}

#[test]
fn a_server_that_drips_runs_into_the_deadline() {
    for text in ["HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nX: "] {
        let server = Server::start(move |mut stream, stopped| {
            for byte in text.bytes().chain(std::iter::repeat(b'x')) {
                if stopped.is_set() || stream.write_all(&[byte]).is_err() {
                    return;
                }
                thread::sleep(Duration::from_millis(10));
            }
        });
        assert_timeout(&server.http());
    }
}

#[test]
fn an_answer_after_the_deadline_is_too_late() {
    let server = Server::start(|mut stream, stopped| {
        stopped.wait();
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
    });
    assert_timeout(&server.http());
}

#[test]
fn an_endless_body_is_not_read() {
    let server = Server::start(|mut stream, stopped| {
        read_request(&mut stream);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
        while !stopped.is_set() && stream.write_all(&[b'x'; 4096]).is_ok() {}
    });
    let start = Instant::now();
    assert_eq!(run(&server.http()), "ready");
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[test]
fn huge_heads_are_refused_before_they_are_read() {
    let many: String = (0..1000).map(|n| format!("X-{n}: y\r\n")).collect();
    let large = format!("X: {}\r\n", "y".repeat(1 << 20));
    for headers in [many, large] {
        let server = Server::answering(format!("HTTP/1.1 200 OK\r\n{headers}\r\n"));
        assert_eq!(run(&server.http()), "the answer has too many headers");
    }
    let server = Server::start(|mut stream, stopped| {
        while !stopped.is_set()
            && stream
                .write_all(b"HTTP/1.1 103 Early Hints\r\n\r\n")
                .is_ok()
        {}
    });
    assert_eq!(run(&server.http()), "the answer has too many headers");
}

#[test]
fn a_connection_that_is_reset_is_a_failure() {
    let server = Server::start(|stream, _| {
        // Closing with unread data resets the connection.
        let mut first = [0];
        while stream.peek(&mut first).is_ok_and(|count| count == 0) {}
    });
    assert_eq!(run(&server.http()), "connection reset");
    let server = Server::start(|stream, _| {
        let _ = stream.shutdown(Shutdown::Both);
    });
    let result = run(&server.http());
    assert!(
        [
            "connection closed without an answer",
            "connection reset",
            "broken pipe"
        ]
        .contains(&result.as_str()),
        "{result}"
    );
}

#[test]
fn a_port_without_a_server_refuses() {
    let port = free_port();
    for check in [
        http("127.0.0.1", port),
        tcp("127.0.0.1", port),
        tcp("localhost", port),
    ] {
        assert_eq!(run(&check), "connection refused");
    }
}

#[test]
fn a_listener_whose_queue_is_full_runs_into_the_deadline() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // Connections are never accepted: they fill the queue, until one is not answered any more.
    let mut queued = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
        queued.push(stream);
    }
    assert_timeout(&tcp("127.0.0.1", address.port()));
    assert_timeout(&http("127.0.0.1", address.port()));
}

#[test]
fn ipv6_is_spoken() {
    let server = Server::at("[::1]:0", |mut stream, _| {
        let request = read_request(&mut stream);
        let status = match request.contains("\r\nHost: [::1]:") {
            true => "200",
            false => "400",
        };
        let _ = stream.write_all(format!("HTTP/1.1 {status} X\r\n\r\n").as_bytes());
    });
    assert_eq!(run(&server.http()), "ready");
    assert_eq!(run(&server.tcp()), "ready");
    // The first address of `localhost` refuses, the second does not.
    assert_eq!(run(&tcp("localhost", server.port())), "ready");
}

#[test]
fn a_name_that_does_not_resolve_is_a_failure() {
    for check in [
        http("no-such-host.invalid", 80),
        tcp("no-such-host.invalid", 80),
    ] {
        let result = probe::run(&check, Duration::from_secs(5));
        let is_known = ["unknown host", "timeout after 5 s"].contains(&result.to_string().as_str());
        assert!(is_known, "{result}");
    }
}

#[test]
fn a_zero_timeout_is_over_at_once() {
    let server = Server::start(|_, stopped| stopped.wait());
    let result = probe::run(&server.http(), Duration::ZERO);
    assert_eq!(
        result,
        ProbeResult::Failed {
            why: "timeout after 0 s".to_owned()
        }
    );
}
