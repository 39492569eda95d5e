//! Compares PM2's own validation of a value with ours: they agree for every attribute under each of its names, except for the
//! differences in [`DIFFERENCES`], each with a reason.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::Write;
use std::process::{Command, Stdio};

use daemon_model::attribute::{ATTRIBUTES, Attribute, Kind, find};
use daemon_model::{AppSpec, DaemonId, DocumentPath, Severity, SpecContext};
use pm2_testbed::{Testbed, pm2_bin};
use serde_json::{Map, Value, json};

/// One attribute under one of its names, with a value.
struct Case {
    attribute: &'static Attribute,
    name: String,
    value: Value,
}

impl Case {
    fn app(&self) -> Value {
        let mut app = json!({ "script": "./a.js", "name": "x" });
        app[&self.name] = self.value.clone();
        app
    }
}

fn cases() -> Vec<Case> {
    let values = [
        json!(false),
        json!(""),
        json!(0),
        json!(true),
        json!(1),
        json!(-1),
        json!(1.5),
        json!(5000),
        json!("0"),
        json!("7"),
        json!("-7"),
        json!(" 7 "),
        json!("text"),
        json!("two words"),
        json!("false"),
        json!("true"),
        json!("300M"),
        json!("300MB"),
        json!("10s"),
        json!("50"),
        json!("0x10"),
        json!("max"),
        json!("fork"),
        json!("cluster_mode"),
        json!("0 0 * * *"),
        json!("@daily"),
        json!([]),
        json!(["a"]),
        json!([1]),
        json!({}),
        json!({ "a": 1 }),
    ];
    ATTRIBUTES
        .iter()
        .flat_map(|attribute| attribute.names().map(move |name| (attribute, name)))
        .flat_map(|(attribute, name)| {
            values.iter().map(move |value| Case {
                attribute,
                name: name.clone(),
                value: value.clone(),
            })
        })
        .collect()
}

/// PM2's verdict on apps.
fn pm2(apps: &[Value]) -> Vec<Map<String, Value>> {
    let bed = Testbed::home_only();
    let package = pm2_bin().canonicalize_utf8().unwrap();
    let package = package.parent().and_then(|bin| bin.parent()).unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/verdicts/verify.js");
    let mut node = Command::new("node")
        .args([script, package.as_str()])
        .env("PM2_HOME", bed.home())
        .current_dir(bed.dir())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let input = serde_json::to_vec(apps).unwrap();
    node.stdin.take().unwrap().write_all(&input).unwrap();
    let output = node.wait_with_output().unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The app as read here, or the errors.
fn ours(app: &Value) -> Result<AppSpec, String> {
    let context = SpecContext {
        root: "/w".into(),
        home: "/home/me".into(),
        env_name: None,
        deploy: None,
    };
    let id = DaemonId::new("d").unwrap();
    let (spec, findings) = AppSpec::read(&id, app, &DocumentPath::root(), &context);
    spec.ok_or_else(|| {
        let errors = findings
            .iter()
            .filter(|found| found.severity == Severity::Error);
        let errors: Vec<&str> = errors.map(|found| found.message.full()).collect();
        errors.join("; ")
    })
}

/// A difference between both verdicts.
struct Difference<'c> {
    case: &'c Case,
    /// Whether it is PM2 that refuses the value.
    by_pm2: bool,
}

