//! The logs of apps: which files they are, their lines merged in the order of writing, and excerpts that explain why an app ended.
//!
//! The lines of all files are interleaved by the time at their start. Lines without a time count as written when their file last
//! changed.

mod excerpt;
mod file;
mod merge;
mod time;

use std::collections::BTreeMap;
use std::sync::Arc;

use camino::{Utf8Path, Utf8PathBuf};
use daemon_model::{AppState, DaemonId, PmId};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use file::{FileReader, Read};
use merge::{Timed, interleave, timed};

pub use excerpt::LogExcerpt;

/// A log file of an app.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogFile {
    /// The app's daemon.
    pub daemon: DaemonId,
    /// The app's name.
    pub app: String,
    /// The process that writes it; none if several do.
    pub pm_id: Option<PmId>,
    /// The stream that is written to it.
    pub stream: LogStream,
    /// Its path.
    pub path: Utf8PathBuf,
}

/// An output stream of an app.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogStream {
    /// Standard output, or both streams.
    Out,
    /// Standard error only.
    Err,
}

/// A line of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// The log.
    pub file: Arc<LogFile>,
    /// When it was written, if the line has a time.
    pub time: Option<Timestamp>,
    /// The line, without colours.
    pub text: String,
}

/// How much of the existing content to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogRange {
    /// The last lines of each app; none: all lines.
    pub lines: Option<usize>,
    /// Only lines written since this time.
    pub since: Option<Timestamp>,
}

/// The log files of an app: those of its processes, or those that its definition names if it has none.
#[must_use]
pub fn log_files(app: &AppState, pm2_home: &Utf8Path) -> Vec<LogFile> {
    let mut found: Vec<LogFile> = Vec::new();
    let mut add = |path: &str, pm_id: Option<PmId>, stream: LogStream| {
        if let Some(known) = found.iter_mut().find(|known| known.path == path) {
            if known.pm_id != pm_id {
                known.pm_id = None;
            }
            // Both streams in one file.
            known.stream = known.stream.min(stream);
            return;
        }
        found.push(LogFile {
            daemon: app.daemon.clone(),
            app: app.app.clone(),
            pm_id,
            stream,
            path: path.into(),
        });
    };
    for process in &app.processes {
        let logs = [
            ("pm_out_log_path", LogStream::Out),
            ("pm_err_log_path", LogStream::Err),
        ];
        for (key, stream) in logs {
            if let Some(path) = process.text(key) {
                add(path, Some(process.pm_id), stream);
            }
        }
    }
    if let (true, Some(spec)) = (app.processes.is_empty(), &app.spec) {
        let files = spec.files(pm2_home, None);
        add(&files.out, None, LogStream::Out);
        add(&files.err, None, LogStream::Err);
    }
    if app.processes.len() < 2 {
        found.iter_mut().for_each(|file| file.pm_id = None);
    }
    found
}

/// Reads log files: first the existing content, then what is appended.
#[derive(Debug)]
pub struct LogReader {
    zone: TimeZone,
    files: Vec<FileReader>,
    /// The errors of the last poll; none if already reported.
    failures: BTreeMap<Utf8PathBuf, Option<std::io::Error>>,
}

impl LogReader {
    /// Creates a reader without files. Times without a zone are in this one.
    #[must_use]
    pub fn new(zone: TimeZone) -> Self {
        Self {
            zone,
            files: Vec::new(),
            failures: BTreeMap::new(),
        }
    }

    /// Adds the `files` that it does not read yet, and returns their lines in `range`. Unless the file is followed, its last line
    /// may be unterminated.
    pub fn add(
        &mut self,
        files: impl IntoIterator<Item = LogFile>,
        range: &LogRange,
        reads_on: bool,
    ) -> Vec<LogLine> {
        let mut apps: BTreeMap<(DaemonId, String), Vec<Vec<Timed>>> = BTreeMap::new();
        for file in files {
            let mut known = self.files.iter();
            if known.any(|known| known.file().path == file.path) {
                continue;
            }
            let app = (file.daemon.clone(), file.app.clone());
            let mut reader = FileReader::new(Arc::new(file));
            let mut read = reader.tail(range, &self.zone);
            if let (Ok(read), false) = (&mut read, reads_on) {
                read.lines.extend(reader.take_pending(&self.zone));
            }
            let lines = self.note(reader.file(), read);
            apps.entry(app).or_default().push(lines);
            self.files.push(reader);
        }
        let apps = apps.into_values().map(|files| {
            let mut lines = interleave(files);
            if let Some(since) = range.since {
                lines.retain(|line| line.at >= since);
            }
            let surplus = range
                .lines
                .map_or(0, |most| lines.len().saturating_sub(most));
            lines.drain(..surplus);
            lines
        });
        untimed(interleave(apps.collect()))
    }

    /// The lines written since the last call.
    pub fn poll(&mut self) -> Vec<LogLine> {
        let mut files = std::mem::take(&mut self.files);
        let read = files.iter_mut().map(|reader| {
            let read = reader.poll(&self.zone);
            self.note(reader.file(), read)
        });
        let lines = interleave(read.collect());
        self.files = files;
        untimed(lines)
    }

    /// Returns unterminated lines at the end of following.
    pub fn finish(&mut self) -> Vec<LogLine> {
        let zone = &self.zone;
        let files = self.files.iter_mut();
        files.flat_map(|reader| reader.take_pending(zone)).collect()
    }

    /// The files that could not be read, each reported once.
    pub fn take_failures(&mut self) -> impl Iterator<Item = (Utf8PathBuf, std::io::Error)> {
        let failures = self.failures.iter_mut();
        failures.filter_map(|(path, error)| Some((path.clone(), error.take()?)))
    }

    fn note(&mut self, file: &LogFile, read: std::io::Result<Read>) -> Vec<Timed> {
        match read {
            Ok(read) => {
                self.failures.remove(&file.path);
                timed(read.lines, read.before, read.arrived)
            }
            Err(error) => {
                let path = file.path.clone();
                self.failures.entry(path).or_insert(Some(error));
                Vec::new()
            }
        }
    }
}

/// The lines of a file that were written since a time.
///
/// # Errors
/// I/O errors of opening and reading the file.
pub(crate) fn lines_since(
    path: &Utf8Path,
    since: Timestamp,
    zone: &TimeZone,
) -> std::io::Result<Vec<String>> {
    let range = LogRange {
        lines: None,
        since: Some(since),
    };
    let file = files::open(path.as_std_path(), files::Links::Follow)?;
    let length = file.metadata()?.len();
    let bytes = file::tail(&file, length, &range, zone)?;
    let text = String::from_utf8_lossy(&bytes);
    let lines = text.lines().map(ToOwned::to_owned);
    let is_older = |line: &String| time::time_of(line, zone).is_none_or(|at| at < since);
    Ok(lines.skip_while(is_older).collect())
}

fn untimed(lines: Vec<Timed>) -> Vec<LogLine> {
    lines.into_iter().map(|timed| timed.line).collect()
}
