//! External values: which of them an app gets, the messages for missing ones, and what a digest reveals.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;

use daemon_model::{
    Action, AppSpec, DaemonId, Desired, DesiredDaemon, DocumentPath, EnvFile, EnvFileProblem,
    EnvFileState, Field, Observed, ObservedProcess, PmId, Severity, SpecContext, ValueKey, Values,
    diff, env_text, plan,
};
use serde_json::{Value, json};

/// The state of a file with this content.
fn content(text: &str) -> EnvFileState {
    match EnvFile::parse(text.as_bytes()) {
        Ok(file) => EnvFileState::Present(file),
        Err(problems) => EnvFileState::Unusable(problems),
    }
}

fn values(files: &[(&str, EnvFileState)]) -> Values {
    let passed = [("TOKEN", "from the caller"), ("EMPTY", "")];
    let passed = passed.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let missing = ["LACKING".to_owned()].into();
    let mut values = Values::new(passed.into(), missing).with_key(Some(ValueKey::new([7; 32])));
    for (path, state) in files {
        values.insert(format!("/w/{path}").into(), Arc::new(state.clone()));
    }
    values
}

/// The app, and its findings as lines.
fn read(app: Value, values: &Values, env_name: Option<&str>) -> (Option<AppSpec>, Vec<String>) {
    let mut whole = json!({ "name": "a", "script": "a.js" });
    for (key, value) in app.as_object().unwrap() {
        whole[key] = value.clone();
    }
    let context = SpecContext {
        root: "/w".into(),
        home: "/h".into(),
        env_name,
        deploy: None,
    };
    let id = DaemonId::new("d").unwrap();
    let (spec, findings) = AppSpec::resolve(&id, &whole, &DocumentPath::root(), &context, values);
    let lines = findings.iter().map(|found| {
        let word = match found.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let help = found
            .help
            .as_ref()
            .map(|help| format!(" ({})", help.full()));
        let help = help.unwrap_or_default();
        format!("{word}: {}: {}{help}", found.path, found.message.full())
    });
    (spec, lines.collect())
}

fn spec(app: Value, values: &Values) -> AppSpec {
    match read(app, values, None) {
        (Some(spec), findings) if findings.is_empty() => spec,
        (_, findings) => panic!("{findings:#?}"),
    }
}

fn env(spec: &AppSpec) -> BTreeMap<&str, String> {
    let env = spec.env().iter();
    env.map(|(name, value)| (name.as_str(), env_text(value)))
        .collect()
}

#[test]
fn the_order_of_precedence_is_files_then_env_then_port_then_the_chosen_block() {
    let values = values(&[
        (
            ".env",
            content("A=1\nB=1\nC=1\nD=1\nPORT=1\nONLY=${A}-${TOKEN}"),
        ),
        ("conf/app.env", content("B=2\nC=2\nD=2\nFROM=${A}")),
    ]);
    let app = json!({
        "env_file": [".env", { "path": "conf/app.env", "required": true }],
        "env": { "C": "3", "D": "3" },
        "port": 80,
        "env_production": { "D": "4" },
    });
    let (spec, findings) = read(app, &values, Some("production"));
    assert!(findings.is_empty(), "{findings:?}");
    let spec = spec.unwrap();
    let env = env(&spec);
    let expected = [
        ("A", "1"),
        ("B", "2"),
        ("C", "3"),
        ("D", "4"),
        ("FROM", "1"),
        ("ONLY", "1-from the caller"),
        ("PORT", "80"),
    ];
    assert_eq!(env, expected.map(|(k, v)| (k, v.to_owned())).into());
    let origin = |name: &str| {
        let field = Field::Env(name.to_owned());
        spec.origin(&field).map(ToString::to_string)
    };
    assert_eq!(origin("A").as_deref(), Some(".env"));
    assert_eq!(origin("B").as_deref(), Some("conf/app.env"));
    for own in ["C", "D", "PORT"] {
        assert_eq!(origin(own), None, "{own}");
    }
}

