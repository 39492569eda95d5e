//! `import` and `init`, except for the results for each kind of config.

use std::os::unix::fs::PermissionsExt;

use crate::common::{Env, environ, sleeper};

const CONFIG: &str = "module.exports = { apps: [
    { name: 'web', namespace: 'front', script: '/bin/sleep', args: '1000', env: { PORT: process.env.PORT || 80, API_TOKEN: `it's \"secret\" $HOME` } },
    { name: 'db', namespace: 'back', script: '/bin/sleep', args: '1001', env: { DB_PASSWORD: 'correct-horse' } },
    { name: 'cache', namespace: 'back', script: '/bin/sleep', args: '1002' },
], deploy: { production: { host: 'h' } } };";

#[test]
fn nothing_is_overwritten() {
    let env = Env::new();
    env.write("ecosystem.config.js", CONFIG);
    env.define("web", &sleeper("web", 7));
    env.define("elsewhere", &sleeper("db", 8));
    let done = env.json(3, &["import", "ecosystem.config.js"]);
    let outcomes: Vec<String> = done["definitions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| {
            format!(
                "{} {}",
                it["daemon"].as_str().unwrap(),
                it["outcome"].as_str().unwrap()
            )
        })
        .collect();
    assert_eq!(outcomes, ["web exists", "cache written"]);
    let notes = done["notes"].as_array().unwrap();
    let defined = notes
        .iter()
        .find(|note| note["code"] == "defined-already")
        .unwrap();
    assert_eq!(defined["app"], "db");
    let text = std::fs::read_to_string(env.root.join("system/daemons/web/ecosystem.pm2.edn"));
    assert_eq!(text.unwrap(), sleeper("web", 7));
}

#[test]
fn apps_are_grouped_as_requested() {
    let env = Env::new();
    env.write("ecosystem.config.js", CONFIG);
    env.write(
        "services/mail/ecosystem.config.js",
        "module.exports = [{ name: 'mail', script: '/bin/sleep', args: '1' }];",
    );
    let files = ["ecosystem.config.js", "services/mail/ecosystem.config.js"];
    let ids = |args: &[&str]| -> Vec<String> {
        let args: Vec<&str> = ["import", "--dry-run"]
            .iter()
            .chain(&files)
            .chain(args)
            .copied()
            .collect();
        let done = env.json(0, &args);
        let definitions = done["definitions"].as_array().unwrap();
        let shown = definitions.iter().map(|it| {
            assert_eq!(it["outcome"], "new");
            format!("{} {}", it["daemon"].as_str().unwrap(), it["apps"])
        });
        shown.collect()
    };
    assert_eq!(
        ids(&[]),
        [
            r#"web ["web"]"#,
            r#"db ["db"]"#,
            r#"cache ["cache"]"#,
            r#"mail ["mail"]"#
        ]
    );
    assert_eq!(
        ids(&["--by", "namespace", "--into", "old/pm2"]),
        [
            r#"old/pm2/front ["web"]"#,
            r#"old/pm2/back ["db","cache"]"#,
            r#"old/pm2/default ["mail"]"#
        ]
    );
    assert_eq!(
        ids(&["--by", "file", "--into", "system/daemons"]),
        [
            r#"ecosystem ["web","db","cache"]"#,
            r#"services/mail ["mail"]"#
        ]
    );
    assert!(
        std::fs::read_dir(env.root.join("system/daemons"))
            .unwrap()
            .next()
            .is_none()
    );
    let refused = env.expect(64, &["import", "ecosystem.config.js", "--into", "../out"]);
    assert!(refused.err.contains("`--into`"), "{}", refused.err);
    env.expect(64, &["import"]);
    env.expect(64, &["import", "x.js", "--running"]);
}

