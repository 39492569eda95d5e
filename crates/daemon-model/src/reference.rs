//! The table of attributes for readers: the page of the documentation, and a JSON Schema of artifacts.

use serde_json::{Map, Value, json};

use crate::attribute::{ATTRIBUTES, Attribute, Cost, Kind};
use crate::spec::POLICY_KEY;

/// The page of the documentation that lists every attribute.
#[must_use]
pub fn markdown() -> String {
    let mut out = String::from(HEAD);
    for attribute in ATTRIBUTES {
        let aliases: Vec<String> = attribute
            .names()
            .skip(1)
            .map(|name| format!("`:{name}`"))
            .collect();
        let cells = [
            format!("`:{}`", attribute.name),
            aliases.join(" "),
            attribute.expects().to_owned(),
            attribute.default_text().unwrap_or_default(),
            cost(attribute.cost).to_owned(),
            about(attribute),
        ];
        // A bar inside a cell would end it.
        let cells = cells.map(|cell| cell.replace('|', "\\|"));
        out.push_str(&format!(
            "| {} |\n",
            cells.join(" | ").replace("|  |", "| |")
        ));
    }
    out.push_str(TAIL);
    out
}

fn about(attribute: &Attribute) -> String {
    let mut about = attribute.summary.to_owned();
    if let Some(note) = attribute.zero_note() {
        about = format!("{about}. {note}");
    }
    if let Some(since) = attribute.since() {
        about = format!("{about}. PM2 {since} or later");
    }
    about
}

fn cost(cost: Cost) -> &'static str {
    match cost {
        Cost::Scale => "scale",
        Cost::Restart => "restart",
        Cost::HardRestart => "full restart",
        Cost::Replace => "replace",
    }
}

const HEAD: &str = "\
# What a definition may say

<!-- Generated from the table in crates/daemon-model/src/attribute.rs: `UPDATE_DOCS=1 cargo test -p daemon-model --test reference`. -->

A definition is a map with `:apps`, a vector of maps. These are the keys of an app; `pm2-sync check` warns of others,
because PM2 ignores them. `nil` is the same as leaving a key out. `pm2-sync schema` prints the same table as a JSON Schema of
the generated config. PM2 5, 6 and 7 know all of them but those that name a later version.

What a change costs:

| word | what happens to the app's processes |
| --- | --- |
| scale | processes are started or removed, the others stay as they are |
| restart | each is restarted in place; an app in cluster mode is reloaded without downtime |
| full restart | each is restarted in place, in cluster mode too |
| replace | new processes take the place of the old ones |

| key | other names | value | default | a change | what it does |
| --- | --- | --- | --- | --- | --- |
";

const TAIL: &str = "
## Further keys of an app

| key | value | what it does |
| --- | --- | --- |
| `:env_NAME` | a map of environment variables | merged over `:env` with `--env NAME` |
| `:pm2-sync` | a map with `:on-change`, `:on-remove` and `:protect` | what you ask of pm2-sync for this app; PM2 never sees it |

`:on-change` is `:reload`, `:restart`, `:replace` or `:hold`, and says what is done when the app has changed. `:on-remove` is
`:delete`, `:stop` or `:keep`, and says what is done when its definition is gone ([removal.md](removal.md)).
`:protect true` makes that wait until it is confirmed.

## Beside `:apps`

| key | what it does |
| --- | --- |
| `:profiles` | maps that `--mode NAME` merges over the definition; not in the generated config |
| `:deploy` | settings of `pm2 deploy`; `:NAME {:env {...}}` in it is merged over `:env` with `--env NAME` |

`pm2-sync check` warns of other keys: they are printed into the generated config, and nothing reads them there.
";

/// A JSON Schema (draft 2020-12) of artifacts. What it rejects `pm2-sync check` rejects too; unknown keys are
/// allowed, because PM2 ignores them.
#[must_use]
pub fn json_schema() -> Value {
    let mut properties = Map::new();
    for attribute in ATTRIBUTES {
        for name in attribute.names() {
            properties.insert(name, property(attribute));
        }
    }
    properties.insert(
        POLICY_KEY.to_owned(),
        json!({
            "description": "what is asked of pm2-sync; PM2 never sees it",
            "type": ["object", "null"],
            "properties": {
                "on-change": { "enum": ["reload", "restart", "replace", "hold", null] },
                "on-remove": { "enum": ["delete", "stop", "keep", null] },
                "protect": { "type": ["boolean", "null"] },
            },
            "additionalProperties": false,
        }),
    );
    let scripts: Vec<Value> = ATTRIBUTES
        .iter()
        .filter(|attribute| attribute.name == "script")
        .flat_map(Attribute::names)
        .map(|name| json!({ "required": [name] }))
        .collect();
    let kinds: Map<String, Value> = KINDS
        .iter()
        .map(|kind| (definition(*kind).to_owned(), values_of(*kind)))
        .collect();
    let mut definitions = Map::new();
    definitions.insert(
        "app".to_owned(),
        json!({
            "type": "object",
            "properties": properties,
            "patternProperties": { NOT_ENV_FILE: reference(Kind::Env) },
            "anyOf": scripts,
        }),
    );
    definitions.extend(kinds);
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "PM2 config generated by pm2-sync",
        "type": "object",
        "properties": {
            "//": { "description": "where the config comes from", "type": "string" },
            "apps": { "type": "array", "items": { "$ref": "#/$defs/app" } },
            "deploy": { "description": "settings of `pm2 deploy`", "type": ["object", "null"] },
        },
        "required": ["apps"],
        "$defs": definitions,
    })
}

