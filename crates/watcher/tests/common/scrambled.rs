//! A source whose hints are lost, duplicated, late and out of order, as a seed decides.

use std::collections::BTreeSet;

use camino::Utf8PathBuf;
use daemon_model::Layout;
use watcher::{Hint, HintSource, NotifyOpener, OpenError, OpenSource, Waker};

use pm2_testbed::Random;

/// Opens such sources on top of notify's.
pub struct ScrambledOpener {
    pub seed: u64,
}

impl OpenSource for ScrambledOpener {
    fn open(&mut self, layout: &Layout, waker: Waker) -> Result<Box<dyn HintSource>, OpenError> {
        self.seed = self.seed.wrapping_add(1);
        Ok(Box::new(Scrambled {
            inner: NotifyOpener.open(layout, waker)?,
            // One in a hundred, every other, all of them.
            lost: [1, 50, 100][usize::try_from(self.seed % 3).unwrap()],
            random: Random::new(self.seed),
            late: Vec::new(),
        }))
    }
}

struct Scrambled {
    inner: Box<dyn HintSource>,
    /// In percent.
    lost: u64,
    random: Random,
    late: Vec<Utf8PathBuf>,
}

impl HintSource for Scrambled {
    fn watch_files(&mut self, files: &BTreeSet<Utf8PathBuf>) {
        self.inner.watch_files(files);
    }

    fn check_files(&mut self) -> Vec<Hint> {
        self.inner.check_files()
    }

    fn drain(&mut self) -> Vec<Hint> {
        let mut others = Vec::new();
        let mut paths = std::mem::take(&mut self.late);
        for hint in self.inner.drain() {
            match hint {
                Hint::Dirty(dirty) | Hint::Written(dirty) => paths.extend(dirty),
                other if self.random.below(100) >= self.lost => others.push(other),
                _ => {}
            }
        }
        let mut sent = Vec::new();
        for path in paths {
            if self.random.below(100) < self.lost {
                continue;
            }
            match self.random.below(4) {
                0 => self.late.push(path),
                1 => sent.extend([path.clone(), path]),
                _ => sent.push(path),
            }
        }
        for n in (1..sent.len()).rev() {
            let other = self.random.below(u64::try_from(n + 1).unwrap());
            sent.swap(n, usize::try_from(other).unwrap());
        }
        // One hint per path, in reverse order.
        let random = &mut self.random;
        let hints = sent.into_iter().map(|path| match random.below(2) {
            0 => Hint::Dirty(vec![path]),
            _ => Hint::Written(vec![path]),
        });
        hints.chain(others).collect()
    }

    fn beat(&mut self) -> bool {
        self.inner.beat()
    }

    fn beat_seen(&self) -> bool {
        self.inner.beat_seen()
    }
}
