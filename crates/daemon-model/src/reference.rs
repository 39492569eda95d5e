//! Generates the attribute reference: the documentation page, and a JSON Schema of artifacts.

mod malli;
mod rollout;

use serde_json::{Map, Value, json};

use crate::attribute::{ATTRIBUTES, Attribute, Cost, Kind, Role};
use crate::spec::POLICY_KEY;
use crate::values::ENV_FILE_KEY;

/// The documentation page that lists every attribute.
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
        // A bar would end the table cell.
        let cells = cells.map(|cell| cell.replace('|', "\\|"));
        out.push_str(&format!(
            "| {} |\n",
            cells.join(" | ").replace("|  |", "| |")
        ));
    }
    out.push_str(FURTHER);
    out.push_str(rollout::MARKDOWN);
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
# Definition reference

<!-- Generated from the table in crates/daemon-model/src/attribute.rs: `UPDATE_DOCS=1 cargo test -p pm2-sync-model --test reference`. -->

A definition is a map with `:apps`, a vector of maps. The table lists the keys of an app; `pm2-sync check` warns of others. `nil` means the same
as leaving a key out; so do `false` and `\"\"` where PM2 treats them as unset (`:cron_restart \"\"`, `:log_date_format false`). `pm2-sync schema`
prints the table as a JSON Schema. All keys work with PM2 5, 6 and 7, unless the table names a version.

The column \"a change\" says what a change of the key does to the app's processes:

| word | effect |
| --- | --- |
| scale | processes are started or removed; the others keep running |
| restart | each is restarted in place; an app in cluster mode is reloaded without downtime |
| full restart | each is restarted in place, in cluster mode too |
| replace | new processes take the place of the old ones |

| key | other names | value | default | a change | meaning |
| --- | --- | --- | --- | --- | --- |
";

const FURTHER: &str = "
## Further keys of an app

| key | value | meaning |
| --- | --- | --- |
| `:env_file` | a path, a map such as `{:path \".env.local\" :required false}`, or a vector of both | files whose variables the app gets; `:env` wins over them ([values.md](values.md)) |
| `:env_NAME` | a map of environment variables | merged over `:env` with `--env NAME`; text is ignored, unless selected |
| `:pm2-sync` | a map, see the next table | settings of pm2-sync for this app; PM2 never sees them |
| `:startup_probe` `:readiness_probe` `:liveness_probe` | a map, see [below](#probes-and-order) | check whether the app works |
| `:depends_on` | a vector of names, see [below](#probes-and-order) | what must be ready before the app starts |

| key of `:pm2-sync` | value | meaning |
| --- | --- | --- |
| `:on-change` | `:reload`, `:restart`, `:replace` or `:hold` | how changes are applied; `:hold` only reports them |
| `:on-remove` | `:delete`, `:stop` or `:keep` | what happens when the definition is gone ([removal.md](removal.md#choose-the-effect-of-a-removal)) |
| `:protect` | `true` or `false` | whether removal requires confirmation |
| `:interpolate` | `true` or `false` | whether `${NAME}` is replaced ([values.md](values.md#name-in-a-definition)) |
| `:on-failure` `:within` `:canary` `:together` | see [below](#probes-and-order) | what happens when the app does not become ready |
";

const TAIL: &str = "
## Warnings of `check`

Besides keys that PM2 ignores, such as `:exec-mode` for `:exec_mode`:

| in an app | because |
| --- | --- |
| a space in `:script` | PM2 runs `bash -c` with it; `:args` are lost, and a path with a space is not found |
| an interpreter other than `node` in cluster mode, named or implied by the script's extension | PM2 runs cluster workers with its own node |
| `:time true` with another `:log_date_format` | `:time` wins |
| `:autostart false` with `:cron_restart` | PM2 never starts it: `:cron_restart` starts only what has run before |
| `${NAME}` in `:script`, `:cwd`, `:args` or `:env` | it is replaced only with `:interpolate` |
| `$NAME` in these | it is replaced only by a shell that gets the text |
| `nil` in `:env` | the process gets the text `null` |
| a duration or a number that PM2 reads as another | see the first table |

## Beside `:apps`

| key | meaning |
| --- | --- |
| `:profiles` | maps that `--mode NAME` merges over the definition |
| `:deploy` | settings of `pm2 deploy`; `:NAME {:env {...}}` in it is merged over `:env` with `--env NAME` |

`pm2-sync check` warns of other keys: they are copied into the generated config, but nothing reads them.
";

/// A JSON Schema (draft 2020-12) of artifacts. `pm2-sync check` rejects everything that the schema rejects. Unknown keys are
/// allowed, because PM2 ignores them.
#[must_use]
pub fn json_schema() -> Value {
    let mut properties = Map::new();
    for attribute in ATTRIBUTES {
        for name in attribute.names() {
            properties.insert(name.clone(), property(attribute, &name));
        }
    }
    properties.insert(
        POLICY_KEY.to_owned(),
        json!({
            "description": "settings of pm2-sync; PM2 never sees them",
            "type": ["object", "null"],
            "properties": {
                "on-change": { "enum": ["reload", "restart", "replace", "hold", null] },
                "on-remove": { "enum": ["delete", "stop", "keep", null] },
                "protect": { "type": ["boolean", "null"] },
                "interpolate": { "type": ["boolean", "null"] },
                "on-failure": { "enum": ["rollback", "keep", "stop", null] },
                "within": { "$ref": "#/$defs/wait" },
                "canary": { "type": ["boolean", "null"] },
                "together": { "type": ["boolean", "null"] },
            },
            "additionalProperties": false,
        }),
    );
    properties.insert(ENV_FILE_KEY.to_owned(), env_file());
    properties.extend(rollout::properties());
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
            // PM2 ignores text in place of an `env_NAME` block, unless the block is selected.
            "patternProperties": { NOT_ENV_FILE: { "type": ["object", "string", "null"] } },
            "anyOf": scripts,
        }),
    );
    definitions.extend(kinds);
    definitions.insert(
        "nothing".to_owned(),
        json!({ "description": "what PM2 takes for no value", "enum": [false, "", 0] }),
    );
    definitions.extend(rollout::definitions());
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

/// The source of a Clojure namespace with a Malli schema of definitions.
#[must_use]
pub fn malli() -> String {
    malli::namespace(&json_schema())
}

fn env_file() -> Value {
    let path = json!({ "type": "string", "minLength": 1 });
    let file = json!({ "anyOf": [path, {
        "type": "object",
        "properties": { "path": path, "required": { "type": ["boolean", "null"] } },
        "required": ["path"],
        "additionalProperties": false,
    }] });
    json!({
        "description": "files whose variables the app gets",
        "anyOf": [file, { "type": "array", "items": file }, { "type": "null" }],
    })
}

/// `env_NAME`, but not `env_file`, which is not a block of variables. The pattern avoids look-ahead, which not every validator
/// supports.
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

fn property(attribute: &Attribute, name: &str) -> Value {
    let mut property = match attribute.role {
        Role::Inert => json!({}),
        _ if attribute.is_unset_by_falsy(name) => {
            json!({ "anyOf": [reference(attribute.kind), { "$ref": "#/$defs/nothing" }] })
        }
        _ => reference(attribute.kind),
    };
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

/// The values of a kind, as far as a pattern can express them; null means "as if absent" everywhere.
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
