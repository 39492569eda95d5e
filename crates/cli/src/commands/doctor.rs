//! `pm2-sync doctor`: looks at what pm2-sync depends on, and says what to do.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;

use camino::{Utf8Path, Utf8PathBuf};
use pm2_client::{MAX_SOCKET_PATH, ProcessAdapter, god_daemons, orphans};
use serde::Serialize;
use serde_json::json;

use crate::args::{DoctorCommand, GlobalArgs, VariantArgs};
use crate::config::Config;
use crate::environment::Environment;
use crate::error::CommandError;
use crate::exit;
use crate::pass;
use crate::report::{Printer, Table, Tone, json as data};
use crate::supervised::process_name;

/// How a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Grade {
    Ok,
    Warning,
    Fault,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Finding {
    about: &'static str,
    grade: Grade,
    found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
}

#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn ok(&mut self, about: &'static str, found: impl Into<String>) {
        self.add(about, Grade::Ok, found.into(), None);
    }

    fn warning(
        &mut self,
        about: &'static str,
        found: impl Into<String>,
        advice: impl Into<String>,
    ) {
        self.add(about, Grade::Warning, found.into(), Some(advice.into()));
    }

    fn fault(&mut self, about: &'static str, found: impl Into<String>, advice: impl Into<String>) {
        self.add(about, Grade::Fault, found.into(), Some(advice.into()));
    }

    fn add(&mut self, about: &'static str, grade: Grade, found: String, advice: Option<String>) {
        self.0.push(Finding {
            about,
            grade,
            found,
            advice,
        });
    }
}

/// Checks the environment and says what to do.
///
/// # Errors
/// [`CommandError`] when there is no workspace to look at.
pub fn run(
    _command: &DoctorCommand,
    global: &GlobalArgs,
    environment: Environment,
    printer: &Printer,
) -> Result<u8, CommandError> {
    let config = Config::load(global, &VariantArgs::default(), environment)?;
    let mut findings = Findings::default();
    let command_version = look_at_command(&config, &mut findings);
    look_at_home(&config, &mut findings);
    look_at_daemon(&config, command_version.as_deref(), &mut findings);
    look_at_tree(&config, &mut findings);
    look_at_generated(&config, &mut findings);
    look_at_boot(&config, &mut findings);

    let worst = findings.0.iter().map(|finding| finding.grade).max();
    if printer.is_json() {
        printer.json(&data::document(
            "doctor",
            json!({ "ok": worst != Some(Grade::Fault), "findings": findings.0 }),
        ));
    } else {
        let mut table = Table::new(&["GRADE", "ABOUT", "FOUND"]);
        for finding in &findings.0 {
            let (word, tone) = match finding.grade {
                Grade::Ok => ("ok", Tone::Good),
                Grade::Warning => ("warning", Tone::Notice),
                Grade::Fault => ("fault", Tone::Bad),
            };
            let plain = |text: &str| (text.to_owned(), Tone::Plain);
            table.row(vec![
                (word.to_owned(), tone),
                plain(finding.about),
                plain(&finding.found),
            ]);
            if let Some(advice) = &finding.advice {
                table.row(vec![
                    plain(""),
                    plain(""),
                    (format!("-> {advice}"), Tone::Strong),
                ]);
            }
        }
        printer.table(&table);
    }
    Ok(if worst == Some(Grade::Fault) {
        exit::FAILED
    } else {
        exit::OK
    })
}

/// The `pm2` command; its version.
fn look_at_command(config: &Config, findings: &mut Findings) -> Option<String> {
    const ABOUT: &str = "pm2 command";
    let install =
        "install it with `npm install pm2`, or name it with `--pm2 PATH` or `PM2_SYNC_PM2`";
    let Some(pm2) = &config.pm2 else {
        findings.fault(
            ABOUT,
            "not found, so PM2 cannot be started when it is not running",
            install,
        );
        return None;
    };
    let Ok(file) = pm2.canonicalize_utf8() else {
        findings.fault(ABOUT, format!("{pm2} does not exist"), install);
        return None;
    };
    let version = file
        .ancestors()
        .find_map(|dir| std::fs::read(dir.join("package.json")).ok())
        .and_then(|text| serde_json::from_slice::<serde_json::Value>(&text).ok())
        .and_then(|package| Some(package.get("version")?.as_str()?.to_owned()));
    match &version {
        None => findings.warning(
            ABOUT,
            format!("{pm2}, of an unknown version"),
            "name the `pm2` of an npm package with `--pm2 PATH`",
        ),
        Some(version) if is_tested(version) => {
            findings.ok(ABOUT, format!("{pm2}, version {version}"))
        }
        Some(version) => findings.warning(
            ABOUT,
            format!("{pm2}, version {version}, which pm2-sync is not tested with"),
            "use PM2 5, 6 or 7",
        ),
    }
    version
}

