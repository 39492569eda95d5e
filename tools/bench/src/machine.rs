//! Describes the machine and the versions that were measured.

use std::process::Command;

use camino::Utf8Path;

use crate::tools::Tools;

/// The first line of a command's output; none when it cannot be run.
fn line_of(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|done| done.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.lines().next().map(str::to_owned)
}

/// The machine: processor, cores, kernel.
fn machine() -> String {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or("an unknown processor", |model| {
            model.trim_start_matches([' ', '\t', ':'])
        });
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{model}, {cores} cores, Linux {}", kernel.trim())
}

/// The measured commit, marked if the code differs from it.
fn commit(root: &Utf8Path) -> String {
    let git = |args: &[&str]| line_of(Command::new("git").args(args).current_dir(root));
    let Some(commit) = git(&["rev-parse", "--short", "HEAD"]) else {
        return "of an unknown commit".to_owned();
    };
    let changed = git(&["status", "--porcelain", "--", "crates", "Cargo.lock"]).is_some();
    format!("{commit}{}", if changed { " with changes" } else { "" })
}

/// Machine and versions on two lines.
pub fn describe(tools: &Tools) -> String {
    let mut versions = vec![format!("pm2-sync {}", commit(&tools.repository))];
    let node = line_of(Command::new("node").arg("--version"));
    versions.extend(node.map(|version| format!("Node {}", version.trim_start_matches('v'))));
    versions.extend(tools.versions());
    format!(
        "Machine: {}.\nVersions: {}.\n",
        machine(),
        versions.join(", ")
    )
}
