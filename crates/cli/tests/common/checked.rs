//! Commands whose output is searched for planted secrets, however a test runs them.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};

use camino::Utf8PathBuf;

use super::planted;

/// A [`Command`] of a workspace. Its output is checked when it ends. The output of a spawned one goes to a file that is checked
/// with the workspace, unless the test reads it from a pipe and checks it itself.
pub struct Checked {
    command: Command,
    /// Where the output of spawned commands is stored.
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

    /// Checks the output of a spawned command.
    #[track_caller]
    pub fn check(&self, output: &Output) {
        let [out, err] = [&output.stdout, &output.stderr].map(|it| String::from_utf8_lossy(it));
        planted::check_output(self.command.get_args(), &out, &err);
    }

    /// Spawns the command with pipes. The test reads them and checks the output.
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

    /// A new file for its output.
    fn file(&self, what: &str) -> io::Result<File> {
        std::fs::create_dir_all(&self.printed)?;
        let count = self.printed.read_dir_utf8()?.count();
        File::create_new(self.printed.join(format!("{count}.{what}")))
    }
}
