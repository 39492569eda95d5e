//! Logs of several apps, read while they grow, are truncated and replaced.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs::OpenOptions;
use std::io::Write;

use camino::Utf8PathBuf;
use daemon_model::{DaemonId, PmId};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use reconcile::{LogFile, LogLine, LogRange, LogReader, LogStream};

struct Logs {
    dir: tempfile::TempDir,
    reader: LogReader,
}

const ALL: LogRange = LogRange {
    lines: None,
    since: Some(Timestamp::UNIX_EPOCH),
};

fn last(lines: usize) -> LogRange {
    LogRange {
        lines: Some(lines),
        since: None,
    }
}

fn texts(lines: &[LogLine]) -> Vec<String> {
    let texts = lines
        .iter()
        .map(|line| format!("{} {}", line.file.app, line.text));
    texts.collect()
}

impl Logs {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            reader: LogReader::new(TimeZone::UTC),
        }
    }

    fn path(&self, app: &str) -> Utf8PathBuf {
        let path = self.dir.path().join(format!("{app}.log"));
        Utf8PathBuf::from_path_buf(path).unwrap()
    }

    fn file(&self, app: &str) -> LogFile {
        LogFile {
            daemon: DaemonId::new(app).unwrap(),
            app: app.to_owned(),
            pm_id: Some(PmId(0)),
            stream: LogStream::Out,
            path: self.path(app),
        }
    }

    fn append(&self, app: &str, text: &str) {
        let mut file = OpenOptions::new();
        let mut file = file.append(true).create(true).open(self.path(app)).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    fn add(&mut self, apps: &[&str], range: LogRange) -> Vec<String> {
        let files: Vec<LogFile> = apps.iter().map(|app| self.file(app)).collect();
        texts(&self.reader.add(files, &range, true))
    }

    fn poll(&mut self) -> Vec<String> {
        texts(&self.reader.poll())
    }
}

#[test]
fn lines_are_interleaved_by_time_and_those_without_follow_the_line_before() {
    let mut logs = Logs::new();
    logs.append(
        "a",
        "2026-01-31T12:00:01: one\n    at stack (x.js:1)\n2026-01-31T12:00:05: five\n",
    );
    logs.append(
        "b",
        "2026-01-31T12:00:03: three\n[2026-01-31T12:00:02Z] late, in its own order\n",
    );
    assert_eq!(
        logs.add(&["a", "b"], ALL),
        [
            "a 2026-01-31T12:00:01: one",
            "a     at stack (x.js:1)",
            "b 2026-01-31T12:00:03: three",
            "b [2026-01-31T12:00:02Z] late, in its own order",
            "a 2026-01-31T12:00:05: five",
        ]
    );
    // Continuation lines belong to the last line, too.
    logs.append("b", "2026-01-31T12:00:06: six\n");
    logs.append("a", "    at stack (y.js:1)\n");
    assert_eq!(
        logs.poll(),
        ["a     at stack (y.js:1)", "b 2026-01-31T12:00:06: six"]
    );
    assert_eq!(logs.poll(), [""; 0]);
}

#[test]
fn only_the_last_lines_of_each_app_and_those_since_a_time_are_read() {
    let mut logs = Logs::new();
    let many: String = (0..50_000).map(|n| format!("line {n}\n")).collect();
    logs.append("many", &many);
    logs.append(
        "few",
        "2001-01-01T00:00:00: old\n2026-01-31T12:00:00: new\n",
    );
    assert_eq!(
        logs.add(&["many", "few", "missing"], last(2)),
        [
            "few 2001-01-01T00:00:00: old",
            "few 2026-01-31T12:00:00: new",
            "many line 49998",
            "many line 49999",
        ]
    );
    let mut logs = Logs {
        reader: LogReader::new(TimeZone::UTC),
        ..logs
    };
    let since = LogRange {
        lines: None,
        since: Some("2026-01-01T00:00:00Z".parse().unwrap()),
    };
    assert_eq!(logs.add(&["few"], since), ["few 2026-01-31T12:00:00: new"]);
    // A file without times is as old as its last change.
    let lines = logs.add(&["many"], since);
    assert_eq!(lines.last().unwrap(), "many line 49999");
    let hour: String = (0..20_000)
        .map(|n| {
            format!(
                "2026-01-31T{:02}:{:02}:{:02}Z x\n",
                n / 3600,
                n / 60 % 60,
                n % 60
            )
        })
        .collect();
    logs.append("day", &hour);
    let since = LogRange {
        lines: None,
        since: Some("2026-01-31T01:00:00Z".parse().unwrap()),
    };
    assert_eq!(logs.add(&["day"], since).len(), 20_000 - 3600);
}