#[test]
fn values_of_the_environment_are_named_and_secrets_moved() {
    let env = Env::new();
    env.write("ecosystem.config.js", CONFIG);
    env.write(".gitignore", "node_modules");
    let import = |args: &[&str]| {
        let mut command = env.command(args);
        let done = command.env("PORT", "8123").output().unwrap();
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        (done.status.code(), text(&done.stdout), text(&done.stderr))
    };
    let (code, out, err) = import(&[
        "import",
        "ecosystem.config.js",
        "--extract-secrets",
        "secrets.env",
    ]);
    assert_eq!(code, Some(0), "{err}");
    assert!(
        err.contains("`PORT` of `web` came from your environment"),
        "{err}"
    );
    assert!(!format!("{out}{err}").contains("8123"), "{out}{err}");
    // An app gets every variable of a file that it refers to.
    for (app, text) in [
        ("web", "API_TOKEN=\"it's \\\"secret\\\" \\$HOME\"\n"),
        ("db", "DB_PASSWORD='correct-horse'\n"),
    ] {
        let file = env.root.join(format!("secrets.env.{app}"));
        assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
        assert_eq!(
            std::fs::metadata(&file).unwrap().permissions().mode() & 0o777,
            0o600
        );
        let definition = env
            .root
            .join(format!("system/daemons/{app}/ecosystem.pm2.edn"));
        let definition = std::fs::read_to_string(definition).unwrap();
        assert!(
            definition.contains(&format!(":env_file \"secrets.env.{app}\"")),
            "{definition}"
        );
        assert!(!definition.contains("secret\\\""), "{definition}");
    }
    let ignored = std::fs::read_to_string(env.root.join(".gitignore")).unwrap();
    assert_eq!(ignored, "node_modules\n/secrets.env.web\n/secrets.env.db\n");
    env.expect(0, &["check", "--strict"]);
    env.sync();
    let web = environ(env.pid("web"));
    assert_eq!(web["API_TOKEN"], "it's \"secret\" $HOME");
    assert!(!web.contains_key("DB_PASSWORD"));
    assert_eq!(environ(env.pid("db"))["DB_PASSWORD"], "correct-horse");
    let (code, out, err) = import(&[
        "import",
        "ecosystem.config.js",
        "--extract-secrets",
        "secrets.env",
    ]);
    assert_eq!(code, Some(0), "{out}{err}");
    assert!(
        out.lines().all(|line| line.starts_with("unchanged ")),
        "{out}"
    );
    std::fs::write(env.root.join("secrets.env.db"), "DB_PASSWORD=mine\n").unwrap();
    let (code, _, err) = import(&[
        "import",
        "ecosystem.config.js",
        "--extract-secrets",
        "secrets.env",
    ]);
    assert_eq!(code, Some(1), "{err}");
    assert!(err.contains("`secrets.env.db` already exists"), "{err}");
}

#[test]
fn a_config_that_cannot_be_evaluated_changes_nothing() {
    let env = Env::new();
    env.write("throws.config.js", "\nthrow new Error('no such luck');");
    env.write("syntax.json", "{ apps: [");
    env.write("none.config.js", "module.exports = { port: 80 };");
    env.write("exits.config.js", "process.exit(3);");
    env.write("needs.config.js", "if (!process.env.MUST) throw new Error('MUST is not set');\nmodule.exports = [{ name: 'n', script: '/bin/sleep', env: { NAN: NaN } }];");
    for (file, expected) in [
        ("throws.config.js", "line 2: Error: no such luck"),
        ("syntax.json", "SyntaxError"),
        ("none.config.js", "has no apps"),
        ("exits.config.js", "exports no config"),
        ("missing.config.js", "cannot read `missing.config.js`"),
    ] {
        let done = env.expect(1, &["import", file]);
        assert!(done.err.contains(expected), "{file}: {}", done.err);
        assert_eq!(done.out, "");
    }
    let mut command = env.command(&["import", "needs.config.js"]);
    let done = command.env("MUST", "x").output().unwrap();
    let err = String::from_utf8_lossy(&done.stderr);
    assert!(
        err.contains("needs your environment; without it: line 1: Error: MUST is not set"),
        "{err}"
    );
    assert!(
        err.contains("`env.NAN` of `n` is NaN") || err.contains("`NAN` of `n` is NaN"),
        "{err}"
    );
    let done = env.expect(4, &["import", "--running"]);
    assert!(done.err.contains("PM2 is not running"), "{}", done.err);
    assert!(env.bed.daemon_pid().is_none(), "`import` started PM2");
}

#[test]
fn a_new_workspace_works_at_once() {
    let env = Env::new();
    let root = env.bed.dir().join("new");
    std::fs::create_dir_all(root.join("src")).unwrap();
    std::fs::write(root.join("src/index.js"), "setInterval(() => {}, 100000);").unwrap();
    let run = |code: i32, args: &[&str]| {
        let done = env.command(args).current_dir(&root).output().unwrap();
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        let (out, err) = (text(&done.stdout), text(&done.stderr));
        assert_eq!(done.status.code(), Some(code), "{args:?}\n{out}\n{err}");
        (out, err)
    };
    let (out, err) = run(0, &["init"]);
    assert_eq!(
        out,
        "wrote system/daemons/new/ecosystem.pm2.edn runs src/index.js\n"
    );
    for next in ["pm2-sync plan", "pm2-sync sync", "pm2-sync up"] {
        assert!(err.contains(next), "{err}");
    }
    assert_eq!(
        std::fs::read_to_string(root.join(".gitignore")).unwrap(),
        "/.generated/\n"
    );
    run(0, &["check", "--strict"]);
    run(2, &["plan"]);
    run(0, &["sync"]);
    assert_eq!(environ(env.pid("new"))["name"], "new");
    run(1, &["init"]);
    run(1, &["init", "missing.js"]);
    std::fs::write(root.join("worker.sh"), "sleep 1000").unwrap();
    let (out, _) = run(0, &["init", "worker.sh", "--format", "json"]);
    let made: serde_json::Value = serde_json::from_str(&out).unwrap();
    crate::common::contract::check(&made);
    assert_eq!(made["file"], "system/daemons/worker/ecosystem.pm2.edn");
    let empty = env.bed.dir().join("empty");
    std::fs::create_dir_all(&empty).unwrap();
    let done = env.command(&["init"]).current_dir(&empty).output().unwrap();
    assert_eq!(done.status.code(), Some(1));
    assert!(std::fs::read_dir(&empty).unwrap().next().is_none());
}
