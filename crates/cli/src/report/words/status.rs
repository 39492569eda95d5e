//! The table of all apps.

use std::time::Duration;

use camino::Utf8Path;
use daemon_model::{AppState, Condition, Planned, Step};
use jiff::Timestamp;
use reconcile::{Failure, Failures, log_files};

use super::{condition, name, short_duration, steps};
use crate::report::json::StepOutput;
use crate::report::text::{Line, Tone};
use crate::report::{Measures, Table, USUAL_WIDTH};

/// The order of apps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// By daemon and app.
    ByName,
    /// Those that need attention first.
    AttentionFirst,
}

/// How to show apps.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// Whether to show values in reasons, and the paths of logs.
    pub verbose: bool,
    /// Whether to show values of environment variables, too.
    pub show_values: bool,
    /// The order.
    pub order: Order,
    /// The time in milliseconds since the Unix epoch.
    pub now_ms: u64,
    /// PM2's home.
    pub pm2_home: &'a Utf8Path,
    /// The unresolved failures.
    pub failures: &'a Failures,
    /// The resource use of processes.
    pub measures: &'a Measures,
}

/// The table of all apps, for a terminal of this width.
#[must_use]
pub fn table(planned: &Planned, view: View<'_>, width: Option<usize>) -> Table {
    let mut rows = rows(planned, view);
    if view.order == Order::AttentionFirst {
        rows.sort_by_key(|row| row.is_well);
    }
    let tables = [wide, medium].map(|draw| draw(&rows));
    let mut tables = tables.into_iter();
    // Without a terminal, assume the usual width, but do not wrap.
    let columns = width.unwrap_or(USUAL_WIDTH);
    let fitting = tables.find(|table| table.fits(Some(columns)));
    fitting.unwrap_or_else(|| narrow(&rows))
}

struct Row {
    daemon: String,
    app: String,
    run: String,
    cpu: String,
    memory: String,
    uptime: String,
    restarts: String,
    state: Line,
    more: Vec<Line>,
    is_well: bool,
}

fn wide(rows: &[Row]) -> Table {
    draw(
        rows,
        &[
            "DAEMON", "APP", "RUN", "CPU", "MEM", "UPTIME", "RESTARTS", "STATE",
        ],
        |row| {
            let (daemon, app) = (row.daemon.clone(), row.app.clone());
            [daemon, app].into_iter().chain(row.numbers()).collect()
        },
    )
}

/// A layout with the daemon and the app in one column.
fn medium(rows: &[Row]) -> Table {
    draw(
        rows,
        &["APP", "RUN", "CPU", "MEM", "UPTIME", "RESTARTS", "STATE"],
        |row| [row.name()].into_iter().chain(row.numbers()).collect(),
    )
}

/// A layout with only the columns needed to see problems.
fn narrow(rows: &[Row]) -> Table {
    draw(rows, &["APP", "RUN", "STATE"], |row| {
        vec![row.name(), row.run.clone()]
    })
}

