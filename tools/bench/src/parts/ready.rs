//! The delay between an app becoming ready and the return of `sync`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pm2_testbed::free_port;

use crate::bed::Bed;
use crate::context::Context;
use crate::measure::{Way, millis_or_none};
use crate::section::Section;

/// The period of the probe, in milliseconds.
const PERIOD: u64 = 200;

/// Listens some time after its start, and records when.
const SERVER: &str = "const { PORT, AFTER, AT } = process.env;
setTimeout(() => require('net').createServer((it) => it.end()).listen(Number(PORT), '127.0.0.1',
  () => require('fs').writeFileSync(AT, String(Date.now()))), Number(AFTER));
";

/// Runs the measurement.
pub fn run(context: &Context) -> Section {
    let mut section = context.section("ready", "From ready to the end of `sync`");
    section.say(&format!(
        "An app begins to listen about 2 s after its start. Its readiness probe connects every {PERIOD} ms. The time is from \
         the moment it listens to the end of `pm2-sync sync`.",
    ));
    context.progress("ready");
    let bed = Bed::new(&context.tools);
    let (script, at) = (bed.file("server.js"), bed.file("at"));
    std::fs::write(&script, SERVER).unwrap();
    let mut way = Way::new("`pm2-sync sync`");
    for round in 0..context.runs {
        let port = free_port();
        // Different phases of the probe's period.
        let after = 2000 + 37 * (round as u64 % 7);
        bed.workspace.define(
            0,
            &format!(
                "{{:apps [{{:name \"app0\" :script \"{script}\" :env {{:PORT {port} :AFTER {after} :AT \"{at}\"}}
                   :readiness_probe {{:tcp_socket {{:port {port}}} :period {PERIOD}}}}}]}}"
            ),
        );
        bed.sync();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let ready = std::fs::read_to_string(&at).unwrap();
        way.add(now.saturating_sub(Duration::from_millis(ready.parse().unwrap())));
    }
    let (median, longest) = (way.median(), way.longest());
    section.table(
        &["", "times", "median", "longest"],
        &[vec![
            way.name.clone(),
            way.runs().to_string(),
            millis_or_none(median),
            millis_or_none(longest),
        ]],
    );
    section.goal(
        &format!("within one period of the probe, {PERIOD} ms, the median"),
        millis_or_none(median),
        median.is_some_and(|median| median <= PERIOD as f64),
    );
    section
}
