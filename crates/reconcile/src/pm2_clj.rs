//! The reference renderer as a subprocess.
//!
//! Only a configured command is run; the program is never searched for. Its output goes to a file: with a pipe, it writes 64 KiB
//! and exits with status 0.

use std::collections::BTreeMap;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use daemon_model::{Message, Ours, Quoted, message};
use edn_render::Options;
use edn_render::fallback::{Answer, Fallback, NoAnswer};
use pm2_client::StopFlag;

use crate::environment::Environment;
use crate::subprocess::Subprocess;

/// The variable that names the command.
pub const PM2_CLJ_VARIABLE: &str = "PM2_SYNC_PM2_CLJ";

/// How long it may take for one file.
const DEADLINE: Duration = Duration::from_secs(20);

/// The command of the reference renderer.
#[derive(Debug, Clone)]
pub struct Pm2Clj {
    command: Vec<String>,
    dir: Utf8PathBuf,
    vars: BTreeMap<String, String>,
    stop: StopFlag,
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
            stop: StopFlag::default(),
        })
    }

    /// The same command, killed when `stop` is set.
    #[must_use]
    pub fn with_stop(mut self, stop: &StopFlag) -> Self {
        self.stop = stop.clone();
        self
    }

    fn run(&self, file: &Utf8Path, options: &Options) -> Result<Answer, NoAnswer> {
        let name = self.command.join(" ");
        let (program, leading) = match self.command.split_first() {
            Some((program, leading)) => (program.as_str(), leading),
            None => (name.as_str(), &[][..]),
        };
        let options = arguments(options);
        let leading = leading.iter().map(String::as_str);
        let trailing = options.iter().map(String::as_str);
        let command = Subprocess {
            program,
            args: leading
                .chain(["render", file.as_str()])
                .chain(trailing)
                .collect(),
            dir: &self.dir,
            vars: &self.vars,
            deadline: DEADLINE,
            stop: &self.stop,
        };
        let finished = command.run().map_err(passing)?;
        if finished.status.success() {
            return Ok(Answer {
                output: finished.output,
                remarks: finished.remarks,
            });
        }
        let status = Ours(finished.status);
        Err(passing(match finished.remarks.last() {
            Some(line) => message!("failed ({}): {}", status, Quoted(line)),
            None => message!("failed ({})", status),
        }))
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

/// A command line in a variable: a JSON array, or words separated by whitespace.
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

/// A transient failure: the code may read other files, or the machine may lack a resource.
fn passing(message: Message) -> NoAnswer {
    NoAnswer {
        message,
        is_transient: true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_in_a_variable_is_words_or_json() {
        assert_eq!(words(" node  x.js "), ["node", "x.js"]);
        assert_eq!(words(r#"["node", "a b.js"]"#), ["node", "a b.js"]);
    }
}
