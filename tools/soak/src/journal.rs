//! The log of a run, in a folder that is kept.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use camino::{Utf8Path, Utf8PathBuf};

/// The log of a run.
#[derive(Debug)]
pub struct Journal {
    pub dir: Utf8PathBuf,
    began: Instant,
    log: Mutex<File>,
    counts: Mutex<BTreeMap<String, u32>>,
}

impl Journal {
    /// A new log in a folder.
    pub fn new(dir: Utf8PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&dir)?;
        let log = Mutex::new(File::create(dir.join("operations.log"))?);
        Ok(Self {
            dir,
            began: Instant::now(),
            log,
            counts: Mutex::default(),
        })
    }

    /// Writes one line, with the seconds since the start.
    pub fn say(&self, line: &str) {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        // A full disk must not end a run that tests something else.
        let _ = writeln!(log, "{:9.3} {line}", self.began.elapsed().as_secs_f64());
    }

    /// Counts an action.
    pub fn count(&self, what: &str) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry(what.to_owned()).or_default() += 1;
    }

    /// How often each action was done.
    pub fn counts(&self) -> BTreeMap<String, u32> {
        self.counts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Keeps a copy of a file or a directory.
    pub fn keep(&self, from: &Utf8Path, name: &str) {
        if let Err(error) = copy(from.as_std_path(), self.dir.join(name).as_std_path()) {
            self.say(&format!("cannot keep {from}: {error}"));
        }
    }
}

/// Copies a file, or a directory with its content.
pub fn copy(from: &Path, to: &Path) -> io::Result<()> {
    if !from.is_dir() {
        return fs::copy(from, to).map(drop);
    }
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        copy(&entry.path(), &to.join(entry.file_name()))?;
    }
    Ok(())
}
