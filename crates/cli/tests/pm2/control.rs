//! Foreign text must control neither a terminal nor a log: control characters are escaped in all output.

use serde_json::json;

use crate::common::{Env, sleeper};

/// Sets the window's title, rings the bell, sets colours (in two ways), moves the cursor, forges a line, and reverses the text
/// direction.
const POISON: &str =
    "\u{1b}]0;own\u{7}\u{1b}[31m\u{9b}32m\u{1b}[2J\r\n::error::forged\u{7f}\u{202e}x";

/// The text as an EDN string.
fn edn(text: &str) -> String {
    let escaped: String = text
        .chars()
        .map(|c| match c {
            '"' | '\\' => format!("\\{c}"),
            c if c.is_control() => format!("\\u{:04x}", u32::from(c)),
            c => c.to_string(),
        })
        .collect();
    format!("\"{escaped}\"")
}

/// One definition for each position that text can have.
fn poisoned(env: &Env) {
    let poison = &edn(POISON);
    let app = |name: &str, more: &str| {
        format!("{{:apps [{{:name \"{name}\" :script \"/bin/sleep\" :args [\"1000\"] {more}}}]}}")
    };
    for (id, text) in [
        (
            "script",
            format!("{{:apps [{{:name \"script\" :script {poison}}}]}}"),
        ),
        (
            "blank",
            format!("{{:apps [{{:name \"blank\" :script \"echo\" :args [{poison}]}}]}}"),
        ),
        (
            "name",
            format!("{{:apps [{{:name {poison} :script \"/bin/sleep\"}}]}}"),
        ),
        ("cwd", app("cwd", &format!(":cwd {poison}"))),
        (
            "interpreter",
            app("interpreter", &format!(":interpreter {poison}")),
        ),
        ("user", app("user", &format!(":user {poison}"))),
        (
            "group",
            app("group", &format!(":user \"root\" :gid {poison}")),
        ),
        ("out", app("out", &format!(":out_file {poison}"))),
        (
            "err",
            app("err", ":error_file \"/proc/nowhere/\\u001b[31m\""),
        ),
        ("key", app("key", &format!(":env {{{poison} \"v\"}}"))),
        ("value", app("value", &format!(":env {{:V {poison}}}"))),
        (
            "namespace",
            app("namespace", &format!(":namespace {poison}")),
        ),
        ("unknown", app("unknown", &format!("{poison} 1"))),
        ("type", app("type", &format!(":instances {poison}"))),
        ("enum", app("enum", &format!(":exec_mode {poison}"))),
        (
            "nested",
            app("nested", &format!(":pm2-sync {{:on-change {poison}}}")),
        ),
        ("cron", app("cron", &format!(":cron_restart {poison}"))),
        (
            "profile",
            app("profile", "").replacen('{', &format!("{{:profiles {{{poison} {{}}}} "), 1),
        ),
        (
            "envs",
            app(
                "envs",
                &format!("\"env_{}\" {{:A 1}}", POISON.escape_default()),
            ),
        ),
        ("syntax", format!("{{:apps [{POISON}")),
        (
            "comment",
            format!("{{:apps [{{:name \"comment\" :script 08 ; {POISON}\n}}]}}"),
        ),
        ("code", format!("({POISON})")),
        (
            &format!("folder{}", POISON.replace('/', "")),
            sleeper("folder", 1000),
        ),
        (
            &format!("broken{}", POISON.replace('/', "")),
            "{:apps [".to_owned(),
        ),
        (&format!("nested/{POISON}.json"), sleeper("x", 1000)),
        ("fine", sleeper("fine", 1000)),
    ] {
        env.define(id, &text);
    }
    env.write(&format!("system/daemons/{POISON}/ecosystem.edn"), "");
}

/// Runs a command and checks all its output. Returns whether it printed the text, escaped.
#[track_caller]
fn run(env: &Env, args: &[&str]) -> bool {
    let done = env.run(args);
    let colored = args.contains(&"always");
    for (stream, text) in [("stdout", &done.out), ("stderr", &done.err)] {
        for line in text.split('\n') {
            let text = if colored {
                without_colors(line)
            } else {
                line.to_owned()
            };
            // JSON keeps direction marks: they are data.
            let is_json = line.starts_with('{') || args.contains(&"--stdout");
            let is_bad = |c: &char| c.is_control() || (*c == '\u{202e}' && !is_json);
            let bad = text.chars().find(is_bad);
            assert_eq!(bad, None, "{args:?} {stream}: {line:?}");
            assert!(
                !line.starts_with("::error::"),
                "{args:?} {stream}: {line:?}"
            );
        }
    }
    assert_ne!(done.code, -1, "{args:?} was killed: {}", done.err);
    done.out.contains("forged") || done.err.contains("forged")
}

