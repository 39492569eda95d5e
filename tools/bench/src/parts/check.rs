//! `check`, against the reference renderer.

use reconcile::Definitions;
use serde_json::Value;

use crate::baselines::nbb::Reference;
use crate::context::Context;
use crate::engine::config_of;
use crate::measure::Way;
use crate::programs::Offline;
use crate::section::Section;
use crate::workspace::Workspace;

/// Runs the measurement.
pub fn run(context: &Context) -> Section {
    let count = context.pick(1000, 10);
    let mut section = context.section("check", &format!("`check` of {count} definitions"));
    context.progress(&format!("check: {count} definitions"));
    let offline = Offline::new(&context.tools, count);
    let reference = Reference::find(&context.tools);
    let mut ours = Way::new("`pm2-sync check`");
    let mut theirs = Way::scaled(
        &format!("nbb, a process for each definition: the time of one, {count} times"),
        count as f64,
    );
    for round in 0..context.runs {
        ours.run(|| offline.run(&["check"]));
        if let Some(reference) = &reference {
            theirs.run(|| reference.render(&offline.workspace.definition(round % count)));
            assert_eq!(rendered(&offline, round % count), reference.rendered());
        }
    }
    if reference.is_none() {
        context.left_out(&mut section, "nbb");
    }
    section.say(
        "The reference renderer is measured on a different definition each time. It finds fewer faults: it has no \
         table of PM2's attributes.",
    );
    section.ways("check", &[&ours, &theirs]);
    section.at_most(
        "at least 100x faster than the reference renderer",
        0.01,
        ours.median(),
        theirs.median(),
    );
    section.summary_of(
        &format!("`check` of {count} definitions"),
        ours.median(),
        "the reference renderer under nbb",
        theirs.median(),
    );
    section
}

/// The library's rendering of a definition.
fn rendered(offline: &Offline, n: usize) -> Value {
    let config = config_of(offline.workspace.root(), &offline.file("home"));
    let definitions = Definitions::load(&config).unwrap();
    let artifact = definitions.daemons[&Workspace::id(n)].artifact();
    let mut artifact: Value = serde_json::from_str(artifact.unwrap()).unwrap();
    artifact.as_object_mut().unwrap().shift_remove("//");
    artifact
}
