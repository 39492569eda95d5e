//! How much is measured.

use crate::section::Section;
use crate::tools::Tools;

/// What each part is given.
pub struct Context {
    /// What is measured, and against what.
    pub tools: Tools,
    /// Only whether everything still runs.
    pub smoke: bool,
    /// How often each way is taken.
    pub runs: usize,
}

impl Context {
    /// One of two sizes.
    pub fn pick<T>(&self, full: T, smoke: T) -> T {
        if self.smoke { smoke } else { full }
    }

    /// How often something is done that takes long: at most so often.
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

    /// Says in a section and at the terminal that a baseline is left out.
    pub fn left_out(&self, section: &mut Section, what: &str) {
        section.say(&format!("Left out: {what} is not installed."));
        self.progress(&format!("left out: {what} is not installed"));
    }
}
