//! A shell environment for both sides: one directory of scripts, the same commands, the same environment.

use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::{Command, Stdio};

use camino::{Utf8Path, Utf8PathBuf};
use daemon_model::{AppSpec, DaemonId, DocumentPath, Severity, SpecContext};
use pm2_client::{
    FileKind, Host, InspectError, LiveProcess, LocalHost, ResolvedApp, User, find_in_path,
};
use pm2_testbed::{Testbed, pm2_bin};
use serde_json::{Value, json};

use crate::CALLERS_OWN;
use crate::cases::{Case, Commands};
use crate::stand_in::{self, Asked};

/// The number of CPUs that our side uses.
pub const CPUS: u32 = 6;

pub struct Shell {
    bed: Testbed,
    root: Utf8PathBuf,
    node: Utf8PathBuf,
    asked: Asked,
}

impl Shell {
    pub fn new() -> Self {
        let bed = Testbed::home_only();
        let asked = stand_in::listen(bed.home());
        // Skips the banner and the version check of a first run.
        std::fs::write(bed.home().join("touch"), "").unwrap();
        let root = bed.dir().join("w");
        for dir in ["sub", "sub/deeper", "scripts"] {
            std::fs::create_dir_all(root.join(dir)).unwrap();
            std::fs::write(root.join(dir).join("server.js"), "").unwrap();
        }
        for file in [
            "server.js",
            "other.js",
            "page.mjs",
            "page.cjs",
            "page.ts",
            "page.tsx",
            "tool.py",
            "tool.rb",
            "tool.php",
            "tool.pl",
            "run.sh",
            "plain",
            "my.app.v2.js",
            ".hidden",
            "odd file.js",
            "ключ.js",
            "UPPER.JS",
            "my-tool",
        ] {
            std::fs::write(root.join(file), "#!/bin/sh\n").unwrap();
        }
        std::fs::write(root.join("empty"), "").unwrap();
        std::fs::write(root.join("program"), b"\x7fELF\x02\x01\x01\0\0\0").unwrap();
        let node = find_in_path("node", &std::env::var("PATH").unwrap()).unwrap();
        let node = node.canonicalize_utf8().unwrap();
        for commands in [Commands::All, Commands::Python3, Commands::Few] {
            let dir = root.join(commands.dir());
            std::fs::create_dir(&dir).unwrap();
            symlink(&node, dir.join("node")).unwrap();
            for name in commands.names() {
                let file = dir.join(name);
                std::fs::write(&file, "#!/bin/sh\n").unwrap();
                std::fs::set_permissions(&file, PermissionsExt::from_mode(0o755)).unwrap();
            }
            // Found by name, but not executable.
            std::fs::write(dir.join("not-executable"), "").unwrap();
        }
        let old_node = root.join("nvm/versions/node/v18.20.0/bin");
        std::fs::create_dir_all(&old_node).unwrap();
        std::fs::write(old_node.join("node"), b"\x7fELF\0").unwrap();
        let executable = PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(old_node.join("node"), executable).unwrap();
        Self {
            bed,
            root,
            node,
            asked,
        }
    }

    pub fn is_root(&self) -> bool {
        rustix::process::geteuid().is_root()
    }

    fn env(&self, commands: Commands) -> BTreeMap<String, String> {
        let mut env = self.bed.env();
        let path = self.root.join(commands.dir());
        env.insert("PATH".into(), path.into_string());
        env.insert("NVM_DIR".into(), self.root.join("nvm").into_string());
        env.insert("LC_ALL".into(), "C.UTF-8".into());
        env
    }

    /// Lets PM2's command line start these cases from one file. Returns its error messages.
    pub fn run_pm2(&self, cases: &[&Case]) -> String {
        let first = cases[0];
        let apps: Vec<&Value> = cases.iter().map(|case| &case.app).collect();
        let mut document = json!({ "apps": apps });
        if let Some(deploy) = &first.deploy {
            document["deploy"] = deploy.clone();
        }
        let file = self.root.join(format!("{}.json", first.id));
        std::fs::write(&file, document.to_string()).unwrap();
        let mut pm2 = Command::new(pm2_bin());
        pm2.arg("start")
            .arg(&file)
            .current_dir(&self.root)
            .env_clear()
            .envs(self.env(first.commands))
            .envs(CALLERS_OWN)
            .env("PM2_HOME", self.bed.home())
            .env("_", pm2_bin())
            .stdin(Stdio::null());
        if let Some(name) = first.env_name {
            pm2.args(["--env", name]);
        }
        let output = pm2.output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        let lines = String::from_utf8_lossy(&said).into_owned();
        lines
            .lines()
            .filter(|line| line.to_lowercase().contains("error"))
            .map(|line| format!("{first}: {line}\n"))
            .collect()
    }

    pub fn sent_by_pm2(&self, case: &Case) -> Vec<Value> {
        let mut sent = self.asked.to_prepare();
        sent.retain(|app| app["name"] == case.name.as_str());
        sent
    }

    pub fn sent_by_us(&self, case: &Case) -> Result<Value, String> {
        let context = SpecContext {
            root: &self.root,
            home: self.bed.dir(),
            env_name: case.env_name,
            deploy: case.deploy.as_ref().and_then(Value::as_object),
        };
        let id = DaemonId::new("d").unwrap();
        let (spec, findings) = AppSpec::read(&id, &case.app, &DocumentPath::root(), &context);
        let spec = spec.ok_or_else(|| {
            findings
                .iter()
                .filter(|finding| finding.severity == Severity::Error)
                .map(|finding| finding.message.full().to_owned())
                .collect::<Vec<_>>()
                .join("; ")
        })?;
        let host = Machine {
            shell: self,
            local: LocalHost::new(self.env(case.commands), Some(&pm2_bin())),
        };
        let launch = ResolvedApp::resolve(&spec, &self.root, self.bed.home(), &host)
            .map_err(|error| error.to_string())?;
        let payload = launch
            .prepare(spec.instances().on(CPUS))
            .map_err(|error| format!("{error:?}"))?;
        Ok(Value::Object(payload.as_map().clone()))
    }
}

struct Machine<'a> {
    shell: &'a Shell,
    local: LocalHost,
}

/// This machine, except for what the shell overrides.
impl Host for Machine<'_> {
    fn is_root(&self) -> bool {
        self.shell.is_root()
    }

    fn node(&self) -> Utf8PathBuf {
        self.shell.node.clone()
    }

    fn file_kind(&self, path: &Utf8Path) -> FileKind {
        self.local.file_kind(path)
    }

    fn find_command(&self, name: &str) -> Option<Utf8PathBuf> {
        self.local.find_command(name)
    }

    fn user(&self, name_or_uid: &str) -> Option<User> {
        self.local.user(name_or_uid)
    }

    fn group(&self, name_or_gid: &str) -> Option<u32> {
        self.local.group(name_or_gid)
    }

    fn user_name(&self) -> String {
        self.local.user_name()
    }

    fn base_env(&self) -> &BTreeMap<String, String> {
        self.local.base_env()
    }

    fn pm2_package(&self) -> Option<Utf8PathBuf> {
        self.local.pm2_package()
    }

    fn inspect(&self, pid: u32) -> Result<Option<LiveProcess>, InspectError> {
        self.local.inspect(pid)
    }

    fn make_log_dir(&self, dir: &Utf8Path) -> std::io::Result<()> {
        self.local.make_log_dir(dir)
    }
}
