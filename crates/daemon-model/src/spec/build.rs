//! Builds the canonical form of an app from the values of its map.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::env::{drop_unbuffered, read_env};
use super::outside::Sources;
use super::read::{Findings, check_name};
use super::{AppPolicy, Content, ExecMode, Ignored, Instances, Late, SpecContext, traps};
use crate::attribute::{self, Role};
use crate::coerce::{drop_default, env_text};
use crate::finding::{DocumentPath, Place};
use crate::names;
use crate::paths::{expand_home, resolve};
use crate::{DaemonId, Quoted, message};

/// The time format for logs that `time` sets.
pub(super) const TIME_FORMAT: &str = "YYYY-MM-DDTHH:mm:ss";

/// An app and its position in its document.
#[derive(Clone, Copy)]
pub(super) struct AppAt<'a> {
    pub(super) app: &'a Map<String, Value>,
    pub(super) path: &'a DocumentPath,
}

pub(super) fn build(
    daemon: &DaemonId,
    at: AppAt<'_>,
    context: &SpecContext<'_>,
    (mut values, policy): (BTreeMap<&'static str, Value>, AppPolicy),
    sources: &mut Sources<'_>,
    findings: &mut Findings,
) -> Option<Content> {
    let AppAt { app, path } = at;
    let script = take_text(&mut values, "script").filter(|script| !script.is_empty());
    if script.is_none() && !findings.refused(app, path, "script") {
        findings.error(
            path,
            Place::Value,
            "has no `script`, so PM2 has nothing to run",
        );
    }
    let mut name = take_text(&mut values, "name").filter(|name| !name.is_empty());
    if name.is_none() && findings.refused(app, path, "name") {
        // The name has its own finding. Any name will do to check the rest.
        name = Some("name".to_owned());
    }
    if name.is_none()
        && let Some(script) = &script
    {
        let default = names::default_for(script);
        findings.warning(
            path,
            Place::Value,
            message!("has no `name`: PM2 calls it `{}`", Quoted(&default)),
            Some(message!("write `:name \"{}\"`", Quoted(&default))),
        );
        name = Some(default);
    }
    let mut name = name.unwrap_or_default();
    if values.get("append_env_to_name") == Some(&json!(true))
        && let Some(env_name) = context.env_name
    {
        name = format!("{name}-{env_name}");
    }
    check_name(&name, app, path, findings);

    let Some(raw_script) = script else {
        // No spec can be built, but other problems are still reported.
        read_env(&mut values, at, context, sources, findings);
        return None;
    };

    let exec_mode = exec_mode(&values);
    traps::warn(
        &traps::ReadApp {
            map: app,
            path,
            values: &values,
            script: &raw_script,
            exec_mode,
            interpolates: sources.interpolates,
        },
        findings,
    );
    let place = |attribute| traps::place_of(app, path, attribute);
    let raw_script = sources.replace_text("script", raw_script, || place("script"), findings);
    if let Some(args) = values.get_mut("args") {
        let is_list = traps::written(app, "args").is_some_and(|(_, args)| args.is_array());
        let place_of_word = |n| match is_list {
            true => place("args").index(n),
            false => place("args"),
        };
        sources.replace_words("args", args, place_of_word, findings);
    }

    let cwd = take_text(&mut values, "cwd").filter(|cwd| !cwd.is_empty());
    let cwd = cwd.map(|cwd| sources.replace_text("cwd", cwd, || place("cwd"), findings));
    let cwd = resolve(context.root, cwd.as_deref().unwrap_or(""));
    let script = if raw_script.contains(' ') {
        // PM2 passes a script with a space to a shell, ignoring its arguments.
        values.insert("args", json!(["-c", raw_script]));
        "bash".to_owned()
    } else if raw_script.contains('/') || matches!(raw_script.as_str(), "." | "..") {
        resolve(&cwd, &raw_script).into_string()
    } else {
        raw_script
    };

    let instances = values.remove("instances").and_then(|value| value.as_i64());
    let explicit_mode = values.remove("exec_mode");
    let forced_fork = values.remove("execute_command") == Some(json!(true));
    let cluster_asked = !forced_fork && explicit_mode == Some(json!("cluster_mode"));
    if !values.contains_key("merge_logs") && !cluster_asked && instances.unwrap_or(0) == 0 {
        values.insert("merge_logs", json!(true));
    }

    if values.get("time") == Some(&json!(true)) {
        values.insert("log_date_format", json!(TIME_FORMAT));
    }
    if values.get("automation") == Some(&json!(false)) {
        values.insert("pmx", json!(false));
    }
    if values.remove("disable_trace") == Some(json!(true)) {
        values.remove("trace");
    }
    for file in ["out_file", "error_file", "log_file", "pid_file"] {
        if let Some(Value::String(path)) = values.get(file) {
            let canonical = match path.as_str() {
                "NULL" | "/dev/null" => "/dev/null".to_owned(),
                "" => String::new(),
                path => resolve(&cwd, &expand_home(path, context.home)).into_string(),
            };
            values.insert(file, json!(canonical));
        }
    }

    let mut env = read_env(&mut values, at, context, sources, findings);
    let interpreter = values.get("exec_interpreter");
    drop_unbuffered(&mut env, &script, interpreter, app, path, findings);
    let attributes = values
        .into_iter()
        .filter_map(|(name, value)| {
            let attribute = attribute::by_own_name(name)?;
            debug_assert_ne!(attribute.role, Role::Inert);
            Some((attribute.name, drop_default(attribute, value)?))
        })
        .collect();
    Some(Content {
        daemon: daemon.clone(),
        name,
        script,
        cwd,
        exec_mode,
        instances: match instances {
            None => Instances::Count(1),
            Some(n) => match u32::try_from(n) {
                Ok(0) => Instances::PerCpu { less: 0 },
                Ok(n) => Instances::Count(n),
                Err(_) => Instances::PerCpu {
                    less: u32::try_from(n.unsigned_abs()).unwrap_or(u32::MAX),
                },
            },
        },
        attributes,
        env,
        policy,
        rollout: None,
        outside: None,
        compared: Ignored::default(),
        inherited: Ignored::default(),
        digest: Late::default(),
        revision: Late::default(),
    })
}

/// How PM2 runs an app with these values.
///
/// Source: PM2 7.0.4, `lib/Common.js`, `verifyConfs`, `determineExecMode`.
fn exec_mode(values: &BTreeMap<&'static str, Value>) -> ExecMode {
    let instances = values.get("instances").and_then(Value::as_i64);
    let forced_fork = values.get("execute_command") == Some(&json!(true));
    match values.get("exec_mode").and_then(Value::as_str) {
        _ if forced_fork => ExecMode::Fork,
        Some("fork_mode") => ExecMode::Fork,
        Some(_) => ExecMode::Cluster,
        // `instances` alone means cluster for node.
        None if instances.is_some_and(|n| n >= -1) => match values.get("exec_interpreter") {
            Some(interpreter) if is_node_like(&env_text(interpreter)) => ExecMode::Cluster,
            Some(_) => ExecMode::Fork,
            None => ExecMode::ByInterpreter,
        },
        None => ExecMode::Fork,
    }
}

fn take_text(values: &mut BTreeMap<&'static str, Value>, name: &str) -> Option<String> {
    match values.remove(name) {
        Some(Value::String(text)) => Some(text),
        _ => None,
    }
}

/// Whether PM2 treats an interpreter as node or bun, which it can run in cluster mode.
#[must_use]
pub fn is_node_like(interpreter: &str) -> bool {
    let base = interpreter.rsplit('/').next().unwrap_or(interpreter);
    base.ends_with("node") || base.ends_with("bun")
}
