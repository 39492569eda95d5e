//! Merges the lines of log files in the order in which they were written.

use std::collections::VecDeque;

use jiff::Timestamp;

use super::LogLine;

/// A line, and the assumed time of its writing.
#[derive(Debug, Clone)]
pub(super) struct Timed {
    pub(super) at: Timestamp,
    pub(super) line: LogLine,
}

/// Assigns a time to each line of a file: its own, else that of the line before it, as for the lines of a stack trace. Lines before
/// the first time get `before`, or else that first time. If there are no times at all, lines get the time at which they `arrived`.
pub(super) fn timed(
    lines: Vec<LogLine>,
    before: Option<Timestamp>,
    arrived: Timestamp,
) -> Vec<Timed> {
    let first = lines.iter().find_map(|line| line.time);
    let mut at = before.or(first).unwrap_or(arrived);
    let timed = lines.into_iter().map(|line| {
        at = line.time.unwrap_or(at);
        Timed { at, line }
    });
    timed.collect()
}

/// Interleaves files by time. The lines of one file keep their order, whatever their times.
pub(super) fn interleave(files: Vec<Vec<Timed>>) -> Vec<Timed> {
    let mut merged = Vec::with_capacity(files.iter().map(Vec::len).sum());
    let mut files: Vec<VecDeque<Timed>> = files.into_iter().map(VecDeque::from).collect();
    let next = |files: &[VecDeque<Timed>]| {
        let heads = files.iter().enumerate();
        let heads = heads.filter_map(|(n, lines)| Some((lines.front()?.at, n)));
        heads.min().map(|(_, n)| n)
    };
    while let Some(n) = next(&files) {
        merged.extend(files[n].pop_front());
    }
    merged
}