fn is_tested(version: &str) -> bool {
    matches!(version.split('.').next(), Some("5" | "6" | "7"))
}

fn look_at_home(config: &Config, findings: &mut Findings) {
    const ABOUT: &str = "PM2's home";
    let home = &config.pm2_home;
    let socket = home.join("interactor.sock");
    if socket.as_str().len() > MAX_SOCKET_PATH {
        findings.fault(
            ABOUT,
            format!("{home} is too long for sockets in it ({MAX_SOCKET_PATH} bytes at most)"),
            "choose a shorter one with `PM2_HOME`",
        );
        return;
    }
    match std::fs::metadata(home) {
        Ok(metadata) if !metadata.is_dir() => {
            findings.fault(
                ABOUT,
                format!("{home} is no directory"),
                "choose another one with `PM2_HOME`",
            );
        }
        Ok(metadata) if metadata.permissions().mode() & 0o022 != 0 => findings.warning(
            ABOUT,
            format!("{home} can be written to by others: they can run programs as you"),
            format!("`chmod go-w {home}`"),
        ),
        Ok(_) => findings.ok(ABOUT, home.as_str()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            findings.ok(ABOUT, format!("{home}, not there yet"));
        }
        Err(error) => findings.fault(
            ABOUT,
            format!("{home}: {error}"),
            "choose another one with `PM2_HOME`",
        ),
    }
}

fn look_at_daemon(config: &Config, command_version: Option<&str>, findings: &mut Findings) {
    const ABOUT: &str = "PM2 daemon";
    let daemons = god_daemons(&config.pm2_home);
    if daemons.len() > 1 {
        findings.fault(
            ABOUT,
            format!(
                "{} of them share one home (pids {daemons:?})",
                daemons.len()
            ),
            "stop all but the one in `pm2.pid` with `kill PID`, then `pm2-sync sync`",
        );
    }
    let mut known = Vec::new();
    match pass::connect(config) {
        Ok(None) => findings.ok(ABOUT, "not running; `pm2-sync sync` starts it"),
        Ok(Some(mut adapter)) => match ask(adapter.as_mut()) {
            Ok((version, pids, watcher)) => {
                known = pids;
                look_at_versions(&version, command_version, findings);
                look_at_watcher(config, watcher.as_deref(), findings);
            }
            Err(error) => findings.fault(
                ABOUT,
                crate::report::chain(&error),
                "look at `pm2 logs PM2`",
            ),
        },
        Err(error) => findings.fault(
            ABOUT,
            crate::report::chain(&error),
            "look at `pm2 logs PM2`; if it hangs, end it with `pm2 kill`",
        ),
    }
    let daemon = daemons.first().copied();
    let left: Vec<String> = orphans(&config.pm2_home, daemon, &known)
        .iter()
        .map(|orphan| format!("{} (pid {})", orphan.name, orphan.pid))
        .collect();
    if left.is_empty() {
        findings.ok("orphans", "none");
    } else {
        findings.warning(
            "orphans",
            format!("lived on when their PM2 was killed: {}", left.join(", ")),
            "`pm2-sync sync` ends those of its apps; end others with `kill PID`",
        );
    }
    if let Some(daemon) = daemon {
        look_at_inherited(config, daemon, findings);
    }
}

type Answer = (String, Vec<u32>, Option<String>);

