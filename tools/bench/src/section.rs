//! What a part says: text, tables, and whether its goals are met, as Markdown.

use std::fmt::Write;

use crate::chart::Chart;
use crate::measure::{Way, compared, millis};

/// The pages of one part.
pub struct Section {
    /// The part's name, as it is chosen by.
    pub part: &'static str,
    text: String,
    judged: bool,
    goals: Vec<Goal>,
    /// What of it belongs into the chart.
    pub chart: Option<Chart>,
    /// How many goals were missed.
    pub missed: usize,
}

/// What stands before a line of the summary, in the text of a part.
pub const SUMMARY: &str = "<!-- summary: ";

struct Goal {
    what: String,
    measured: String,
    met: bool,
}

impl Section {
    /// An empty section. Tiny sizes say nothing about goals: then they are not `judged`.
    pub fn new(part: &'static str, title: &str, judged: bool) -> Self {
        Self {
            part,
            text: format!("### {title}\n"),
            judged,
            goals: Vec::new(),
            chart: None,
            missed: 0,
        }
    }

    /// A paragraph.
    pub fn say(&mut self, text: &str) {
        self.end_goals();
        let _ = write!(self.text, "\n{text}\n");
    }

    /// A table: the first column to the left, the others to the right.
    pub fn table(&mut self, head: &[&str], rows: &[Vec<String>]) {
        self.end_goals();
        let rule: Vec<&str> = (0..head.len())
            .map(|column| if column == 0 { "---" } else { "---:" })
            .collect();
        let _ = write!(
            self.text,
            "\n| {} |\n| {} |\n",
            head.join(" | "),
            rule.join(" | ")
        );
        for row in rows {
            let _ = writeln!(self.text, "| {} |", row.join(" | "));
        }
    }

    /// A line of the summary that opens the page: what was done, how long or how much with pm2-sync, what it is compared
    /// with, how much that takes, and what the comparison says. Fields are without `|`.
    pub fn summary(&mut self, fields: [&str; 5]) {
        self.end_goals();
        let _ = write!(self.text, "\n{SUMMARY}{} -->\n", fields.join(" | "));
    }

    /// The same, of two medians in milliseconds. Nothing is said where one of them was not measured.
    pub fn summary_of(&mut self, what: &str, ours: Option<f64>, other: &str, theirs: Option<f64>) {
        if let (Some(ours), Some(theirs)) = (ours, theirs) {
            let (took, takes) = (millis(ours), millis(theirs));
            self.summary([what, &took, other, &takes, &compared(ours, theirs)]);
        }
    }

    /// A table of ways that did the same work, each compared with the first, which is pm2-sync's.
    pub fn ways(&mut self, work: &str, ways: &[&Way]) {
        let ours = ways.first().and_then(|way| way.median());
        let rows: Vec<Vec<String>> = ways
            .iter()
            .enumerate()
            .filter_map(|(n, way)| {
                let median = way.median()?;
                let takes = match ours {
                    Some(ours) if n > 0 => compared(ours, median),
                    _ => String::new(),
                };
                let runs = way.runs().to_string();
                Some(vec![way.name.clone(), millis(median), runs, takes])
            })
            .collect();
        self.table(&[work, "median", "runs", "pm2-sync"], &rows);
    }

    /// A goal: `ours` is to be at most `limit` times `other`. Nothing is said where one of them was not measured.
    pub fn at_most(&mut self, what: &str, limit: f64, ours: Option<f64>, other: Option<f64>) {
        if let (Some(ours), Some(other)) = (ours, other) {
            self.goal(what, compared(ours, other), ours <= limit * other);
        }
    }

    /// A goal of any kind.
    pub fn goal(&mut self, what: &str, measured: String, met: bool) {
        self.goals.push(Goal {
            what: what.to_owned(),
            measured,
            met,
        });
    }

    fn end_goals(&mut self) {
        let goals = std::mem::take(&mut self.goals);
        if goals.is_empty() {
            return;
        }
        self.text
            .push_str("\n| goal | measured | met |\n| --- | ---: | --- |\n");
        for goal in goals {
            let met = match (self.judged, goal.met) {
                (false, _) => "not judged",
                (true, true) => "yes",
                (true, false) => "**no**",
            };
            self.missed += usize::from(self.judged && !goal.met);
            let _ = writeln!(self.text, "| {} | {} | {met} |", goal.what, goal.measured);
        }
    }

    /// The whole text.
    pub fn finish(&mut self) -> &str {
        self.end_goals();
        &self.text
    }
}
