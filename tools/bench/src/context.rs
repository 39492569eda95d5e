//! The scope of a measurement.

use crate::section::Section;
use crate::tools::Tools;

/// The input of each part.
pub struct Context {
    /// The programs to measure and to compare with.
    pub tools: Tools,
    /// Whether to only test that everything still runs.
    pub smoke: bool,
    /// How many runs each way gets.
    pub runs: usize,
}

impl Context {
    /// One of two sizes.
    pub fn pick<T>(&self, full: T, smoke: T) -> T {
        if self.smoke { smoke } else { full }
    }

    /// The number of runs for slow work, at most `limit`.
    pub fn runs_at_most(&self, limit: usize) -> usize {
        self.runs.min(limit)
    }

    /// An empty section.
    pub fn section(&self, part: &'static str, title: &str) -> Section {
        Section::new(part, title, !self.smoke)
    }

    /// Prints progress to standard error.
    #[expect(clippy::print_stderr, reason = "for the person who waits")]
    pub fn progress(&self, text: &str) {
        eprintln!("  {text}");
    }

    /// Notes in a section and on the terminal that a baseline is omitted.
    pub fn left_out(&self, section: &mut Section, what: &str) {
        section.say(&format!("Left out: {what} is not installed."));
        self.progress(&format!("left out: {what} is not installed"));
    }
}
