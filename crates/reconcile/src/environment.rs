//! The only file that reads ambient state: environment variables, arguments, the current directory, CPUs. All other code gets them
//! as values.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::sync::OnceLock;

use camino::{Utf8Path, Utf8PathBuf};
use daemon_model::EnvPolicy;

/// The environment that the process was started with.
#[derive(Debug, Clone)]
pub struct Environment {
    vars: BTreeMap<String, String>,
    cwd: Option<Utf8PathBuf>,
    program: Option<Utf8PathBuf>,
    cpus: OnceLock<u32>,
}

impl Environment {
    /// Reads the ambient environment. Variables that are not UTF-8 are ignored.
    #[must_use]
    pub fn read() -> Self {
        let vars = std::env::vars_os()
            .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let cwd = std::env::current_dir()
            .ok()
            .and_then(|cwd| Utf8PathBuf::from_path_buf(cwd).ok());
        let program = std::env::current_exe()
            .ok()
            .and_then(|program| Utf8PathBuf::from_path_buf(program).ok());
        Self {
            vars,
            cwd,
            program,
            cpus: OnceLock::new(),
        }
    }

    /// The arguments of this process, its own name first.
    #[must_use]
    pub fn arguments() -> Vec<OsString> {
        std::env::args_os().collect()
    }

    /// An environment with exactly these variables and this current directory.
    #[must_use]
    pub fn new(vars: BTreeMap<String, String>, cwd: Option<Utf8PathBuf>) -> Self {
        Self {
            vars,
            cwd,
            program: None,
            cpus: OnceLock::new(),
        }
    }

    /// The path of this program.
    #[must_use]
    pub fn program(&self) -> Option<&Utf8Path> {
        self.program.as_deref()
    }

    /// A variable that is set and not empty.
    #[must_use]
    pub fn var(&self, name: &str) -> Option<&str> {
        self.vars
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    /// All variables.
    #[must_use]
    pub fn vars(&self) -> &BTreeMap<String, String> {
        &self.vars
    }

    /// The current directory; none if it no longer exists or is not UTF-8.
    #[must_use]
    pub fn cwd(&self) -> Option<&Utf8Path> {
        self.cwd.as_deref()
    }

    /// The user's home.
    #[must_use]
    pub fn home(&self) -> Option<Utf8PathBuf> {
        self.var("HOME").map(Utf8PathBuf::from)
    }

    /// The user on whose behalf this process acts: the caller of `sudo`, else the logged-in user; a number if the name is not
    /// known.
    #[must_use]
    pub fn user(&self) -> String {
        let names = ["SUDO_USER", "USER", "LOGNAME"];
        let name = names.into_iter().find_map(|name| self.var(name));
        let uid = || rustix::process::getuid().as_raw().to_string();
        name.map_or_else(uid, ToOwned::to_owned)
    }

    /// Whether files of this user may be used: those of the caller and of root, and under `sudo` those of its caller.
    #[must_use]
    pub fn trusts(&self, uid: u32) -> bool {
        let is_root = rustix::process::geteuid().is_root();
        let caller = || self.var("SUDO_UID")?.parse().ok();
        files::is_trusted(uid) || (is_root && caller() == Some(uid))
    }

    /// The variables that every process inherits. PM2's own environment is not passed on.
    #[must_use]
    pub fn base_env(&self, env_policy: &EnvPolicy) -> BTreeMap<String, String> {
        self.vars
            .iter()
            .filter(|(key, _)| env_policy.inherits(key))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    }

    /// Number of CPUs, counted once as PM2's node counts them.
    #[must_use]
    pub fn cpus(&self) -> u32 {
        *self.cpus.get_or_init(count_cpus)
    }
}

fn count_cpus() -> u32 {
    let listed = std::fs::read_to_string("/proc/cpuinfo")
        .map(|text| {
            text.lines()
                .filter(|line| line.starts_with("processor"))
                .count()
        })
        .unwrap_or(0);
    let count = if listed > 0 {
        listed
    } else {
        std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
    };
    u32::try_from(count).unwrap_or(1)
}
