//! How the command line presents findings: how many it shows, and its summary.

mod common;

use common::{Env, sleeper};

#[test]
fn omitted_findings_are_counted_in_the_output() {
    let env = Env::new();
    let keys = |count: usize| -> String { (0..count).map(|n| format!(" :colour{n} 1")).collect() };
    let define = |count, more: &str| {
        let app = format!("{{:name \"a\" :script \"s\"{}{more}}}", keys(count));
        env.define("a", &format!("{{:apps [{app}]}}"));
    };
    define(100, "");
    let data = env.json(0, &["check"]);
    assert_eq!(
        (&data["errors"], &data["warnings"]),
        (&0.into(), &100.into())
    );

    define(101, "");
    let data = env.json(0, &["check"]);
    assert_eq!(
        (&data["errors"], &data["warnings"]),
        (&0.into(), &101.into())
    );
    let last = &data["diagnostics"][100];
    assert_eq!(last["message"], "1 more finding is not shown");
    assert_eq!(last["severity"], "warning");

    // Errors precede warnings; each group is sorted by position.
    define(5000, " :instances \"two\"");
    let done = env.expect(1, &["check"]);
    assert!(done.err.contains("expected an integer"), "{}", done.err);
    let lines: Vec<&str> = done.err.lines().collect();
    insta::assert_snapshot!(lines[lines.len() - 3..].join("\n"), @"
    warning: 4901 more findings are not shown
     --> system/daemons/a/ecosystem.pm2.edn
    checked 1 definition: 1 error, 5000 warnings
    ");
}

#[test]
fn errors_and_warnings_have_the_same_limit() {
    let env = Env::new();
    let define = |broken: usize, unknown: usize| {
        let broken: String = (0..broken).map(|n| format!(" :x{n} 08")).collect();
        let unknown: String = (0..unknown).map(|n| format!(" :colour{n} 1")).collect();
        env.define(
            "a",
            &format!("{{:apps [{{:name \"a\" :script \"s\"{unknown}}}] :deploy {{{broken}}}}}"),
        );
        let data = env.json(1, &["check"]);
        let all = data["diagnostics"].as_array().unwrap().clone();
        let last = all.last().unwrap()["message"].as_str().unwrap().to_owned();
        let more = all
            .iter()
            .filter(|found| found["message"].as_str().unwrap().contains(" more finding"));
        (all.len(), more.count(), last)
    };
    let more = |message: &str| (101, 1, message.to_owned());
    assert_eq!(define(40, 60).1, 0);
    assert_eq!(define(40, 61), more("1 more finding is not shown"));
    assert_eq!(define(100, 1), more("1 more finding is not shown"));
    assert_eq!(define(105, 1), more("6 more findings are not shown"));
    assert_eq!(define(105, 0), more("5 more findings are not shown"));
}

#[test]
fn strict_says_why_warnings_fail() {
    let env = Env::new();
    env.define("a", "{:apps [{:name \"a\" :script \"x\" :colour \"red\"}]}");
    let plain = env.expect(0, &["check"]);
    assert!(!plain.err.contains("--strict"), "{}", plain.err);
    let strict = env.expect(1, &["check", "--strict"]);
    assert!(
        strict
            .err
            .ends_with("0 errors, 1 warning\nwarnings count as errors because of `--strict`\n"),
        "{}",
        strict.err
    );
}

#[test]
fn a_broken_definition_is_not_among_those_that_are_up_to_date() {
    let env = Env::new();
    env.define("a", &sleeper("a", 1));
    env.define("b", "{:apps [");
    env.expect(3, &["render"]);
    let done = env.expect(3, &["render", "--check"]);
    assert!(
        done.err
            .ends_with("the other generated configs are up to date\n"),
        "{}",
        done.err
    );
    env.define("b", &sleeper("b", 1));
    env.expect(0, &["render"]);
    let done = env.expect(0, &["render", "--check"]);
    assert_eq!(done.err, "all generated configs are up to date\n");
}

#[test]
fn a_name_used_twice_in_one_file_is_shown_in_both_places() {
    let env = Env::new();
    env.write(
        "x.edn",
        "{:apps [{:name \"a\" :script \"x\"}\n\n\n        {:name \"a\" :script \"y\"}\n        {:name \"default\" :script \"z\"}]}\n",
    );
    let done = env.expect(1, &["check", "x.edn"]);
    insta::assert_snapshot!(done.err, @r#"
    error: apps[0].name: the name `a` is used again by apps[1]
     --> x.edn:1:16
      |
    1 | {:apps [{:name "a" :script "*"}
      |                ^^^
      ...
    4 |         {:name "a" :script "*"}
      |                --- used here too
    help: PM2 knows apps by name: give each its own
    error: apps[1].name: the name `a` is used again by apps[0]
     --> x.edn:4:16
      |
    1 | {:apps [{:name "a" :script "*"}
      |                --- used here too
      ...
    4 |         {:name "a" :script "*"}
      |                ^^^
    help: PM2 knows apps by name: give each its own
    error: apps[2].name: `default` is also a namespace (of `a`): PM2 takes it for the whole namespace
     --> x.edn:5:16
      |
    5 |         {:name "default" :script "*"}]}
      |                ^^^^^^^^^
    help: choose another name or namespace
    checked 1 definition: 3 errors, 0 warnings
    "#);
}

#[test]
fn a_file_that_cannot_be_read_hides_no_finding_about_the_others() {
    let env = Env::new();
    env.write(
        "y.edn",
        "{:apps [{:name \"a\" :script \"x\" :instances \"two\"}]}",
    );
    let done = env.expect(1, &["check", "x.edn", "y.edn"]);
    insta::assert_snapshot!(done.err, @r#"
    error: cannot be read: No such file or directory (os error 2)
     --> x.edn
    error: apps[0].instances: expected an integer or "max", got "two"
     --> y.edn:1:43
      |
    1 | {:apps [{:name "*" :script "*" :instances "two"}]}
      |                                           ^^^^^
    checked 2 definitions: 2 errors, 0 warnings
    "#);
    let data = env.json(1, &["check", "x.edn", "y.edn"]);
    assert_eq!(data["diagnostics"][0]["file"], "x.edn");
    assert_eq!(data["errors"], 2);
}

#[test]
fn values_that_pm2_would_misread_render_but_are_not_written() {
    let env = Env::new();
    let misread = "{:apps [{:name \"all\" :script \"x\" :instances \"two\"}]}\n";
    env.define("a", misread);
    env.write("x.edn", misread);
    env.expect(1, &["check"]);
    let done = env.expect(3, &["render"]);
    assert!(
        !env.root.join(".generated/pm2/a.json").exists(),
        "{}",
        done.out
    );
    env.expect(1, &["render", "--stdout", "a"]);
    let done = env.expect(0, &["render", "--stdout", "x.edn"]);
    assert!(done.out.contains("\"instances\": \"two\""), "{}", done.out);
    insta::assert_snapshot!(done.err, @r#"
    warning: apps[0].name: PM2 takes the name `all` for every app
     --> x.edn:1:16
      |
    1 | {:apps [{:name "all" :script "*" :instances "***"}]}
      |                ^^^^^
    help: choose another name
    warning: apps[0].instances: expected an integer or "max", got "two"
     --> x.edn:1:45
      |
    1 | {:apps [{:name "***" :script "*" :instances "two"}]}
      |                                             ^^^^^
    "#);
    // A definition with silent data loss does not render at all.
    env.write(
        "x.edn",
        "{:apps [{:name \"a\" :x/name \"b\" :script \"x\"}]}\n",
    );
    let done = env.expect(1, &["render", "--stdout", "x.edn"]);
    assert_eq!(done.out, "");
    assert!(done.err.starts_with("error: "), "{}", done.err);
}

#[test]
fn a_map_without_apps_renders_as_the_reference_renders_it_and_is_refused_elsewhere() {
    let env = Env::new();
    let source = "{:app [{:name \"a\" :script \"x\"}]}\n";
    env.define("a", source);
    env.write("x.edn", source);
    let done = env.expect(0, &["render", "--stdout", "x.edn"]);
    assert!(done.out.ends_with("\"apps\": []\n}\n"), "{}", done.out);
    insta::assert_snapshot!(done.err, @"
    warning: has no `:apps`, but `:app`
     --> x.edn:1:2
      |
    1 | {:app [{:name *** :script ***}]}
      |  ^^^^
    help: write `:apps`
    ");
    env.expect(1, &["check"]);
    env.expect(3, &["render"]);
    env.expect(1, &["render", "--stdout", "a"]);
    env.expect(3, &["status"]);
}

#[test]
fn a_finding_as_json_has_all_that_is_drawn() {
    let env = Env::new();
    env.write("x.edn", "{:apps [{:name \"é\"\r\n\t:name \"a\"}]}\r\n");
    let data = env.json(1, &["check", "x.edn"]);
    insta::assert_snapshot!(format!("{:#}", data["diagnostics"]), @r#"
    [
      {
        "severity": "error",
        "level": "render",
        "path": "",
        "message": "duplicate key `:name`",
        "span": {
          "start": 22,
          "end": 27
        },
        "location": {
          "line": 2,
          "column": 2
        },
        "end_location": {
          "line": 2,
          "column": 7
        },
        "labels": [
          {
            "span": {
              "start": 9,
              "end": 14
            },
            "location": {
              "line": 1,
              "column": 10
            },
            "message": "first defined here"
          }
        ],
        "help": null,
        "file": "x.edn",
        "daemon": null
      }
    ]
    "#);
}
