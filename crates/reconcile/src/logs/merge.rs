//! Lines of several files in the order in which they were written.

use std::collections::VecDeque;

use jiff::Timestamp;

use super::LogLine;

/// A line, and the time at which it is taken to have been written.
#[derive(Debug, Clone)]
pub(super) struct Timed {
    pub(super) at: Timestamp,
    pub(super) line: LogLine,
}

/// Gives each line of a file a time: its own, else that of the line before it, as for the lines of a stack. Lines before the first
/// time have `before`, or else that one; those of a file without any have the time at which they `arrived`.
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
