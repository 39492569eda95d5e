//! Passes the commit of this build to the program, for `--version`.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=PM2_SYNC_COMMIT");
    let version = env!("CARGO_PKG_VERSION");
    let version = match commit() {
        Some(commit) => format!("{version} ({commit})"),
        None => version.to_owned(),
    };
    println!("cargo::rustc-env=PM2_SYNC_VERSION={version}");
}

/// The commit and its date, from the packager or, in a release build, from git. Other builds omit them, or each commit would force
/// a rebuild.
fn commit() -> Option<String> {
    let given = std::env::var("PM2_SYNC_COMMIT").ok();
    if let Some(given) = given.filter(|given| !given.trim().is_empty()) {
        return Some(given.trim().to_owned());
    }
    if std::env::var("PROFILE").ok()? != "release" {
        return None;
    }
    // A package from the registry has no repository of its own, but may have been unpacked inside of another one.
    let top = git(&["rev-parse", "--show-toplevel"])?;
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).canonicalize().ok()?;
    let is_ours = Path::new(&top).canonicalize().ok()?.join("crates/cli") == here;
    if !is_ours {
        return None;
    }
    let branch = git(&["symbolic-ref", "-q", "HEAD"]);
    for name in ["HEAD"].into_iter().chain(branch.as_deref()) {
        if let Some(path) = git(&["rev-parse", "--git-path", name]) {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    git(&["log", "-1", "--format=%h %cs"])
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}
