//! The session in README.md: PM2 alone next to pm2-sync, recorded from a real run. `UPDATE_DOCS=1` writes it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::path::{Path, PathBuf};

use common::Env;

const BEGIN: &str = "<!-- begin: session.";
const END: &str = "<!-- end: session -->";

/// A terminal in the workspace, and its transcript.
struct Session {
    env: Env,
    shown: String,
}

impl Session {
    fn new() -> Self {
        let env = Env::new();
        for script in ["v1.js", "v2.js"] {
            env.write(script, "setInterval(() => {}, 1000);\n");
        }
        // Slow enough that PM2 has not given it up before its third exit is observed.
        let crash = "setTimeout(() => { throw new Error('no database'); }, 200);\n";
        env.write("crash.js", crash);
        Self {
            env,
            shown: String::new(),
        }
    }

    /// The app in an ecosystem file and in a definition.
    fn define(&self, js: &str, edn: &str) {
        let js = format!("module.exports = {{ apps: [{{ name: \"api\", {js} }}] }};");
        self.env.write("ecosystem.config.js", &js);
        self.env
            .define("api", &format!("{{:apps [{{:name \"api\" {edn}}}]}}"));
    }

    /// Runs a line in a shell, without showing it.
    fn run(&self, line: &str) -> String {
        let mut bash = self.env.program("bash");
        let done = bash
            .args(["-c", &format!("exec 2>&1; {line}")])
            .output()
            .unwrap();
        String::from_utf8(done.stdout).unwrap()
    }

    /// Starts a part of the session.
    fn note(&mut self, text: &str) {
        if !self.shown.is_empty() {
            self.shown.push('\n');
        }
        self.remark(text);
    }

    fn remark(&mut self, text: &str) {
        self.shown.push_str(&format!("$ # {text}\n"));
    }

    fn show(&mut self, line: &str) {
        let output = self.run(line).replace(self.env.root.as_str(), "/srv/shop");
        let output = output.replace(self.env.bed.home().as_str(), "/home/ann/.pm2");
        self.shown.push_str(&format!("$ {line}\n{output}"));
    }
}

/// The text without parts that differ from run to run: durations, times of day, and the number of exits.
fn without_times(text: &str) -> String {
    let mut words: Vec<&str> = text.split(' ').collect();
    for n in 1..words.len() {
        let is_number = words[n - 1].parse::<f64>().is_ok();
        if is_number && let Some(rest) = without_unit(words[n]) {
            words[n - 1] = "N";
            words[n] = rest;
        }
        let is_time = words[n - 1] == "at" && words[n].matches(':').count() == 3;
        let is_count = words[n - 1] == "exited" && words[n].parse::<u32>().is_ok();
        if is_time || is_count {
            words[n] = "N";
        }
    }
    words.join(" ")
}

/// The rest after the unit of a duration, `ms` or `s`, as in `1.0 s: script changed`.
fn without_unit(word: &str) -> Option<&str> {
    let rest = word.strip_prefix("ms").or_else(|| word.strip_prefix('s'))?;
    let is_longer = rest.starts_with(|c: char| c.is_alphanumeric());
    (!is_longer).then_some(rest)
}

#[test]
fn runs_that_differ_only_in_their_times_are_the_same() {
    let run = |times: [&str; 3]| {
        let [restart, scale, whole] = times;
        without_times(&format!(
            "restarted api in {restart}: script changed\nscaled up api in {scale}\n2 steps done in {whole}; in sync\nexit 0"
        ))
    };
    let fast = run(["245 ms", "29 ms", "980 ms"]);
    assert_eq!(fast, run(["1.0 s", "1.5 s", "12.3 s"]));
    assert_eq!(
        fast,
        "restarted api in N : script changed\nscaled up api in N \n2 steps done in N ; in sync\nexit 0"
    );
}

fn readme() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../README.md")
}

#[test]
fn the_session_in_the_readme_is_a_real_one() {
    const BEFORE: [&str; 2] = [
        "script: \"./v1.js\", exec_mode: \"fork\", env: { TOKEN: \"old\" }",
        ":script \"./v1.js\" :exec_mode \"fork\" :merge_logs true :env {:TOKEN \"old\"}",
    ];
    const AFTER: [&str; 2] = [
        "script: \"./v2.js\", exec_mode: \"fork\", instances: 2",
        ":script \"./v2.js\" :exec_mode \"fork\" :merge_logs true :instances 2",
    ];
    // On a busy machine it may take longer than the default of 1 s until the error.
    const CRASHING: [&str; 2] = [
        "script: \"./crash.js\", exec_mode: \"fork\", instances: 2, min_uptime: \"10s\"",
        ":script \"./crash.js\" :exec_mode \"fork\" :merge_logs true :instances 2 :min_uptime \"10s\"",
    ];
    let mut session = Session::new();
    session.define(BEFORE[0], BEFORE[1]);
    session.run("pm2 start ecosystem.config.js");
    session.define(AFTER[0], AFTER[1]);
    session.note("`api` ran v1.js with TOKEN; now its file says v2.js, two instances, no TOKEN");
    session.show("pm2 start ecosystem.config.js --silent; echo \"exit $?\"");
    session.show("ps -o args= -p $(pm2 pid api)");
    session.show("tr '\\0' '\\n' < /proc/$(pm2 pid api)/environ | grep TOKEN");
    session.run("pm2 delete all");
    session.define(CRASHING[0], CRASHING[1]);
    session.remark("after `pm2 delete api`: crash.js, which throws an error after 0.2 s");
    session.show("pm2 start ecosystem.config.js --silent; echo \"exit $?\"");

    session.run("pm2 delete all");
    session.define(BEFORE[0], BEFORE[1]);
    session.run("pm2-sync sync");
    session.define(AFTER[0], AFTER[1]);
    session.note("the same edits, with pm2-sync");
    session.show("pm2-sync sync; echo \"exit $?\"");
    session.define(CRASHING[0], CRASHING[1]);
    session.remark("and now crash.js, with a min_uptime of 10 s");
    session.show("pm2-sync sync --quiet; echo \"exit $?\"");

    let recorded = format!("```console\n{}```\n", session.shown);
    let text = std::fs::read_to_string(readme()).unwrap();
    let begin = text.find(BEGIN).unwrap();
    let begin = begin + text[begin..].find('\n').unwrap() + 1;
    let end = text.find(END).unwrap();
    if without_times(&text[begin..end]) == without_times(&recorded) {
        return;
    }
    let may_write = std::env::var_os("UPDATE_DOCS").is_some();
    assert!(
        may_write,
        "README.md is stale; set UPDATE_DOCS=1 to write it. A real run shows:\n{recorded}"
    );
    let text = format!("{}{recorded}{}", &text[..begin], &text[end..]);
    std::fs::write(readme(), text).unwrap();
}
