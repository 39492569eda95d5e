//! External values on real PM2: env files, `${NAME}`, and variables that `:pass-env` names.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::Instant;

use pm2_testbed::wait_for;

use crate::common::{Env, command_line, environ, sleeper};

/// An app that sleeps and has an env file.
fn with_env_file(name: &str, file: &str) -> String {
    format!(
        "{{:apps [{{:name \"{name}\" :script \"/bin/sleep\" :args [\"1000\"] :env_file \"{file}\" :env {{:OWN \"own\"}}}}]}}"
    )
}

fn private(env: &Env, path: &str, text: &str) {
    env.write_private(path, text);
}

/// A variable of the only process of a name.
fn variable(env: &Env, name: &str, variable: &str) -> Option<String> {
    environ(env.pid(name)).get(variable).cloned()
}

#[test]
fn a_rotated_value_restarts_its_app_alone_and_is_shown_nowhere() {
    let env = Env::new();
    env.define("api", &with_env_file("api", "conf/app.env"));
    env.define("web", &with_env_file("web", "conf/other.env"));
    env.define("plain", &sleeper("plain", 1000));
    private(
        &env,
        "conf/app.env",
        "# one\nDB_URL=postgres://one-planted\nOWN=file\n",
    );
    private(&env, "conf/other.env", "DB_URL=other-planted\n");
    env.sync();
    assert_eq!(
        variable(&env, "api", "DB_URL").unwrap(),
        "postgres://one-planted"
    );
    assert_eq!(variable(&env, "api", "OWN").unwrap(), "own");
    let before = ["api", "web", "plain"].map(|name| env.pid(name));

    private(
        &env,
        "conf/app.env",
        "DB_URL=postgres://two-planted\nOWN=file\nNEW=1\n",
    );
    let plan = env.expect(2, &["plan", "-v"]);
    assert!(
        plan.out.contains("env.DB_URL changed (conf/app.env)"),
        "{}",
        plan.out
    );
    assert!(
        plan.out.contains("env.NEW added (conf/app.env)"),
        "{}",
        plan.out
    );
    assert!(!plan.out.contains("outside pm2-sync"), "{}", plan.out);
    assert!(!plan.out.contains("planted"), "{}", plan.out);
    let shown = env.expect(2, &["plan", "-v", "--show-values"]);
    assert!(shown.out.contains("two-planted"), "{}", shown.out);
    env.sync();
    let after = ["api", "web", "plain"].map(|name| env.pid(name));
    assert_ne!(before[0], after[0]);
    assert_eq!(before[1..], after[1..]);
    assert_eq!(
        variable(&env, "api", "DB_URL").unwrap(),
        "postgres://two-planted"
    );

    // The same values in another notation are no change.
    private(
        &env,
        "conf/app.env",
        "NEW='1'\nexport DB_URL=\"postgres://two-planted\" # two\nOWN=x\n",
    );
    env.sync();
    assert_eq!(env.pid("api"), after[0]);

    // A value that was changed in PM2 is drift.
    let changed = env
        .bed
        .command(&["restart", "api", "--update-env"])
        .env("DB_URL", "by hand")
        .status();
    assert!(changed.unwrap().success());
    let plan = env.expect(2, &["plan", "-v"]);
    assert!(
        plan.out.contains("changed outside pm2-sync"),
        "{}",
        plan.out
    );
    assert!(plan.out.contains("env.DB_URL"), "{}", plan.out);
    env.expect(0, &["sync"]);
    assert_eq!(
        variable(&env, "api", "DB_URL").unwrap(),
        "postgres://two-planted"
    );

    // The key of the digests is lost: that does not restart anything.
    let pid = env.pid("api");
    for entry in fs::read_dir(env.bed.home().join("pm2-sync")).unwrap() {
        let key = entry.unwrap().path().join("values.key");
        assert_eq!(
            fs::metadata(&key).unwrap().permissions().mode() & 0o777,
            0o600
        );
        fs::remove_file(key).unwrap();
    }
    env.sync();
    assert_eq!(env.pid("api"), pid);
}

