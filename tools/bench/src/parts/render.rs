//! Rendering, compared with reading and writing plain files.

use crate::context::Context;
use crate::measure::Way;
use crate::plain::{Copies, definitions_and_artifacts, read_all};
use crate::programs::Offline;
use crate::section::Section;

/// Runs the measurement.
pub fn run(context: &Context) -> Section {
    let count = context.pick(10_000, 20);
    let mut section = context.section("render", &format!("`render` of {count} definitions"));
    context.progress(&format!("render: {count} definitions"));
    let offline = Offline::new(&context.tools, count);
    let times = measure(context, &offline, count);
    let bytes = read_all(&definitions_and_artifacts(&offline.workspace, count));
    section.say(&format!(
        "Definitions and generated configs are {:.1} MB together. Plain reading is `std::fs::read` of each of those \
         files; plain writing is `std::fs::write` of the generated configs' bytes to new files in directories that \
         exist. Neither sorts, checks or renders anything, and plain writing is not atomic.",
        bytes as f64 / 1e6
    ));
    section.ways("nothing changed", &[&times.unchanged, &times.read]);
    section.at_most(
        "at most 3x plain reading",
        3.0,
        times.unchanged.median(),
        times.read.median(),
    );
    section.summary_of(
        &format!("`render` of {count} definitions, nothing changed"),
        times.unchanged.median(),
        "plain reading of the same files",
        times.read.median(),
    );
    section.ways("all new", &[&times.new, &times.write]);
    section.at_most(
        "at most 3x plain writing",
        3.0,
        times.new.median(),
        times.write.median(),
    );
    section
}

/// The measured times.
pub struct Times {
    /// Nothing changed.
    pub unchanged: Way,
    /// Everything is new.
    pub new: Way,
    /// Plain reading.
    pub read: Way,
    /// Plain writing.
    pub write: Way,
}

/// Alternates between rendering and plain file operations.
pub fn measure(context: &Context, offline: &Offline, count: usize) -> Times {
    let mut times = Times {
        unchanged: Way::new("`pm2-sync render`"),
        new: Way::new("`pm2-sync render`"),
        read: Way::new("plain reading of definitions and generated configs"),
        write: Way::new("plain writing of the generated configs"),
    };
    let render = || offline.run(&["render", "--quiet"]);
    render();
    let files = definitions_and_artifacts(&offline.workspace, count);
    for run in 0..context.runs {
        times.unchanged.run(render);
        times.read.run(|| assert!(read_all(&files) > count));
        let copies = Copies::of(
            &offline.workspace,
            count,
            &offline.file(&format!("copies-{run}")),
        );
        copies.make_directories();
        // No files are removed meanwhile: when ext4 creates a file, it skips the slots of recently removed files one by one.
        let old = offline.file(&format!("old-{run}"));
        std::fs::rename(offline.workspace.out(), old).unwrap();
        times.new.run(render);
        times.write.run(|| copies.write());
        copies.expect_written();
    }
    assert!(
        offline.succeeds(&["render", "--check"]),
        "all is as rendered"
    );
    times
}
