//! A no-op sync.

use camino::Utf8Path;
use serde_json::json;

use crate::baselines::supervisord::Supervisord;
use crate::bed::Bed;
use crate::context::Context;
use crate::measure::Way;
use crate::plain::{definitions_and_artifacts, stat_all};
use crate::raw::{Calls, Raw};
use crate::section::Section;

/// Runs the measurement.
pub fn run(context: &Context) -> Section {
    let mut section = context.section("nothing", "`sync` with nothing to do");
    section.say(
        "The floor is one raw list from PM2 and a `stat` of each definition and each generated config, in a process that \
         already runs. `pm2-sync sync` includes its own start. In brackets, for comparison: a program that does nothing; \
         `pm2-sync --version`; a program that starts, asks for the list and reads it as JSON, as every program must that \
         compares anything; and the same program if it also reads the definitions, generated configs and histories.",
    );
    for (count, limit) in context.pick(&[(12, 1.2), (100, 1.0), (1000, 0.9)][..], &[(3, 1.0)]) {
        nothing(context, &mut section, *count, *limit);
    }
    if context.tools.supervisor("supervisord").is_none() {
        context.left_out(&mut section, "supervisor");
    }
    section
}

/// `limit`: the largest allowed multiple of a program that starts, requests the list and reads it.
fn nothing(context: &Context, section: &mut Section, count: usize, limit: f64) {
    context.progress(&format!("nothing: {count} processes"));
    let bed = Bed::new(&context.tools);
    bed.workspace.define_sleepers(count);
    bed.sync();
    bed.expect_running(count);
    let before = bed.pids();
    // It takes seconds with many programs, and is only a comparison.
    let supervisord = Supervisord::start(&context.tools).filter(|_| count <= 100);
    if let Some(supervisord) = &supervisord {
        supervisord.define(count);
        supervisord.update(count);
    }
    let files = definitions_and_artifacts(&bed.workspace, count);
    let list = Calls::new("getMonitorData", vec![json!({})]);
    let mut ways = [
        Way::new("`pm2-sync sync`"),
        Way::new("floor: one raw list, a stat of each file"),
        Way::new("`pm2 jlist`"),
        Way::new("`supervisorctl reread` and `update`"),
        Way::new("(a program that does nothing)"),
        Way::new("(`pm2-sync --version`)"),
        Way::new("(a program that starts, asks for the list and reads it as JSON)"),
        Way::new("(the same, and it reads definitions, generated configs and histories)"),
    ];
    for _ in 0..context.runs {
        ways[0].run(|| bed.sync());
        ways[1].run(|| {
            Raw::connect(bed.home()).send(&list);
            stat_all(&files);
        });
        ways[2].run(|| bed.pm2(&["jlist"]));
        if let Some(supervisord) = &supervisord {
            ways[3].run(|| supervisord.update(count));
        }
        let mut empty = bed.run_in(&context.tools.empty);
        ways[4].run(|| assert!(empty.status().unwrap().success()));
        ways[5].run(|| assert!(bed.pm2_sync(&["--version"]).status().unwrap().success()));
        let mut reader = bed.run_in(&context.tools.own);
        reader.args([crate::READ_LIST, bed.home().as_str()]);
        ways[6].run(|| assert!(reader.status().unwrap().success()));
        let state = bed.home().join("pm2-sync");
        reader.args([bed.workspace.tree(), bed.workspace.out(), &state]);
        ways[7].run(|| assert!(reader.status().unwrap().success()));
    }
    assert_eq!(bed.pids(), before, "nothing was to be done");
    let work = format!("`sync` of {count} processes, nothing to do");
    section.ways(&work, &ways.iter().collect::<Vec<_>>());
    let times = ways.each_ref().map(Way::median);
    section.at_most(
        &format!("at most {limit}x a program that starts, asks and reads"),
        limit,
        times[0],
        times[6],
    );
    section.at_most("faster than one `pm2 jlist`", 1.0, times[0], times[2]);
    section.summary_of(&work, times[0], &ways[2].name, times[2]);
}

/// Requests the list and parses it as JSON, and reads every file below the directories.
pub fn read_list(home: &Utf8Path, directories: &[String]) {
    let list = Raw::connect(home).list();
    let processes = list["args"][0].as_array().unwrap();
    assert!(
        processes
            .iter()
            .all(|process| process["pm2_env"].is_object())
    );
    directories
        .iter()
        .for_each(|dir| read_files(Utf8Path::new(dir)));
}

/// Reads every file below a directory.
fn read_files(dir: &Utf8Path) {
    for entry in dir.read_dir_utf8().unwrap().map(Result::unwrap) {
        match entry.file_type().unwrap().is_dir() {
            true => read_files(entry.path()),
            false => drop(std::fs::read(entry.path()).unwrap()),
        }
    }
}
