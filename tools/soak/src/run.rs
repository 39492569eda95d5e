//! One run: rounds of changes, each followed by a check that everything is as defined.

use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Child;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use camino::Utf8PathBuf;
use pm2_testbed::{Random, Testbed};
use rustix::process::Signal;

use crate::check::{Checker, command_line};
use crate::edits::{self, Edits};
use crate::hands::{self, Hand, Report, Stranger};
use crate::journal::Journal;
use crate::memory::Memory;
use crate::workspace::Workspace;

/// How long each round of changes lasts.
const ROUND: Duration = Duration::from_secs(10);
/// How long the watcher may take no step while something is not as defined, in an ordinary round.
const SETTLE: Duration = Duration::from_secs(15);
/// The same after PM2 ended: it must be started, and failed steps are retried more slowly.
const SETTLE_DEATH: Duration = Duration::from_secs(60);
/// The same for processes that PM2 does not know: they are searched for once a minute.
const SETTLE_UNKNOWN: Duration = Duration::from_secs(75);
/// The overall limit, however many steps are taken: each is slow on a busy machine.
const SETTLE_ALL: Duration = Duration::from_secs(180);
/// How long definitions are absent in a round that tests this: three times the grace period of a removal.
const AWAY: Duration = Duration::from_secs(3);

struct Soak {
    bed: Arc<Testbed>,
    workspace: Workspace,
    random: Random,
    strangers: Vec<Stranger>,
    checker: Checker,
    journal: Arc<Journal>,
    watcher: Child,
    memory: Memory,
    began: Instant,
    /// Processes that PM2 does not know, although everything else was as defined.
    left_behind: Vec<String>,
    /// Settled rounds: whether PM2 ended, and how long it took to settle.
    settled: Vec<(bool, Duration)>,
    interrupted: Arc<AtomicBool>,
    without: Option<String>,
}

/// Runs it; returns whether everything was as defined each time.
pub fn run(
    binary: Utf8PathBuf,
    logs: Utf8PathBuf,
    seed: u64,
    length: Duration,
    without: Option<String>,
) -> io::Result<bool> {
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&interrupted))?;
    }
    if logs.exists() {
        fs::remove_dir_all(&logs)?;
    }
    let journal = Arc::new(Journal::new(logs)?);
    let bed = Arc::new(Testbed::start());
    let mut workspace = Workspace::new(bed.dir())?;
    edits::populate(&mut workspace)?;
    let mut strangers = hands::strangers();
    hands::mend(&bed, &mut strangers, false).map_err(io::Error::other)?;
    let checker = Checker {
        binary,
        known: std::collections::BTreeMap::new(),
    };
    let watcher = checker
        .command(&bed, &workspace.root, &["watch", "-v"])
        // Ctrl-C must only reach this program, which stops the watcher itself.
        .process_group(0)
        .stdout(File::create(journal.dir.join("watch.out"))?)
        .stderr(File::create(journal.dir.join("watch.err"))?)
        .spawn()?;
    let mut soak = Soak {
        bed,
        workspace,
        random: Random::new(seed),
        strangers,
        checker,
        journal,
        watcher,
        memory: Memory::default(),
        began: Instant::now(),
        left_behind: Vec::new(),
        settled: Vec::new(),
        interrupted,
        without,
    };
    let result = soak.rounds(length);
    let fine = soak.end(&result);
    Ok(fine)
}

impl Soak {
    fn rounds(&mut self, length: Duration) -> Result<(), String> {
        self.settle(SETTLE_DEATH, false)?;
        let mut round = 0_u32;
        while self.began.elapsed() < length && !self.is_interrupted() {
            round += 1;
            self.journal.say(&format!("round {round}"));
            self.workspace.touched.clear();
            self.workspace.identity.clear();
            let report = match self.random.below(12) {
                0 => self.away(false)?,
                1 => self.away(true)?,
                2 | 3 => {
                    let death = Hand::draw_death(&mut self.random);
                    let death = Some(death).filter(|death| self.is_wanted(death));
                    self.changes(death)?
                }
                _ => self.changes(None)?,
            };
            if report.gone {
                return Err("PM2 was not started again".to_owned());
            }
            if self.is_interrupted() {
                return Ok(());
            }
            let limit = if report.death { SETTLE_DEATH } else { SETTLE };
            self.settle(limit, report.death)?;
        }
        Ok(())
    }

    fn is_wanted(&self, hand: &Hand) -> bool {
        let without = self.without.as_deref();
        without.is_none_or(|word| !hand.name().contains(word))
    }

    fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }

    /// Makes edits and manual changes at the same time.
    fn changes(&mut self, death: Option<Hand>) -> Result<Report, String> {
        let mut hands = Vec::new();
        for _ in 0..self.random.below(4) {
            let hand = Hand::draw(&mut self.random, &self.workspace);
            if let Some(hand) = hand.filter(|hand| self.is_wanted(hand)) {
                hands.push((Duration::from_millis(self.random.below(3000)), hand));
            }
        }
        let killed = matches!(death, Some(Hand::Kill9));
        if let Some(death) = death {
            // Unmanaged processes must be known to live when PM2 is killed.
            hands.retain(|(_, hand)| !matches!(hand, Hand::All(_)));
            let at = self.random.below(3);
            let at = usize::try_from(at).unwrap_or(0).min(hands.len());
            hands.insert(at, (Duration::from_millis(self.random.below(3000)), death));
        }
        let worker = hands::work(&self.bed, &self.journal, hands);
        let end = Instant::now() + ROUND;
        let mut edits = Edits {
            workspace: &mut self.workspace,
            random: &mut self.random,
            // Of twelve and more, three may be removed at once.
            removals: 2,
        };
        while Instant::now() < end && !self.interrupted.load(Ordering::Relaxed) {
            let done = edits
                .one()
                .map_err(|error| format!("cannot edit: {error}"))?;
            if let Some((what, words)) = done {
                self.journal.count(what);
                self.journal.say(&format!("{what}: {words}"));
                let longest = if edits.random.one_in(3) { 10 } else { 700 };
                sleep(Duration::from_millis(edits.random.below(longest)));
            }
            self.memory
                .sample(self.watcher.id(), self.began.elapsed().as_secs_f64());
        }
        let report = worker
            .join()
            .map_err(|_| "the worker panicked".to_owned())?;
        if report.all && !report.gone {
            if !killed {
                for stranger in &mut self.strangers {
                    stranger.pid = None;
                }
            }
            hands::mend(&self.bed, &mut self.strangers, killed)?;
        }
        Ok(report)
    }

    /// Removes definitions for longer than the grace period of a removal, and restores them: nothing may be removed.
    fn away(&mut self, whole_tree: bool) -> Result<Report, String> {
        let words = |error: io::Error| format!("cannot move definitions: {error}");
        let tree = self.workspace.tree();
        let outside = self.workspace.outside.join("away");
        let mut moved = Vec::new();
        if whole_tree {
            moved.push((tree.clone(), outside.clone()));
        } else {
            fs::create_dir_all(&outside).map_err(words)?;
            // Half of them, which is more than the guard allows.
            for (n, id) in self.workspace.daemons.keys().step_by(2).enumerate() {
                let file = self.workspace.file(id);
                moved.push((file, outside.join(n.to_string())));
            }
        }
        let what = if whole_tree {
            "tree away for 3 s"
        } else {
            "half of the definitions away for 3 s"
        };
        self.journal.count(what);
        self.journal.say(what);
        for (from, to) in &moved {
            fs::rename(from, to).map_err(words)?;
        }
        let end = Instant::now() + AWAY;
        let mut wrong = Vec::new();
        while Instant::now() < end && wrong.is_empty() {
            wrong = Checker::processes(&self.bed, &self.workspace, &self.strangers);
            sleep(Duration::from_millis(200));
        }
        for (from, to) in moved.iter().rev() {
            fs::rename(to, from).map_err(words)?;
        }
        self.journal.say("back");
        if wrong.is_empty() {
            Ok(Report::default())
        } else {
            Err(format!("{what}:\n{}", wrong.join("\n")))
        }
    }

    /// Waits until everything is as defined.
    fn settle(&mut self, limit: Duration, death: bool) -> Result<(), String> {
        let began = Instant::now();
        let (mut reported, mut reported_at) = (0, began);
        let left_before = self.left_behind.len();
        self.journal.say("settle");
        loop {
            let so_far = self.reported();
            if so_far != reported {
                (reported, reported_at) = (so_far, Instant::now());
            }
            let late = reported_at.elapsed() > limit || began.elapsed() > SETTLE_ALL;
            let too_late = reported_at.elapsed() > SETTLE_UNKNOWN || began.elapsed() > SETTLE_ALL;
            if let Ok(Some(status)) = self.watcher.try_wait() {
                return Err(format!("the watcher ended: {status}"));
            }
            let mut wrong = Checker::processes(&self.bed, &self.workspace, &self.strangers);
            let took = began.elapsed();
            let left = Checker::left_behind(&self.bed, self.watcher.id());
            if wrong.is_empty() && !left.is_empty() {
                let mut left = left;
                left.retain(|pid| !self.for_doctor(*pid));
                if !too_late && !left.is_empty() {
                    sleep(Duration::from_millis(100));
                    continue;
                }
                // Reported at the end. The run continues without them, to count how often it happens.
                for pid in left {
                    let words = Checker::describe(&self.bed, pid);
                    self.journal.say(&format!("LEFT BEHIND: {words}"));
                    self.left_behind.push(words);
                    hands::signal(pid, Signal::KILL);
                    hands::until(SETTLE, || !pm2_testbed::is_alive(pid));
                }
            }
            if wrong.is_empty() {
                wrong = self
                    .checker
                    .files(&self.bed, &self.workspace)
                    .map_err(|error| format!("cannot check: {error}"))?;
            }
            if wrong.is_empty() {
                self.journal.say(&format!("settled after {took:?}"));
                if self.left_behind.len() == left_before {
                    self.settled.push((death, took));
                }
                self.memory
                    .sample(self.watcher.id(), self.began.elapsed().as_secs_f64());
                return Ok(());
            }
            if late {
                return Err(format!(
                    "not as defined after {:?}, {:?} after the last step:\n{}",
                    began.elapsed(),
                    reported_at.elapsed(),
                    wrong.join("\n")
                ));
            }
            sleep(Duration::from_millis(100));
        }
    }

    /// How much the watcher has reported so far: one line per step.
    fn reported(&self) -> u64 {
        let file = fs::metadata(self.journal.dir.join("watch.out"));
        file.map_or(0, |file| file.len())
    }

    /// Kills a surviving process that no definition declares any more, if `doctor` names it, as it must.
    fn for_doctor(&self, pid: u32) -> bool {
        let is = self.checker.is_for_doctor(&self.bed, &self.workspace, pid);
        if is {
            let words = Checker::describe(&self.bed, pid);
            self.journal.count("lived on undefined, named by `doctor`");
            self.journal.say(&format!("for doctor: {words}"));
            hands::signal(pid, Signal::KILL);
            hands::until(SETTLE, || !pm2_testbed::is_alive(pid));
        }
        is
    }

    /// Stops the watcher, reports the result and keeps the evidence.
    fn end(&mut self, result: &Result<(), String>) -> bool {
        let fit = self.memory.fit();
        let mut failures: Vec<String> = result.clone().err().into_iter().collect();
        if !self.left_behind.is_empty() {
            failures.push(format!(
                "{} processes were left behind:\n{}",
                self.left_behind.len(),
                self.left_behind.join("\n")
            ));
        }
        if let Some(fit) = fit.as_ref().filter(|fit| fit.grows()) {
            failures.push(format!("the watcher's memory grows: {fit}"));
        }
        // Its position in the logs.
        let evidence = format!(
            "failures: {failures:#?}\nbroken: {:?}\ndaemons: {:#?}\nlist: {:#?}\nprocesses: {:#?}\n",
            self.workspace.broken(),
            self.workspace.daemons,
            hands::list(&self.bed),
            self.bed
                .processes()
                .iter()
                .map(|pid| (*pid, command_line(*pid)))
                .collect::<Vec<_>>(),
        );
        hands::signal(self.watcher.id(), Signal::TERM);
        let mut status = None;
        hands::until(Duration::from_secs(20), || {
            status = self.watcher.try_wait().ok().flatten();
            status.is_some()
        });
        if status.and_then(|status| status.code()) != Some(0) {
            failures.push(format!("the watcher did not end well: {status:?}"));
            let _ = self.watcher.kill();
            let _ = self.watcher.wait();
        }
        let _ = fs::write(self.journal.dir.join("memory.tsv"), self.memory.text());
        if !failures.is_empty() {
            let _ = fs::write(self.journal.dir.join("state.txt"), evidence);
            self.journal.keep(&self.workspace.root, "workspace");
            self.journal
                .keep(&self.bed.home().join("pm2.log"), "pm2.log");
        }
        self.tell(fit.map(|fit| fit.to_string()));
        for failure in &failures {
            self.journal.say(&format!("FAILED: {failure}"));
            println!("\nFAILED: {failure}");
        }
        if !failures.is_empty() {
            println!(
                "\neverything that is needed to find out why is in {}",
                self.journal.dir
            );
        }
        failures.is_empty()
    }

    fn tell(&self, memory: Option<String>) {
        let row = |what: &str, value: &str| println!("| {what} | {value} |");
        println!();
        row("", "");
        row("---", "---:");
        row(
            "ran for",
            &format!("{:.1} min", self.began.elapsed().as_secs_f64() / 60.0),
        );
        for (death, what) in [(false, "settled"), (true, "settled after PM2 died")] {
            let mut times: Vec<Duration> = self
                .settled
                .iter()
                .filter(|(died, _)| *died == death)
                .map(|(_, took)| *took)
                .collect();
            times.sort();
            if let (Some(median), Some(longest)) = (times.get(times.len() / 2), times.last()) {
                row(
                    what,
                    &format!(
                        "{} times, median {:.1} s, longest {:.1} s",
                        times.len(),
                        median.as_secs_f64(),
                        longest.as_secs_f64()
                    ),
                );
            }
        }
        for (what, count) in self.journal.counts() {
            row(&what, &count.to_string());
        }
        row(
            "the watcher's memory: first, middle and last third",
            &memory.unwrap_or_else(|| "too short a run".to_owned()),
        );
    }
}
