//! For every small world: after executing the plan on the in-memory PM2, planning again gives nothing to do, and unmanaged
//! processes never change.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use camino::Utf8PathBuf;
use common::{World, memory_host};
use daemon_model::{Observed, Outcome};
use pm2_client::{Fault, MemoryAdapter, Method, ProcessRecord, ResolvedApp, label_of};
use proptest::prelude::*;
use serde_json::{Value, json};

/// One app of a small world: few names and few values, so that collisions are likely.
fn app() -> impl Strategy<Value = Value> {
    let mode = prop_oneof![Just(None), Just(Some("fork")), Just(Some("cluster"))];
    let env = prop::collection::btree_map("[AB]", 0..2_u8, 0..3);
    let extra = prop_oneof![
        Just(json!({})),
        Just(json!({ "max_memory_restart": "1G" })),
        Just(json!({ "watch": ["src"] })),
        Just(json!({ "autostart": false })),
        Just(json!({ "cron_restart": "0 0 * * *" })),
        Just(json!({ "args": ["null"] })),
        Just(json!({ "merge_logs": false, "instance_var": "N" })),
    ];
    (0..3_u8, mode, 0..4_u8, env, extra).prop_map(|(name, mode, instances, env, extra)| {
        let mut app = json!({ "name": format!("app{name}"), "script": "/bin/sleep", "env": env });
        if let Some(mode) = mode {
            app["exec_mode"] = json!(mode);
        }
        if instances > 0 {
            app["instances"] = json!(instances);
        }
        for (key, value) in extra.as_object().unwrap() {
            app[key] = value.clone();
        }
        app
    })
}

/// A workspace: daemons with apps whose names are unique.
fn workspace() -> impl Strategy<Value = Vec<(String, Vec<Value>)>> {
    prop::collection::vec((0..3_u8, app()), 1..4).prop_map(|apps| {
        let mut daemons: std::collections::BTreeMap<String, Vec<Value>> =
            std::collections::BTreeMap::new();
        let mut names = std::collections::BTreeSet::new();
        for (daemon, app) in apps {
            if names.insert(app["name"].to_string()) {
                daemons.entry(format!("d{daemon}")).or_default().push(app);
            }
        }
        daemons.into_iter().collect()
    })
}

#[derive(Debug, Clone)]
enum Meddling {
    Stop(u8),
    Delete(u8),
    SetVariable(u8),
    DropAttribute(u8),
    Duplicate(u8),
}

fn meddling() -> impl Strategy<Value = Meddling> {
    prop_oneof![
        any::<u8>().prop_map(Meddling::Stop),
        any::<u8>().prop_map(Meddling::Delete),
        any::<u8>().prop_map(Meddling::SetVariable),
        any::<u8>().prop_map(Meddling::DropAttribute),
        any::<u8>().prop_map(Meddling::Duplicate),
    ]
}

fn pick(list: &[ProcessRecord], n: u8) -> Option<ProcessRecord> {
    list.get(usize::from(n) % list.len().max(1)).cloned()
}

fn meddle(world: &mut World, memory: &MemoryAdapter, what: &Meddling) {
    let list = world.list();
    let (Meddling::Stop(n)
    | Meddling::Delete(n)
    | Meddling::SetVariable(n)
    | Meddling::DropAttribute(n)
    | Meddling::Duplicate(n)) = what;
    let Some(mut record) = pick(&list, *n) else {
        return;
    };
    let adapter = world.adapter.as_mut();
    let set = |key: &str, value: Value| {
        memory.edit_record(record.pm_id, |record| {
            record.pm2_env.insert(key.into(), value);
        });
    };
    match what {
        Meddling::Stop(_) => adapter.stop(record.pm_id).unwrap(),
        Meddling::Delete(_) => adapter.delete(record.pm_id).unwrap(),
        Meddling::SetVariable(_) => set("LEFT_OVER", json!("x")),
        Meddling::DropAttribute(_) => set("max_restarts", json!(3)),
        Meddling::Duplicate(_) => {
            for runtime in [
                "pm_id",
                "status",
                "pm_uptime",
                "restart_time",
                "unstable_restarts",
                "created_at",
            ] {
                record.pm2_env.remove(runtime);
            }
            record.pm2_env.insert("instances".into(), json!(1));
            if let Some(Value::Object(env)) = record.pm2_env.get_mut("env") {
                env.remove("unique_id");
            }
            let payload = pm2_client::Prepare::new(record.pm2_env).unwrap();
            adapter.prepare(&payload).unwrap();
        }
    }
}