/// `env_NAME`, but not `env_file`, which is no block of variables. Without looking ahead: not every validator can.
const NOT_ENV_FILE: &str = "^env_($|[^f]|f($|[^i]|i($|[^l]|l($|[^e]|e.))))";

const KINDS: [Kind; 16] = [
    Kind::Bool,
    Kind::BoolOrText,
    Kind::Number,
    Kind::Text,
    Kind::Words,
    Kind::BoolTextOrList,
    Kind::List,
    Kind::Memory,
    Kind::Duration,
    Kind::Instances,
    Kind::ExecMode,
    Kind::Cron,
    Kind::ExitCodes,
    Kind::Account,
    Kind::Env,
    Kind::Map,
];

fn property(attribute: &Attribute) -> Value {
    let mut property = reference(attribute.kind);
    property["description"] = json!(about(attribute));
    if let Some(default) = attribute.default_value() {
        property["default"] = default;
    }
    property
}

fn reference(kind: Kind) -> Value {
    json!({ "$ref": format!("#/$defs/{}", definition(kind)) })
}

fn definition(kind: Kind) -> &'static str {
    match kind {
        Kind::Bool => "switch",
        Kind::BoolOrText => "switchOrText",
        Kind::Number => "number",
        Kind::Text => "text",
        Kind::Words => "words",
        Kind::BoolTextOrList => "switchTextOrList",
        Kind::List => "list",
        Kind::Memory => "memory",
        Kind::Duration => "duration",
        Kind::Instances => "instances",
        Kind::ExecMode => "execMode",
        Kind::Cron => "cron",
        Kind::ExitCodes => "exitCodes",
        Kind::Account => "account",
        Kind::Env => "environment",
        Kind::Map => "map",
    }
}

/// Values of a kind, as far as a pattern can say it; null is "as if absent" everywhere.
fn values_of(kind: Kind) -> Value {
    const INTEGER: &str = r"^\s*[+-]?[0-9]+\s*$";
    let word = json!({ "type": ["string", "number", "boolean"] });
    let any = match kind {
        Kind::Bool => vec![json!({ "type": "boolean" })],
        Kind::BoolOrText => vec![json!({ "type": ["boolean", "string"] })],
        Kind::Text => vec![json!({ "type": "string" })],
        Kind::Number => vec![
            json!({ "type": "number", "minimum": 0 }),
            json!({ "type": "string", "pattern": r"^\s*\+?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\s*$" }),
        ],
        Kind::Words | Kind::List => {
            vec![
                json!({ "type": "string" }),
                json!({ "type": "array", "items": word }),
            ]
        }
        Kind::BoolTextOrList => vec![
            json!({ "type": ["boolean", "string"] }),
            json!({ "type": "array", "items": { "type": "string" } }),
        ],
        Kind::Memory => vec![
            json!({ "type": "number", "minimum": 0 }),
            json!({ "type": "string", "pattern": "^[0-9]+[KMG]?$" }),
        ],
        Kind::Duration => vec![
            json!({ "type": "number", "minimum": 100 }),
            json!({ "type": "string", "pattern": "^([0-9]+[smh]|0*[1-9][0-9]{2,})$" }),
        ],
        Kind::Instances => vec![
            json!({ "type": "integer", "minimum": -4096, "maximum": 4096 }),
            json!({ "const": "max" }),
            json!({ "type": "string", "pattern": INTEGER }),
        ],
        Kind::ExecMode => vec![json!({ "enum": ["fork", "cluster", "fork_mode", "cluster_mode"] })],
        Kind::Cron => vec![
            json!({ "const": 0 }),
            json!({ "type": "string", "pattern": r"^\s*(0|\S+(\s+\S+){4,5})\s*$" }),
        ],
        Kind::ExitCodes => {
            let code = json!({ "anyOf": [
                { "type": "integer", "minimum": 0 },
                { "type": "string", "pattern": r"^\s*\+?[0-9]+\s*$" },
            ] });
            vec![code.clone(), json!({ "type": "array", "items": code })]
        }
        Kind::Account => vec![
            json!({ "type": "integer", "minimum": 0, "maximum": u32::MAX }),
            json!({ "type": "string", "minLength": 1 }),
        ],
        Kind::Env | Kind::Map => vec![json!({ "type": "object" })],
    };
    let mut any = any;
    any.push(json!({ "type": "null" }));
    json!({ "description": kind.expects(), "anyOf": any })
}
