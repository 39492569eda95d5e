//! Detects growth of the watcher's memory.

use std::fmt;

/// The increase that counts as growth, in KiB.
const LIMIT: f64 = 2048.0;

/// The warm-up time in seconds, or a fifth of the run if that is more.
const WARM_UP: f64 = 300.0;

/// The shortest time that allows a conclusion.
const SPAN: f64 = 600.0;

/// Samples of resident memory over a run: seconds and KiB.
#[derive(Debug, Default)]
pub struct Memory(Vec<(f64, f64)>);

/// The statistics of the samples after the warm-up.
#[derive(Debug)]
pub struct Fit {
    /// The medians of three equal parts, in KiB.
    pub parts: [f64; 3],
    /// The slope of the least-squares line, in KiB per hour.
    pub slope: f64,
    /// The increase of that line from the first sample to the last, in KiB.
    pub gained: f64,
    pub samples: usize,
}

impl Fit {
    /// Whether the memory grows: the line increased by more than 2 MiB, and the median of the last third exceeds that of the first
    /// by more than half of that.
    pub fn grows(&self) -> bool {
        self.gained > LIMIT && self.parts[2] - self.parts[0] > LIMIT / 2.0
    }
}

impl fmt::Display for Fit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, middle, last] = self.parts;
        write!(
            f,
            "{first:.0} / {middle:.0} / {last:.0} KiB, slope {:+.0} KiB per hour ({} samples)",
            self.slope, self.samples
        )
    }
}

impl Memory {
    /// Records the current size of a process, `seconds` after the start.
    pub fn sample(&mut self, pid: u32, seconds: f64) {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let size = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .and_then(|rest| rest.split_whitespace().next()?.parse().ok());
        if let Some(size) = size {
            self.0.push((seconds, size));
        }
    }

    /// All samples, as text for a table.
    pub fn text(&self) -> String {
        let lines = self
            .0
            .iter()
            .map(|(seconds, size)| format!("{seconds:.1}\t{size}\n"));
        lines.collect()
    }

    /// The fit; none for too few samples.
    pub fn fit(&self) -> Option<Fit> {
        let warm = (self.0.last()?.0 / 5.0).max(WARM_UP);
        let first = self.0.partition_point(|sample| sample.0 < warm);
        let counted = &self.0[first..];
        let span = counted.last()?.0 - counted.first()?.0;
        if counted.len() < 9 || span < SPAN {
            return None;
        }
        let count = f64::from(u32::try_from(counted.len()).ok()?);
        let mean = |of: fn(&(f64, f64)) -> f64| counted.iter().map(of).sum::<f64>() / count;
        let (x, y) = (mean(|sample| sample.0), mean(|sample| sample.1));
        let covariance: f64 = counted.iter().map(|(a, b)| (a - x) * (b - y)).sum();
        let variance: f64 = counted.iter().map(|(a, _)| (a - x).powi(2)).sum();
        let slope = covariance / variance;
        let third = counted.len() / 3;
        let parts = [0, 1, 2].map(|part| {
            let end = if part == 2 {
                counted.len()
            } else {
                (part + 1) * third
            };
            median(&counted[part * third..end])
        });
        Some(Fit {
            parts,
            slope: slope * 3600.0,
            gained: slope * span,
            samples: counted.len(),
        })
    }
}

fn median(samples: &[(f64, f64)]) -> f64 {
    let mut sizes: Vec<f64> = samples.iter().map(|sample| sample.1).collect();
    sizes.sort_by(f64::total_cmp);
    sizes.get(sizes.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(size: impl Fn(f64) -> f64) -> Fit {
        let samples = (0..100).map(|n| f64::from(n) * 18.0);
        let memory = Memory(samples.map(|at| (at, size(at))).collect());
        memory.fit().unwrap()
    }

    #[test]
    fn a_line_that_rises_grows_and_noise_does_not() {
        let leak = of(|at| 8000.0 + at * 2.0);
        assert!((leak.slope - 7200.0).abs() < 1.0, "{leak:?}");
        assert!(leak.grows(), "{leak:?}");
        let noise = of(|at| 8000.0 + 500.0 * (at * 1.7).sin());
        assert!(!noise.grows(), "{noise:?}");
        let warming = of(|at| 8000.0 - 6000.0 * (-at / 60.0).exp());
        assert!(!warming.grows(), "{warming:?}");
    }

    #[test]
    fn a_few_samples_say_nothing() {
        assert!(Memory::default().fit().is_none());
        assert!(Memory(vec![(0.0, 1.0); 5]).fit().is_none());
    }
}