fn slices(workspace: &[(String, Vec<Value>)]) -> Vec<(&str, &[Value])> {
    workspace
        .iter()
        .map(|(id, apps)| (id.as_str(), &apps[..]))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn a_pass_converges_and_touches_no_stranger(
        first in workspace(),
        second in workspace(),
        meddlings in prop::collection::vec(meddling(), 0..4),
        fault in prop::option::of((0..4_usize, 0..3_usize, 0..3_usize)),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let root = Utf8PathBuf::from_path_buf(dir.path().to_owned()).unwrap();
        let memory = MemoryAdapter::new();
        let mut world = World {
            pm2_home: root.join("h"),
            root: root.clone(),
            host: memory_host(&memory),
            adapter: Box::new(memory.clone()),
        };
        // Strangers: one without a label, one of another workspace.
        for (name, label) in [("stranger", None), ("other", Some("/another/workspace"))] {
            let spec = world.spec("x", &json!({ "name": name, "script": "/bin/sleep" }));
            let owner = label.map_or_else(|| root.clone(), Utf8PathBuf::from);
            let launch = ResolvedApp::resolve(&spec, &owner, &world.pm2_home, world.host.as_ref()).unwrap();
            let mut payload = launch.prepare(1).unwrap().as_map().clone();
            if label.is_none() {
                payload.remove("pm2_sync");
            }
            world.adapter.prepare(&pm2_client::Prepare::new(payload).unwrap()).unwrap();
        }
        let strangers = |world: &mut World| -> Vec<ProcessRecord> {
            let mut list = world.list();
            list.retain(|record| matches!(record.name.as_str(), "stranger" | "other"));
            list
        };
        let before = strangers(&mut world);

        world.converge(&slices(&first));
        for what in &meddlings {
            let ours: Vec<_> = world.list();
            if ours.iter().any(|record| label_of(&record.pm2_env).is_some_and(|label| label.workspace == root)) {
                meddle(&mut world, &memory, what);
            }
        }
        // Changes to strangers were made by others.
        let before = if meddlings.is_empty() { before } else { strangers(&mut world) };
        if let Some((method, skip, kind)) = fault {
            let method = [Method::Prepare, Method::Restart, Method::Delete, Method::List][method];
            let fault = [Fault::Refuse, Fault::Timeout, Fault::LoseAnswer][kind];
            memory.inject(method, skip, fault);
            // It may fail in any way, but must return.
            let observed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                let report = world.pass(&slices(&second));
                report.steps.iter().filter(|step| !matches!(step.outcome, Outcome::Done)).count()
            }));
            let _ = observed;
            // A pending fault must not affect the checks below.
            let mut spare = memory.clone();
            use pm2_client::ProcessAdapter as _;
            for _ in 0..4 {
                let _ = spare.list();
            }
            memory.forget_faults();
        }
        // The guard may hold a removal in this small world; once confirmed, it is executed.
        for _ in 0..2 {
            let planned = world.plan(&slices(&second));
            let mut policy = world.policy();
            policy.confirmed = planned.plan.held.map(|held| held.code);
            world.pass_with(&slices(&second), &policy);
        }
        let left = world.plan(&slices(&second));
        prop_assert!(left.is_in_sync(), "{:#?}", left);
        prop_assert_eq!(strangers(&mut world), before);
        let observed = Observed {
            processes: world.adapter.observe().unwrap(),
            ..Observed::default()
        };
        for (id, apps) in &second {
            for app in apps {
                let spec = world.spec(id, app);
                let want = spec.instances().on(2) as usize;
                let has = observed.processes.iter().filter(|process| process.name == spec.name()).count();
                prop_assert_eq!(has, want, "{}", spec.name());
            }
        }
    }
}

#[test]
fn the_order_of_a_maps_keys_is_no_change() {
    let dir = tempfile::tempdir().unwrap();
    let root = Utf8PathBuf::from_path_buf(dir.path().to_owned()).unwrap();
    let memory = MemoryAdapter::new();
    let mut world = World {
        pm2_home: root.join("h"),
        root,
        host: memory_host(&memory),
        adapter: Box::new(memory.clone()),
    };
    let app = json!({
        "name": "app", "script": "/bin/sleep", "watch_options": { "a": 1, "b": { "c": 2, "d": 3 } },
    });
    let daemons = [("d", std::slice::from_ref(&app))];
    world.converge(&daemons);
    let id = world.list()[0].pm_id;
    memory.edit_record(id, |record| {
        // In the order in which PM2 5 and 6 return it.
        let turned = json!({ "b": { "d": 3, "c": 2 }, "a": 1 });
        record.pm2_env.insert("watch_options".into(), turned);
    });
    assert!(world.plan(&daemons).is_in_sync());
}