#[test]
fn a_log_is_followed_through_truncation_and_rotation() {
    let mut logs = Logs::new();
    logs.append("a", "before\n");
    assert_eq!(logs.add(&["a", "later"], last(10)), ["a before"]);
    // `pm2 flush`.
    std::fs::write(logs.path("a"), "").unwrap();
    assert_eq!(logs.poll(), [""; 0]);
    logs.append("a", "flushed\n");
    assert_eq!(logs.poll(), ["a flushed"]);
    // Truncated, and longer than before when it is read again.
    std::fs::write(logs.path("a"), "copied and truncated\nand so on\n").unwrap();
    assert_eq!(logs.poll(), ["a copied and truncated", "a and so on"]);
    // Renamed; later writes to the old file are not lost.
    logs.append("a", "moved ");
    let old = logs.path("a.1");
    std::fs::rename(logs.path("a"), &old).unwrap();
    assert_eq!(logs.poll(), [""; 0]);
    logs.append("a.1", "away\n");
    std::fs::write(logs.path("a"), "").unwrap();
    assert_eq!(logs.poll(), ["a moved away"]);
    logs.append("a.1", "the last of the old\n");
    logs.append("a", "the first of the new\n");
    assert_eq!(
        logs.poll(),
        ["a the last of the old", "a the first of the new"]
    );
    // A new file is read from its beginning.
    logs.append("later", "first\n");
    assert_eq!(logs.poll(), ["later first"]);
    // Removed, with another one in its place.
    std::fs::remove_file(logs.path("a")).unwrap();
    assert_eq!(logs.poll(), [""; 0]);
    logs.append("a", "again\n");
    assert_eq!(logs.poll(), ["a again"]);
}

#[test]
fn a_line_is_complete_at_its_end() {
    let mut logs = Logs::new();
    logs.append("a", "first\nsec");
    assert_eq!(logs.add(&["a"], last(10)), ["a first"]);
    logs.append("a", "ond\r\nprompt> ");
    assert_eq!(logs.poll(), ["a second"]);
    // It counts as a line even though nothing follows.
    let mut lines = Vec::new();
    for _ in 0..10 {
        lines.extend(logs.poll());
    }
    assert_eq!(lines, ["a prompt>"]);
    logs.append("a", "end");
    assert_eq!(logs.poll(), [""; 0]);
    assert_eq!(texts(&logs.reader.finish()), ["a end"]);
    logs.append("b", "no end");
    let file = logs.file("b");
    assert_eq!(
        texts(&logs.reader.add([file], &last(1), false)),
        ["b no end"]
    );
}

#[test]
fn colours_go_and_pm2s_json_is_read() {
    let mut logs = Logs::new();
    logs.append(
        "a",
        "\u{1b}[31mred\u{1b}[0m\tx\n10%\r20%\r30%\nbell\u{7}\n{\"message\":\"one\\ntwo\\n\",\"timestamp\":\"2026-01-31T12:00:00Z\",\"type\":\"out\"}\n",
    );
    logs.append("not-utf8", "");
    std::fs::write(logs.path("not-utf8"), b"a\xffb\n").unwrap();
    let files = [logs.file("a"), logs.file("not-utf8")];
    let lines = logs.reader.add(files, &ALL, true);
    let of_a: Vec<&LogLine> = lines.iter().filter(|line| line.file.app == "a").collect();
    let of_a_texts: Vec<&str> = of_a.iter().map(|line| line.text.as_str()).collect();
    assert_eq!(of_a_texts, ["red    x", "30%", "bell", "one", "two"]);
    assert_eq!(of_a[3].time, "2026-01-31T12:00:00Z".parse().ok());
    assert!(texts(&lines).contains(&"not-utf8 a\u{fffd}b".to_owned()));
}

#[test]
fn an_unreadable_log_is_reported_once_and_a_device_has_no_lines() {
    let mut logs = Logs::new();
    std::fs::create_dir(logs.path("dir")).unwrap();
    let null = LogFile {
        path: "/dev/null".into(),
        ..logs.file("null")
    };
    let files = [logs.file("dir"), null];
    assert_eq!(logs.reader.add(files, &ALL, true), []);
    let failed: Vec<_> = logs.reader.take_failures().map(|(path, _)| path).collect();
    assert_eq!(failed, [logs.path("dir")]);
    assert_eq!(logs.poll(), [""; 0]);
    assert_eq!(logs.reader.take_failures().count(), 0);
}
