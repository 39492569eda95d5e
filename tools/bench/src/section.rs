//! The report of a part as Markdown: text, tables, and whether its goals are met.

use std::fmt::Write;

use crate::chart::Chart;
use crate::measure::{Way, compared, millis};

/// The report of one part.
pub struct Section {
    /// The part's name, by which it can be selected.
    pub part: &'static str,
    text: String,
    judged: bool,
    goals: Vec<Goal>,
    /// Its contribution to the chart.
    pub chart: Option<Chart>,
    /// How many goals were missed.
    pub missed: usize,
}

/// The marker of a summary line in the text of a part.
pub const SUMMARY: &str = "<!-- summary: ";

struct Goal {
    what: String,
    measured: String,
    met: bool,
}

impl Section {
    /// An empty section. Measurements at tiny sizes are not `judged` against goals.
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

    /// A table: the first column left-aligned, the others right-aligned.
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

    /// A line of the summary at the top of the page: the work, the result for pm2-sync, the competitor, its result, and the
    /// comparison. Fields must not contain `|`.
    pub fn summary(&mut self, fields: [&str; 5]) {
        self.end_goals();
        let _ = write!(self.text, "\n{SUMMARY}{} -->\n", fields.join(" | "));
    }

    /// As [`summary`](Self::summary), for two medians in milliseconds. Adds nothing if one was not measured.
    pub fn summary_of(&mut self, what: &str, ours: Option<f64>, other: &str, theirs: Option<f64>) {
        if let (Some(ours), Some(theirs)) = (ours, theirs) {
            let (took, takes) = (millis(ours), millis(theirs));
            self.summary([what, &took, other, &takes, &compared(ours, theirs)]);
        }
    }

    /// A table of ways to do the same work, each compared with the first one, pm2-sync's.
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

    /// A goal: `ours` must be at most `limit` times `other`. Adds nothing if one was not measured.
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

    /// The complete text.
    pub fn finish(&mut self) -> &str {
        self.end_goals();
        &self.text
    }
}
