//! Runs work on many items in parallel.

use std::num::NonZeroUsize;
use std::thread;

/// Below this, threads cost more time and memory than they save.
const MANY: usize = 2000;

/// As [`MANY`], for files that are written.
const MANY_FILES: usize = 100;

/// The results of `work` for each item, in their order; uses all processors if there are many items.
pub(crate) fn map<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    map_from(MANY, items, work)
}

/// As [`map()`], for work that writes a file for each item.
pub(crate) fn write<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    map_from(MANY_FILES, items, work)
}

/// Uses all processors from `many` items on.
fn map_from<T: Sync, R: Send>(many: usize, items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    // `available_parallelism` reads several files.
    let threads = match items.len() < many {
        true => 1,
        false => thread::available_parallelism().map_or(1, NonZeroUsize::get),
    };
    if threads == 1 {
        return items.iter().map(work).collect();
    }
    let work = &work;
    let part = |items| move || -> Vec<R> { Iterator::map(<[T]>::iter(items), work).collect() };
    thread::scope(|scope| {
        let parts: Vec<_> = items
            .chunks(items.len().div_ceil(threads))
            .map(|items| scope.spawn(part(items)))
            .collect();
        let parts = parts.into_iter().map(|part| match part.join() {
            Ok(part) => part,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        parts.flatten().collect()
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn many_are_done_in_their_order() {
        for count in [0, 1, super::MANY - 1, super::MANY, super::MANY * 3 + 1] {
            let items: Vec<usize> = (0..count).collect();
            let twice: Vec<usize> = items.iter().map(|n| n * 2).collect();
            assert_eq!(super::map(&items, |n| n * 2), twice);
        }
    }
}