/// The line without the colours that pm2-sync uses.
fn without_colors(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some(at) = rest.find("\u{1b}[") {
        out.push_str(&rest[..at]);
        let sequence = &rest[at + 2..];
        let end = sequence
            .find(|c: char| !c.is_ascii_digit() && c != ';')
            .unwrap();
        assert!(sequence[end..].starts_with('m'), "{line:?}");
        rest = &sequence[end + 1..];
    }
    out + rest
}

const COMMANDS: [&[&str]; 14] = [
    &["check"],
    &["check", "--strict", "--color", "always"],
    &["check", "--format", "github"],
    &["render"],
    &["render", "--check"],
    &["render", "--stdout"],
    &["plan", "-v"],
    &["plan", "--color", "always"],
    &["sync", "-v", "--show-values"],
    &["status", "-v"],
    &["status", "--color", "always"],
    &["doctor"],
    &["up"],
    &["down"],
];

#[test]
fn control_characters_of_definitions_reach_no_terminal_or_log() {
    let env = Env::new();
    poisoned(&env);
    for args in COMMANDS {
        let is_printed = run(&env, args);
        assert!(is_printed || matches!(args[0], "up" | "down"), "{args:?}");
        if !args.contains(&"github") {
            let json: Vec<&str> = args.iter().copied().chain(["--format", "json"]).collect();
            run(&env, &json);
        }
    }
    let id = format!("folder{}", POISON.replace('/', ""));
    let file = format!("system/daemons/{id}/ecosystem.pm2.edn");
    for args in [
        &["render", "--stdout", &file][..],
        &["check", &file],
        &["sync", &id],
        &["plan", &id, "-v"],
    ] {
        run(&env, args);
    }
}

#[test]
fn control_characters_of_arguments_reach_no_terminal_or_log() {
    let env = Env::new();
    env.define("a", &sleeper("a", 1000));
    env.sync();
    let flag = format!("--{POISON}");
    let mut printed = 0;
    for args in [
        &["sync", POISON][..],
        &["plan", "--mode", POISON],
        &["plan", "--env", POISON],
        &["sync", "--confirm", POISON],
        &["check", "--workspace", POISON],
        &["plan", "--pm2-home", POISON],
        &["doctor", "--pm2", POISON],
        &["doctor", "--pm2-home", POISON],
        &["render", "--stdout", "--set", POISON, "x.edn"],
        &["render", "--stdout", &format!("{POISON}.edn")],
        &["sync", &flag],
        &["sync", "--jobs", POISON],
        &[POISON],
    ] {
        for format in [&[][..], &["--format", "json"], &["--color", "always"]] {
            printed += usize::from(run(&env, &[args, format].concat()));
        }
    }
    assert!(
        printed >= 30,
        "only {printed} commands say what they were given"
    );
    env.write(
        "pm2-sync.edn",
        &format!("{{{} 1 :mode {}}}", edn(POISON), edn(POISON)),
    );
    for args in COMMANDS {
        run(&env, args);
    }
}

#[test]
fn control_characters_of_pm2s_records_reach_no_terminal_or_log() {
    let env = Env::new();
    env.define("a", &sleeper("a", 1000));
    env.sync();
    // Names and labels that another program put into PM2's list.
    let dump = env.bed.home().join("dump.pm2");
    let list: serde_json::Value = serde_json::from_slice(&std::fs::read(&dump).unwrap()).unwrap();
    let mut records = Vec::new();
    for (n, workspace) in ["/nowhere", env.root.as_str(), POISON]
        .into_iter()
        .enumerate()
    {
        let mut record = list[0].clone();
        record["name"] = json!(format!("{n}{POISON}"));
        record["pm2_sync"]["workspace"] = json!(workspace);
        record["pm2_sync"]["daemon"] = json!(format!("d{POISON}"));
        record["pm2_sync"]["app"] = json!(format!("{n}{POISON}"));
        record["pm_err_log_path"] = json!(env.bed.dir().join(format!("{n}.log")));
        records.push(record);
    }
    assert!(env.bed.cli(&["kill"]).status.success());
    std::fs::write(&dump, serde_json::to_vec(&records).unwrap()).unwrap();
    assert!(env.bed.cli(&["resurrect"]).status.success());
    assert!(env.list().len() >= 3);
    env.define(
        "b",
        &format!(
            "{{:apps [{{:name \"crash\" :script \"sh\" :args [\"-c\" {}] :max_restarts 1}}]}}",
            edn(&format!("printf '%s' '{POISON}' >&2; exit 1"))
        ),
    );
    for args in COMMANDS {
        run(&env, args);
        run(&env, &[args, &["--color", "always"]].concat());
    }
    // Their PM2 is gone, so they are orphans.
    env.bed.kill_daemon();
    for args in COMMANDS {
        run(&env, args);
    }
}
