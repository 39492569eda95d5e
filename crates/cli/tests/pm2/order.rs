//! Apps that depend on each other: they start in order, and stop in reverse order.

use pm2_testbed::wait_for;

use crate::common::Env;

/// Records when it has started, when it is asked to end and when it ends.
const SCRIPT: &str = r#"
const { appendFileSync } = require("fs");
const { NAME, ORDER, B } = process.env;
const note = (what) => appendFileSync(ORDER, `${what} ${NAME}\n`);
if (B === "crash") process.exit(7);
note("start");
process.on("SIGINT", () => {
  note("stop");
  setTimeout(() => { note("gone"); process.exit(0); }, 150);
});
setInterval(() => {}, 1000);
"#;

/// A workspace of apps with the script.
struct World {
    env: Env,
}

impl World {
    fn new() -> Self {
        let env = Env::new();
        env.write("app.js", SCRIPT);
        let world = Self { env };
        world.forget();
        world
    }

    /// A daemon with an app of its name, which is ready when it reports that it has started.
    fn define(&self, name: &str, needs: &str, more: &str) {
        let order = self.env.root.join("order");
        let app = format!(
            "{{:name \"{name}\" :script \"app.js\" :min_uptime 200 :depends_on [{needs}]
              :env {{:NAME \"{name}\" :ORDER \"{order}\" {more}}}
              :readiness_probe {{:exec {{:command [\"grep\" \"-q\" \"start {name}\" \"order\"]}} :period 100}}
              :pm2-sync {{:on-failure :keep :within \"20s\"}}}}"
        );
        self.env.define(name, &format!("{{:apps [{app}]}}"));
    }

    /// Three apps in a dependency chain. Sorted by name, the order would be reversed.
    fn define_chain(&self) {
        self.define("z-db", "", "");
        self.define("m-cache", "\"z-db\"", "");
        self.define("a-api", "\"m-cache\" \"z-db\"", "");
    }

    fn forget(&self) {
        self.env.write("order", "");
    }

    /// What was recorded since the last call.
    fn order(&self) -> String {
        let order = std::fs::read_to_string(self.env.root.join("order")).unwrap();
        self.forget();
        order.trim_end().replace('\n', ", ")
    }
}

const FORWARD: &str = "start z-db, start m-cache, start a-api";
const BACKWARD: &str = "stop a-api, gone a-api, stop m-cache, gone m-cache, stop z-db, gone z-db";

#[test]
fn stops_and_removals_go_the_other_way_round() {
    let world = World::new();
    let env = &world.env;
    world.define("other", "", "");
    world.define_chain();
    env.expect(0, &["sync", "--jobs", "8"]);
    let order = world.order();
    assert_eq!(
        order
            .replace("start other, ", "")
            .replace(", start other", ""),
        FORWARD
    );

    let all = ["z-db", "m-cache", "a-api"];
    env.expect(0, &[&["stop", "--jobs", "8"][..], &all].concat());
    assert_eq!(world.order(), BACKWARD);
    env.expect(0, &[&["start", "--jobs", "8"][..], &all].concat());
    assert_eq!(world.order(), FORWARD);

    // Three of four are too many to remove without a confirmation.
    all.iter().for_each(|id| env.undefine(id));
    let held = env.json(3, &["sync"]);
    let code = held["held"]["confirm"].as_str().unwrap();
    env.expect(0, &["sync", "--jobs", "8", "--confirm", code]);
    assert_eq!(world.order(), BACKWARD);

    world.define_chain();
    env.expect(0, &["sync"]);
    assert_eq!(world.order(), FORWARD);
    env.undefine("other");
    env.expect(0, &["sync"]);
    assert_eq!(world.order(), "stop other, gone other");
    env.expect(0, &["down", "--all", "-y"]);
    assert_eq!(world.order(), BACKWARD);
    assert!(env.try_list().is_none_or(|list| list.is_empty()));
}

#[test]
fn with_a_failed_dependency_nothing_starts_and_running_apps_continue() {
    let world = World::new();
    let env = &world.env;
    world.define_chain();
    env.expect(0, &["sync"]);
    let before = ["m-cache", "a-api"].map(|name| env.pid(name));
    world.forget();

    world.define("z-db", "", ":B \"crash\"");
    world.define("late", "\"z-db\"", "");
    world.define("later", "\"late\"", "");
    world.define("alone", "", "");
    let done = env.expect(3, &["sync"]);
    for (app, why) in [
        ("late", "waiting for `z-db`, which did not become ready"),
        ("later", "waiting for `late`, which is not started either"),
    ] {
        let said = format!("`{app}` of {app}: {why}");
        assert!(done.err.contains(&said), "no `{said}`:\n{}", done.err);
        assert!(env.named(app).is_empty());
    }
    assert_eq!(["m-cache", "a-api"].map(|name| env.pid(name)), before);
    // Apps without these dependencies are started, and nothing else was.
    let order = world.order();
    let others: Vec<&str> = order
        .split(", ")
        .filter(|it| !it.ends_with(" z-db"))
        .collect();
    assert_eq!(others, ["start alone"], "{order}");
    assert!(!order.contains("start z-db"), "{order}");
    let status = env.json(3, &["status"]);
    let apps = status["apps"].as_array().unwrap();
    let stands = |name: &str| {
        let app = apps.iter().find(|app| app["app"] == name).unwrap();
        app["condition"].as_str().unwrap()
    };
    let stand = ["z-db", "m-cache", "a-api", "late", "later", "alone"].map(stands);
    assert_eq!(
        stand,
        [
            "failed", "in-sync", "in-sync", "waiting", "waiting", "in-sync"
        ]
    );
    // A second sync changes nothing either.
    let again = env.expect(3, &["sync"]);
    assert_eq!(again.out, "");
    assert_eq!(["m-cache", "a-api"].map(|name| env.pid(name)), before);

    // Once fixed, it lets them start.
    world.define("z-db", "", ":B \"good\"");
    env.expect(0, &["sync"]);
    assert_eq!(world.order(), "start z-db, start late, start later");
    assert_eq!(["m-cache", "a-api"].map(|name| env.pid(name)), before);
    wait_for(|| env.run(&["status"]).code == 0);
}
