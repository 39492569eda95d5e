//! The command line without PM2: rendering, checking, usage, in a hermetic environment.

mod common;

use common::{Done, Env, sleeper};
use serde_json::json;

#[test]
fn check_shows_every_finding_with_its_place() {
    let env = Env::new();
    env.define(
        "web/api",
        "{:apps [{:name \"api\"\n         :script \"./api.js\"\n         :instances \"two\"\n         :max_restart 3\n         :env {:name \"x\" :PORT 80}}]}\n",
    );
    env.define("ok", &sleeper("ok", 1));
    let done = env.expect(1, &["check"]);
    insta::assert_snapshot!(env.redact(&done.err), @r#"
    error: apps[0].instances: expected an integer or "max", got "two"
     --> system/daemons/web/api/ecosystem.pm2.edn:3:21
      |
    3 |          :instances "two"
      |                     ^^^^^
    warning: apps[0].max_restart: unknown attribute `max_restart`: PM2 ignores it
     --> system/daemons/web/api/ecosystem.pm2.edn:4:10
      |
    4 |          :max_restart *
      |          ^^^^^^^^^^^^
    help: did you mean `max_restarts`?
    error: apps[0].env.name: an environment variable named `name` would overwrite PM2's attribute of that name
     --> system/daemons/web/api/ecosystem.pm2.edn:5:16
      |
    5 |          :env {:name *** :PORT **}}]}
      |                ^^^^^
    help: rename the variable, or set the attribute itself
    checked 2 definitions: 2 errors, 1 warning
    "#);
    assert_eq!(done.out, "");
    let data = env.json(1, &["check"]);
    assert_eq!(
        (&data["errors"], &data["warnings"], &data["files"]),
        (&json!(2), &json!(1), &json!(2))
    );
    assert_eq!(
        data["diagnostics"][0]["location"],
        json!({ "line": 3, "column": 21 })
    );
}

