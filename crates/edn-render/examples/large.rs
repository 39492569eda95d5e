//! Time and memory for definitions of 10 MB: `cargo run --release --package edn-render --example large`.
//!
//! Each shape is rendered in a separate process, which reports its processor time and its peak memory (Linux only). It is read,
//! checked, and written as JSON to a sink.

#![expect(clippy::unwrap_used, reason = "a measurement that cannot go on fails")]
#![expect(clippy::print_stdout, reason = "it has nothing else to tell with")]

use std::process::Command;

use edn_render::{Options, read};

const LENGTH: usize = 10_000_000;

/// A shape: its name, its start, the repeated part, and its end.
type Shape = (&'static str, String, fn(usize) -> String, String);

fn shapes() -> Vec<Shape> {
    let app = "{:apps [{:name \"a\" :script \"a.js\" :env {".to_owned();
    let value =
        |before: &str, after: &str| (format!("{{:apps [] :x {before}"), format!("{after}}}"));
    let (vector, vector_end) = value("[", "]");
    let (sets, sets_end) = value(
        &format!("{}[", "#{".repeat(500)),
        &format!("]{}", "}".repeat(500)),
    );
    let (deep, deep_end) = value(
        &format!("{}\"", "[".repeat(500)),
        &format!("\"{}", "]".repeat(500)),
    );
    let x = || (vector.clone(), vector_end.clone());
    let of = |name, (start, end): (String, String), part| -> Shape { (name, start, part, end) };
    vec![
        (
            "one app with a large environment",
            app.clone(),
            |n| format!(":VARIABLE_{n} \"value number {n}\"\n"),
            "}}]}".to_owned(),
        ),
        (
            "many apps",
            "{:apps [".to_owned(),
            |n| {
                format!(
                    "{{:name \"app-{n}\" :script \"server.js\" :args [\"--port\" \"{n}\"] :env {{:PORT {n}}}}}\n"
                )
            },
            "]}".to_owned(),
        ),
        (
            "apps of a name and a script",
            "{:apps [".to_owned(),
            |n| format!("{{:name \"a{n}\" :script \"a.js\"}}\n"),
            "]}".to_owned(),
        ),
        (
            "a string, 500 vectors deep",
            deep,
            |_| "x".to_owned(),
            deep_end,
        ),
        (
            "a string of escapes",
            format!("{app}:S \""),
            |_| r"\n\u00e9".to_owned(),
            "\"}}]}".to_owned(),
        ),
        of("numbers", x(), |_| "1 ".to_owned()),
        of("keywords", x(), |_| ":a ".to_owned()),
        of("vectors", x(), |_| "[1]".to_owned()),
        of("maps", x(), |_| "{:a 1}".to_owned()),
        (
            "numbers, 500 sets deep",
            sets,
            |_| "1 ".to_owned(),
            sets_end,
        ),
        (
            "comments",
            "{:apps [".to_owned(),
            |_| "; a comment\n".to_owned(),
            "]}".to_owned(),
        ),
    ]
}

/// The processor time of this process so far, in milliseconds. Linux counts it in hundredths of a second.
fn processor_time() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // User and system time. They follow the program's name, which may contain anything.
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let ticks = fields.split_whitespace().skip(11).take(2);
    ticks.map(|ticks| ticks.parse::<u64>().unwrap() * 10).sum()
}

fn main() {
    let shapes = shapes();
    let Some(wanted) = std::env::args().nth(1) else {
        println!("| 10 MB of | processor time | peak of memory |");
        println!("| --- | ---: | ---: |");
        for (number, _) in shapes.iter().enumerate() {
            let mut one = Command::new(std::env::current_exe().unwrap());
            assert!(one.arg(number.to_string()).status().unwrap().success());
        }
        return;
    };
    let (name, start, part, end) = &shapes[wanted.parse::<usize>().unwrap()];
    let mut text = String::with_capacity(LENGTH + 4096);
    text += start;
    for n in 0.. {
        if text.len() >= LENGTH {
            break;
        }
        text += &part(n);
    }
    text += end;
    let begin = processor_time();
    let rendered = read(text.as_bytes(), &Options::default());
    let document = rendered.document.unwrap();
    document.write_json(&mut std::io::sink(), None).unwrap();
    let time = processor_time() - begin;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak: f64 = peak.map_or(0.0, |peak| {
        peak.trim().trim_end_matches(" kB").parse().unwrap()
    });
    println!("| {name} | {time} ms | {:.0} MB |", peak * 1024.0 / 1e6);
}
