//! Commands that xtasks run, printed as a user would type them.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

/// Why a chore ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("cannot find out where this program lies")]
    NoExecutable(#[source] io::Error),
    #[error("cannot find the repository's root")]
    NoRoot,
    #[error("cannot run `{command}`")]
    Spawn { command: String, source: io::Error },
    #[error("`{command}` ended with {status}")]
    Failed { command: String, status: ExitStatus },
    #[error("cannot make the directory `{}`", path.display())]
    MakeDirectory { path: PathBuf, source: io::Error },
    #[error("cannot write to `{}`", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("`{}` is not a directory of yours: move it away and try again", .0.display())]
    ForeignHome(PathBuf),
    #[error("cannot remove PM2's home `{}`", path.display())]
    RemoveHome { path: PathBuf, source: io::Error },
    #[error("cannot read or write `{}`", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("cannot catch signals")]
    Signals(#[source] io::Error),
    #[error("cannot set `{}`, which takes root", file.display())]
    Sysctl {
        file: &'static Path,
        source: io::Error,
    },
    #[error("interrupted")]
    Interrupted,
}

/// The repository's root.
pub(crate) fn root() -> Result<&'static Path, Error> {
    let manifest_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest_dir.ancestors().nth(2).ok_or(Error::NoRoot)
}

/// The cargo that runs this program.
pub(crate) fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Prints a command as a user would type it.
pub(crate) fn show(command: &str) {
    println!();
    println!("$ {command}");
}

/// The name of the directory in which cargo puts what it builds with a profile.
pub(crate) fn profile_dir(profile: &str) -> &str {
    match profile {
        "dev" => "debug",
        other => other,
    }
}

/// Runs a command, which must end with an accepted status.
pub(crate) fn run(
    line: &str,
    command: &mut Command,
    accepted: &[i32],
) -> Result<ExitStatus, Error> {
    let status = command.status().map_err(|source| Error::Spawn {
        command: line.to_owned(),
        source,
    })?;
    if status.code().is_some_and(|code| accepted.contains(&code)) {
        Ok(status)
    } else {
        Err(Error::Failed {
            command: line.to_owned(),
            status,
        })
    }
}