#[test]
fn an_unreadable_file_hides_no_other_problem() {
    let env = Env::new();
    env.define(
        "a",
        "{:apps [{:name \"all\"\n         :kill_timeout 08\n         :script 7}\n        {:script 1/0 :colour 1\n         :name [1 a@b] :exec_mode \"cluster\" :interpreter \"python\"\n         :execute_command 08 :env {:A 09 :name 1}}\n        {:name \"c\"}]}\n",
    );
    let done = env.expect(1, &["check"]);
    insta::assert_snapshot!(env.redact(&done.err), @r#"
    error: apps[0].name: PM2 takes the name `all` for every app
     --> system/daemons/a/ecosystem.pm2.edn:1:16
      |
    1 | {:apps [{:name "all"
      |                ^^^^^
    help: choose another name
    error: invalid number `08`
     --> system/daemons/a/ecosystem.pm2.edn:2:24
      |
    2 |          :kill_timeout 08
      |                        ^^
    error: apps[0].script: expected a string, got 7
     --> system/daemons/a/ecosystem.pm2.edn:3:18
      |
    3 |          :script 7}
      |                  ^
    error: apps[1].script: this ratio divides by zero
     --> system/daemons/a/ecosystem.pm2.edn:4:18
      |
    4 |         {:script 1/0 :colour 1
      |                  ^^^
    warning: apps[1].colour: unknown attribute `colour`: PM2 ignores it
     --> system/daemons/a/ecosystem.pm2.edn:4:22
      |
    4 |         {:script 1/0 :colour 1
      |                      ^^^^^^^
    error: invalid character `@` in a symbol
     --> system/daemons/a/ecosystem.pm2.edn:5:20
      |
    5 |          :name [1 ***] :exec_mode "*******" :interpreter "******"
      |                    ^
    error: invalid number `08`
     --> system/daemons/a/ecosystem.pm2.edn:6:27
      |
    6 |          :execute_command 08 :********************
      |                           ^^
    error: invalid number `***`
     --> system/daemons/a/ecosystem.pm2.edn:6:39
      |
    6 |          :execute_command ** :********************
      |                                       ^^
    hint: `--show-values` shows hidden values
    error: apps[1].env: an environment variable named `***` would overwrite PM2's attribute of that name
     --> system/daemons/a/ecosystem.pm2.edn:6:42
      |
    6 |          :execute_command ** :********************
      |                                          ^^^^^
    help: rename the variable, or set the attribute itself
    error: apps[2]: has no `script`, so PM2 has nothing to run
     --> system/daemons/a/ecosystem.pm2.edn:7:9
      |
    7 | (not shown: this may be a value of an environment variable)
    checked 1 definition: 9 errors, 1 warning
    "#);
    let file = env.root.join("system/daemons/a/ecosystem.pm2.edn");
    let of_file = env.expect(1, &["check", file.as_str()]);
    let marks = |text: &str| -> Vec<String> {
        let is_finding = |line: &&str| line.starts_with("error:") || line.starts_with("warning:");
        text.lines()
            .filter(is_finding)
            .map(ToOwned::to_owned)
            .collect()
    };
    assert_eq!(marks(&of_file.err), marks(&done.err));

    // A duplicate key hides errors that depend on the second value.
    env.define(
        "a",
        "{:apps [{:name \"a\" :name \"all\" :script \"s\"\n         :watching true}]}\n",
    );
    let done = env.expect(1, &["check"]);
    assert_eq!(
        marks(&done.err),
        [
            "error: duplicate key `:name`",
            "warning: apps[0].watching: unknown attribute `watching`: PM2 ignores it",
        ]
    );
}

#[test]
fn check_strict_counts_warnings() {
    let env = Env::new();
    env.define("a", "{:apps [{:name \"a\" :script \"x\" :colour \"red\"}]}");
    env.expect(0, &["check"]);
    env.expect(1, &["check", "--strict"]);
}

#[test]
fn duplicate_names_are_reported_at_both_positions() {
    let env = Env::new();
    env.define("a", &sleeper("same", 1));
    env.define("b", &sleeper("same", 1));
    let done = env.expect(1, &["check"]);
    insta::assert_snapshot!(env.redact(&done.err), @r#"
    error: apps[0].name: the name `same` is used again by apps[0] of `b`
     --> system/daemons/a/ecosystem.pm2.edn:1:16
      |
    1 | {:apps [{:name "same" :script "**********" :args ["*"] :env {:PLANTED **************************}}]}
      |                ^^^^^^
    help: PM2 knows apps by name: give each its own
    error: apps[0].name: the name `same` is used again by apps[0] of `a`
     --> system/daemons/b/ecosystem.pm2.edn:1:16
      |
    1 | {:apps [{:name "same" :script "**********" :args ["*"] :env {:PLANTED **************************}}]}
      |                ^^^^^^
    help: PM2 knows apps by name: give each its own
    checked 2 definitions: 2 errors, 0 warnings
    "#);
}

#[test]
fn render_writes_once_and_checks() {
    let env = Env::new();
    env.define(
        "web/api",
        "{:apps [{:name \"api\" :script \"./api.js\"}] :deploy {:production {:user \"u\"}}}",
    );
    let stale = env.expect(2, &["render", "--check"]);
    assert_eq!(stale.out, "missing: .generated/pm2/web/api.json\n");
    assert!(
        !env.root.join(".generated").exists(),
        "`--check` wrote something"
    );
    let done = env.expect(0, &["render"]);
    assert_eq!(done.out, "wrote .generated/pm2/web/api.json\n");
    env.expect(0, &["render", "--check"]);
    let text = std::fs::read_to_string(env.artifact("web/api")).unwrap();
    insta::assert_snapshot!(text, @r#"
    {
      "//": "Generated by pm2-sync from system/daemons/web/api/ecosystem.pm2.edn. Do not edit: edit that file, and the next sync rewrites this one.",
      "apps": [
        {
          "name": "api",
          "script": "./api.js"
        }
      ],
      "deploy": {
        "production": {
          "user": "u"
        }
      }
    }
    "#);
    let before = std::fs::metadata(env.artifact("web/api"))
        .unwrap()
        .modified()
        .unwrap();
    env.expect(0, &["render"]);
    assert_eq!(
        std::fs::metadata(env.artifact("web/api"))
            .unwrap()
            .modified()
            .unwrap(),
        before
    );
    let printed = env.expect(0, &["render", "--stdout", "web/api"]);
    assert_eq!(printed.out, text);
}

#[test]
fn render_removes_orphaned_configs_but_not_many_at_once() {
    let env = Env::new();
    for n in 0..8 {
        env.define(&format!("d{n}"), &sleeper(&format!("a{n}"), 1));
    }
    env.expect(0, &["render"]);
    env.undefine("d0");
    env.expect(2, &["render", "--check"]);
    let done = env.expect(0, &["render"]);
    assert_eq!(done.out, "removed .generated/pm2/d0.json\n");
    for n in 1..4 {
        env.undefine(&format!("d{n}"));
    }
    let held = env.expect(3, &["render"]);
    assert!(env.artifact("d1").exists());
    let code = held
        .err
        .split("--confirm ")
        .nth(1)
        .unwrap()
        .split('`')
        .next()
        .unwrap();
    env.expect(0, &["render", "--confirm", code]);
    assert!(!env.artifact("d1").exists());
}

#[test]
fn a_file_outside_of_any_workspace_renders_as_the_reference_renders_it() {
    let env = Env::new();
    let dir = env.bed.dir().join("elsewhere");
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(
        dir.join("x.edn"),
        "{:apps [{:name \"a\" :script \"s\" :instances 10.0}] :profiles {:dev {:apps [{:name \"a\" :watch true}]}}}",
    )
    .unwrap();
    let run = |args: &[&str]| {
        let output = env.command(args).current_dir(&dir).output().unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    let (code, out, _) = run(&["render", "--stdout", "x.edn"]);
    assert_eq!(code, Some(0));
    insta::assert_snapshot!(out, @r#"
    {
      "apps": [
        {
          "name": "a",
          "script": "s",
          "instances": 10
        }
      ]
    }
    "#);
    let (_, out, _) = run(&[
        "render",
        "--stdout",
        "x.edn",
        "--mode",
        "dev",
        "--set",
        "apps.a.env.X=1",
    ]);
    assert!(
        out.contains("\"watch\": true") && out.contains("\"X\": 1"),
        "{out}"
    );
    let (code, out, err) = run(&["render", "--stdout", "x.edn", "--mode", "prod"]);
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(
        err.contains("there is no mode `prod`") && err.contains("`dev`"),
        "{err}"
    );
    let (code, _, err) = run(&["render", "--stdout", "y.edn"]);
    assert_eq!(code, Some(1));
    assert!(err.contains("cannot read `y.edn`"), "{err}");
    let (code, _, err) = run(&["plan"]);
    assert_eq!(code, Some(1));
    assert!(
        err.contains("no workspace here") && err.contains("--workspace DIR"),
        "{err}"
    );
}

#[test]
fn an_environment_that_no_app_has_is_an_error() {
    let env = Env::new();
    env.define(
        "a",
        "{:apps [{:name \"a\" :script \"/bin/sleep\" :args \"9\" :env_staging {:A \"1\"}}]}",
    );
    let done = env.expect(64, &["check", "--env", "stagign"]);
    assert!(
        done.err
            .contains("no app has an `:env_stagign`; known names are `staging`"),
        "{}",
        done.err
    );
    env.expect(0, &["check", "--env", "staging"]);
}

#[test]
fn a_mode_of_the_whole_workspace_needs_to_be_in_one_definition_only() {
    let env = Env::new();
    env.define("a", "{:apps [{:name \"a\" :script \"s\"}] :profiles {:dev {:apps [{:name \"a\" :watch true}]}}}");
    env.define("b", &sleeper("b", 1));
    env.expect(0, &["check", "--mode", "dev"]);
    let done = env.expect(64, &["check", "--mode", "prod"]);
    assert!(
        done.err
            .contains("no definition has the mode `prod`; known names are `dev`"),
        "{}",
        done.err
    );
    env.write("pm2-sync.edn", "{:mode :dev}");
    let shown = env.expect(0, &["render", "--stdout", "a"]);
    assert!(shown.out.contains("\"watch\": true"), "{}", shown.out);
}

#[test]
fn an_invalid_settings_file_changes_nothing_and_says_where() {
    let env = Env::new();
    env.define("a", &sleeper("a", 1));
    env.write("pm2-sync.edn", "{:on-remov :stop}");
    let done = env.expect(1, &["render"]);
    insta::assert_snapshot!(env.redact(&done.err), @"
    error: the settings in `pm2-sync.edn` are not valid; nothing was changed
    error: on-remov: unknown setting `:on-remov`
     --> pm2-sync.edn:1:2
      |
    1 | {:on-remov :stop}
      |  ^^^^^^^^^
    help: did you mean `:on-remove`?
    ");
    assert!(!env.root.join(".generated").exists());
}

#[test]
fn problems_with_paths_of_the_tree_are_reported() {
    let env = Env::new();
    env.write("system/daemons/ecosystem.pm2.edn", "{:apps []}");
    env.define("x.json", &sleeper("x", 1));
    env.define("node_modules/y", &sleeper("y", 1));
    env.define(".hidden/z", &sleeper("z", 1));
    let done = env.expect(1, &["check"]);
    insta::assert_snapshot!(env.redact(&done.err), @"
    error: system/daemons/ecosystem.pm2.edn: a definition must be in a directory of its own below the tree of definitions
    error: system/daemons/x.json/ecosystem.pm2.edn: the directory `x.json` ends in `.json`, which collides with the name of an artifact
    checked 0 definitions: 2 errors, 0 warnings
    ");
}

#[test]
fn a_misnamed_definition_is_a_warning_that_says_what_to_do() {
    let env = Env::new();
    env.define("a", &sleeper("a", 1));
    env.write("system/daemons/b/ecosystem.pm2.end", &sleeper("b", 1));
    env.write("system/daemons/c/ecosystem.config.js", "");
    env.write("system/daemons/c/worker.pm2.edn", "{:apps []}");
    env.write("system/daemons/node_modules/ecosystem.edn", "");
    env.expect(1, &["check", "--strict"]);
    let done = env.expect(0, &["check"]);
    insta::assert_snapshot!(env.redact(&done.err), @"
    warning: system/daemons/b/ecosystem.pm2.end: not read, because definitions are named `ecosystem.pm2.edn`
    hint: rename it to `ecosystem.pm2.edn`, or remove it
    warning: system/daemons/c/ecosystem.config.js: not read, because definitions are named `ecosystem.pm2.edn`
    hint: rewrite it as `ecosystem.pm2.edn`, or keep it outside of the tree of definitions
    warning: system/daemons/c/worker.pm2.edn: not read, because definitions are named `ecosystem.pm2.edn`
    hint: move it into a directory of its own, as `ecosystem.pm2.edn`
    checked 1 definition: 0 errors, 3 warnings
    ");
    let done = env.expect(0, &["check", "--format", "github"]);
    insta::assert_snapshot!(env.redact(&done.out), @"
    ::warning file=system/daemons/b/ecosystem.pm2.end,title=pm2-sync::not read, because definitions are named `ecosystem.pm2.edn`%0Ahelp: rename it to `ecosystem.pm2.edn`, or remove it
    ::warning file=system/daemons/c/ecosystem.config.js,title=pm2-sync::not read, because definitions are named `ecosystem.pm2.edn`%0Ahelp: rewrite it as `ecosystem.pm2.edn`, or keep it outside of the tree of definitions
    ::warning file=system/daemons/c/worker.pm2.edn,title=pm2-sync::not read, because definitions are named `ecosystem.pm2.edn`%0Ahelp: move it into a directory of its own, as `ecosystem.pm2.edn`
    ");
    let data = env.json(0, &["check"]);
    assert_eq!((&data["errors"], &data["warnings"]), (&0.into(), &3.into()));
    assert_eq!(data["diagnostics"][0]["severity"], "warning");
    assert_eq!(
        data["diagnostics"][0]["help"],
        "rename it to `ecosystem.pm2.edn`, or remove it"
    );
    let done = env.expect(2, &["plan"]);
    let said = "system/daemons/b/ecosystem.pm2.end: not read";
    assert!(done.err.contains(said), "{}", done.err);
    let done = env.json(0, &["doctor"]);
    let said = done.to_string();
    assert!(said.contains("not read because of their names"), "{said}");
}

#[test]
fn bad_usage_is_64_and_help_is_0() {
    let env = Env::new();
    env.expect(64, &[]);
    env.expect(64, &["frobnicate"]);
    env.expect(64, &["plan", "--nonsense"]);
    env.expect(64, &["render", "x.edn"]);
    env.expect(64, &["plan", "nobody"]);
    env.expect(0, &["--help"]);
    env.expect(0, &["--version"]);
}

#[test]
fn plan_and_status_fit_into_80_columns() {
    let env = Env::new();
    env.define("devops/ecosystem-watch", &sleeper("ecosystem-watch", 1));
    env.define(
        "mcp/serena",
        "{:apps [{:name \"serena\" :script \"/bin/sleep\" :exec_mode \"fork\" :instances 2}]}",
    );
    env.define("broken", "{:apps [");
    let plan = env.expect(3, &["plan"]);
    insta::assert_snapshot!(plan.out, @"
    ACTION   DAEMON                  APP              WHY
    start    devops/ecosystem-watch  ecosystem-watch  not running
    start 2  mcp/serena              serena           not running
    ");
    let status = env.expect(3, &["status"]);
    insta::assert_snapshot!(status.out, @"
    APP                     RUN  CPU  MEM  UPTIME  RESTARTS  STATE
    broken                  -    -    -    -       -         not valid
    devops/ecosystem-watch  0/1  -    -    -       0         not running
    mcp/serena              0/2  -    -    -       0         not running
    ");
    assert!(
        status
            .out
            .lines()
            .chain(plan.out.lines())
            .all(|line| line.chars().count() <= 80)
    );
}

#[test]
fn a_closed_output_is_not_an_error() {
    let env = Env::new();
    for n in 0..300 {
        env.define(&format!("d{n}"), &sleeper(&format!("a{n}"), 1));
    }
    let mut child = env.command(&["render", "--stdout"]).spawn_piped().unwrap();
    drop(child.stdout.take());
    let said = Done::wait(child).err;
    assert!(!said.contains("panic") && !said.contains("error"), "{said}");
}

#[test]
fn hostile_files_are_answered_at_once() {
    let env = Env::new();
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut byte = || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random.to_le_bytes()[0]
    };
    let many = |text: &str| text.repeat(200_000).into_bytes();
    let files: Vec<(&str, Vec<u8>)> = vec![
        ("square", many("[")),
        ("round", many("(")),
        ("curly", many("{")),
        ("sets", many("#{")),
        ("discards", many("#_")),
        ("metadata", many("^")),
        ("tags", many("#a ")),
        ("closed", [many("["), many("]")].concat()),
        ("half", b"{:apps [{:name \"a\" :script \"b".to_vec()),
        ("not-utf8", b"{:apps [{:name \"a\xff\"}]}".to_vec()),
        ("random", (0..100_000).map(|_| byte()).collect()),
        (
            "one-line",
            format!("{{:apps [{}]}}", "\"a\" ".repeat(750_000)).into_bytes(),
        ),
        (
            "duplicates",
            format!("{{{}}}", ":a 1 ".repeat(100_000)).into_bytes(),
        ),
        ("long-token", vec![b'a'; 3_000_000]),
        ("quotes", many("\"")),
        ("backslashes", many("\\")),
    ];
    for (name, bytes) in files {
        let path = env.bed.dir().join(format!("{name}.edn"));
        std::fs::write(&path, bytes).unwrap();
        // Processor time in seconds: far above what it takes, far below what non-linear growth would take.
        let done = env.run_limited("ulimit -t 10", &["check", path.as_str()]);
        assert_eq!(
            done.code,
            1,
            "{name}: {}",
            &done.err[..done.err.len().min(500)]
        );
        let place = format!("{name}.edn:1:");
        assert!(
            done.err.contains(&place),
            "{name}: {}",
            &done.err[..done.err.len().min(500)]
        );
    }
}

#[test]
fn the_schema_needs_no_workspace() {
    let env = Env::new();
    let output = env.command(&["schema"]).current_dir("/").output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let schema: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        schema["$schema"],
        "https://json-schema.org/draft/2020-12/schema"
    );
    assert_eq!(
        schema["$defs"]["app"]["properties"]["maxRestarts"]["$ref"],
        "#/$defs/number"
    );
}

#[test]
fn check_annotates_for_github() {
    let env = Env::new();
    env.define(
        "web/api",
        "{:apps [{:name \"api\" :script \"s\"\r\n :instances \"50%\" :name \"b\"}]}",
    );
    env.write("system/daemons/ecosystem.pm2.edn", "{}");
    let done = env.expect(1, &["check", "--format", "github"]);
    insta::assert_snapshot!(done.out, @r#"
    ::error file=system/daemons/web/api/ecosystem.pm2.edn,line=2,col=13,endLine=2,endColumn=17,title=pm2-sync::apps[0].instances: expected an integer or "max", got "50%25"
    ::error file=system/daemons/web/api/ecosystem.pm2.edn,line=2,col=19,endLine=2,endColumn=23,title=pm2-sync::duplicate key `:name`%0Afirst defined here (1:10)
    ::error file=system/daemons/ecosystem.pm2.edn,title=pm2-sync::a definition must be in a directory of its own below the tree of definitions
    "#);
    assert_eq!(done.err, "checked 1 definition: 3 errors, 0 warnings\n");
    // The workspace is a folder of the repository.
    let output = env
        .command(&["check", "--format", "github"])
        .env("GITHUB_WORKSPACE", env.root.parent().unwrap())
        .output()
        .unwrap();
    let out = String::from_utf8(output.stdout).unwrap();
    assert!(
        out.contains("file=w/system/daemons/web/api/ecosystem.pm2.edn,"),
        "{out}"
    );
    env.expect(64, &["plan", "--format", "github"]);
}

#[test]
fn places_in_json_are_bytes_and_characters() {
    let env = Env::new();
    let source = "\u{feff}{:apps [{:name \"é漢😀\" :wach 1\r\n\t:script \"s\" :cron\r\"x\"}]}";
    env.define("a", source);
    let data = env.json(1, &["check"]);
    let places: Vec<(&str, serde_json::Value, serde_json::Value)> = data["diagnostics"]
        .as_array()
        .unwrap()
        .iter()
        .map(|found| {
            let at = |key: &str| usize::try_from(found["span"][key].as_u64().unwrap()).unwrap();
            (
                &source[at("start")..at("end")],
                found["location"].clone(),
                found["end_location"].clone(),
            )
        })
        .collect();
    assert_eq!(
        places,
        [
            (
                ":wach",
                json!({ "line": 1, "column": 22 }),
                json!({ "line": 1, "column": 27 })
            ),
            (
                "\"x\"",
                json!({ "line": 3, "column": 1 }),
                json!({ "line": 3, "column": 4 })
            ),
        ]
    );
}

#[test]
fn colour_is_used_on_terminals_or_on_request() {
    let env = Env::new();
    env.define("a", "{:apps [}");
    let plain = env.expect(1, &["check"]);
    assert!(!plain.err.contains('\u{1b}'), "{}", plain.err);
    let asked = env.expect(1, &["check", "--color", "always"]);
    assert!(asked.err.contains("\u{1b}[1;31merror"), "{}", asked.err);
    let never = env.expect(1, &["check", "--color", "never"]);
    assert_eq!(never.err, plain.err);
}

#[test]
fn generated_configs_go_nowhere_where_they_could_do_harm() {
    let env = Env::new();
    env.define("a", &sleeper("a", 1));
    env.write("package.json", "{\"name\": \"x\"}");
    env.write("config/app.json", "{\"mine\": true}");
    for out in [
        ".",
        "..",
        "../out",
        "/tmp",
        "system",
        "system/daemons",
        "system/daemons/x",
    ] {
        env.write("pm2-sync.edn", &format!("{{:out \"{out}\"}}"));
        let done = env.expect(1, &["render"]);
        assert!(done.err.contains("pm2-sync.edn:1:"), "{out}: {}", done.err);
    }
    env.write("pm2-sync.edn", "{:out \"config\"}");
    let done = env.expect(1, &["render"]);
    assert!(
        done.err
            .contains("contains `app.json`, which pm2-sync did not write"),
        "{}",
        done.err
    );
    assert!(env.root.join("package.json").exists() && env.root.join("config/app.json").exists());
    assert!(!env.root.join(".gitignore").exists() && !env.root.join("config/.gitignore").exists());
    env.write("pm2-sync.edn", "{:out \"build/pm2\"}");
    env.expect(0, &["render"]);
    assert!(env.root.join("build/pm2/a.json").exists());
    assert!(
        env.root.join("build/pm2/.gitignore").exists()
            && !env.root.join("build/.gitignore").exists()
    );
}

#[test]
fn a_broken_file_does_not_hide_the_mode_of_another_look() {
    let env = Env::new();
    env.define("a", "{:apps [");
    env.define("b", &sleeper("b", 1));
    let done = env.expect(1, &["check", "--mode", "dev"]);
    assert!(done.err.contains("is never closed"), "{}", done.err);
}

#[test]
fn doctor_says_when_git_would_take_generated_configs() {
    let env = Env::new();
    env.define("a", &sleeper("a", 1000));
    let says = || env.expect(0, &["doctor"]).out;
    assert!(says().contains("git-ignored"));
    env.write(".generated/.gitignore", "# nothing here\n");
    let out = says();
    assert!(out.contains("does not ignore them"), "{out}");
    assert!(!out.contains("git-ignored"), "{out}");
    std::fs::remove_file(env.root.join(".generated/.gitignore")).unwrap();
    assert!(says().contains("git-ignored"));
}
