//! The reference renderer as a subprocess: the one file of this crate that runs one.
//!
//! Only a command that somebody configured is run; nothing is looked for. What it prints goes to a file, because
//! it ends before a pipe has taken more than 64 KiB, with status 0.

use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};
use edn_render::Options;
use edn_render::fallback::{Answer, Fallback, NoAnswer};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::environment::{Environment, find_in_path};

/// The variable that names the command.
pub const PM2_CLJ_VARIABLE: &str = "PM2_SYNC_PM2_CLJ";

/// How long it may take for one file.
const DEADLINE: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// More than any definition; a command that prints without end must not fill the disk.
const MOST_OUTPUT: u64 = 64 << 20;
/// How much of what it says besides is passed on.
const MOST_REMARKS: usize = 20;
const MOST_REMARK: usize = 300;

/// The command of the reference renderer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pm2Clj {
    command: Vec<String>,
    dir: Utf8PathBuf,
    vars: BTreeMap<String, String>,
    deadline: Duration,
}

impl Pm2Clj {
    /// The command that `PM2_SYNC_PM2_CLJ` names, else `configured`, to be run in `dir`.
    #[must_use]
    pub fn find(
        configured: Option<&[String]>,
        dir: &Utf8Path,
        environment: &Environment,
    ) -> Option<Self> {
        let command = environment.var(PM2_CLJ_VARIABLE).map_or_else(
            || configured.map(<[String]>::to_vec).unwrap_or_default(),
            words,
        );
        (!command.is_empty()).then(|| Self {
            command,
            dir: dir.to_owned(),
            vars: environment.vars().clone(),
            deadline: DEADLINE,
        })
    }

    fn program(&self) -> Option<Utf8PathBuf> {
        let name = self.command.first()?;
        if name.contains('/') {
            return Some(self.dir.join(name));
        }
        find_in_path(name, self.vars.get("PATH").map_or("", String::as_str))
    }

    fn run(&self, file: &Utf8Path, options: &Options) -> Result<Answer, NoAnswer> {
        let name = self.command.join(" ");
        let program = self
            .program()
            .ok_or_else(|| passing(format!("cannot be run: `{name}` is no command in PATH")))?;
        let cannot = |what: &str, error: &std::io::Error| passing(format!("{what}: {error}"));
        let open =
            || tempfile::tempfile().map_err(|error| cannot("has no place for its output", &error));
        let (mut output, mut remarks) = (open()?, open()?);
        let stdio = |file: &std::fs::File| {
            file.try_clone()
                .map(Stdio::from)
                .map_err(|error| cannot("has no place for its output", &error))
        };
        let child = Command::new(&program)
            .args(self.command.iter().skip(1))
            .arg("render")
            .arg(file)
            .args(arguments(options))
            .current_dir(&self.dir)
            .env_clear()
            .envs(&self.vars)
            .stdin(Stdio::null())
            .stdout(stdio(&output)?)
            .stderr(stdio(&remarks)?)
            // A group of its own, so that what it started ends with it.
            .process_group(0)
            .spawn()
            .map_err(|error| cannot(&format!("cannot be run: `{program}`"), &error))?;
        let ended = self.wait(child, &output);
        let said = read_whole(&mut remarks).unwrap_or_default();
        let remarks = remark_lines(&said);
        match ended? {
            status if status.success() => Ok(Answer {
                output: read_whole(&mut output)
                    .map_err(|error| cannot("left output that cannot be read", &error))?,
                remarks,
            }),
            status => {
                let last = remarks
                    .last()
                    .map_or_else(String::new, |line| format!(": {line}"));
                Err(passing(format!("failed ({status}){last}")))
            }
        }
    }

    fn wait(&self, mut child: Child, output: &std::fs::File) -> Result<ExitStatus, NoAnswer> {
        let began = Instant::now();
        let fault = loop {
            match child.try_wait() {
                Ok(Some(status)) => return Ok(status),
                Ok(None) => {}
                Err(error) => break format!("cannot be waited for: {error}"),
            }
            if began.elapsed() > self.deadline {
                break format!("did not end within {} s", self.deadline.as_secs());
            }
            if output.metadata().is_ok_and(|data| data.len() > MOST_OUTPUT) {
                break format!("printed more than {} MiB", MOST_OUTPUT >> 20);
            }
            std::thread::sleep(LOOK_EVERY);
        };
        // It may end by itself meanwhile.
        if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = child.wait();
        Err(passing(fault))
    }
}

impl Fallback for Pm2Clj {
    fn name(&self) -> &str {
        "pm2-clj"
    }

    fn render(&self, file: &Utf8Path, options: &Options) -> Result<Answer, NoAnswer> {
        self.run(file, options)
    }
}

/// A command line in a variable: a JSON array, or words.
fn words(text: &str) -> Vec<String> {
    serde_json::from_str(text)
        .unwrap_or_else(|_| text.split_whitespace().map(ToOwned::to_owned).collect())
}

fn arguments(options: &Options) -> Vec<String> {
    let mode = options.mode.iter().flat_map(|mode| ["--mode", mode]);
    let set = options.set.iter().flat_map(|set| ["--set", set]);
    let unset = options.unset.iter().flat_map(|unset| ["--unset", unset]);
    mode.chain(set)
        .chain(unset)
        .map(ToOwned::to_owned)
        .collect()
}

/// The code may read other files, and the machine may be short of something: the next look may succeed.
fn passing(message: String) -> NoAnswer {
    NoAnswer {
        message,
        may_pass: true,
    }
}

fn read_whole(file: &mut std::fs::File) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.take(MOST_OUTPUT).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Its last lines, without what would control a terminal.
fn remark_lines(said: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(said);
    let lines: Vec<String> = text
        .lines()
        .map(|line| {
            line.chars()
                .filter(|c| !c.is_control())
                .take(MOST_REMARK)
                .collect::<String>()
        })
        .filter(|line| !line.trim().is_empty())
        .collect();
    lines[lines.len().saturating_sub(MOST_REMARKS)..].to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_hangs_is_ended_with_what_it_started() {
        let dir = tempfile::tempdir().unwrap();
        let dir = Utf8Path::from_path(dir.path()).unwrap();
        let mark = dir.join("pid");
        let renderer = Pm2Clj {
            command: ["sh", "-c", "sleep 600 & echo $! > pid; wait"]
                .map(str::to_owned)
                .to_vec(),
            dir: dir.to_owned(),
            vars: [("PATH".to_owned(), "/usr/bin:/bin".to_owned())].into(),
            deadline: Duration::from_millis(300),
        };
        let answer = renderer.run("x.edn".into(), &Options::default());
        assert_eq!(answer.unwrap_err().message, "did not end within 0 s");
        let pid = std::fs::read_to_string(mark).unwrap();
        let stat = format!("/proc/{}/stat", pid.trim());
        let deadline = Instant::now() + Duration::from_secs(10);
        // Whoever adopts orphans may be slow to take note of its end.
        while std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z ")) {
            assert!(Instant::now() < deadline, "{pid} lives on");
            std::thread::sleep(LOOK_EVERY);
        }
    }

    #[test]
    fn a_command_in_a_variable_is_words_or_json() {
        assert_eq!(words(" node  x.js "), ["node", "x.js"]);
        assert_eq!(words(r#"["node", "a b.js"]"#), ["node", "a b.js"]);
    }
}