fn draw(rows: &[Row], header: &[&'static str], cells: impl Fn(&Row) -> Vec<String>) -> Table {
    let mut table = Table::new(header);
    for row in rows {
        let cells = cells(row).into_iter().map(Line::from);
        table.row(cells.chain([row.state.clone()]));
        row.more
            .iter()
            .cloned()
            .for_each(|line| table.continue_row(line));
    }
    table
}

impl Row {
    fn name(&self) -> String {
        match self.app.as_str() {
            "-" => self.daemon.clone(),
            app => name(&self.daemon, app),
        }
    }

    fn numbers(&self) -> [String; 5] {
        let numbers = [
            &self.run,
            &self.cpu,
            &self.memory,
            &self.uptime,
            &self.restarts,
        ];
        numbers.map(Clone::clone)
    }
}

fn rows(planned: &Planned, view: View<'_>) -> Vec<Row> {
    let dash = || "-".to_owned();
    let mut rows: Vec<Row> = Vec::new();
    for app in planned.apps.iter() {
        let usage = view.measures.of(app);
        let running = app.processes.iter().filter(|process| process.is_running());
        let started = running.filter_map(|process| process.started_at_ms).max();
        let uptime = started.map(|at| Duration::from_millis(view.now_ms.saturating_sub(at)));
        let wanted = app.wanted.map_or_else(dash, |wanted| wanted.to_string());
        rows.push(Row {
            daemon: app.daemon.to_string(),
            app: app.app.clone(),
            run: format!("{}/{wanted}", app.running()),
            cpu: usage.map_or_else(dash, |usage| percent(usage.cpu_percent)),
            memory: usage.map_or_else(dash, |usage| bytes(usage.memory_bytes)),
            uptime: uptime.map_or_else(dash, short_duration),
            restarts: restarts(app, view.measures),
            state: state(app, &planned.plan.steps, view),
            more: match view.verbose {
                true => logs(app, view.pm2_home),
                false => Vec::new(),
            },
            is_well: app.condition.is_in_sync(),
        });
    }
    for broken in &planned.broken {
        if planned.apps.of(broken).next().is_none() {
            rows.push(Row {
                daemon: broken.to_string(),
                app: dash(),
                run: dash(),
                cpu: dash(),
                memory: dash(),
                uptime: dash(),
                restarts: dash(),
                state: Line::default().with(Tone::Bad, "not valid"),
                more: Vec::new(),
                is_well: false,
            });
        }
    }
    rows.sort_by(|a, b| (&a.daemon, &a.app).cmp(&(&b.daemon, &b.app)));
    rows
}

/// How often the processes of an app were restarted, in total and within the last hour.
fn restarts(app: &AppState, measures: &Measures) -> String {
    let all: u32 = app.processes.iter().map(|process| process.restarts).sum();
    let lately: u32 = app.processes.iter().map(|it| measures.restarts(it)).sum();
    match lately {
        0 => all.to_string(),
        lately => format!("{all} ({lately}/h)"),
    }
}

/// A share of one CPU.
fn percent(percent: f64) -> String {
    match percent < 9.95 {
        true => format!("{percent:.1}%"),
        false => format!("{percent:.0}%"),
    }
}

/// An amount of memory in units of 1024.
fn bytes(bytes: u64) -> String {
    const MEBIBYTE: f64 = 1_048_576.0;
    // Few values are too large for an exact float.
    match bytes as f64 / MEBIBYTE {
        mebibytes if mebibytes < 9.95 => format!("{mebibytes:.1}M"),
        mebibytes if mebibytes < 1000.0 => format!("{mebibytes:.0}M"),
        mebibytes => format!("{:.1}G", mebibytes / 1024.0),
    }
}

/// The state of an app, and why.
fn state(app: &AppState, steps: &[Step], view: View<'_>) -> Line {
    let tone = match app.condition {
        Condition::InSync => Tone::Good,
        Condition::Ended => Tone::Faint,
        Condition::Degraded
        | Condition::Broken
        | Condition::Held
        | Condition::Mislabelled
        | Condition::RolledBack
        | Condition::Failed => Tone::Bad,
        _ => Tone::Notice,
    };
    let word = condition::phrase(app);
    let of_app = |step: &&Step| step.daemon == app.daemon && step.app == app.app;
    let steps = steps.iter().filter(of_app);
    let reasons =
        steps.map(|one| steps::reasons(&StepOutput::new(one, view.show_values), view.verbose));
    let parts = [word].into_iter().filter(|word| !word.is_empty());
    let failure = view.failures.of(&app.daemon, &app.app);
    let tone = failure.map_or(tone, |_| Tone::Bad);
    let failed = failure.map(|failure| failed(failure, view.now_ms));
    let parts: Vec<String> = parts.chain(reasons).chain(failed).collect();
    Line::default().with(tone, parts.join("; "))
}

/// How often and why an app has failed, and when it is retried.
fn failed(failure: &Failure, now_ms: u64) -> String {
    if failure.is_unready {
        return format!("not ready: {}", failure.error);
    }
    let times = match failure.attempts {
        1 => "failed".to_owned(),
        n => format!("failed {n} times"),
    };
    let now = i64::try_from(now_ms).unwrap_or(i64::MAX);
    let now = Timestamp::from_millisecond(now).unwrap_or(Timestamp::MAX);
    match failure.next_attempt(now) {
        Some(at) => {
            let left = short_duration(at.duration_since(now).unsigned_abs());
            format!("{times}, next attempt in {left}: {}", failure.error)
        }
        None => format!("{times}: {}", failure.error),
    }
}

/// The paths of an app's logs.
fn logs(app: &AppState, pm2_home: &Utf8Path) -> Vec<Line> {
    let files = log_files(app, pm2_home).into_iter();
    files
        .map(|file| Line::default().with(Tone::Faint, format!("log: {}", file.path)))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use daemon_model::{
        AppStates, Attributes, DaemonId, ObservedProcess, PmId,
        Status::{Errored, Online},
        Usage, Variables,
    };

    use super::*;

    const NOW: u64 = 1_800_000_000_000;

    fn process(pm_id: u32, restarts: u32, uptime_s: u64, runs: bool) -> Arc<ObservedProcess> {
        Arc::new(ObservedProcess {
            pm_id: PmId(pm_id),
            name: "x".to_owned(),
            pid: runs.then_some(pm_id + 100),
            status: if runs { Online } else { Errored },
            label: None,
            is_module: false,
            attributes: Attributes::default(),
            env: Variables::default(),
            restarts,
            unstable_restarts: 0,
            started_at_ms: Some(NOW - uptime_s * 1000),
            exit_code: None,
        })
    }

    fn planned() -> Planned {
        let app = |id: &str, app: &str, wanted, processes: Vec<_>, condition| {
            let id = DaemonId::new(id).unwrap();
            AppState::new(&id, app, Some(wanted), processes, condition, NOW)
        };
        let gave_up = process(3, 16, 50, false);
        Planned {
            apps: AppStates::from_iter([
                app(
                    "mcp/serena",
                    "serena",
                    1,
                    vec![process(0, 0, 90_000, true)],
                    Condition::InSync,
                ),
                app(
                    "services/shop",
                    "api",
                    2,
                    vec![process(1, 12, 100_000, true), process(2, 3, 10, true)],
                    Condition::InSync,
                ),
                app(
                    "services/autocommit",
                    "autocommit",
                    1,
                    vec![gave_up],
                    Condition::Degraded,
                ),
            ]),
            broken: vec![DaemonId::new("jobs/night").unwrap()],
            ..Planned::default()
        }
    }

    fn drawn(width: Option<usize>) -> String {
        let usage = |cpu_percent, memory_mb: u64| Usage {
            cpu_percent,
            memory_bytes: memory_mb << 20,
        };
        let usage = BTreeMap::from([
            (PmId(0), usage(0.3, 58)),
            (PmId(1), usage(99.0, 1400)),
            (PmId(2), usage(2.5, 90)),
        ]);
        let failures = Failures::default();
        let measures = Measures::new(usage, reconcile::RecentStarts::default());
        let view = View {
            verbose: false,
            show_values: false,
            order: Order::ByName,
            now_ms: NOW,
            pm2_home: "/p".into(),
            failures: &failures,
            measures: &measures,
        };
        let table = table(&planned(), view, width).draw(width, false);
        if let Some(width) = width {
            let too_long = table.lines().find(|line| line.chars().count() > width);
            assert_eq!(too_long, None, "{table}");
        }
        table
    }

    #[test]
    fn the_table_shows_as_much_as_there_is_room_for() {
        insta::assert_snapshot!(drawn(Some(120)), @"
        DAEMON               APP         RUN  CPU   MEM   UPTIME  RESTARTS  STATE
        jobs/night           -           -    -     -     -       -         not valid
        mcp/serena           serena      1/1  0.3%  58M   1d01h   0         in sync
        services/autocommit  autocommit  0/1  -     -     -       16 (1/h)  degraded: PM2 gave up after 16 unstable restarts
        services/shop        api         2/2  102%  1.5G  10s     15 (2/h)  in sync
        ");
        insta::assert_snapshot!(drawn(Some(80)), @"
        APP                  RUN  CPU   MEM   UPTIME  RESTARTS  STATE
        jobs/night           -    -     -     -       -         not valid
        mcp/serena           1/1  0.3%  58M   1d01h   0         in sync
        services/autocommit  0/1  -     -     -       16 (1/h)  degraded: PM2 gave up
                                                                after 16 unstable
                                                                restarts
        services/shop api    2/2  102%  1.5G  10s     15 (2/h)  in sync
        ");
        insta::assert_snapshot!(drawn(Some(50)), @"
        APP                  RUN  STATE
        jobs/night           -    not valid
        mcp/serena           1/1  in sync
        services/autocommit  0/1  degraded: PM2 gave up
                                  after 16 unstable
                                  restarts
        services/shop api    2/2  in sync
        ");
        assert_eq!(drawn(None).lines().next(), drawn(Some(80)).lines().next());
    }
}
