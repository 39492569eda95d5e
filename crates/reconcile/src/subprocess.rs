//! Runs programs for their output. No other file of this crate starts programs.
//!
//! A program gets a deadline and its own process group, so that its children end with it. Its output goes to a file: some programs
//! lose what does not fit into a pipe.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};
use daemon_model::{Message, Ours, message};
use pm2_client::{StopFlag, find_in_path};
use rustix::process::{Pid, Signal, kill_process_group};

const POLL_INTERVAL: Duration = Duration::from_millis(5);
/// The output limit: a program that prints without end must not fill the disk.
const MAX_OUTPUT_BYTES: u64 = 64 << 20;
/// How many lines of standard error are passed on, and how much of each.
const MAX_REMARKS: usize = 20;
const MAX_REMARK_CHARS: usize = 300;

/// A program and its environment.
#[derive(Debug, Clone)]
pub(crate) struct Subprocess<'a> {
    /// A path, or the name of a command in the `PATH` of `vars`.
    pub program: &'a str,
    pub args: Vec<&'a str>,
    /// The current directory, from which a relative program path starts.
    pub dir: &'a Utf8Path,
    /// Its complete environment.
    pub vars: &'a BTreeMap<String, String>,
    pub deadline: Duration,
    pub stop: &'a StopFlag,
}

/// The result of a program that ended by itself.
#[derive(Debug)]
pub(crate) struct Finished {
    pub status: ExitStatus,
    /// Its standard output.
    pub output: Vec<u8>,
    /// The last lines of its standard error, without control characters.
    pub remarks: Vec<String>,
}

impl Subprocess<'_> {
    fn path(&self) -> Option<Utf8PathBuf> {
        if self.program.contains('/') {
            return Some(self.dir.join(self.program));
        }
        let path = self.vars.get("PATH").map_or("", String::as_str);
        find_in_path(self.program, path)
    }

    /// Runs the program to its end.
    ///
    /// # Errors
    /// What went wrong, as a fragment that follows the program's name.
    pub fn run(&self) -> Result<Finished, Message> {
        let program = self.path().ok_or_else(|| {
            message!(
                "cannot be run: `{}` is not a command in PATH",
                Ours(self.program)
            )
        })?;
        let cannot =
            |what: &'static str, error: &std::io::Error| message!("{}: {}", what, Ours(error));
        let open =
            || tempfile::tempfile().map_err(|error| cannot("cannot store its output", &error));
        let (mut output, mut said) = (open()?, open()?);
        let stdio = |file: &File| {
            file.try_clone()
                .map(Stdio::from)
                .map_err(|error| cannot("cannot store its output", &error))
        };
        let child = Command::new(&program)
            .args(&self.args)
            .current_dir(self.dir)
            .env_clear()
            .envs(self.vars)
            .stdin(Stdio::null())
            .stdout(stdio(&output)?)
            .stderr(stdio(&said)?)
            .process_group(0)
            .spawn()
            .map_err(|error| message!("cannot be run: `{}`: {}", Ours(&program), Ours(error)))?;
        let status = self.wait(child, &output)?;
        Ok(Finished {
            status,
            output: read_whole(&mut output)
                .map_err(|error| cannot("left output that cannot be read", &error))?,
            remarks: remark_lines(&read_whole(&mut said).unwrap_or_default()),
        })
    }

    fn wait(&self, mut child: Child, output: &File) -> Result<ExitStatus, Message> {
        let began = Instant::now();
        let fault = loop {
            match child.try_wait() {
                Ok(Some(status)) => return Ok(status),
                Ok(None) => {}
                Err(error) => break message!("cannot be waited for: {}", Ours(error)),
            }
            if self.stop.is_set() {
                break "was ended because pm2-sync was asked to stop".into();
            }
            if began.elapsed() > self.deadline {
                break message!("did not end within {} s", self.deadline.as_secs());
            }
            if output
                .metadata()
                .is_ok_and(|data| data.len() > MAX_OUTPUT_BYTES)
            {
                break message!("printed more than {} MiB", MAX_OUTPUT_BYTES >> 20);
            }
            std::thread::sleep(POLL_INTERVAL);
        };
        // It may end by itself in the meantime.
        if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = child.wait();
        Err(fault)
    }
}

fn read_whole(file: &mut File) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.take(MAX_OUTPUT_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn remark_lines(said: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(said);
    let lines: Vec<String> = text
        .lines()
        .map(|line| {
            line.chars()
                .filter(|c| !c.is_control())
                .take(MAX_REMARK_CHARS)
                .collect::<String>()
        })
        .filter(|line| !line.trim().is_empty())
        .collect();
    lines[lines.len().saturating_sub(MAX_REMARKS)..].to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vars() -> BTreeMap<String, String> {
        [("PATH".to_owned(), "/usr/bin:/bin".to_owned())].into()
    }

    /// Runs a program that hangs, and writes the pid of its child into a file.
    fn hang(dir: &Utf8Path, deadline: Duration, stop: &StopFlag) -> Message {
        let hanging = Subprocess {
            program: "sh",
            args: vec!["-c", "sleep 600 & echo $! > pid; wait"],
            dir,
            vars: &vars(),
            deadline,
            stop,
        };
        hanging.run().unwrap_err()
    }

    fn wait_for(mut done: impl FnMut() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !done() {
            assert!(Instant::now() < deadline);
            std::thread::sleep(POLL_INTERVAL);
        }
    }

    #[test]
    fn a_hanging_program_is_killed_with_its_children() {
        let dir = tempfile::tempdir().unwrap();
        let dir = Utf8Path::from_path(dir.path()).unwrap();
        let fault = hang(dir, Duration::from_millis(300), &StopFlag::default());
        assert_eq!(fault.full(), "did not end within 0 s");
        let pid = std::fs::read_to_string(dir.join("pid")).unwrap();
        let stat = format!("/proc/{}/stat", pid.trim());
        // Its new parent may be slow to reap it.
        wait_for(|| !std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z ")));
    }

    #[test]
    fn a_hanging_program_is_killed_on_a_stop_request() {
        let dir = tempfile::tempdir().unwrap();
        let dir = Utf8Path::from_path(dir.path()).unwrap();
        let stop = StopFlag::default();
        std::thread::scope(|scope| {
            let run = scope.spawn(|| hang(dir, Duration::from_secs(60), &stop));
            wait_for(|| dir.join("pid").exists());
            stop.set();
            let fault = run.join().unwrap();
            let fault = fault.full();
            assert!(fault.contains("asked to stop"), "{fault}");
        });
    }

    #[test]
    fn output_and_remarks_are_apart() {
        let stop = StopFlag::default();
        let talking = Subprocess {
            program: "sh",
            args: vec!["-c", "echo out; echo 'a\u{1b}b' >&2; echo >&2; exit 3"],
            dir: "/".into(),
            vars: &vars(),
            deadline: Duration::from_secs(60),
            stop: &stop,
        };
        let finished = talking.run().unwrap();
        assert_eq!(finished.status.code(), Some(3));
        assert_eq!(finished.output, b"out\n");
        assert_eq!(finished.remarks, ["ab"]);
        let missing = Subprocess {
            program: "no-such-command",
            ..talking
        };
        let fault = missing.run().unwrap_err();
        assert!(
            fault.full().contains("is not a command in PATH"),
            "{}",
            fault.full()
        );
    }
}
