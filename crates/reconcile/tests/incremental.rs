//! Definitions that reuse earlier ones are those that are read anew.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use std::fmt::Write as _;

use camino::Utf8PathBuf;
use proptest::prelude::*;
use reconcile::{Config, Definitions, Environment};
use watcher::Scanner;

/// How many daemons there are at most.
const DAEMONS: u8 = 5;

struct World {
    _dir: tempfile::TempDir,
    root: Utf8PathBuf,
    config: Config,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = Utf8PathBuf::from_path_buf(dir.path().join("w")).unwrap();
        std::fs::create_dir_all(root.join("system/daemons")).unwrap();
        let home = dir.path().join("home").to_str().unwrap().to_owned();
        let vars = BTreeMap::from([("HOME".to_owned(), home)]);
        let environment = Environment::new(vars, Some(root.clone()));
        let world = Self {
            config: Config::for_workspace(&root, environment).unwrap(),
            root,
            _dir: dir,
        };
        // Digests of values are made with the same key each time.
        let state = world.config.state();
        std::fs::create_dir_all(state.path()).unwrap();
        let key = serde_json::json!({ "key": vec![7; 32] });
        std::fs::write(state.path().join("values.key"), key.to_string()).unwrap();
        (0..DAEMONS).for_each(|n| world.define(n, 0, 0));
        world
    }

    /// Writes a definition whose app has some attribute that depends on `other`, or removes it, or edits the env file.
    fn define(&self, n: u8, kind: u8, other: u8) {
        let dir = self.root.join(format!("system/daemons/d{n}"));
        let file = dir.join("ecosystem.pm2.edn");
        let app =
            |more: String| format!("{{:apps [{{:name \"app{n}\" :script \"./a.js\" {more}}}]}}\n");
        let text = match kind % 12 {
            0 => app(String::new()),
            1 => app(format!(":args [\"{other}\"]")),
            2 => format!("{{:apps [{{:name \"app{other}\" :script \"./a.js\"}}]}}\n"),
            3 => app(format!(":namespace \"app{other}\"")),
            4 => app(format!(":out_file \"/logs/{}.log\"", other % 2)),
            5 => app(format!(":depends-on [\"app{other}\"]")),
            6 => app(format!(":depends-on [\"d{other}\"]")),
            7 => app(":depends-on [\"none\"]".to_owned()),
            8 => "{:apps [{:name \"broken\"".to_owned(),
            9 => app(":env {:X \"${A}\"} :env_file [\"shared.env\"]".to_owned()),
            10 => {
                let text = if other == 0 { "A" } else { "A=1\n" };
                return std::fs::write(self.root.join("shared.env"), text).unwrap();
            }
            _ => return drop(std::fs::remove_dir_all(dir)),
        };
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(file, text).unwrap();
    }
}

/// Everything about the definitions that anyone can see.
fn shown(definitions: &Definitions) -> String {
    let mut shown = format!("{:#?}\n", definitions.of_tree);
    for (id, definition) in &definitions.daemons {
        writeln!(
            shown,
            "{id}: {:#?} {:#?} {:?} {:#?}",
            definition.diagnostics,
            definition.apps(),
            definition.artifact(),
            definition.env_files()
        )
        .unwrap();
    }
    shown
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]
    #[test]
    fn an_edit_changes_the_definitions_as_if_all_were_read_anew(
        edits in prop::collection::vec((0..DAEMONS, any::<u8>(), 0..DAEMONS), 1..10),
    ) {
        let world = World::new();
        let mut scanner = Scanner::new(world.config.layout.clone());
        scanner.full().unwrap();
        let read = |scanner: &Scanner, known: Option<&Definitions>| {
            Definitions::of_tree(scanner.tree().clone(), &world.config, known).unwrap()
        };
        let mut definitions = read(&scanner, None);
        for (n, kind, other) in edits {
            world.define(n, kind, other);
            scanner.dirty(&[world.config.layout.daemons_dir().join(format!("d{n}"))]).unwrap();
            definitions = read(&scanner, Some(&definitions));
            prop_assert_eq!(shown(&definitions), shown(&read(&scanner, None)));
        }
    }
}
