//! Times and their statistics.

use std::time::{Duration, Instant};

/// How long `work` takes.
pub fn timed(work: impl FnOnce()) -> Duration {
    let began = Instant::now();
    work();
    began.elapsed()
}

/// One way of doing a piece of work, with its times.
pub struct Way {
    /// Its name in a table.
    pub name: String,
    times: Vec<Duration>,
    /// How often the work is done in the full task, if only one of many is measured and scaled.
    scale: f64,
}

impl Way {
    /// A way without runs.
    pub fn new(name: &str) -> Self {
        Self::scaled(name, 1.0)
    }

    /// A way of which a part is measured that is done `scale` times in total.
    pub fn scaled(name: &str, scale: f64) -> Self {
        Self {
            name: name.to_owned(),
            times: Vec::new(),
            scale,
        }
    }

    /// Runs the way once.
    pub fn run(&mut self, work: impl FnOnce()) {
        self.times.push(timed(work));
    }

    /// Adds a time that was measured elsewhere.
    pub fn add(&mut self, time: Duration) {
        self.times.push(time);
    }

    /// How many runs there are.
    pub fn runs(&self) -> usize {
        self.times.len()
    }

    /// The median, in milliseconds; none without runs.
    pub fn median(&self) -> Option<f64> {
        self.quantile(0.5)
    }

    /// The 99th percentile, in milliseconds.
    pub fn p99(&self) -> Option<f64> {
        self.quantile(0.99)
    }

    /// The longest time, in milliseconds.
    pub fn longest(&self) -> Option<f64> {
        self.quantile(1.0)
    }

    fn quantile(&self, part: f64) -> Option<f64> {
        let mut times = self.times.clone();
        times.sort();
        let last = times.len().checked_sub(1)?;
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "there are few times"
        )]
        let at = (last as f64 * part).round() as usize;
        Some(times[at].as_secs_f64() * 1000.0 * self.scale)
    }
}

/// Milliseconds as shown in a table.
pub fn millis(value: f64) -> String {
    match value {
        value if value >= 1000.0 => format!("{value:.0} ms"),
        value if value >= 1.0 => format!("{value:.1} ms"),
        value => format!("{value:.2} ms"),
    }
}

/// As [`millis`], for a value that may not have been measured.
pub fn millis_or_none(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), millis)
}

/// How `ours` compares with `other`, as text.
pub fn compared(ours: f64, other: f64) -> String {
    match other / ours {
        faster if faster >= 100.0 => format!("{faster:.0}x faster"),
        faster if faster >= 1.05 => format!("{faster:.1}x faster"),
        slower => format!("{:.2}x as long", 1.0 / slower),
    }
}
