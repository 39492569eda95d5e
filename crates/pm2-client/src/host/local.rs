//! The machine that this process runs on.

use std::collections::BTreeMap;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::sync::Mutex;

use camino::{Utf8Path, Utf8PathBuf};
use files::Links;

use crate::host::{FileKind, Host, InspectError, User};
use crate::record::LiveProcess;

/// The machine that this process runs on.
pub struct LocalHost {
    base_env: BTreeMap<String, String>,
    pm2_package: Option<Utf8PathBuf>,
    /// Cache of command lookups: 50 apps need the same few.
    commands: Mutex<BTreeMap<String, Option<Utf8PathBuf>>>,
}

impl LocalHost {
    /// The local machine with these inherited variables. `pm2` is the command that starts PM2, if one was found.
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

impl Host for LocalHost {
    fn file_kind(&self, path: &Utf8Path) -> FileKind {
        let Ok(metadata) = std::fs::metadata(path) else {
            return FileKind::Missing;
        };
        if metadata.is_dir() {
            return FileKind::Directory;
        }
        // PM2 reads the first 512 bytes; programs contain a NUL byte, scripts do not.
        match files::read_start(path.as_std_path(), Links::Follow, 512) {
            Ok(start) if start.contains(&0) => FileKind::Binary,
            _ => FileKind::Text,
        }
    }

    fn find_command(&self, name: &str) -> Option<Utf8PathBuf> {
        let search = || find_in_path(name, self.base_env.get("PATH").map_or("", String::as_str));
        match self.commands.lock() {
            Ok(mut known) => known.entry(name.to_owned()).or_insert_with(search).clone(),
            Err(_) => search(),
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

    fn inspect(&self, pid: u32) -> Result<Option<LiveProcess>, InspectError> {
        crate::proc::inspect(pid)
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

/// The entry for a name or number in an account file.
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
