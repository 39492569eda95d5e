//! The digest of what PM2 gets, and the revision: the digest of everything that an app declares.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};

use serde::{Serialize, Serializer};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::{AppPolicy, Content, Instances, Outside};
use crate::coerce::env_text;
use crate::{Revision, Rollout, SpecDigest};

/// The version of the digest's recipe. A new recipe needs a new version, so that a new release does not treat every process as
/// changed.
const DIGEST_VERSION: &str = "v1";

/// The instance count is not part of the digest: it says nothing about one process.
///
/// An app with external values has two digests: one of its definition's content, and one of everything, which requires a secret
/// key. Without a key there is only the first.
pub(super) fn digest(spec: &Content) -> SpecDigest {
    let outside = spec.outside.as_deref();
    let own = hash(Sha256::new(), &Canonical::new(spec, outside));
    let mut digest = [DIGEST_VERSION, ":", &own].concat();
    if let Some(key) = outside.and_then(|outside| outside.key.as_ref()) {
        let all = hash(key.hasher(), &Canonical::new(spec, None));
        digest.extend([".", key.name(), ".", &all]);
    }
    SpecDigest(digest)
}

/// The first half of a hash of a value as JSON with sorted keys.
fn hash(hash: Sha256, value: &impl Serialize) -> String {
    // The environment may be large, so it is not copied as a whole. JSON is written in pieces of a few bytes, so they are buffered.
    let mut hash = BufWriter::with_capacity(1024, Hashed(hash));
    // Cannot fail: keys are strings, and every value can be serialized.
    let _ = serde_json::to_writer(&mut hash, value).map(|()| hash.flush());
    let hash = hash.get_ref().0.clone().finalize();
    hex(&hash[..16])
}

/// The version of the recipe of revisions.
const REVISION_VERSION: &str = "r1";

/// The revision of an app with this digest.
pub(super) fn revision(spec: &Content, digest: &SpecDigest) -> Revision {
    let declared = Declared {
        digest,
        instances: spec.instances,
        policy: spec.policy,
        rollout: spec.rollout.as_deref(),
    };
    let hash = hash(Sha256::new(), &declared);
    Revision([REVISION_VERSION, ":", &hash].concat())
}

/// The input of a revision.
#[derive(Serialize)]
struct Declared<'a> {
    digest: &'a SpecDigest,
    instances: Instances,
    policy: AppPolicy,
    rollout: Option<&'a Rollout>,
}

/// The input of the digest, in alphabetical order.
#[derive(Serialize)]
struct Canonical<'a> {
    attributes: InOrder<'a>,
    cwd: &'a str,
    env: Texts<'a>,
    exec_mode: Option<&'static str>,
    name: &'a str,
    script: &'a str,
}

impl<'a> Canonical<'a> {
    /// The app without `outside` values: attributes are used as written.
    fn new(spec: &'a Content, outside: Option<&'a Outside>) -> Self {
        let text = |name: &str, own: &'a str| {
            let written = outside.and_then(|outside| outside.written.get(name));
            written
                .and_then(|(written, _)| written.as_str())
                .unwrap_or(own)
        };
        Self {
            attributes: InOrder(&spec.attributes, outside),
            cwd: text("cwd", spec.cwd.as_str()),
            env: Texts(&spec.env, outside),
            exec_mode: spec.exec_mode.as_pm2(),
            name: &spec.name,
            script: text("script", &spec.script),
        }
    }
}

/// Attributes with sorted keys in their maps. Few have maps, so few are copied.
struct InOrder<'a>(&'a [(&'static str, Value)], Option<&'a Outside>);

impl Serialize for InOrder<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| {
            let written = self.1.and_then(|outside| outside.written.get(name));
            let value = match written.map_or(value, |(written, _)| written) {
                value @ (Value::Object(_) | Value::Array(_)) => Cow::Owned(sorted(value)),
                value => Cow::Borrowed(value),
            };
            (name, value)
        }))
    }
}

/// Variables as a process gets them, without external ones.
struct Texts<'a>(&'a BTreeMap<String, Value>, Option<&'a Outside>);

impl Serialize for Texts<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let is_own = |(key, _): &(&String, &Value)| {
            self.1
                .is_none_or(|outside| !outside.variables.contains_key(*key))
        };
        let own = self.0.iter().filter(is_own);
        serializer.collect_map(own.map(|(key, value)| (key, env_text(value))))
    }
}

struct Hashed(Sha256);

impl Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from(b"0123456789abcdef"[usize::from(value)]);
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}

/// The same value with sorted keys in every map, so that the order of writing does not matter.
pub(crate) fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| (key.clone(), sorted(value)))
            .collect::<BTreeMap<_, _>>()
            .into_iter()
            .collect::<Map<_, _>>()
            .into(),
        Value::Array(items) => items.iter().map(sorted).collect::<Vec<_>>().into(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{AppSpec, DaemonId, DocumentPath, SpecContext};

    #[test]
    fn the_recipe_is_that_of_the_first_release() {
        let app = json!({
            "name": "a",
            "script": "a.js",
            "env": { "Z": 1, "A": "x\"y", "M": { "b": 1, "a": [true] }, "N": null },
            "watch_options": { "usePolling": true, "interval": 1.5 },
            "max_restarts": 3,
        });
        let context = SpecContext {
            root: "/w".into(),
            home: "/h".into(),
            env_name: None,
            deploy: None,
        };
        let id = DaemonId::new("d").unwrap();
        let (spec, _) = AppSpec::read(&id, &app, &DocumentPath::root(), &context);
        let digest = spec.as_ref().unwrap().digest().clone();
        let spec = spec.unwrap().0;
        let env: serde_json::Map<String, Value> = spec
            .env
            .iter()
            .map(|(key, value)| (key.clone(), json!(env_text(value))))
            .collect();
        let canonical = sorted(&json!({
            "name": spec.name,
            "script": spec.script,
            "cwd": spec.cwd,
            "exec_mode": spec.exec_mode.as_pm2(),
            "attributes": spec.attributes.iter().cloned().collect::<BTreeMap<_, _>>(),
            "env": env,
        }));
        let hash = Sha256::digest(canonical.to_string().as_bytes());
        assert_eq!(digest.0, format!("v1:{}", hex(&hash[..16])));
    }
}
