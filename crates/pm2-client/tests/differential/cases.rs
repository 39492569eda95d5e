//! The configs: each attribute in each spelling, type and coercion, and other parts of apps.

use daemon_model::attribute::ATTRIBUTES;
use serde_json::{Value, json};

use crate::apps;
use crate::values::values;

/// The commands in PATH.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Commands {
    /// All commands that any case needs.
    All,
    /// `python3`, but no `python`; no `bun`.
    Python3,
    /// A shell that is not bash, and node.
    Few,
}

impl Commands {
    pub fn dir(self) -> &'static str {
        match self {
            Self::All => "bin-all",
            Self::Python3 => "bin-python3",
            Self::Few => "bin-few",
        }
    }

    pub fn names(self) -> &'static [&'static str] {
        match self {
            Self::All => &[
                "bash",
                "sh",
                "python",
                "python3",
                "ruby",
                "php",
                "perl",
                "bun",
                "ts-node",
                "worker",
                "my-tool",
                "tool.sh",
                "lonely.js",
            ],
            Self::Python3 => &["bash", "sh", "python3"],
            Self::Few => &["sh"],
        }
    }
}

/// One app as a definition has it.
#[derive(Debug, Clone)]
pub struct Case {
    /// Unique, and a name for its file.
    pub id: String,
    /// The name that PM2 gives the app.
    pub name: String,
    pub app: Value,
    /// `--env`
    pub env_name: Option<&'static str>,
    pub deploy: Option<Value>,
    pub commands: Commands,
    /// Needs its own file: it would change how PM2's command line handles other apps.
    pub alone: bool,
}

#[derive(Default)]
pub struct Cases(pub Vec<Case>);

impl Cases {
    /// Adds an app. By default, it runs `server.js` and is named after its number.
    pub fn add(&mut self, app: Value) -> &mut Case {
        self.add_unnamed("", app)
    }

    /// Adds an app without a name; `name` is the one that PM2 is expected to use.
    pub fn add_unnamed(&mut self, name: &str, mut app: Value) -> &mut Case {
        let id = format!("case-{}", self.0.len());
        let fields = app.as_object_mut().unwrap();
        if !["script", "exec", "cmd", "command"]
            .iter()
            .any(|script| fields.contains_key(*script))
        {
            fields.insert("script".into(), json!("./server.js"));
        }
        let name = if !name.is_empty() {
            name.to_owned()
        } else if let Some(name) = fields.get("name") {
            name.as_str().unwrap_or_default().to_owned()
        } else {
            fields.insert("name".into(), json!(id));
            id.clone()
        };
        self.0.push(Case {
            id,
            name,
            app,
            env_name: None,
            deploy: None,
            commands: Commands::All,
            alone: false,
        });
        self.0.last_mut().unwrap()
    }
}

pub fn all() -> Vec<Case> {
    let mut cases = Cases::default();
    cases.add(json!({}));
    for attribute in ATTRIBUTES {
        let own = attribute.name;
        let values = values(attribute);
        for (n, value) in values.iter().enumerate() {
            for spelling in attribute.names() {
                if n == 0 || spelling == own {
                    let mut app = json!({});
                    app[spelling.as_str()] = value.clone();
                    // A text makes PM2's command line drop the variable for all apps that follow.
                    cases.add(app).alone = own == "filter_env" && value == "LANG";
                }
            }
        }
        if !values.is_empty() {
            let mut app = json!({});
            app[own] = Value::Null;
            cases.add(app);
        }
    }
    cases.add(json!({ "filter_env": "LANG" })).alone = true;
    cases.add(json!({ "filter_env": "PWD" })).alone = true;
    cases.add(json!({ "filter_env": ["LANG"], "env": { "LANG": "own" } }));
    // `deep_monitoring` itself makes PM2's command line install packages.
    cases.add(json!({ "deepMonitoring": true }));
    cases.add(json!({ "disable_trace": true, "trace": false }));
    cases.add(json!({ "time": true, "log_date_format": "HH" }));
    cases.add(json!({ "time": false, "log_date_format": "HH" }));
    cases.add(json!({ "automation": false, "pmx": true }));
    cases.add(json!({ "exec_interpreter": "none", "interpreter": "bun" }));
    cases.add(json!({ "err": "./a.log", "error": "./b.log", "err_file": "./c.log" }));
    cases.add(json!({ "unknown": 1, "more": { "x": [] }, "env_file": ".env" }));
    cases.add(json!({ "pm2-sync": { "protect": true } }));
    apps::scripts(&mut cases);
    apps::names(&mut cases);
    apps::modes(&mut cases);
    apps::logs(&mut cases);
    apps::environments(&mut cases);
    apps::directories(&mut cases);
    if rustix::process::geteuid().is_root() {
        apps::accounts(&mut cases);
    }
    cases.0
}
