//! The part of the reference about probes and rollouts.

use serde_json::{Map, Value, json};

use crate::ProbeKind;
use crate::attribute::camel_case;

/// The section of the documentation page.
pub(super) const MARKDOWN: &str = "
## Probes and order

These keys say when an app is [ready](rollouts.md#when-is-an-app-ready), and what it depends on.

```clojure
{:name \"api\" :script \"./api.js\" :env {:PORT 3000}
 :depends_on [\"db\" \"services/cache\"]
 :startup_probe   {:http_get {:url \"http://127.0.0.1:${PORT}/health\"} :period 500 :failure_threshold 60}
 :readiness_probe {:http_get {:url \"http://127.0.0.1:${PORT}/ready\"} :timeout \"2s\"}
 :liveness_probe  {:tcp_socket {:port 3000} :period \"10s\"}
 :pm2-sync {:on-failure :rollback :within \"30s\"}}
```

A probe has exactly one handler:

| handler | succeeds when |
| --- | --- |
| `:http_get {:url U}`, or `{:host H :port P :path P :headers {...}}` | the status is from 200 to 399; redirects are not followed |
| `:tcp_socket {:host H :port P}` | the connection is accepted |
| `:exec {:command [\"pg_isready\" \"-q\"]}`, or one string for `sh -c` | the command exits with 0; it gets the app's working directory and variables |

The default host is 127.0.0.1. Probes speak plain HTTP; for HTTPS use `:tcp_socket` or a command. A URL with a user name or a password
is refused.

| setting | default | meaning |
| --- | --- | --- |
| `:initial_delay` | 0 | time from the start of the process to the first run |
| `:period` | 1 s; for a liveness probe 10 s | time between the starts of two runs |
| `:timeout` | 1 s | how long one run may take |
| `:success_threshold` | 1 | successes in a row that count as success |
| `:failure_threshold` or `:retries` | 3 | failures in a row that count as failure |

A time is a number of milliseconds, or `\"500ms\"`, `\"10s\"`, `\"2m\"`, `\"1h\"`; at most 24 hours. The handler may also hold `:timeout` and
`:retries`. The spellings of Kubernetes and process-compose are accepted: `:initial_delay_seconds`, `:period_seconds`,
`:timeout_seconds`, and all keys in camel case.

`${NAME}` in the URL, host, port, path, header values or command words is the variable `NAME` of the probed process, with or without
`:interpolate`. So each instance of an app with `:increment_var` is probed at its own port. In a command for `sh -c`, the shell replaces it.

`:depends_on` names apps of the workspace, or daemons by ID, meaning all of their apps. An app starts when all of these are ready, and is
stopped or removed before them. A change that would restart it waits while one of them is being started or changed; a change of a dependency
does not restart the app. If a dependency has failed, the app is not started; a running app keeps running. Unknown names and cycles are errors.

| key of `:pm2-sync` | default | meaning |
| --- | --- | --- |
| `:on-failure` | `:rollback` | when the app does not become ready, `:rollback` restores the last version that was, `:keep` leaves the new one, `:stop` stops the app |
| `:within` | as long as the startup probe may take; without one 30 s with a readiness probe, else 10 s; at least twice `:min_uptime` | how long the app may take to become ready |
| `:canary` | `true` | whether one extra worker of a cluster app tries a change first. Not with `:on-failure :keep` or `:stop` |
| `:together` | `true` | whether the app rolls back together with the other apps of its daemon |
";

/// The keys of an app.
pub(super) fn properties() -> Vec<(String, Value)> {
    let probes = ProbeKind::ALL.map(|kind| {
        let property = json!({ "description": kind.to_string(), "$ref": "#/$defs/probe" });
        (kind.key(), property)
    });
    let depends_on = json!({
        "description": "what must be ready before the app starts",
        "type": ["array", "string", "null"],
        "items": { "type": "string", "minLength": 1 },
        "minLength": 1,
    });
    let keys = probes.into_iter().chain([("depends_on", depends_on)]);
    keys.flat_map(|(key, property)| both_spellings(key, &property))
        .collect()
}

/// The shared definitions that these keys refer to.
pub(super) fn definitions() -> [(String, Value); 2] {
    let wait = json!({ "$ref": "#/$defs/wait" });
    let wait_seconds = seconds("exclusiveMinimum");
    let count = json!({ "type": ["integer", "null"], "minimum": 1, "maximum": u32::MAX });
    let text = json!({ "type": ["string", "null"], "minLength": 1 });
    let headers = json!({ "type": ["object", "array", "null"] });
    let command = json!({ "type": ["string", "array", "null"], "minItems": 1, "minLength": 1 });
    let port = json!({ "anyOf": [
        { "type": "integer", "minimum": 1, "maximum": u16::MAX },
        { "type": "string", "pattern": r"^[0-9]+$|\$\{" },
        { "type": "null" },
    ] });
    let shared = [
        ("timeout", &wait),
        ("timeout_seconds", &wait_seconds),
        ("failure_threshold", &count),
        ("retries", &count),
    ];
    let with_shared = |own: &[(&str, &Value)]| {
        let properties = own.iter().chain(&shared);
        let properties: Map<String, Value> = properties
            .flat_map(|(key, value)| both_spellings(key, value))
            .collect();
        json!({ "type": ["object", "null"], "properties": properties, "additionalProperties": false })
    };
    let http_get = with_shared(&[
        ("url", &text),
        ("scheme", &text),
        ("host", &text),
        ("port", &port),
        ("path", &text),
        ("headers", &headers),
        ("http_headers", &headers),
    ]);
    let probe = with_shared(&[
        ("http_get", &http_get),
        (
            "tcp_socket",
            &with_shared(&[("host", &text), ("port", &port)]),
        ),
        ("exec", &with_shared(&[("command", &command)])),
        ("initial_delay", &time("minimum")),
        ("initial_delay_seconds", &seconds("minimum")),
        ("period", &wait),
        ("period_seconds", &wait_seconds),
        ("success_threshold", &count),
    ]);
    [("probe", probe), ("wait", time("exclusiveMinimum"))]
        .map(|(name, value)| (name.to_owned(), value))
}

/// A duration with a minimum; the bound is inclusive or exclusive.
fn time(minimum: &str) -> Value {
    json!({
        "description": "milliseconds, or \"500ms\", \"10s\", \"2m\", \"1h\"",
        "anyOf": [
            { "type": "integer", minimum: 0, "maximum": 86_400_000 },
            { "type": "string", "pattern": "^[0-9]+(ms|s|m|h)?$" },
            { "type": "null" },
        ],
    })
}

fn seconds(minimum: &str) -> Value {
    json!({
        "description": "seconds",
        "anyOf": [
            { "type": "number", minimum: 0, "maximum": 86_400 },
            { "type": "string", "pattern": "^[0-9]+$" },
            { "type": "null" },
        ],
    })
}

fn both_spellings(key: &str, value: &Value) -> Vec<(String, Value)> {
    let camel = camel_case(key);
    let own = (key.to_owned(), value.clone());
    match camel == key {
        true => vec![own],
        false => vec![own, (camel, value.clone())],
    }
}