struct Reason {
    why: &'static str,
    holds: fn(&Difference<'_>) -> bool,
}

/// Whether JavaScript takes a value for false.
fn is_falsy(value: &Value) -> bool {
    [json!(false), json!(""), json!(0)].contains(value)
}

/// All allowed differences. The first matching one counts; one that never matches fails the test.
const DIFFERENCES: &[Reason] = &[
    Reason {
        why: "whether an account exists is asked where the app is started",
        holds: |d| d.by_pm2 && d.case.attribute.kind == Kind::Account,
    },
    Reason {
        why: "one command may be given as text, as in other lists",
        holds: |d| d.by_pm2 && d.case.attribute.name == "post_update" && d.case.value.is_string(),
    },
    Reason {
        why: "an empty list is as good as none; PM2 makes NaN of it",
        holds: |d| {
            d.by_pm2 && d.case.attribute.name == "stop_exit_codes" && d.case.value == json!([])
        },
    },
    Reason {
        why: "an app needs a script; PM2 says so where it starts it",
        holds: |d| !d.by_pm2 && d.case.attribute.name == "script" && d.case.value == json!(""),
    },
    Reason {
        why: "PM2 takes a name that is a number for the number of a process",
        holds: |d| !d.by_pm2 && d.case.attribute.name == "name" && d.case.value.is_string(),
    },
    Reason {
        why: "PM2 overwrites it before it looks at it: a value that cannot be meant is a mistake all the same",
        holds: |d| {
            !d.by_pm2
                && matches!(
                    d.case.attribute.name,
                    "merge_logs" | "disable_trace" | "execute_command"
                )
                && (!is_falsy(&d.case.value) || d.case.name == "mergeLogs")
        },
    },
    Reason {
        why: "PM2 makes something else of it: a pattern that its parser refuses, a number of a text that is none",
        holds: |d| {
            let kinds = [
                Kind::Cron,
                Kind::Duration,
                Kind::Env,
                Kind::ExitCodes,
                Kind::Instances,
                Kind::Memory,
                Kind::Number,
                Kind::Account,
                Kind::BoolTextOrList,
            ];
            !d.by_pm2
                && kinds.contains(&d.case.attribute.kind)
                && (!is_falsy(&d.case.value) || d.case.attribute.name == "instances")
        },
    },
];

#[test]
fn values_get_the_verdict_that_pm2_gives_them() {
    let cases = cases();
    let apps: Vec<Value> = cases.iter().map(Case::app).collect();
    let plain = json!({ "script": "./a.js", "name": "x" });
    let verdicts = pm2(&[&apps[..], std::slice::from_ref(&plain)].concat());
    let (theirs_of_plain, ours_of_plain) = (&verdicts[apps.len()], ours(&plain));
    let mut wrong = Vec::new();
    let mut held = vec![0; DIFFERENCES.len()];
    for ((case, app), theirs) in cases.iter().zip(&apps).zip(&verdicts) {
        let ours = ours(app);
        let error = theirs.get("error").and_then(Value::as_str);
        let verdict = format!(
            "{} {}: PM2 {error:?}, here {:?}",
            case.name,
            case.value,
            ours.as_ref().err()
        );
        if error.is_some() != ours.is_err() {
            let by_pm2 = error.is_some();
            let difference = Difference { case, by_pm2 };
            match DIFFERENCES
                .iter()
                .position(|reason| (reason.holds)(&difference))
            {
                Some(at) => held[at] += 1,
                None => wrong.push(verdict),
            }
        } else if is_falsy(&case.value)
            // A 0 that PM2's command line loses is kept here, and so is a `false` that it overwrites.
            && !case.value.is_number()
            && case.attribute.name != "merge_logs"
            && theirs == theirs_of_plain
            && ours != ours_of_plain
        {
            wrong.push(format!("{verdict}: PM2 takes it for no value"));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        cases.len(),
        wrong.join("\n")
    );
    for (reason, held) in DIFFERENCES.iter().zip(held) {
        assert!(held > 0, "never: {}", reason.why);
    }
}

/// `false` and `""` for "not set", as in public config files.
#[test]
fn values_that_mean_unset_are_unset() {
    for (name, value) in [
        ("log_date_format", json!(false)),
        ("cron_restart", json!("")),
        ("cron", json!(false)),
        ("max_memory_restart", json!("")),
        ("restart_delay", json!("")),
        ("watch_options", json!(false)),
        ("interpreter", json!(false)),
        ("env", json!("")),
        ("name", json!(false)),
        ("user", json!("")),
    ] {
        let mut app = json!({ "script": "./x.js", name: value });
        let named = |name: &str| name != "name";
        if named(name) {
            app["name"] = json!("x");
        }
        let plain = ours(&json!({ "script": "./x.js", "name": "x" }));
        assert_eq!(ours(&app), plain, "{app}");
        assert!(find(name).is_some());
    }
    // Where PM2 refuses them, so do we.
    for app in [
        json!({ "script": "./x.js", "autorestart": "false" }),
        json!({ "script": "./x.js", "maxMemoryRestart": false }),
        json!({ "script": "./x.js", "args": false }),
        json!({ "script": "./x.js", "instances": false }),
    ] {
        assert!(ours(&app).is_err(), "{app}");
    }
}