fn ask(adapter: &mut dyn ProcessAdapter) -> Result<Answer, pm2_client::AdapterError> {
    let version = adapter.daemon_version()?;
    let list = adapter.list()?;
    let pids = list.iter().filter_map(|record| record.pid).collect();
    let watcher = list
        .iter()
        .find(|record| record.name.starts_with("pm2-sync-watch-") && record.pid.is_some())
        .map(|record| record.name.clone());
    Ok((version, pids, watcher))
}

fn look_at_versions(daemon: &str, command: Option<&str>, findings: &mut Findings) {
    const ABOUT: &str = "PM2 daemon";
    match command {
        Some(command) if command != daemon => findings.warning(
            ABOUT,
            format!("runs version {daemon}, but the command is version {command}"),
            "`pm2 update` restarts PM2 and all apps with the command's version",
        ),
        _ if is_tested(daemon) => findings.ok(ABOUT, format!("runs, version {daemon}")),
        _ => findings.fault(ABOUT, format!("runs version {daemon}"), "use PM2 5, 6 or 7"),
    }
}

fn look_at_watcher(config: &Config, watcher: Option<&str>, findings: &mut Findings) {
    const ABOUT: &str = "watcher";
    if watcher == Some(&process_name(config.root())) {
        findings.ok(ABOUT, "runs under PM2");
    } else {
        findings.ok(ABOUT, "does not run under PM2; `pm2-sync up` starts it");
    }
}

/// Cluster workers inherit what PM2's own daemon was started with.
fn look_at_inherited(config: &Config, daemon: u32, findings: &mut Findings) {
    let around = config.surroundings();
    let environ = std::fs::read(format!("/proc/{daemon}/environ")).unwrap_or_default();
    let names: BTreeSet<String> = String::from_utf8_lossy(&environ)
        .split('\0')
        .filter_map(|variable| variable.split_once('='))
        .map(|(name, _)| name.to_owned())
        .filter(|name| !around.inherits(name))
        .filter(|name| {
            !matches!(
                name.as_str(),
                "PM2_HOME" | "_" | "PWD" | "SHLVL" | "OLDPWD" | "SILENT"
            )
        })
        .filter(|name| !name.starts_with("PM2_") && !name.starts_with("NODE_CHANNEL_"))
        .collect();
    if names.is_empty() {
        findings.ok("PM2's environment", "clean");
        return;
    }
    let shown: Vec<&str> = names.iter().take(8).map(String::as_str).collect();
    let more = if names.len() > shown.len() {
        ", ..."
    } else {
        ""
    };
    findings.warning(
        "PM2's environment",
        format!(
            "apps in cluster mode inherit {} variables of it: {}{more}",
            names.len(),
            shown.join(", ")
        ),
        "`pm2 kill`, then `pm2-sync sync`: it starts PM2 with a clean environment",
    );
}

fn look_at_tree(config: &Config, findings: &mut Findings) {
    const ABOUT: &str = "definitions";
    let dir = config.layout.daemons_dir();
    let tree = match watcher::scan(&config.layout) {
        Ok(tree) => tree,
        Err(error) => {
            findings.fault(
                ABOUT,
                crate::report::chain(&error),
                "bring the directory back, or name it in `pm2-sync.edn`",
            );
            return;
        }
    };
    findings.ok(ABOUT, format!("{} in {dir}", tree.sources.len()));
    if let Some(kind) = watcher::remote_file_system(dir.as_std_path()) {
        findings.warning(
            "file system",
            format!("{kind} tells of no changes made elsewhere"),
            "nothing: the watcher looks every 2 seconds instead",
        );
    } else {
        findings.ok("file system", "tells of changes");
    }
    // Each watch takes one, and so does many another program of the user.
    let made = rustix::fs::inotify::init(rustix::fs::inotify::CreateFlags::CLOEXEC);
    look_at_instances(made.is_ok(), findings);
    let limit = |name: &str| -> Option<usize> {
        let text = std::fs::read_to_string(format!("/proc/sys/fs/inotify/{name}")).ok()?;
        text.trim().parse().ok()
    };
    let Some(watches) = limit("max_user_watches") else {
        return;
    };
    let needed = count_dirs(config, dir);
    if needed * 2 > watches {
        findings.warning(
            "inotify",
            format!("{needed} directories to watch, and {watches} watches for all programs of the user"),
            format!("`sysctl fs.inotify.max_user_watches={}`; without it the watcher looks every 2 seconds", (needed * 4).next_power_of_two()),
        );
    } else {
        findings.ok(
            "inotify",
            format!("{needed} directories to watch, {watches} watches allowed"),
        );
    }
}

