//! The one file that looks at the ambient world: environment variables, the current directory, homes, users,
//! PATH, CPUs. Everything below gets what it needs handed in.

use std::collections::BTreeMap;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::sync::Mutex;

use camino::{Utf8Path, Utf8PathBuf};
use daemon_model::Surroundings;
use pm2_client::{FileKind, Host, User};

/// What the process was started with.
#[derive(Debug, Clone)]
pub struct Environment {
    vars: BTreeMap<String, String>,
    cwd: Option<Utf8PathBuf>,
    program: Option<Utf8PathBuf>,
}

impl Environment {
    /// Reads the ambient environment. Variables that are not UTF-8 are left out.
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
        Self { vars, cwd, program }
    }

    /// An environment with exactly these variables and this current directory.
    #[must_use]
    pub fn new(vars: BTreeMap<String, String>, cwd: Option<Utf8PathBuf>) -> Self {
        Self {
            vars,
            cwd,
            program: None,
        }
    }

    /// The file of this program.
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

    /// The current directory; none when it is gone or not UTF-8.
    #[must_use]
    pub fn cwd(&self) -> Option<&Utf8Path> {
        self.cwd.as_deref()
    }

    /// The user's home.
    #[must_use]
    pub fn home(&self) -> Option<Utf8PathBuf> {
        self.var("HOME").map(Utf8PathBuf::from)
    }

    /// The variables that every process inherits: PM2's own environment never reaches them.
    #[must_use]
    pub fn base_env(&self, around: &Surroundings) -> BTreeMap<String, String> {
        self.vars
            .iter()
            .filter(|(key, _)| around.inherits(key))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    }

    /// Number of CPUs, as PM2's node counts them.
    #[must_use]
    pub fn cpus() -> u32 {
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
}

/// The machine, for starting processes on it.
pub struct Machine {
    base_env: BTreeMap<String, String>,
    pm2_package: Option<Utf8PathBuf>,
    // Starting 50 apps would look for the same few commands 50 times.
    commands: Mutex<BTreeMap<String, Option<Utf8PathBuf>>>,
}

impl Machine {
    /// The machine with these inherited variables. `pm2` is the command that starts PM2, if one was found.
    #[must_use]
    pub fn new(base_env: BTreeMap<String, String>, pm2: Option<&Utf8Path>) -> Self {
        let pm2_package = pm2
            .and_then(|pm2| pm2.canonicalize_utf8().ok())
            .and_then(|pm2| Some(pm2.parent()?.parent()?.to_owned()))
            .filter(|package| package.join("lib/API/Serve.js").is_file());
        Self {
            base_env,
            pm2_package,
            commands: Mutex::new(BTreeMap::new()),
        }
    }
}

impl Host for Machine {
    fn file_kind(&self, path: &Utf8Path) -> FileKind {
        let Ok(metadata) = std::fs::metadata(path) else {
            return FileKind::Missing;
        };
        if metadata.is_dir() {
            return FileKind::Directory;
        }
        let mut start = [0; 512];
        let read = std::fs::File::open(path)
            .and_then(|mut file| std::io::Read::read(&mut file, &mut start));
        // PM2 looks at the first 512 bytes; a NUL byte is what tells programs from scripts.
        match read {
            Ok(n) if start[..n].contains(&0) => FileKind::Binary,
            _ => FileKind::Text,
        }
    }

    fn find_command(&self, name: &str) -> Option<Utf8PathBuf> {
        let look = || find_in_path(name, self.base_env.get("PATH").map_or("", String::as_str));
        match self.commands.lock() {
            Ok(mut known) => known.entry(name.to_owned()).or_insert_with(look).clone(),
            Err(_) => look(),
        }
    }

    fn user(&self, name_or_uid: &str) -> Option<User> {
        // name:password:uid:gid:comment:home:shell
        account_line("/etc/passwd", name_or_uid, |fields| {
            Some(User {
                uid: fields.get(2)?.parse().ok()?,
                gid: fields.get(3)?.parse().ok()?,
                home: (*fields.get(5)?).to_owned(),
            })
        })
    }

    fn group(&self, name_or_gid: &str) -> Option<u32> {
        account_line("/etc/group", name_or_gid, |fields| {
            fields.get(2)?.parse().ok()
        })
    }

    fn user_name(&self) -> String {
        let uid = rustix::process::getuid().as_raw().to_string();
        account_line("/etc/passwd", &uid, |fields| {
            fields.first().map(|name| (*name).to_owned())
        })
        .or_else(|| self.base_env.get("USER").cloned())
        .unwrap_or(uid)
    }

    fn is_root(&self) -> bool {
        rustix::process::geteuid().is_root()
    }

    fn base_env(&self) -> &BTreeMap<String, String> {
        &self.base_env
    }

    fn node(&self) -> Utf8PathBuf {
        self.find_command("node")
            .map(|node| node.canonicalize_utf8().unwrap_or(node))
            .unwrap_or_else(|| "node".into())
    }

    fn pm2_package(&self) -> Option<Utf8PathBuf> {
        self.pm2_package.clone()
    }

    fn make_log_dir(&self, dir: &Utf8Path) -> std::io::Result<()> {
        if dir.is_dir() {
            return Ok(());
        }
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(dir)
    }
}

/// The entry of a name or number in a file of accounts.
fn account_line<T>(file: &str, name_or_id: &str, read: impl Fn(&[&str]) -> Option<T>) -> Option<T> {
    let text = std::fs::read_to_string(file).ok()?;
    text.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let fits = fields.first() == Some(&name_or_id) || fields.get(2) == Some(&name_or_id);
        fits.then(|| read(&fields)).flatten()
    })
}

/// The first executable file called `name` in `path`; a name with a slash is the file itself.
#[must_use]
pub fn find_in_path(name: &str, path: &str) -> Option<Utf8PathBuf> {
    let is_executable = |file: &Utf8PathBuf| {
        std::fs::metadata(file)
            .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
    };
    if name.contains('/') {
        return Some(Utf8PathBuf::from(name)).filter(is_executable);
    }
    path.split(':')
        .filter(|dir| !dir.is_empty())
        .map(|dir| Utf8Path::new(dir).join(name))
        .find(is_executable)
}
