//! Commands whose output is looked at for planted secrets, however a test runs them.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};

use camino::Utf8PathBuf;

use super::planted;

/// A [`Command`] of a workspace. What it prints is looked at when it ends; what a spawned one prints goes to a file that is looked at
/// with the workspace, unless the test reads it from a pipe of its own and looks at it itself.
pub struct Checked {
    command: Command,
    /// Where the output of spawned commands is kept.
    printed: Utf8PathBuf,
    is_out_chosen: bool,
    is_err_chosen: bool,
}

impl Checked {
    pub fn new(command: Command, printed: Utf8PathBuf) -> Self {
        Self {
            command,
            printed,
            is_out_chosen: false,
            is_err_chosen: false,
        }
    }

    pub fn arg(&mut self, arg: impl AsRef<OsStr>) -> &mut Self {
        self.command.arg(arg);
        self
    }

    pub fn args<A: AsRef<OsStr>>(&mut self, args: impl IntoIterator<Item = A>) -> &mut Self {
        self.command.args(args);
        self
    }

    pub fn current_dir(&mut self, dir: impl AsRef<Path>) -> &mut Self {
        self.command.current_dir(dir);
        self
    }

    pub fn env(&mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> &mut Self {
        self.command.env(name, value);
        self
    }

    pub fn envs<N: AsRef<OsStr>, V: AsRef<OsStr>>(
        &mut self,
        variables: impl IntoIterator<Item = (N, V)>,
    ) -> &mut Self {
        self.command.envs(variables);
        self
    }

    pub fn env_remove(&mut self, name: &str) -> &mut Self {
        self.command.env_remove(name);
        self
    }

    pub fn env_clear(&mut self) -> &mut Self {
        self.command.env_clear();
        self
    }

    pub fn stdin(&mut self, from: impl Into<Stdio>) -> &mut Self {
        self.command.stdin(from);
        self
    }

    pub fn stdout(&mut self, to: impl Into<Stdio>) -> &mut Self {
        self.command.stdout(to);
        self.is_out_chosen = true;
        self
    }

    pub fn stderr(&mut self, to: impl Into<Stdio>) -> &mut Self {
        self.command.stderr(to);
        self.is_err_chosen = true;
        self
    }

    /// Runs it to its end.
    #[track_caller]
    pub fn output(&mut self) -> io::Result<Output> {
        let output = self.command.output()?;
        self.check(&output);
        Ok(output)
    }

    /// Runs it to its end.
    #[track_caller]
    pub fn status(&mut self) -> io::Result<ExitStatus> {
        Ok(self.output()?.status)
    }

    /// Looks at what one that was spawned has printed.
    #[track_caller]
    pub fn check(&self, output: &Output) {
        let [out, err] = [&output.stdout, &output.stderr].map(|it| String::from_utf8_lossy(it));
        planted::check_output(self.command.get_args(), &out, &err);
    }

    /// Spawns it with pipes, which the test reads, and looks at what it reads.
    pub fn spawn_piped(&mut self) -> io::Result<Child> {
        self.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()
    }

    pub fn spawn(&mut self) -> io::Result<Child> {
        if !self.is_out_chosen {
            self.command.stdout(self.file("out")?);
        }
        if !self.is_err_chosen {
            self.command.stderr(self.file("err")?);
        }
        self.command.spawn()
    }

    /// A new file for what it prints.
    fn file(&self, what: &str) -> io::Result<File> {
        std::fs::create_dir_all(&self.printed)?;
        let count = self.printed.read_dir_utf8()?.count();
        File::create_new(self.printed.join(format!("{count}.{what}")))
    }
}