#[test]
fn references_are_replaced_where_it_is_asked_for_and_nowhere_else() {
    let values = values(&[(".env", content("BIN=/opt/x y\nPORT=3000\nA=$$x"))]);
    let app = json!({
        "script": "${BIN}/run.js",
        "cwd": "${DIR:-/srv}/app",
        "args": ["--port", "${PORT}", "--token=${TOKEN}", "$HOME", "$$1"],
        "env": { "URL": "http://:${PORT}/", "RAW": "${A}", "N": 5 },
        "env_file": ".env",
        "pm2-sync": { "interpolate": true },
    });
    let (found, findings) = read(app.clone(), &values, None);
    assert_eq!(
        findings,
        [
            "warning: args[3]: refers to a variable, but nothing replaces it: the text is used literally (write `${NAME}` to replace it, or `$$` for a dollar sign)"
        ]
    );
    let found = found.unwrap();
    assert_eq!(found.cwd(), "/srv/app");
    // PM2 passes a script with a space to a shell, wherever the space comes from.
    assert_eq!(found.script(), "bash");
    assert_eq!(found.written("script"), Some(&json!("${BIN}/run.js")));
    assert_eq!(env(&found)["URL"], "http://:3000/");
    assert_eq!(env(&found)["RAW"], "$x");

    let mut plain = app;
    plain["script"] = json!("run.js");
    let found = read(plain.clone(), &values, None).0.unwrap();
    assert_eq!(
        found.attribute("args"),
        Some(&json!([
            "--port",
            "3000",
            "--token=from the caller",
            "$HOME",
            "$1"
        ]))
    );
    let origin = found.origin(&Field::Attribute("args"));
    assert_eq!(origin.unwrap().to_string(), ".env, :pass-env");
    assert_eq!(found.outside().collect::<Vec<_>>(), ["args"]);

    plain["pm2-sync"] = json!({ "interpolate": false });
    let on = values.clone().with_interpolation(true);
    let (found, findings) = read(plain.clone(), &on, None);
    assert_eq!(env(&found.unwrap())["URL"], "http://:${PORT}/");
    assert_eq!(findings.len(), 6, "{findings:#?}");
    assert!(findings.iter().any(|it| it.contains("`:interpolate true`")));
    plain["pm2-sync"] = json!(null);
    assert_eq!(
        env(&read(plain, &on, None).0.unwrap())["URL"],
        "http://:3000/"
    );
}

