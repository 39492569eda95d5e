//! The first sync: PM2 runs nothing yet.

use crate::baselines::supervisord::Supervisord;
use crate::bed::Bed;
use crate::context::Context;
use crate::measure::Way;
use crate::raw::{Calls, Raw};
use crate::section::Section;

/// Runs the measurement.
pub fn run(context: &Context) -> Section {
    let count = context.pick(50, 3);
    let mut section = context.section(
        "first",
        &format!("First `sync` of {count} daemons of one process"),
    );
    context.progress(&format!("first: {count} daemons"));
    let bed = Bed::new(&context.tools);
    bed.workspace.define_sleepers(count);
    let all = bed.start_file("all.json", 0..count);
    let single: Vec<_> = (0..count)
        .map(|n| bed.start_file(&format!("one{n}.json"), [n]))
        .collect();
    bed.sync();
    bed.expect_running(count);
    let prepared = Calls::new("prepare", bed.payloads());
    let supervisord = Supervisord::start(&context.tools);
    let mut ways = [
        Way::new("`pm2-sync sync --no-wait`"),
        Way::new("floor: prepared messages, pipelined"),
        Way::new("`pm2 start all.json`"),
        Way::new("`supervisorctl reread` and `update`"),
        Way::new("`pm2 start one.json` for each"),
    ];
    for round in 0..context.runs {
        bed.clear();
        ways[0].run(|| bed.sync_without_waiting());
        bed.expect_running(count);
        bed.clear();
        ways[1].run(|| Raw::connect(bed.home()).send(&prepared));
        bed.expect_running(count);
        bed.clear();
        ways[2].run(|| bed.pm2(&["start", all.as_str()]));
        bed.expect_running(count);
        if round < SLOW_RUNS {
            if let Some(supervisord) = &supervisord {
                supervisord.define(0);
                supervisord.update(0);
                supervisord.define(count);
                ways[3].run(|| supervisord.update(count));
            }
            bed.clear();
            ways[4].run(|| {
                for file in &single {
                    bed.pm2(&["start", file.as_str()]);
                }
            });
            bed.expect_running(count);
        }
    }
    section.say(&format!(
        "The slow ways, `pm2 start` for each daemon and supervisord, run only {SLOW_RUNS} times. The time of supervisord ends when all \
         its programs run."
    ));
    section.ways("first sync", &ways.iter().collect::<Vec<_>>());
    let times = ways.each_ref().map(Way::median);
    section.at_most("at most 1.3x the floor", 1.3, times[0], times[1]);
    section.at_most(
        "faster than one `pm2 start all.json`",
        1.0,
        times[0],
        times[2],
    );
    section.at_most(
        "at least 5x faster than `pm2 start` for each",
        0.2,
        times[0],
        times[4],
    );
    section.summary_of(
        "first `sync` of 50 daemons",
        times[0],
        &ways[2].name,
        times[2],
    );
    if supervisord.is_none() {
        context.left_out(&mut section, "supervisor");
    }
    section
}

/// The number of runs for work that takes many seconds.
const SLOW_RUNS: usize = 3;
