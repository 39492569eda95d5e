//! Reads one log file: its end, and then what is appended.

use std::fs::{File, Metadata};
use std::io::{ErrorKind, Result};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::Arc;

use files::Links;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::excerpt::{last_written, messages};
use super::time::time_of;
use super::{LogFile, LogLine, LogRange};

/// How much is read at a time, in bytes.
const CHUNK: u64 = 64 << 10;
/// The most that is read from the end of a file, in bytes.
const MOST_TAIL: u64 = 16 << 20;
/// The most that one poll reads, in bytes.
const MOST_POLL: u64 = 1 << 20;
/// Longer lines are broken, in bytes.
const MOST_LINE: usize = 64 << 10;
/// How many bytes before the current position are compared to detect another file content.
const PROOF: usize = 64;
/// After this many polls without new bytes, an unterminated line is returned as it is.
const PATIENCE: u32 = 4;

/// Reads a log file as it grows. It may be truncated (`pm2 flush`) or replaced (rotation).
#[derive(Debug)]
pub(super) struct FileReader {
    of: Arc<LogFile>,
    open: Option<Open>,
    /// The beginning of an unterminated line.
    pending: Vec<u8>,
    idle_polls: u32,
    /// The time of the last line that has one.
    last_time: Option<Timestamp>,
}

#[derive(Debug)]
struct Open {
    file: File,
    /// How far it has been read, in bytes.
    at: u64,
    /// The last bytes that were read.
    proof: Vec<u8>,
}

/// Lines of a file, and the latest time at which they can have arrived.
pub(super) struct Read {
    pub(super) lines: Vec<LogLine>,
    pub(super) arrived: Timestamp,
    /// The time of the line before them.
    pub(super) before: Option<Timestamp>,
}

impl FileReader {
    pub(super) fn new(of: Arc<LogFile>) -> Self {
        Self {
            of,
            open: None,
            pending: Vec::new(),
            idle_polls: 0,
            last_time: None,
        }
    }

    pub(super) fn file(&self) -> &Arc<LogFile> {
        &self.of
    }

    /// The last lines. Nothing if the file does not exist or is not a regular file, such as `/dev/null`.
    pub(super) fn tail(&mut self, range: &LogRange, zone: &TimeZone) -> Result<Read> {
        let Some((file, metadata)) = self.reopen()? else {
            return Ok(Read::nothing());
        };
        let bytes = tail(&file, metadata.len(), range, zone)?;
        let mut open = Open {
            file,
            at: metadata.len(),
            proof: Vec::new(),
        };
        open.note(&bytes);
        self.open = Some(open);
        let arrived = changed(&metadata);
        let lines = self.take_lines(&bytes, zone);
        Ok(self.read(lines, arrived))
    }

    /// What was appended since the last call.
    pub(super) fn poll(&mut self, zone: &TimeZone) -> Result<Read> {
        let mut lines = Vec::new();
        let mut arrived = Timestamp::UNIX_EPOCH;
        if let Some(mut open) = self.open.take() {
            let metadata = open.file.metadata()?;
            arrived = changed(&metadata);
            if !open.is_same(metadata.len())? {
                lines.extend(self.take_pending(zone));
                (open.at, open.proof) = (0, Vec::new());
            }
            let bytes = open.read_more(metadata.len())?;
            lines.extend(self.take_lines(&bytes, zone));
            let is_read = open.at >= metadata.len();
            self.open = Some(open);
            if !is_read || !self.is_replaced(&metadata) {
                self.note_idle(bytes.is_empty(), &mut lines, zone);
                return Ok(self.read(lines, arrived));
            }
            lines.extend(self.take_pending(zone));
        }
        if let Some((file, metadata)) = self.reopen()? {
            arrived = arrived.max(changed(&metadata));
            let mut open = Open {
                file,
                at: 0,
                proof: Vec::new(),
            };
            let bytes = open.read_more(metadata.len())?;
            lines.extend(self.take_lines(&bytes, zone));
            self.open = Some(open);
        }
        Ok(self.read(lines, arrived))
    }

    /// Returns an unterminated line once nothing more is appended.
    pub(super) fn take_pending(&mut self, zone: &TimeZone) -> Vec<LogLine> {
        self.idle_polls = 0;
        match std::mem::take(&mut self.pending) {
            pending if pending.is_empty() => Vec::new(),
            pending => self.lines_of(&pending, zone),
        }
    }

    fn note_idle(&mut self, is_idle: bool, lines: &mut Vec<LogLine>, zone: &TimeZone) {
        match is_idle && !self.pending.is_empty() {
            true => self.idle_polls += 1,
            false => self.idle_polls = 0,
        }
        if self.idle_polls >= PATIENCE {
            lines.extend(self.take_pending(zone));
        }
    }

    fn reopen(&self) -> Result<Option<(File, Metadata)>> {
        match files::open(self.of.path.as_std_path(), Links::Follow) {
            Ok(file) => {
                let metadata = file.metadata()?;
                Ok(Some((file, metadata)))
            }
            Err(error) => match error.kind() {
                ErrorKind::NotFound | ErrorKind::InvalidInput => Ok(None),
                _ => Err(error),
            },
        }
    }

