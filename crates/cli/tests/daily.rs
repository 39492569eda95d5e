//! Everyday use: completions, the version, short flags, commands of other tools.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use common::{Env, sleeper};

fn workspace() -> Env {
    let env = Env::new();
    for id in ["mcp/serena", "mcp/search", "jobs/night/report", "web"] {
        env.define(id, &sleeper(&id.replace('/', "-"), 1000));
    }
    env
}

/// The completions that a shell gets for the last of these words.
fn completed(env: &Env, shell: &str, words: &[&str]) -> Vec<String> {
    let mut command = env.command(&[&["--", "pm2-sync"], words].concat());
    command.env("PM2_SYNC_COMPLETE", shell);
    command.env("_CLAP_COMPLETE_INDEX", words.len().to_string());
    command.env("_CLAP_IFS", "\n");
    let output = command.output().unwrap();
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{output:?}"
    );
    let text = String::from_utf8(output.stdout).unwrap();
    // Fish and zsh get a description, too.
    let words = text
        .lines()
        .map(|line| line.split(['\t', ':']).next().unwrap());
    words.map(ToOwned::to_owned).collect()
}

#[test]
fn shells_complete_commands_flags_and_ids() {
    let env = workspace();
    for shell in ["bash", "zsh", "fish"] {
        let of = |words: &[&str]| completed(&env, shell, words);
        assert_eq!(of(&["sync", "mcp/se"]), ["mcp/search", "mcp/serena"]);
        assert_eq!(
            of(&["logs", "j"]),
            ["jobs/", "jobs/night/", "jobs/night/report"]
        );
        assert_eq!(of(&["status", "web", "nothing"]), [""; 0]);
        assert_eq!(of(&["stat"]), ["status"]);
        assert_eq!(of(&["logs", "--si"]), ["--since"]);
        assert!(of(&["render", "w"]).contains(&"web".to_owned()));
        let script = env.expect(0, &["completions", shell]).out;
        assert!(script.contains("PM2_SYNC_COMPLETE"), "{script}");
    }
    let root = env.root.clone();
    let other = Env::new();
    let words = ["-C", root.as_str(), "plan", "we"];
    assert_eq!(completed(&other, "bash", &words), ["web"]);
    // Without candidates there is no error.
    assert_eq!(
        completed(&other, "bash", &["-C", "/nowhere", "plan", "we"]),
        [""; 0]
    );
    env.expect(64, &["completions", "tcsh"]);
}

/// The scripts work in the shells that this machine has.
#[test]
fn bash_completes_an_id() {
    let env = workspace();
    let script = env.expect(0, &["completions", "bash"]).out;
    let test = format!(
        "{script}\nCOMP_WORDS=(pm2-sync sync mcp/ser); COMP_CWORD=2; COMP_TYPE=9\n\
         _clap_complete_pm2_sync pm2-sync mcp/ser sync\nprintf '%s\\n' \"${{COMPREPLY[@]}}\"\n"
    );
    let mut bash = env.program("bash");
    let output = bash.args(["-c", &test]).output().unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout).trim(),
        "mcp/serena",
        "{output:?}"
    );
}

#[test]
fn short_flags_and_json_are_accepted() {
    let env = workspace();
    let long = env.expect(0, &["check", "--format", "json"]).out;
    assert_eq!(env.expect(0, &["check", "--json"]).out, long);
    env.expect(64, &["check", "--json", "--format", "text"]);
    let done = Env::new().expect(0, &["check", "-C", env.root.as_str()]);
    assert!(done.err.contains("4 definitions"), "{}", done.err);
    for flag in ["-V", "--version"] {
        let version = env.expect(0, &[flag]).out;
        assert!(
            version.starts_with(concat!("pm2-sync ", env!("CARGO_PKG_VERSION"))),
            "{version}"
        );
    }
}

#[test]
fn names_of_other_tools_commands_lead_to_the_real_ones() {
    let env = workspace();
    for (given, real) in [
        ("ls", "status"),
        ("ps", "status"),
        ("apply", "sync"),
        ("statu", "status"),
    ] {
        let done = env.expect(64, &[given]);
        assert!(
            done.err.contains(&format!("'{real}'")),
            "{given}: {}",
            done.err
        );
        let done = env.expect(64, &[given, "--json"]);
        let value: serde_json::Value = serde_json::from_str(&done.out).unwrap();
        assert_eq!(value["exit_status"], 64);
        let hint = value["hint"].as_str().unwrap();
        assert!(
            hint.contains(&format!("`pm2-sync {real}`")),
            "{given}: {hint}"
        );
    }
}
