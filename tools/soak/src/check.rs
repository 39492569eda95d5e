//! Checks independently of the watcher that PM2 matches the definitions.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::{Command, Stdio};

use camino::{Utf8Path, Utf8PathBuf};
use pm2_client::{ProcessRecord, Status};
use pm2_testbed::{Testbed, is_alive, pm2_bin};
use serde_json::Value;

use crate::hands::{Stranger, list};
use crate::workspace::{App, Kind, Workspace};

/// The checker and what it needs.
#[derive(Debug)]
pub struct Checker {
    pub binary: Utf8PathBuf,
    /// The last valid artifacts of definitions that are currently invalid.
    pub known: BTreeMap<String, String>,
}

impl Checker {
    /// The binary under test, in a hermetic environment.
    pub fn command(&self, bed: &Testbed, root: &Utf8Path, args: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command
            .args(args)
            .current_dir(root)
            .env_clear()
            .envs(bed.env())
            .env("PM2_HOME", bed.home())
            .env("PM2_SYNC_PM2", pm2_bin())
            .stdin(Stdio::null());
        command
    }

    /// The differences between the definitions and PM2 or the live processes. Cheap.
    pub fn processes(bed: &Testbed, workspace: &Workspace, strangers: &[Stranger]) -> Vec<String> {
        let Some(list) = list(bed) else {
            return vec!["PM2 does not answer".to_owned()];
        };
        let mut wrong = Vec::new();
        let mut by_name: BTreeMap<&str, Vec<&ProcessRecord>> = BTreeMap::new();
        for record in &list {
            by_name.entry(&record.name).or_default().push(record);
        }
        for stranger in strangers {
            let found = by_name.remove(stranger.name).unwrap_or_default();
            let fine = matches!(found[..], [only] if only.pid == stranger.pid);
            let line = stranger.pid.map(command_line).unwrap_or_default();
            if !fine || line != ["/bin/sleep", &stranger.seconds.to_string()] {
                wrong.push(format!("{stranger:?} is {found:?}, {line:?}"));
            }
        }
        for (daemon, app) in workspace.all() {
            let found = by_name.remove(app.name.as_str()).unwrap_or_default();
            let wanted = usize::try_from(app.instances).unwrap_or(1);
            // The processes of an invalid definition stay as they are, even after manual changes; only those that PM2 has lost come
            // back.
            if found.len() < wanted || (found.len() > wanted && !daemon.broken) {
                wrong.push(format!("{}: {} of {wanted}", app.name, found.len()));
            }
            for record in found {
                if daemon.broken && record.status == Status::Stopped {
                    continue;
                }
                if let Err(words) = matches_app(record, app, daemon.broken, workspace) {
                    wrong.push(format!("{} ({}): {words}", app.name, record.pm_id));
                }
            }
        }
        for (name, records) in by_name {
            wrong.push(format!("{name}: has no definition: {records:?}"));
        }
        let daemons = bed.daemons();
        if daemons.len() != 1 {
            wrong.push(format!("{} PM2s: {daemons:?}", daemons.len()));
        }
        wrong
    }

    /// Processes of this PM2's home that PM2 does not know: duplicates, or survivors.
    pub fn left_behind(bed: &Testbed, watcher: u32) -> Vec<u32> {
        // Search first: PM2's list then includes processes that it starts meanwhile.
        let mut pids = bed.processes();
        let daemons = bed.daemons();
        let known: BTreeSet<u32> = list(bed)
            .into_iter()
            .flatten()
            .filter_map(|record| record.pid)
            .chain(daemons)
            .chain([watcher])
            .collect();
        pids.retain(|pid| !known.contains(pid) && is_alive(*pid));
        pids
    }

    /// Whether a process survived its killed PM2 and no definition declares it any more. Its owner cannot be determined, so it is
    /// not killed, but `doctor` must name it.
    pub fn is_for_doctor(&self, bed: &Testbed, workspace: &Workspace, pid: u32) -> bool {
        let vars = environ(pid);
        let declared = |name: &String| workspace.apps().any(|app| app.name == *name);
        if is_child_of(bed, pid) || vars.get("name").is_none_or(declared) {
            return false;
        }
        let doctor = self.command(bed, &workspace.root, &["doctor"]).output();
        doctor.is_ok_and(|done| {
            String::from_utf8_lossy(&done.stdout).contains(&format!("(pid {pid})"))
        })
    }

    /// A description of an unknown process.
    pub fn describe(bed: &Testbed, pid: u32) -> String {
        let whose = if is_child_of(bed, pid) {
            "of the PM2 that runs"
        } else {
            "of a PM2 that has ended"
        };
        let vars = environ(pid);
        let var = |key: &str| vars.get(key).cloned().unwrap_or_default();
        format!(
            "pid {pid}, a child {whose}: {:?}, name {}, pm_id {}",
            command_line(pid),
            var("name"),
            var("pm_id")
        )
    }

