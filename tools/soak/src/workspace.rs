//! The expected definitions: a model in memory, and files with the same content.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::io;

use camino::{Utf8Path, Utf8PathBuf};

/// The name of a definition.
pub const FILE: &str = "ecosystem.pm2.edn";

const SCRIPTS: [(&str, &str); 3] = [
    // A shell that waits without a child process.
    (
        "shell.sh",
        "#!/bin/bash\nwhile :; do read -r -t 3600 <> <(:); done\n",
    ),
    (
        "node.js",
        "process.on('SIGINT', () => process.exit(0)); setInterval(() => {}, 3600000);\n",
    ),
    (
        "web.js",
        "process.on('SIGINT', () => process.exit(0));\n\
         require('http').createServer().listen(0, '127.0.0.1');\n",
    ),
];

/// The kind of an app.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A binary.
    Binary,
    /// A shell script, which survives a killed PM2.
    Shell,
    /// A script of Node.
    Node,
    /// A Node script in cluster mode.
    Cluster,
}

/// One app of a definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct App {
    pub name: String,
    pub kind: Kind,
    /// Its only argument.
    pub value: u32,
    pub instances: u32,
    pub env: BTreeMap<String, String>,
}

impl App {
    fn edn(&self, out: &mut String) {
        let script = match self.kind {
            Kind::Binary => "/bin/sleep",
            Kind::Shell => "./bin/shell.sh",
            Kind::Node => "./bin/node.js",
            Kind::Cluster => "./bin/web.js",
        };
        let _ = write!(
            out,
            "{{:name \"{}\" :script \"{script}\" :args [\"{}\"] :vizion false :kill_retry_time 10",
            self.name, self.value
        );
        if self.kind == Kind::Cluster {
            let _ = write!(out, " :exec_mode \"cluster\"");
        }
        if self.instances != 1 || self.kind == Kind::Cluster {
            let _ = write!(out, " :instances {}", self.instances);
        }
        let env: Vec<String> = self
            .env
            .iter()
            .map(|(key, value)| format!(":{key} \"{value}\""))
            .collect();
        let _ = write!(out, " :env {{{}}}}}", env.join(" "));
    }
}

/// One definition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Daemon {
    pub apps: Vec<App>,
    /// Only changes the text.
    pub comment: u32,
    /// The file is invalid; the apps are the last valid ones.
    pub broken: bool,
}

impl Daemon {
    /// The content of the file when it is valid.
    pub fn edn(&self) -> String {
        let mut text = format!(";; {}\n{{:apps [", self.comment);
        for app in &self.apps {
            app.edn(&mut text);
            text.push('\n');
        }
        text.push_str("]}\n");
        text
    }
}

/// The workspace.
#[derive(Debug)]
pub struct Workspace {
    pub root: Utf8PathBuf,
    /// A directory beside the tree, on the same file system.
    pub outside: Utf8PathBuf,
    pub daemons: BTreeMap<String, Daemon>,
    /// Daemons that were edited since the last check.
    pub touched: BTreeSet<String>,
    /// Those that moved, were added or removed, or have an app with another name.
    pub identity: BTreeSet<String>,
    next: u32,
}

impl Workspace {
    /// An empty workspace.
    pub fn new(dir: &Utf8Path) -> io::Result<Self> {
        let workspace = Self {
            root: dir.join("w"),
            outside: dir.join("outside"),
            daemons: BTreeMap::new(),
            touched: BTreeSet::new(),
            identity: BTreeSet::new(),
            next: 1000,
        };
        fs::create_dir_all(workspace.tree())?;
        fs::create_dir_all(&workspace.outside)?;
        let bin = workspace.root.join("bin");
        fs::create_dir_all(&bin)?;
        for (name, text) in SCRIPTS {
            fs::write(bin.join(name), text)?;
        }
        Ok(workspace)
    }

    /// A number that has not been used before.
    pub fn fresh(&mut self) -> u32 {
        self.next += 1;
        self.next
    }

    /// A new app.
    pub fn app(&mut self, kind: Kind) -> App {
        let number = self.fresh();
        App {
            name: format!("app{number}"),
            kind,
            value: number,
            instances: 1,
            env: [("VERSION".to_owned(), number.to_string())].into(),
        }
    }

    pub fn tree(&self) -> Utf8PathBuf {
        self.root.join("system/daemons")
    }

    pub fn dir(&self, id: &str) -> Utf8PathBuf {
        self.tree().join(id)
    }

    pub fn file(&self, id: &str) -> Utf8PathBuf {
        self.dir(id).join(FILE)
    }

    /// Writes the definition from the model in place, and creates its directory.
    pub fn write(&self, id: &str) -> io::Result<()> {
        let text = self.daemons.get(id).map(Daemon::edn).unwrap_or_default();
        fs::create_dir_all(self.dir(id))?;
        fs::write(self.file(id), text)
    }

    /// Daemons that an edit may affect.
    pub fn usable(&self) -> Vec<String> {
        let usable = self.daemons.iter().filter(|(_, daemon)| !daemon.broken);
        usable.map(|(id, _)| id.clone()).collect()
    }

    /// Daemons that may change their identity or be removed: once between two checks, so that the expected result is unambiguous.
    pub fn movable(&self) -> Vec<String> {
        let mut ids = self.usable();
        ids.retain(|id| !self.identity.contains(id));
        ids
    }

    /// The top-level directories of the tree with several daemons.
    pub fn groups(&self) -> Vec<String> {
        let groups: BTreeSet<&str> = self
            .daemons
            .keys()
            .filter_map(|id| id.split_once('/'))
            .map(|(group, _)| group)
            .collect();
        groups.into_iter().map(ToOwned::to_owned).collect()
    }

    /// Every app that should run.
    pub fn apps(&self) -> impl Iterator<Item = &App> {
        self.all().map(|(_, app)| app)
    }

    /// All these apps, each with its daemon.
    pub fn all(&self) -> impl Iterator<Item = (&Daemon, &App)> {
        let daemons = self.daemons.values();
        daemons.flat_map(|daemon| daemon.apps.iter().map(move |app| (daemon, app)))
    }

    pub fn broken(&self) -> Vec<String> {
        let broken = self.daemons.iter().filter(|(_, daemon)| daemon.broken);
        broken.map(|(id, _)| id.clone()).collect()
    }
}
