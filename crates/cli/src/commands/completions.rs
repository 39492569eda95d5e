//! `pm2-sync completions`, and candidates for shell completion.
//!
//! The script that `completions` prints makes the shell run this program with a variable set. So the candidates are the flags of
//! the installed version and the IDs of the workspace.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use camino::{Utf8Path, Utf8PathBuf};
use clap::{CommandFactory, ValueEnum};
use clap_complete::engine::{CompletionCandidate, PathCompleter, ValueCompleter};
use clap_complete::env::{Bash, EnvCompleter, Fish, Zsh};

use crate::args::{Cli, CompletionsCommand};
use crate::exit::Exit;
use crate::report::{Printer, raw};
use reconcile::{Config, Environment, Overrides};

/// The variable with which a shell requests candidates. Its value is the shell's name.
const VARIABLE: &str = "PM2_SYNC_COMPLETE";
const PROGRAM: &str = "pm2-sync";

/// A supported shell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// For `~/.bashrc`: `source <(pm2-sync completions bash)`
    Bash,
    /// For `~/.zshrc`, after `compinit`: `source <(pm2-sync completions zsh)`
    Zsh,
    /// For `~/.config/fish/config.fish`: `pm2-sync completions fish | source`
    Fish,
}

impl Shell {
    fn completer(self) -> &'static dyn EnvCompleter {
        match self {
            Self::Bash => &Bash,
            Self::Zsh => &Zsh,
            Self::Fish => &Fish,
        }
    }

    /// The script that connects the shell to this program.
    ///
    /// # Errors
    /// Never in practice: it writes into memory.
    pub fn script(self) -> std::io::Result<Vec<u8>> {
        let mut script = Vec::new();
        let completer = self.completer();
        completer.write_registration(VARIABLE, PROGRAM, PROGRAM, PROGRAM, &mut script)?;
        Ok(script)
    }
}

/// Prints the script for a shell.
pub fn run(command: &CompletionsCommand, printer: &Printer) -> Exit {
    match command.shell.script() {
        Ok(script) => {
            printer.data(&script);
            Exit::Ok
        }
        Err(_) => Exit::Failed,
    }
}

/// Answers a shell that requests candidates; none if no shell does. Errors yield no candidates.
#[must_use]
pub fn answer(environment: &Environment) -> Option<Exit> {
    let shell = Shell::from_str(environment.var(VARIABLE)?, false).ok()?;
    let words = words();
    let mut answer = Vec::new();
    let here = environment.cwd().map(Utf8Path::as_std_path);
    let mut command = Cli::command();
    command.build();
    let written = shell
        .completer()
        .write_complete(&mut command, words, here, &mut answer);
    if written.is_ok() {
        raw(&answer);
    }
    Some(Exit::Ok)
}

/// The command line to complete: everything after the first `--`.
fn words() -> Vec<OsString> {
    let arguments = Environment::arguments().into_iter();
    arguments.skip_while(|word| word != "--").skip(1).collect()
}

/// The daemons and folders of the tree that start with `current`.
pub fn ids(current: &OsStr) -> Vec<CompletionCandidate> {
    let begins = |id: &str| current.to_str().is_some_and(|text| id.starts_with(text));
    let mut found: Vec<String> = Vec::new();
    for id in known_ids() {
        let folders = id.match_indices('/').map(|(at, _)| id[..=at].to_owned());
        found.extend(folders.chain([id.clone()]).filter(|it| begins(it)));
    }
    found.sort();
    found.dedup();
    found.into_iter().map(CompletionCandidate::new).collect()
}

/// As [`ids`], and files that can be given in place of an ID.
pub fn ids_and_files(current: &OsStr) -> Vec<CompletionCandidate> {
    let is_definition = |path: &Path| path.extension().is_some_and(|it| it == "edn");
    let files = PathCompleter::file().filter(is_definition);
    let mut found = ids(current);
    found.extend(files.complete(current));
    found
}

/// The IDs of the tree, without names that contain special characters of shells or terminals.
fn known_ids() -> Vec<String> {
    let overrides = Overrides {
        workspace: workspace(&words()),
        ..Overrides::default()
    };
    let Ok(config) = Config::resolve_without_pm2(&overrides, Environment::read()) else {
        return Vec::new();
    };
    let Ok(tree) = watcher::scan(&config.layout) else {
        return Vec::new();
    };
    let ids = tree.sources.keys().map(ToString::to_string);
    ids.filter(|id| !id.chars().any(char::is_control)).collect()
}

/// The workspace that a command line names.
fn workspace(words: &[OsString]) -> Option<Utf8PathBuf> {
    let words: Vec<&str> = words.iter().filter_map(|word| word.to_str()).collect();
    let next = words.windows(2).find_map(|pair| match pair {
        ["--workspace" | "-C", dir] => Some(*dir),
        _ => None,
    });
    let joined = || {
        words
            .iter()
            .find_map(|word| word.strip_prefix("--workspace="))
    };
    next.or_else(joined).map(Utf8PathBuf::from)
}
