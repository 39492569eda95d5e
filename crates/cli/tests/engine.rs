//! The engine of `watch` as an embedder runs it, on a PM2 in memory.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use std::sync::mpsc;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use pm2_client::{MemoryAdapter, Method};
use pm2_sync::{
    Config, Engine, EngineEvent, Environment, Event, EventSender, PassOptions, StopFlag, events,
};
use watcher::{Batch, Cause, Scope};

fn define(root: &Utf8Path, name: &str, seconds: u32) {
    let dir = root.join("system/daemons").join(name);
    std::fs::create_dir_all(&dir).unwrap();
    let text =
        format!("{{:apps [{{:name \"{name}\" :script \"/bin/sleep\" :args [\"{seconds}\"]}}]}}\n");
    std::fs::write(dir.join("ecosystem.pm2.edn"), text).unwrap();
}

/// Runs a watch of three daemons, and `test` when its first pass has started them. `test` is given PM2, where to send
/// events, and how many steps the next pass takes.
fn watching(test: impl FnOnce(&Utf8Path, &MemoryAdapter, &EventSender, &dyn Fn() -> usize)) {
    let dir = tempfile::tempdir().unwrap();
    let root = Utf8PathBuf::from_path_buf(dir.path().join("w")).unwrap();
    for name in ["a", "b", "c"] {
        define(&root, name, 1000);
    }
    let vars = [("HOME", dir.path().join("home"))]
        .map(|(key, path)| (key.to_owned(), path.to_str().unwrap().to_owned()));
    let environment = Environment::new(BTreeMap::from(vars), Some(root.clone()));
    let config = Config::for_workspace(&root, environment).unwrap();
    let pm2 = MemoryAdapter::new();
    let (sender, receiver) = events();
    let (ended, passes) = mpsc::channel();
    std::thread::scope(|scope| {
        let for_engine = (pm2.clone(), sender.clone());
        let engine = scope.spawn(move || {
            let (pm2, sender) = for_engine;
            let options = PassOptions::default();
            let mut engine = Engine::new(
                &config,
                options,
                true,
                (&sender, &receiver),
                StopFlag::default(),
            )
            .with_adapter(Box::new(pm2));
            engine.run(&mut |event| {
                if let EngineEvent::Ended(report) = event {
                    ended.send(report.applied.steps.len()).unwrap();
                }
            })
        });
        let next = || passes.recv_timeout(Duration::from_secs(20)).unwrap();
        assert_eq!(next(), 3);
        pm2.forget_calls();
        test(&root, &pm2, &sender, &next);
        sender.send(Event::Stop).unwrap();
        engine.join().unwrap().unwrap();
    });
}

#[test]
fn an_edit_restarts_its_own_process_and_no_other() {
    watching(|root, pm2, _, next| {
        define(root, "b", 2000);
        while next() == 0 {}
        let calls: Vec<_> = pm2
            .calls()
            .into_iter()
            .map(|call| (call.method, call.name))
            .collect();
        assert_eq!(calls, [(Method::Restart, "b".to_owned())]);
    });
}

/// All that its timers do within ten minutes and more.
#[test]
fn looking_at_all_files_again_and_again_tells_pm2_nothing() {
    watching(|root, pm2, sender, next| {
        let generated = root.join(".generated/pm2/b.json");
        let written = || generated.metadata().unwrap().modified().unwrap();
        let before = written();
        for minute in 1..=20 {
            let cause = if minute % 10 == 0 {
                Cause::FullResync
            } else {
                Cause::Resync
            };
            let scope = Scope::Everything;
            sender.send(Event::Files(Batch { scope, cause })).unwrap();
            assert_eq!(next(), 0, "minute {minute}");
        }
        assert_eq!(pm2.calls(), []);
        assert_eq!(written(), before, "the generated config was left alone");
    });
}
