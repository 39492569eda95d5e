//! The npm packages: one with a launcher, and one per platform with the program. npm installs the one that matches.

use serde_json::{Map, Value, json};

use super::target::TARGETS;
use super::{Build, Item, VERSION, lay_out, packager, write};
use crate::command::Error;

/// Writes `pm2-sync-<version>.tgz` and `pm2-sync-<platform>-<version>.tgz`.
pub(super) fn write_packages(build: &Build) -> Result<(), Error> {
    let platform = build.target.npm();
    let mut package = description(&format!("@pm2-sync/{platform}"));
    package["description"] = json!(format!("The program of pm2-sync for {platform}"));
    package["os"] = json!([build.target.os]);
    package["cpu"] = json!([build.target.cpu]);
    if let Some(libc) = build.target.libc {
        package["libc"] = json!([libc]);
    }
    pack(
        build,
        &platform,
        package,
        vec![build.program("bin/pm2-sync")],
    )?;

    let mut package = description("pm2-sync");
    package["description"] =
        json!("Keep what PM2 runs in sync with definitions in your repository");
    package["keywords"] = json!(["pm2", "edn", "process-manager", "declarative", "supervisor"]);
    package["bin"] = json!({ "pm2-sync": "bin/pm2-sync.js" });
    package["engines"] = json!({ "node": ">=18" });
    package["optionalDependencies"] = TARGETS
        .iter()
        .map(|target| (format!("@pm2-sync/{}", target.npm()), json!(VERSION)))
        .collect::<Map<String, Value>>()
        .into();
    let launcher = Item {
        executable: true,
        ..Item::new(
            "bin/pm2-sync.js",
            build.root.join("packaging/npm/bin/pm2-sync.js"),
        )
    };
    pack(build, "pm2-sync", package, vec![launcher])
}

fn description(name: &str) -> Value {
    json!({
        "name": name,
        "version": VERSION,
        "description": "",
        "license": "MIT OR Apache-2.0",
        "homepage": "https://github.com/pm2-sync/pm2-sync",
        "repository": { "type": "git", "url": "git+https://github.com/pm2-sync/pm2-sync.git" },
        "files": ["bin"],
    })
}

fn pack(build: &Build, folder: &str, package: Value, mut items: Vec<Item>) -> Result<(), Error> {
    let dir = build.scratch.join("npm").join(folder);
    items.extend(build.documents());
    lay_out(&dir, &items)?;
    write(
        &dir.join("package.json"),
        format!("{package:#}\n").as_bytes(),
    )?;
    packager("npm pack --silent --pack-destination ../../..", &dir)
}