    /// Compares artifacts with a fresh render in another place, and checks `plan`.
    pub fn files(
        &mut self,
        bed: &Testbed,
        workspace: &Workspace,
    ) -> Result<Vec<String>, std::io::Error> {
        let mut wrong = Vec::new();
        let fresh = bed.dir().join("fresh");
        if fresh.exists() {
            fs::remove_dir_all(&fresh)?;
        }
        crate::journal::copy(
            workspace.tree().as_std_path(),
            fresh.join("system/daemons").as_std_path(),
        )?;
        let rendered = self.command(bed, &fresh, &["render"]).output()?;
        let broken = workspace.broken();
        let expected = if broken.is_empty() { 0 } else { 3 };
        if rendered.status.code() != Some(expected) {
            wrong.push(format!("`render` elsewhere: {rendered:?}"));
        }
        let mut wanted = artifacts(&fresh.join(".generated/pm2"))?;
        for id in &broken {
            if let Some(text) = self.known.get(id) {
                wanted.insert(id.clone(), text.clone());
            }
        }
        let found = artifacts(&workspace.root.join(".generated/pm2"))?;
        let ids: BTreeSet<&String> = wanted.keys().chain(found.keys()).collect();
        for id in ids {
            if wanted.get(id) != found.get(id) {
                wrong.push(format!(
                    "artifact of {id}: {:?}, and should be {:?}",
                    found.get(id),
                    wanted.get(id)
                ));
            }
        }
        let defined: BTreeSet<&String> = workspace.daemons.keys().collect();
        if wanted.keys().collect::<BTreeSet<_>>() != defined {
            wrong.push(format!(
                "artifacts {:?}, daemons {defined:?}",
                wanted.keys()
            ));
        }
        let plan = self
            .command(bed, &workspace.root, &["plan", "--format", "json"])
            .output()?;
        let value: Value = serde_json::from_slice(&plan.stdout).unwrap_or_default();
        let idle = value["steps"].as_array().is_some_and(Vec::is_empty)
            && value["held"].is_null()
            && value["broken"].as_array().map(Vec::len) == Some(broken.len())
            && value["in_sync"] == true;
        if !idle || plan.status.code() != Some(expected) {
            wrong.push(format!("`plan` is not in sync: {plan:?}"));
        }
        if wrong.is_empty() {
            self.known = found;
        }
        Ok(wrong)
    }
}

fn matches_app(
    record: &ProcessRecord,
    app: &App,
    broken: bool,
    workspace: &Workspace,
) -> Result<(), String> {
    if record.status != Status::Online {
        return Err(record.status.to_string());
    }
    let pid = record
        .pid
        .filter(|pid| is_alive(*pid))
        .ok_or("no process")?;
    let line = command_line(pid);
    let value = app.value.to_string();
    let script = |name: &str| workspace.root.join("bin").join(name).into_string();
    let args = &record.pm2_env["args"];
    match app.kind {
        Kind::Binary if line != ["/bin/sleep", &value] => return Err(format!("runs {line:?}")),
        Kind::Shell if line.get(1..) != Some(&[script("shell.sh"), value.clone()]) => {
            return Err(format!("runs {line:?}"));
        }
        // Node sets its own title; only PM2's record has the arguments.
        Kind::Node if !line.join(" ").contains(&script("node.js")) => {
            return Err(format!("runs {line:?}"));
        }
        _ if *args != serde_json::json!([value]) => return Err(format!("has {args}")),
        _ => {}
    }
    let vars = environ(pid);
    let vars = match app.kind {
        // PM2 passes everything to a worker in one variable, as JSON.
        Kind::Cluster => {
            let text = vars.get("pm2_env").map_or("", String::as_str);
            let value: Value = serde_json::from_str(text).unwrap_or_default();
            let pairs = value.as_object().into_iter().flatten();
            pairs
                .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
                .collect()
        }
        _ => vars,
    };
    let ours: BTreeMap<String, String> = vars
        .into_iter()
        .filter(|(key, _)| {
            key == "VERSION" || key.starts_with("EXTRA_") || key.starts_with("SOAK_")
        })
        .collect();
    if ours != app.env && !broken {
        return Err(format!("has {ours:?} and should have {:?}", app.env));
    }
    Ok(())
}

/// Whether the parent of a process is the running PM2.
fn is_child_of(bed: &Testbed, pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let parent = status
        .lines()
        .find_map(|line| line.strip_prefix("PPid:"))
        .and_then(|parent| parent.trim().parse().ok());
    parent.is_some_and(|parent| bed.daemons().contains(&parent))
}

/// All generated configs below a directory, by the id of their daemon.
fn artifacts(dir: &Utf8Path) -> Result<BTreeMap<String, String>, std::io::Error> {
    let mut found = BTreeMap::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(next) = dirs.pop() {
        for entry in next.read_dir_utf8()? {
            let path = entry?.path().to_owned();
            if path.is_dir() {
                dirs.push(path);
            } else {
                let id = path.strip_prefix(dir).unwrap_or(&path).with_extension("");
                found.insert(id.into_string(), fs::read_to_string(&path)?);
            }
        }
    }
    Ok(found)
}

/// The command line of a live process.
pub fn command_line(pid: u32) -> Vec<String> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&line)
        .split_terminator('\0')
        .map(ToOwned::to_owned)
        .collect()
}

fn environ(pid: u32) -> BTreeMap<String, String> {
    let bytes = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    String::from_utf8_lossy(&bytes)
        .split_terminator('\0')
        .filter_map(|variable| variable.split_once('='))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}