fn look_at_instances(is_one_left: bool, findings: &mut Findings) {
    if !is_one_left {
        findings.warning(
            "inotify",
            "all instances of the user are taken, so that nothing can be watched",
            "raise the limit with `sysctl fs.inotify.max_user_instances=1024`; without it the watcher looks every 2 seconds",
        );
    }
}

fn count_dirs(config: &Config, root: &Utf8Path) -> usize {
    let mut count = 0;
    let mut dirs = vec![root.to_owned()];
    while let Some(dir) = dirs.pop() {
        count += 1;
        for entry in dir.read_dir_utf8().into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir())
                && !config.layout.skips_dir(entry.file_name())
            {
                dirs.push(entry.path().to_owned());
            }
        }
    }
    count
}

fn look_at_generated(config: &Config, findings: &mut Findings) {
    const ABOUT: &str = "generated configs";
    let out = config.layout.out_dir();
    if let Err(error) = edn_render::artifact::ensure_ignored(&config.layout) {
        findings.fault(
            ABOUT,
            crate::report::chain(&error),
            "make the directory writable, or name another one as `:out` in `pm2-sync.edn`",
        );
        return;
    }
    if let Some(file) = shown_to_git(config) {
        findings.warning(
            ABOUT,
            format!("{file} does not hide them from git, and they hold environment variables"),
            format!("remove {file}: it is written anew"),
        );
    }
    let writable = tempfile::Builder::new()
        .prefix(".pm2-sync-")
        .tempfile_in(out);
    match writable {
        Ok(_) => findings.ok(
            ABOUT,
            match shown_to_git(config) {
                Some(_) => format!("{out} can be written to"),
                None => format!("{out} can be written to, and git passes it by"),
            },
        ),
        Err(error) => findings.fault(
            ABOUT,
            format!("{out} cannot be written to: {error}"),
            "make the directory writable, or name another one as `:out` in `pm2-sync.edn`",
        ),
    }
}

/// The file that is to hide generated configs from git, if it says something else: whatever is there is left alone.
fn shown_to_git(config: &Config) -> Option<Utf8PathBuf> {
    let out = config.layout.out_dir();
    let dirs = out.ancestors().take_while(|dir| *dir != config.root());
    let mut files = dirs
        .map(|dir| dir.join(".gitignore"))
        .filter(|file| file.is_file())
        .peekable();
    let nearest = files.peek().cloned()?;
    let hides = |file: Utf8PathBuf| {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        let mut lines = text.lines().map(str::trim);
        let all = lines.clone().any(|line| matches!(line, "*" | "/*" | "**"));
        all && !lines.any(|line| line.starts_with('!'))
    };
    (!files.any(hides)).then_some(nearest)
}

fn look_at_boot(config: &Config, findings: &mut Findings) {
    const ABOUT: &str = "boot";
    let user = pm2_client::Host::user_name(&crate::environment::Machine::new(
        config.environment.base_env(&config.surroundings()),
        None,
    ));
    let unit = Utf8PathBuf::from(format!("/etc/systemd/system/pm2-{user}.service"));
    if unit.exists() {
        findings.ok(ABOUT, format!("PM2 starts with the machine ({unit})"));
    } else {
        findings.warning(
            ABOUT,
            "PM2 does not start with the machine, as far as can be seen",
            "`pm2 startup` prints the command that makes it",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_that_is_left_is_not_worth_a_word() {
        let mut findings = Findings::default();
        look_at_instances(true, &mut findings);
        assert!(findings.0.is_empty());
        look_at_instances(false, &mut findings);
        assert_eq!(findings.0[0].grade, Grade::Warning);
        let advice = findings.0[0].advice.as_deref();
        assert!(advice.is_some_and(|advice| advice.contains("max_user_instances")));
    }
}