#[test]
fn a_value_that_is_not_there_is_an_error_that_names_it_and_the_file() {
    let values = values(&[
        (".env", content("A=1\nB=${NONE}\nC=pa$word\nD=${LACKING}")),
        ("broken.env", content("A=1\nB\nPW='hunter2\nC=2")),
        ("gone.env", EnvFileState::Absent),
        (
            "open.env",
            EnvFileState::Unusable(vec![EnvFileProblem::of_file("others can write to it")]),
        ),
    ]);
    let errors = |app: Value| {
        let (spec, findings) = read(app, &values, None);
        assert_eq!(spec, None);
        findings.join("\n")
    };
    insta::assert_snapshot!(errors(json!({ "env_file": ".env" })), @r#"
    error: env_file: `.env:2`: refers to a variable that is not set above, in an earlier env file or by `:pass-env`; write `$$` for a dollar sign, or put the value in single quotes
    error: env_file: `.env:3`: refers to a variable that is not set above, in an earlier env file or by `:pass-env`; write `$$` for a dollar sign, or put the value in single quotes
    error: env_file: `.env:4`: refers to `LACKING` from `:pass-env`, which is not set here; write `$$` for a dollar sign, or put the value in single quotes
    "#);
    insta::assert_snapshot!(errors(json!({ "env_file": ["broken.env", "gone.env", "unread.env", "open.env"] })), @r#"
    error: env_file[0]: `broken.env:2`: expected `NAME=value`
    error: env_file[0]: `broken.env:3`: the closing quote is missing
    error: env_file[1]: `gone.env` does not exist (create it, or write `{:path "gone.env" :required false}` if it may be absent)
    error: env_file[2]: `unread.env` does not exist (create it, or write `{:path "unread.env" :required false}` if it may be absent)
    error: env_file[3]: `open.env`: others can write to it
    "#);
    insta::assert_snapshot!(errors(json!({ "env_file": [3, {}, { "path": "x", "require": true }, { "path": "x", "required": 1 }] })), @r#"
    error: env_file[0]: expected a path, such as ".env", or a map such as {:path ".env.local" :required false}
    error: env_file[1]: expected a path, such as ".env", or a map such as {:path ".env.local" :required false}
    error: env_file[2]: expected `:path` and `:required` only
    error: env_file[3].required: expected true or false
    "#);
    let on = json!({ "interpolate": true });
    insta::assert_snapshot!(errors(json!({
        "args": ["${NONE}", "${LACKING}", "${A:+1}", "${NONE:?set it in the vault}", "${EMPTY:?}"],
        "pm2-sync": on,
    })), @r#"
    error: args[0]: `NONE` has no value: the app names no env file, and `:pass-env` does not name it (name a file in `:env_file` that sets `NONE`)
    error: args[1]: `LACKING` has no value: `:pass-env` names it, but it is not set here (name a file in `:env_file` that sets `LACKING`)
    error: args[2]: `${A:+1}` is not one of the forms `${NAME}`, `${NAME:-default}` and `${NAME:?message}` (write `$$` for a dollar sign)
    error: args[3]: `NONE` has no value: set it in the vault (name a file in `:env_file` that sets `NONE`)
    error: args[4]: `EMPTY` is empty (name a file in `:env_file` that sets `EMPTY`)
    "#);
    insta::assert_snapshot!(errors(json!({ "args": "${NONE}", "env_file": { "path": "gone.env", "required": false }, "pm2-sync": on })), @r#"error: args: `NONE` has no value: no env file of the app sets it (add `NONE=...` to `gone.env`)"#);
    // Consequences of an unreadable file are not reported in addition to it.
    insta::assert_snapshot!(errors(json!({ "args": "${NONE}", "env_file": "gone.env", "pm2-sync": on })), @r#"error: env_file: `gone.env` does not exist (create it, or write `{:path "gone.env" :required false}` if it may be absent)"#);
    let optional = json!({ "env_file": { "path": "gone.env", "required": false } });
    assert!(env(&spec(optional, &values)).is_empty());
}

#[test]
fn without_values_references_count_as_present() {
    let app = json!({
        "args": ["${PORT}", "${NONE:?}"],
        "env": { "URL": "${URL}" },
        "env_file": "nowhere.env",
        "pm2-sync": { "interpolate": true },
    });
    let found = spec(app.clone(), &Values::assumed());
    assert_eq!(
        found.attribute("args"),
        Some(&json!(["${PORT}", "${NONE:?}"]))
    );
    let mut wrong = app;
    wrong["args"] = json!("${PORT+x}");
    let (found, findings) = read(wrong, &Values::assumed(), None);
    assert_eq!((found, findings.len()), (None, 1), "{findings:?}");
}

#[test]
fn a_digest_changes_with_the_values_and_does_not_give_them_away() {
    let app =
        || json!({ "env_file": ".env", "args": ["${PIN}"], "pm2-sync": { "interpolate": true } });
    let of = |text: &str| values(&[(".env", content(text))]);
    let one = spec(app(), &of("PIN=1234"));
    let other = spec(app(), &of("PIN=1235"));
    assert_ne!(one.digest(), other.digest());
    assert_ne!(one.revision(), other.revision());
    assert!(one.digest().differs_from(other.digest()));
    assert!(
        one.digest().to_string().starts_with("v"),
        "{}",
        one.digest()
    );
    assert_eq!(
        one.digest(),
        spec(app(), &of("# same\nPIN='1234'")).digest()
    );

    // With another key, the same values have another digest, so the digests cannot be compared.
    let other_key = of("PIN=1234").with_key(Some(ValueKey::new([8; 32])));
    let rekeyed = spec(app(), &other_key);
    assert_ne!(one.digest(), rekeyed.digest());
    assert!(!one.digest().differs_from(rekeyed.digest()));
    assert!(!other.digest().differs_from(rekeyed.digest()));
    // Without a key, the digest only covers the definition's own content.
    let keyless = |text: &str| spec(app(), &of(text).with_key(None));
    assert_eq!(keyless("PIN=1").digest(), keyless("PIN=2").digest());
    assert!(!one.digest().differs_from(keyless("PIN=1").digest()));

    let mut edited = app();
    edited["max_restarts"] = json!(3);
    let edited = spec(edited, &other_key);
    assert!(edited.digest().differs_from(one.digest()));
    // An app without references keeps the digest that it had before references existed.
    let plain = spec(json!({}), &of("PIN=1"));
    assert_eq!(plain.digest().0.matches('.').count(), 0);
    assert!(one.digest().differs_from(plain.digest()));
}

#[test]
fn debugging_output_shows_names_only() {
    let values = values(&[(".env", content("PW=hunter2"))]);
    let file = EnvFile::parse(b"PW=hunter2").unwrap();
    for text in [
        format!("{values:?}"),
        format!("{file:?}"),
        format!("{:?}", content("PW='hunter2")),
    ] {
        assert!(
            !text.contains("hunter2") && !text.contains("from the caller"),
            "{text}"
        );
    }
}

#[test]
fn a_change_of_a_variable_is_secret_and_one_of_an_attribute_is_not() {
    let app = |value: &str| {
        let app =
            json!({ "name": "a", "script": "./a.js", "args": [value], "env": { "A": value } });
        common::spec("d", &app)
    };
    let process = common::running(&app("old"), PmId(0));
    let changes = diff(&app("new"), &process, &common::policy().env_policy);
    let secret: Vec<_> = changes
        .iter()
        .map(|change| (change.field.to_string(), change.is_secret))
        .collect();
    assert_eq!(
        secret,
        [("args".to_owned(), false), ("env.A".to_owned(), true)]
    );
}

#[test]
fn only_new_processes_lack_a_variable_that_the_caller_lacks() {
    let app = |value: &str| {
        let app = json!({ "name": "a", "script": "./a.js", "args": [value] });
        common::spec("d", &app)
    };
    let mut policy = common::policy();
    policy.env_policy.pass_env = vec!["TOKEN".to_owned(), "HAS".to_owned(), "NVM_*".to_owned()];
    policy.passed = Some(["HAS".to_owned()].into());
    let desired = Desired {
        daemons: [(
            DaemonId::new("d").unwrap(),
            DesiredDaemon::Apps([app("new")].into()),
        )]
        .into(),
        ..Desired::default()
    };
    let lacking = |processes: Vec<Arc<ObservedProcess>>| -> Vec<String> {
        let observed = Observed {
            processes: processes.into(),
            at_ms: 100_000,
            ..Observed::default()
        };
        let planned = plan(&desired, &observed, &policy);
        let specs = planned.plan.steps.iter().map(|step| &step.action);
        let specs = specs.filter_map(|action| match action {
            Action::Start { spec, .. } | Action::Change { spec, .. } => Some(spec),
            _ => None,
        });
        let specs: Vec<_> = specs.collect();
        assert_eq!(specs.len(), 1);
        specs[0].lacking().map(ToOwned::to_owned).collect()
    };
    assert_eq!(lacking(Vec::new()), ["TOKEN"]);
    let runs = Arc::new(common::running(&app("old"), PmId(0)));
    assert_eq!(lacking(vec![runs]), [""; 0], "it runs without it already");
}

#[test]
fn references_are_replaced_in_double_quotes_and_stay_in_single_ones() {
    let text = "A=1\nSINGLE='pa$$word $A ${A} \\n'\nDOUBLE=\"$$ $A ${A}\\n\"\nPLAIN=$A";
    let values = values(&[(".env", content(text))]);
    let spec = spec(json!({ "env_file": ".env" }), &values);
    let env = env(&spec);
    assert_eq!(env["SINGLE"], "pa$$word $A ${A} \\n");
    assert_eq!(env["DOUBLE"], "$ 1 1\n");
    assert_eq!(env["PLAIN"], "1");
}