    /// Whether the path leads to another file. An empty file does not count yet: the program may still write to the old one.
    fn is_replaced(&self, open: &Metadata) -> bool {
        let now = std::fs::metadata(self.of.path.as_std_path());
        now.is_ok_and(|now| (now.dev(), now.ino()) != (open.dev(), open.ino()) && now.len() > 0)
    }

    /// The lines completed by these bytes. The rest is kept until its line ends.
    fn take_lines(&mut self, bytes: &[u8], zone: &TimeZone) -> Vec<LogLine> {
        let mut lines = Vec::new();
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.pending.extend(part);
            if part.ends_with(b"\n") || self.pending.len() >= MOST_LINE {
                lines.extend(self.take_pending(zone));
            }
        }
        lines
    }

    fn lines_of(&self, bytes: &[u8], zone: &TimeZone) -> Vec<LogLine> {
        let text = String::from_utf8_lossy(bytes);
        let text = text.trim_end_matches(['\n', '\r']);
        let time = time_of(text, zone);
        let lines = messages(text).into_iter().map(|message| LogLine {
            file: Arc::clone(&self.of),
            time,
            text: last_written(&message).replace('\t', "    "),
        });
        lines.collect()
    }

    fn read(&mut self, lines: Vec<LogLine>, arrived: Timestamp) -> Read {
        let before = self.last_time;
        let last = lines.iter().rev().find_map(|line| line.time);
        self.last_time = last.or(before);
        Read {
            lines,
            arrived,
            before,
        }
    }
}

impl Read {
    fn nothing() -> Self {
        Self {
            lines: Vec::new(),
            arrived: Timestamp::UNIX_EPOCH,
            before: None,
        }
    }
}

impl Open {
    /// Whether the bytes before the current position are unchanged: if not, the file was truncated.
    fn is_same(&self, length: u64) -> Result<bool> {
        if length < self.at {
            return Ok(false);
        }
        let mut before = vec![0; self.proof.len()];
        let from = self.at.saturating_sub(before.len() as u64);
        match self.file.read_exact_at(&mut before, from) {
            Ok(()) => Ok(before == self.proof),
            // The file was truncated at this moment.
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn read_more(&mut self, length: u64) -> Result<Vec<u8>> {
        let wanted = length.saturating_sub(self.at).min(MOST_POLL);
        let bytes = read_at(&self.file, self.at, wanted)?;
        self.at += bytes.len() as u64;
        self.note(&bytes);
        Ok(bytes)
    }

    fn note(&mut self, bytes: &[u8]) {
        self.proof
            .extend(&bytes[bytes.len().saturating_sub(PROOF)..]);
        let surplus = self.proof.len().saturating_sub(PROOF);
        self.proof.drain(..surplus);
    }
}

/// The end of a file of `length` bytes: as many lines as requested, or those since a time.
pub(super) fn tail(file: &File, length: u64, range: &LogRange, zone: &TimeZone) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut from = length;
    let mut chunk = CHUNK;
    while from > 0 && bytes.len() as u64 <= MOST_TAIL && !is_enough(&bytes, range, zone) {
        let start = from.saturating_sub(chunk);
        let mut more = read_at(file, start, from - start)?;
        more.append(&mut bytes);
        bytes = more;
        from = start;
        chunk *= 2;
    }
    if from > 0 {
        // Skip the first line: its beginning is missing.
        let end = bytes.iter().position(|byte| *byte == b'\n');
        bytes.drain(..end.map_or(bytes.len(), |end| end + 1));
    }
    Ok(bytes)
}

/// Whether these bytes from the end of a file have all requested lines, in addition to a partial first line.
fn is_enough(bytes: &[u8], range: &LogRange, zone: &TimeZone) -> bool {
    if bytes.is_empty() {
        return false;
    }
    if let Some(lines) = range.lines {
        let ends = bytes.iter().filter(|byte| **byte == b'\n');
        if ends.count() > lines.saturating_add(1) {
            return true;
        }
    }
    let Some(since) = range.since else {
        return range.lines.is_none();
    };
    let text = String::from_utf8_lossy(bytes);
    let mut times = text.lines().skip(1).filter_map(|line| time_of(line, zone));
    // Without times, it is unknown how far to go back.
    times.next().is_none_or(|first| first < since)
}

fn read_at(file: &File, from: u64, wanted: u64) -> Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(wanted).unwrap_or(0)];
    let mut filled = 0;
    while filled < bytes.len() {
        match file.read_at(&mut bytes[filled..], from + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

/// When a file last changed.
fn changed(metadata: &Metadata) -> Timestamp {
    let nanosecond = i32::try_from(metadata.mtime_nsec()).unwrap_or(0);
    Timestamp::new(metadata.mtime(), nanosecond).unwrap_or(Timestamp::UNIX_EPOCH)
}
