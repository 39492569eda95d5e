//! Configs that only one of the two starts.

use serde_json::json;

use crate::cases::{Case, Cases, Commands};

/// Which one refuses a config.
#[derive(Debug, Clone, Copy)]
pub enum By {
    Both,
    Pm2(&'static str),
    Us(&'static str),
}

impl By {
    /// The reason.
    pub fn why(self) -> &'static str {
        match self {
            Self::Both => "",
            Self::Pm2(why) | Self::Us(why) => why,
        }
    }

    pub fn pm2(self) -> bool {
        !matches!(self, Self::Us(_))
    }

    pub fn us(self) -> bool {
        !matches!(self, Self::Pm2(_))
    }
}

/// All configs that only one of the two starts.
pub fn all() -> Vec<(Case, By)> {
    use By::{Both, Pm2, Us};
    const STRICT: &str = "a value of which PM2 makes something else is a mistake";
    let mut cases = Cases::default();
    let mut by = Vec::new();
    // PM2 looks these up when it starts the app.
    for (app, commands, who) in [
        (json!({ "script": "./missing.js" }), Commands::All, Both),
        (json!({ "script": "missing-command" }), Commands::All, Both),
        (json!({ "script": "not-executable" }), Commands::All, Both),
        (json!({ "interpreter": "missing" }), Commands::All, Both),
        (
            json!({ "interpreter": "./missing/node" }),
            Commands::All,
            Both,
        ),
        (json!({ "script": "page.ts" }), Commands::Python3, Both),
        (json!({ "script": "tool.py" }), Commands::Few, Both),
        (
            json!({ "exec": "sleep 10" }),
            Commands::All,
            Pm2("an alias is the attribute from the start"),
        ),
    ] {
        cases.add(app).commands = commands;
        by.push(who);
    }
    // These make PM2 refuse the whole file.
    let mut whole_file = vec![
        (json!({ "autorestart": "yes" }), Both),
        (json!({ "args": 5 }), Both),
        (json!({ "max_memory_restart": "300MB" }), Both),
        (json!({ "min_uptime": "5" }), Both),
        (json!({ "max_restarts": -1 }), Both),
        (json!({ "exec_mode": "thread" }), Both),
        (json!({ "cron_restart": "99 * * * *" }), Both),
        (json!({ "watch_options": "x" }), Both),
        (json!({ "env": "A=1" }), Both),
        (
            json!({ "env_production": null }),
            Pm2("nil is the same as absent"),
        ),
        (
            json!({ "post_update": "npm ci" }),
            Pm2("one command may be given as text, as in other lists"),
        ),
    ];
    if rustix::process::geteuid().is_root() {
        whole_file.push((json!({ "uid": "missing-user" }), Both));
        whole_file.push((json!({ "gid": "daemon" }), Both));
    }
    for (app, who) in whole_file {
        cases.add(app).alone = true;
        by.push(who);
    }
    for (app, why) in [
        (json!({ "kill_timeout": -1 }), STRICT),
        (json!({ "kill_timeout": "0x10" }), STRICT),
        (json!({ "kill_timeout": [1] }), STRICT),
        (json!({ "instances": "two" }), STRICT),
        (json!({ "script": "sub" }), "a directory is no script"),
        (
            json!({ "cwd": "missing", "script": "/bin/sh" }),
            "PM2 lists it as online, without a process",
        ),
        (
            json!({ "env": { "name": "evil" } }),
            "the variable would overwrite the attribute",
        ),
        (
            json!({ "env": { "toString": "x" } }),
            "PM2 would die of it with the first restart",
        ),
        (
            json!({ "watch_options": { "a": [{ "__proto__": 1 }] } }),
            "PM2 could die of it",
        ),
        (json!({ "name": "all" }), "PM2 takes the name for every app"),
    ] {
        cases.add(app);
        by.push(Us(why));
    }
    cases.0.into_iter().zip(by).collect()
}
