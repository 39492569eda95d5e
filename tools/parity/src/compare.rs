//! The differences between two renderings of one definition.

use daemon_model::DocumentPath;
use serde_json::{Map, Value};

/// A value that differs.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Difference {
    /// The path.
    pub(crate) path: DocumentPath,
    /// The value of the first, if it has one.
    pub(crate) first: Option<Value>,
    /// The value of the second, if it has one.
    pub(crate) second: Option<Value>,
}

/// The differences between two documents. The order of keys and the notation of numbers do not matter.
pub(crate) fn differences(
    first: &Map<String, Value>,
    second: &Map<String, Value>,
) -> Vec<Difference> {
    let mut found = Vec::new();
    compare_maps(first, second, &DocumentPath::root(), &mut found);
    found
}

fn compare_maps(
    first: &Map<String, Value>,
    second: &Map<String, Value>,
    path: &DocumentPath,
    found: &mut Vec<Difference>,
) {
    for (key, value) in first {
        compare(Some(value), second.get(key), &path.key(key), found);
    }
    for (key, value) in second {
        if !first.contains_key(key) {
            compare(None, Some(value), &path.key(key), found);
        }
    }
}

// The readers bound the depth of documents.
fn compare(
    first: Option<&Value>,
    second: Option<&Value>,
    path: &DocumentPath,
    found: &mut Vec<Difference>,
) {
    match (first, second) {
        (Some(Value::Object(first)), Some(Value::Object(second))) => {
            compare_maps(first, second, path, found);
        }
        (Some(Value::Array(first)), Some(Value::Array(second))) => {
            for n in 0..first.len().max(second.len()) {
                compare(first.get(n), second.get(n), &path.index(n), found);
            }
        }
        (Some(Value::Number(first)), Some(Value::Number(second)))
            if first.as_f64() == second.as_f64() => {}
        (first, second) if first == second => {}
        (first, second) => found.push(Difference {
            path: path.clone(),
            first: first.cloned(),
            second: second.cloned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn differences_say_where() {
        let of = |first: Value, second: Value| -> Vec<String> {
            let (Value::Object(first), Value::Object(second)) = (first, second) else {
                unreachable!("both are objects");
            };
            differences(&first, &second)
                .iter()
                .map(|found| {
                    let show = |value: &Option<Value>| {
                        value
                            .as_ref()
                            .map_or_else(|| "-".to_owned(), Value::to_string)
                    };
                    format!(
                        "{} {} {}",
                        found.path,
                        show(&found.first),
                        show(&found.second)
                    )
                })
                .collect()
        };
        assert_eq!(
            of(
                json!({ "apps": [{ "a": 1, "b": 10, "c": [1, 2], "d": null }] }),
                json!({ "apps": [{ "b": 10.0, "c": [1], "a": "1" }, {}], "e": null }),
            ),
            [
                "apps[0].a 1 \"1\"",
                "apps[0].c[1] 2 -",
                "apps[0].d null -",
                "apps[1] - {}",
                "e - null",
            ]
        );
    }
}
