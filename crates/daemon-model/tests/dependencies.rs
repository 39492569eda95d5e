//! Problems of the dependencies of a workspace's apps.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::collections::BTreeMap;

use common::id;
use daemon_model::{
    AppSpec, DaemonId, Declared, DocumentPath, PlacedApp, SpecContext, find_conflicts,
};
use serde_json::{Value, json};

/// The findings about definitions, each an id and its apps with their dependencies. One marked with `?` cannot be read completely.
fn findings(definitions: &[(&str, &[(&str, Value)])]) -> String {
    let context = SpecContext {
        root: "/w".into(),
        home: "/home/me".into(),
        env_name: None,
        deploy: None,
    };
    let read = |daemon: &DaemonId, index: usize, (name, depends_on): &(&str, Value)| {
        let app = json!({ "name": name, "script": "a.js", "depends_on": depends_on });
        let path = DocumentPath::root().key("apps").index(index);
        let (spec, _) = AppSpec::read(daemon, &app, &path, &context);
        let app = spec.unwrap();
        PlacedApp { index, app }
    };
    let definitions: BTreeMap<DaemonId, (Vec<PlacedApp>, bool)> = definitions
        .iter()
        .map(|(daemon, apps)| {
            let is_complete = !daemon.ends_with('?');
            let daemon = id(daemon.trim_end_matches('?'));
            let apps = apps.iter().enumerate();
            let apps = apps.map(|(index, app)| read(&daemon, index, app)).collect();
            (daemon, (apps, is_complete))
        })
        .collect();
    let declared = definitions
        .iter()
        .map(|(daemon, (apps, is_complete))| Declared {
            daemon,
            apps,
            is_complete: *is_complete,
        });
    let mut lines = Vec::new();
    for (daemon, findings) in find_conflicts(declared) {
        for finding in &findings {
            let help = finding.help.as_ref();
            let help = help.map_or_else(String::new, |help| format!(" ({})", help.full()));
            lines.push(format!(
                "{daemon}: {}: {}{help}",
                finding.path,
                finding.message.full()
            ));
        }
    }
    lines.join("\n")
}

#[test]
fn names_of_apps_and_ids_of_daemons_are_known() {
    let found = findings(&[
        ("db", &[("postgres", json!([])), ("db", json!(null))]),
        ("services/cache", &[]),
        (
            "api",
            &[
                ("api", json!(["db", "postgres", "services/cache"])),
                ("web", json!("api")),
            ],
        ),
    ]);
    assert_eq!(found, "");
}

#[test]
fn an_unknown_name_is_an_error_at_its_position() {
    insta::assert_snapshot!(
        findings(&[
            ("services/db", &[("postgres", json!([]))]),
            ("api", &[("api", json!(["postgres", "postgers"])), ("web", json!("services/dbb")), ("x", json!(["redis", "db"]))]),
        ]),
        @"
        api: apps[0].depends_on[1]: `postgers` is neither an app nor a daemon of this workspace (did you mean `postgres`?)
        api: apps[1].depends_on: `services/dbb` is neither an app nor a daemon of this workspace (did you mean `services/db`?)
        api: apps[2].depends_on[0]: `redis` is neither an app nor a daemon of this workspace
        api: apps[2].depends_on[1]: `db` is neither an app nor a daemon of this workspace (did you mean `services/db`?)
        "
    );
}

#[test]
fn a_name_may_belong_to_a_definition_that_cannot_be_read() {
    assert_eq!(
        findings(&[("db?", &[]), ("api", &[("api", json!(["postgres", "db"]))])]),
        ""
    );
}

#[test]
fn an_app_that_depends_on_itself_is_an_error() {
    insta::assert_snapshot!(
        findings(&[("api", &[("web", json!(["web"])), ("worker", json!(["api"]))])]),
        @"
        api: apps[0].depends_on[0]: the app depends on itself (take it out)
        api: apps[1].depends_on[0]: `api` is the app's own daemon, so it would depend on itself (name those of its apps that must be ready)
        "
    );
}

#[test]
fn a_cycle_is_an_error_at_each_of_its_dependencies() {
    insta::assert_snapshot!(
        findings(&[
            ("a", &[("a", json!(["b"])), ("aside", json!(["a"]))]),
            ("b", &[("b", json!(["before", "c"])), ("before", json!([]))]),
            ("c", &[("c", json!("a")), ("after", json!(["c", "b"]))]),
            // Through the id of a daemon.
            ("d", &[("e", json!(["f"])), ("g", json!(null))]),
            ("f", &[("h", json!(["d"]))]),
        ]),
        @"
        a: apps[0].depends_on[0]: dependency cycle: `a` -> `b` -> `c` -> `a` (remove one of these dependencies)
        b: apps[0].depends_on[1]: dependency cycle: `b` -> `c` -> `a` -> `b` (remove one of these dependencies)
        c: apps[0].depends_on: dependency cycle: `c` -> `a` -> `b` -> `c` (remove one of these dependencies)
        d: apps[0].depends_on[0]: dependency cycle: `e` -> `h` -> `e` (remove one of these dependencies)
        f: apps[0].depends_on[0]: dependency cycle: `h` -> `e` -> `h` (remove one of these dependencies)
        "
    );
    let names: Vec<String> = (0..12).map(|n| format!("app{n}")).collect();
    let long: Vec<(&str, Value)> = (0..12)
        .map(|n| (names[n].as_str(), json!(names[(n + 1) % 12])))
        .collect();
    let found = findings(&[("long", &long)]);
    assert_eq!(found.lines().count(), 12);
    let names = "`app0` -> `app1` -> `app2` -> `app3` -> `app4` -> ... -> `app0`";
    let first = found.lines().next().unwrap();
    assert!(
        first.contains(&format!("dependency cycle: {names} (")),
        "{first}"
    );
}

#[test]
fn only_some_of_many_cycles_are_computed() {
    let names: Vec<String> = (0..400).map(|n| format!("app{n}")).collect();
    let all: Vec<(&str, Value)> = names
        .iter()
        .map(|name| (name.as_str(), json!(names)))
        .collect();
    let found = findings(&[("d", &all)]);
    assert_eq!(found.lines().count(), daemon_model::MAX_FINDINGS);
}
