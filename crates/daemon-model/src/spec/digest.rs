//! The digest of what PM2 is told about an app.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};

use camino::Utf8Path;
use serde::{Serialize, Serializer};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{Content, hex, sorted};
use crate::SpecDigest;
use crate::coerce::env_text;

/// The version of the digest's recipe. A new recipe gets a new one, so that a new release of the tool does not
/// take every process for changed.
const DIGEST_VERSION: &str = "v1";

/// How many processes there are is no matter of any one of them, so it does not count.
pub(super) fn digest(spec: &Content) -> SpecDigest {
    // As JSON with its keys in order. The environment may be large, so no copy of all of it is made for that; JSON is
    // written in pieces of a few bytes, though, which are gathered.
    let mut hash = BufWriter::with_capacity(1024, Hashed(Sha256::new()));
    let canonical = Canonical {
        attributes: &spec.attributes,
        cwd: &spec.cwd,
        env: Texts(&spec.env),
        exec_mode: spec.exec_mode.as_pm2(),
        name: &spec.name,
        script: &spec.script,
    };
    // Strings as keys, and nothing that could fail to be written.
    let _ = serde_json::to_writer(&mut hash, &canonical).map(|()| hash.flush());
    let hash = hash.get_ref().0.clone().finalize();
    SpecDigest(format!("{DIGEST_VERSION}:{}", hex(&hash[..16])))
}

/// What the digest is of, in the order of the alphabet.
#[derive(Serialize)]
struct Canonical<'a> {
    #[serde(serialize_with = "in_order")]
    attributes: &'a [(&'static str, Value)],
    cwd: &'a Utf8Path,
    env: Texts<'a>,
    exec_mode: Option<&'static str>,
    name: &'a str,
    script: &'a str,
}

/// Attributes whose maps have their keys in order too. Few have maps, so few are copied for it.
fn in_order<S: Serializer>(
    attributes: &[(&'static str, Value)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(attributes.iter().map(|(name, value)| {
        let value = match value {
            Value::Object(_) | Value::Array(_) => Cow::Owned(sorted(value)),
            _ => Cow::Borrowed(value),
        };
        (name, value)
    }))
}

/// Variables as a process gets them.
struct Texts<'a>(&'a BTreeMap<String, Value>);

impl Serialize for Texts<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, value)| (key, env_text(value))))
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