#[test]
fn a_file_that_cannot_be_used_breaks_the_definitions_that_name_it_alone() {
    let env = Env::new();
    env.define("api", &with_env_file("api", "conf/app.env"));
    env.define("plain", &sleeper("plain", 1000));
    private(&env, "conf/app.env", "A=1\n");
    env.sync();
    let pid = env.pid("api");

    private(&env, "conf/app.env", "A=2\nPW='hunter2\n");
    let done = env.expect(3, &["sync"]);
    assert!(
        done.err
            .contains("`conf/app.env:2`: the closing quote is missing"),
        "{}",
        done.err
    );
    assert!(
        done.err
            .contains("error: conf/app.env:2: the closing quote is missing"),
        "{}",
        done.err
    );
    assert!(
        done.err.contains("system/daemons/api/ecosystem.pm2.edn:1:"),
        "{}",
        done.err
    );
    assert!(!done.err.contains("hunter2"), "{}", done.err);
    assert_eq!(env.pid("api"), pid);
    let annotated = env.run(&["check", "--format", "github"]);
    assert!(
        annotated.out.contains("file=conf/app.env,line=2,"),
        "{}",
        annotated.out
    );

    fs::remove_file(env.root.join("conf/app.env")).unwrap();
    let done = env.expect(1, &["check"]);
    assert!(
        done.err.contains("`conf/app.env` does not exist"),
        "{}",
        done.err
    );
    env.expect(0, &["check", "--no-env-files"]);
    env.define("plain", &sleeper("plain", 2000));
    env.expect(3, &["sync"]);
    env.wait_for_args("plain", &["2000"]);
    assert_eq!(env.pid("api"), pid);

    // A file that others may write to is refused; one that everyone may read is used, with a warning.
    env.write("conf/app.env", "A=3\n");
    let mode = |mode| {
        let path = env.root.join("conf/app.env");
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    for writable in [0o620, 0o602] {
        mode(writable);
        let done = env.expect(3, &["sync"]);
        assert!(done.err.contains("others can write to it"), "{}", done.err);
        assert_eq!(env.pid("api"), pid);
    }
    mode(0o644);
    let done = env.expect(0, &["check"]);
    assert!(
        done.err
            .contains("warning: conf/app.env: everyone can read it (mode 0644)"),
        "{}",
        done.err
    );
    mode(0o640);
    env.sync();
    assert_eq!(variable(&env, "api", "A").unwrap(), "3");
}

#[test]
fn references_are_replaced_and_generated_configs_keep_them() {
    let env = Env::new();
    env.write(
        "pm2-sync.edn",
        "{:interpolate true :pass-env [\"FROM_CALLER\"]}",
    );
    private(&env, ".env", "SECONDS=1234\nHOST=planted-host\n");
    env.define(
        "api",
        "{:apps [{:name \"api\" :script \"/bin/${TOOL:-sleep}\" :args [\"${SECONDS}\"] :env_file \".env\"
          :env {:URL \"http://${HOST}/$$x\" :C \"${FROM_CALLER}\"}}]}",
    );
    env.define(
        "off",
        "{:apps [{:name \"off\" :script \"/bin/sleep\" :args [\"1000\"] :env {:URL \"${HOST}\"} :pm2-sync {:interpolate false}}]}",
    );
    let done = env.expect(3, &["sync"]);
    assert!(
        done.err
            .contains("`FROM_CALLER` has no value: `:pass-env` names it, but it is not set here"),
        "{}",
        done.err
    );
    let sync = env
        .command(&["sync"])
        .env("FROM_CALLER", "caller")
        .status()
        .unwrap();
    assert!(sync.success());
    assert_eq!(command_line(env.pid("api")), ["/bin/sleep", "1234"]);
    assert_eq!(
        variable(&env, "api", "URL").unwrap(),
        "http://planted-host/$x"
    );
    assert_eq!(variable(&env, "api", "C").unwrap(), "caller");
    assert_eq!(variable(&env, "off", "URL").unwrap(), "${HOST}");
    let artifact = fs::read_to_string(env.artifact("api")).unwrap();
    assert!(
        artifact.contains("${SECONDS}") && !artifact.contains("1234"),
        "{artifact}"
    );
    let again = env
        .command(&["plan"])
        .env("FROM_CALLER", "caller")
        .output()
        .unwrap();
    assert!(again.status.success(), "{again:?}");

    private(&env, ".env", "SECONDS=4321\nHOST=planted-host\n");
    let plan = env
        .command(&["plan", "-v"])
        .env("FROM_CALLER", "caller")
        .output()
        .unwrap();
    let plan = String::from_utf8(plan.stdout).unwrap();
    assert!(
        plan.contains("args changed (.env)") && !plan.contains("1234"),
        "{plan}"
    );
    // An earlier value may still be secret after its reference is gone.
    env.define(
        "api",
        "{:apps [{:name \"api\" :script \"/bin/sleep\" :args [\"77\"]}]}",
    );
    let plan = env.expect(2, &["plan", "-v"]);
    assert!(
        plan.out.contains("args") && !plan.out.contains("1234"),
        "{}",
        plan.out
    );
}

#[test]
fn a_variable_that_the_caller_lacks_keeps_its_recorded_value() {
    let env = Env::new();
    env.write("pm2-sync.edn", "{:pass-env [\"TOKEN\" \"NVM_*\"]}");
    env.define("api", &sleeper("api", 1000));
    let sync = env
        .command(&["sync"])
        .envs([("TOKEN", "planted-token"), ("NVM_DIR", "/nvm")])
        .output()
        .unwrap();
    assert!(sync.status.success());
    assert_eq!(variable(&env, "api", "TOKEN").unwrap(), "planted-token");

    env.define("api", &sleeper("api", 2000));
    let done = env.expect(0, &["sync"]);
    env.wait_for_args("api", &["2000"]);
    assert_eq!(variable(&env, "api", "TOKEN").unwrap(), "planted-token");
    assert_eq!(variable(&env, "api", "NVM_DIR").unwrap(), "/nvm");
    for name in ["TOKEN", "NVM_DIR"] {
        let line = format!(
            "`{name}` from `:pass-env` is not set here: api keeps the value that PM2 has recorded"
        );
        assert_eq!(done.err.matches(&line).count(), 1, "{}", done.err);
    }
    assert!(!done.err.contains("planted-token"));

    // New processes that replace old ones or are added have it, too.
    env.define("api", "{:apps [{:name \"api\" :script \"/bin/sleep\" :args [\"2000\"] :instances 2 :exec_mode \"fork\" :pm2-sync {:on-change :replace}}]}");
    env.expect(0, &["sync"]);
    let both = env.named("api");
    assert_eq!(both.len(), 2);
    for process in both {
        let environ = environ(process.pid.unwrap());
        assert_eq!(
            environ.get("TOKEN").map(String::as_str),
            Some("planted-token")
        );
    }

    // A new app has no recorded value to keep.
    env.define("new", &sleeper("new", 1000));
    let plan = env.expect(2, &["plan"]);
    assert!(
        plan.err
            .contains("`TOKEN` from `:pass-env` is not set here: new starts without it"),
        "{}",
        plan.err
    );
    assert!(!plan.err.contains("NVM"), "{}", plan.err);
    let data = env.json(0, &["sync"]);
    assert_eq!(data["steps"][0]["lacks"], serde_json::json!(["TOKEN"]));
    // A variable that `:pass-env` no longer names is removed.
    env.write("pm2-sync.edn", "{}");
    env.expect(0, &["sync"]);
    for process in env.named("api") {
        assert_eq!(environ(process.pid.unwrap()).get("TOKEN"), None);
    }
}

#[test]
fn watch_applies_an_edit_of_an_env_file_wherever_it_lies() {
    let env = Env::new();
    let outside = env.bed.dir().join("secrets");
    let mount = |version: &str, text: &str| {
        let dir = outside.join(version);
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("app.env"), text).unwrap();
        fs::set_permissions(dir.join("app.env"), fs::Permissions::from_mode(0o600)).unwrap();
        let _ = fs::remove_file(outside.join("..tmp"));
        symlink(version, outside.join("..tmp")).unwrap();
        fs::rename(outside.join("..tmp"), outside.join("..data")).unwrap();
    };
    mount("..1", "V=1\n");
    symlink("..data/app.env", outside.join("app.env")).unwrap();
    env.define(
        "linked",
        &with_env_file("linked", outside.join("app.env").as_str()),
    );
    env.define("late", &with_env_file("late", "later/app.env"));
    env.define(
        "inside",
        &with_env_file("inside", "system/daemons/inside/.env"),
    );
    private(&env, "system/daemons/inside/.env", "V=1\n");
    env.define("plain", &sleeper("plain", 1000));
    let watch = env.watch(&[]);
    watch.wait_for_line("`later/app.env` does not exist");
    let plain = env.pid("plain");
    let arrives = |name: &str, value: &str| {
        let began = Instant::now();
        wait_for(|| {
            let list = env.named(name);
            let pid = list.first().and_then(|process| process.pid);
            pid.is_some_and(|pid| environ(pid).get("V").map(String::as_str) == Some(value))
        });
        began.elapsed()
    };
    arrives("linked", "1");
    arrives("inside", "1");

    private(&env, "later/app.env", "V=1\n");
    arrives("late", "1");
    mount("..2", "V=2\n");
    let took = arrives("linked", "2");
    private(&env, "system/daemons/inside/.env", "V=2\n");
    arrives("inside", "2");
    eprintln!("from the rotation to the process: {took:?}");

    // Its directory disappears and returns: the process stays.
    let pid = env.pid("late");
    fs::remove_dir_all(env.root.join("later")).unwrap();
    wait_for(|| {
        watch
            .lines()
            .iter()
            .filter(|line| line.contains("does not exist"))
            .count()
            >= 2
    });
    assert_eq!(env.pid("late"), pid);
    private(&env, "later/app.env", "V=2\n");
    arrives("late", "2");
    assert_eq!(env.pid("plain"), plain);
    assert_eq!(watch.stop(), 0);
    env.sync();
}

#[test]
fn up_restarts_the_watcher_when_it_has_other_values() {
    let env = Env::new();
    env.write("pm2-sync.edn", "{:pass-env [\"TOKEN\"]}");
    env.define("api", &sleeper("api", 1000));
    let up = |token: Option<&str>| {
        let mut command = env.command(&["up"]);
        command.envs(token.map(|token| ("TOKEN", token)));
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    up(Some("planted-one"));
    assert!(up(Some("planted-one")).contains("already running"));
    let said = up(Some("planted-two"));
    assert!(
        said.contains("restarted") && said.contains("its values of TOKEN differed"),
        "{said}"
    );
    assert!(!said.contains("planted"), "{said}");
    // A caller without the variable removes nothing.
    assert!(up(None).contains("already running"));
    env.define("api", &sleeper("api", 2000));
    env.wait_for_args("api", &["2000"]);
    env.expect(0, &["down"]);
}

/// Every file below a directory.
fn files(dir: &Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() && !path.is_symlink() {
            files(&path, found);
        } else if path.is_file() {
            found.push(path);
        }
    }
}

/// Each secret is in one place; nothing that pm2-sync prints or writes contains it, with any arguments.
#[test]
fn no_secret_is_printed_or_written() {
    let env = Env::new();
    env.write("pm2-sync.edn", "{:interpolate true :pass-env [\"PASSED\"]}");
    private(
        &env,
        ".env",
        "A=planted-a\nB=\"planted-b $A\"\nARG=planted-arg\nDIR=planted-dir\nBIN=planted-bin\n",
    );
    fs::create_dir_all(env.root.join("planted-dir")).unwrap();
    let app = |name: &str, rest: &str| {
        format!(
            "{{:apps [{{:name \"{name}\" :env_file [\".env\" {{:path \"x.env\" :required false}}] :env {{:U \"http://${{A}}:${{PASSED:-none}}\"}} {rest}}}]}}"
        )
    };
    env.define(
        "good",
        &app(
            "good",
            ":script \"/bin/sleep\" :args [\"1000\"] :cwd \"${DIR}\"",
        ),
    );
    env.define(
        "args",
        &app(
            "args",
            ":script \"sh\" :interpreter \"none\" :args [\"-c\" \"sleep 1000 # ${ARG}\"]",
        ),
    );
    env.define(
        "crash",
        &app("crash", ":script \"/bin/false\" :args [\"${ARG}\"]"),
    );
    env.define("gone", &app("gone", ":script \"./${BIN}\""));
    env.define(
        "nowhere",
        &app(
            "nowhere",
            ":script \"/bin/sleep\" :args [\"9\"] :cwd \"/none/${DIR}\"",
        ),
    );
    env.define(
        "wrong",
        &app(
            "wrong",
            ":script \"/bin/sleep\" :args [\"${A+x}\" \"${NONE}\"]",
        ),
    );
    env.define("broken", &with_env_file("broken", "broken.env"));
    private(
        &env,
        "broken.env",
        "OK=1\nPW=\"planted-broken\nplanted-broken 2\n",
    );
    let mut said: Vec<(String, String)> = Vec::new();
    let mut run = |args: &[&str], passed: &str| {
        let output = env.command(args).env("PASSED", passed).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        said.push((args.join(" "), String::from_utf8_lossy(&text).into_owned()));
    };
    let commands: &[&[&str]] = &[
        &["check"],
        &["check", "-v", "--format", "json"],
        &["check", "--format", "github"],
        &["check", "--no-env-files"],
        &["render"],
        &["render", "--check"],
        &["plan"],
        &["plan", "-v"],
        &["plan", "--format", "json"],
        &["sync", "-v"],
        &["sync", "--format", "json"],
        &["status", "-v"],
        &["status", "--format", "json"],
        &["doctor"],
        &["doctor", "--format", "json"],
    ];
    for round in 0..3 {
        for command in commands {
            run(command, &format!("planted-passed-{round}"));
        }
        // Every value changes, and so do the names that refer to it.
        private(
            &env,
            ".env",
            &format!(
                "A=planted-a{round}\nB=planted-b\nARG=planted-arg{round}\nDIR=planted-dir\nBIN=planted-bin{round}\n"
            ),
        );
        if round == 1 {
            env.define(
                "args",
                &app(
                    "args",
                    ":script \"sh\" :interpreter \"none\" :args [\"-c\" \"sleep 999\"]",
                ),
            );
            private(&env, "x.env", "A=planted-x\nPW=pa$planted\n");
        }
    }
    fs::remove_file(env.root.join("x.env")).unwrap();
    for format in ["text", "json"] {
        let watch = env.watch(&["-v", "--format", format]);
        private(
            &env,
            ".env",
            &format!(
                "A=planted-w-{format}\nB=1\nARG=planted-w-{format}\nDIR=planted-dir\nBIN=planted-w\n"
            ),
        );
        let expected = format!("http://planted-w-{format}:none");
        wait_for(|| {
            let list = env.named("good");
            let pid = list.first().and_then(|process| process.pid);
            pid.is_some_and(|pid| environ(pid).get("U") == Some(&expected))
        });
        private(&env, "broken.env", &format!("PW='planted-{format}\n"));
        let count = |watch: &crate::common::Watch| {
            watch
                .lines()
                .iter()
                .filter(|line| line.contains("broken.env"))
                .count()
        };
        wait_for(|| count(&watch) > 0);
        said.push((format!("watch {format}"), watch.lines().join("\n")));
        assert_eq!(watch.stop(), 0);
    }
    for (command, text) in &said {
        assert!(
            !text.contains("planted"),
            "`{command}` shows a secret:\n{text}"
        );
    }
    // They are shown on request.
    let shown = env.run(&["plan", "-v", "--show-values"]);
    assert!(shown.out.contains("planted"), "{shown:?}");

    let mut written = Vec::new();
    for dir in [env.root.join(".generated"), env.bed.home().join("pm2-sync")] {
        files(dir.as_std_path(), &mut written);
    }
    written.extend(
        ["pm2-sync.lock", "pm2.log"].map(|name| env.bed.home().join(name).into_std_path_buf()),
    );
    assert!(written.len() > 8, "{written:?}");
    for path in written {
        let text = String::from_utf8_lossy(&fs::read(&path).unwrap_or_default()).into_owned();
        assert!(!text.contains("planted"), "{}:\n{text}", path.display());
    }
}
