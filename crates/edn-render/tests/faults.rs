//! Surprising cases of what the reference can and cannot read, and what messages may reveal.

use edn_render::{Options, read};
use serde_json::{Value, json};

fn read_one(source: &str, options: &Options) -> Result<Value, Vec<String>> {
    let rendered = read(source.as_bytes(), options);
    match rendered.document {
        Some(document) => Ok(Value::Object(document.value().clone())),
        None => Err(rendered
            .diagnostics
            .into_iter()
            .map(|found| found.message)
            .collect()),
    }
}

/// The value of `:x`.
fn x(text: &str) -> Result<Value, Vec<String>> {
    read_one(&format!("{{:x {text}\n}}"), &Options::default()).map(|value| value["x"].clone())
}

#[test]
fn colons_may_begin_a_name_in_a_namespace() {
    assert_eq!(x(":a/:b"), Ok(json!(":b")));
    assert_eq!(x("a/:b"), Ok(json!("a/:b")));
    for text in [":a/b:", ":a:/b", "a:/b", ":a/", ":"] {
        assert!(x(text).is_err(), "{text}");
    }
}

#[test]
fn whitespace_may_follow_the_sign_of_a_tag() {
    assert_eq!(x("# inst \"2020\""), Ok(json!("2020-01-01T00:00:00.000Z")));
    assert_eq!(x("#\n, inst \"2020\""), x("#inst \"2020\""));
    assert!(x("# {1 2}").is_err());
}

#[test]
fn only_a_line_feed_ends_a_comment() {
    assert_eq!(x("1 ; :x 2\r :y 3\n"), Ok(json!(1)));
    let both = read_one("{:x 1 ;c\r :y 2\n}", &Options::default()).unwrap();
    assert_eq!(both.get("y"), None);
}

#[test]
fn a_discarded_form_only_has_to_be_readable() {
    for text in [
        "##NaN",
        "1/0",
        "1e400",
        "#uuid \"x\"",
        "#js {:a [1]}",
        "{[1] ##Inf}",
    ] {
        assert!(x(text).is_err(), "{text}");
        assert_eq!(x(&format!("#_ {text} 1")), Ok(json!(1)), "{text}");
        let source = format!("{{:apps [] :profiles {{:a {{:x {text}}}}}}}");
        assert_eq!(
            read_one(&source, &Options::default()),
            Ok(json!({ "apps": [] })),
            "{text}"
        );
        let in_mode = Options {
            mode: Some("a".to_owned()),
            ..Options::default()
        };
        assert!(read_one(&source, &in_mode).is_err(), "{text}");
    }
    for text in ["08", "a@b", "##Foo", "\\xx", "#foo 1", "{1 2 1 3}"] {
        assert!(x(&format!("#_ {text} 1")).is_err(), "{text}");
    }
}

#[test]
fn clojure_data_inside_of_js_is_not_rendered() {
    for text in [
        "#js {:a :b}",
        "#js [:b]",
        "#js {:a b}",
        "#js [[1]]",
        "#js {:a #uuid \"x\"}",
    ] {
        let rendered = read(format!("{{:x {text}}}").as_bytes(), &Options::default());
        assert!(rendered.is_unsupported(), "{text}");
    }
    assert_eq!(
        x("#js {:a \\c \"b\" nil c 1 :d/e #inst \"2020\"}"),
        Ok(json!({ "a": "c", "b": null, "c": 1, "e": "2020-01-01T00:00:00.000Z" }))
    );
}

#[test]
fn digits_outside_of_the_radix_are_not_a_number() {
    assert_eq!(
        x("2r12"),
        Err(vec![
            "`2r12` has a digit that its radix does not have".to_owned()
        ])
    );
    assert_eq!(x("3r12"), Ok(json!(5)));
}

#[test]
fn code_among_the_apps_is_for_another_renderer() {
    let rendered = read(
        b"{:apps [(include \"x\") {:name \"a\"}]}",
        &Options::default(),
    );
    assert!(rendered.is_unsupported());
    let rendered = read(b"{:apps [(include \"x\") 1]}", &Options::default());
    assert!(rendered.document.is_none() && !rendered.is_unsupported());
}

#[test]
fn a_removal_marker_without_an_effect_is_reported() {
    for source in [
        "{:apps [] :x :pm2-clj/remove}",
        "{:apps [{:x :pm2-clj.dsl/remove}]}",
        "{:apps [{:name \"a\" :pm2-clj/remove true}]}",
    ] {
        let rendered = read(source.as_bytes(), &Options::default());
        assert!(rendered.document.is_some(), "{source}");
        let said =
            |found: &daemon_model::Diagnostic| found.message.contains("removes nothing here");
        assert!(rendered.diagnostics.iter().any(said), "{source}");
    }
    let source = b"{:apps [{:name \"a\" :x 1}] :profiles {:p {:apps [{:name \"a\" :x :pm2-clj.dsl/remove}]}}}";
    for mode in [None, Some("p".to_owned())] {
        let options = Options {
            mode,
            ..Options::default()
        };
        assert!(read(source, &options).diagnostics.is_empty());
    }
}

#[test]
fn a_mode_that_says_which_apps_there_are_needs_none_beside_it() {
    let errors = |source: &str, mode: Option<&str>| {
        let options = Options {
            mode: mode.map(ToOwned::to_owned),
            ..Options::default()
        };
        let rendered = read(source.as_bytes(), &options);
        assert!(rendered.document.is_some(), "{source}");
        rendered
            .diagnostics
            .iter()
            .filter(|found| found.is_error())
            .count()
    };
    for source in [
        "{:profiles {:dev {:apps [{:name \"a\"}]}}}",
        "{:apps nil :profiles {:dev {:apps [{:name \"a\"}]}}}",
    ] {
        assert_eq!(
            (errors(source, None), errors(source, Some("dev"))),
            (1, 0),
            "{source}"
        );
    }
    let removed = "{:apps [{:name \"a\"}] :profiles {:dev {:apps :pm2-clj.dsl/remove}}}";
    assert_eq!(
        (errors(removed, None), errors(removed, Some("dev"))),
        (0, 1)
    );
}

#[test]
fn a_set_that_sets_nothing_is_an_error() {
    let set = |argument: &str| {
        let options = Options {
            set: vec![argument.to_owned()],
            ..Options::default()
        };
        read_one("{:apps []}", &options)
    };
    for argument in [
        "=5",
        ".=5",
        "x",
        "apps.a=1",
        &format!("x={}", "9".repeat(400)),
    ] {
        let message = set(argument).unwrap_err().join("\n");
        assert!(message.contains("`--set"), "{message}");
        assert!(message.len() < 200, "{message}");
    }
    assert_eq!(set("x=007").unwrap()["x"], json!(7));
    assert_eq!(set("a/b.c=-1.50").unwrap()["b"], json!({ "c": -1.5 }));
}

#[test]
fn messages_repeat_no_long_or_possibly_secret_text() {
    let long = "x".repeat(5000);
    for text in [
        format!("08{long}"),
        format!("a@{long}"),
        format!("a/b/{long}"),
        format!(":{long}:"),
        format!("\\{long}"),
        format!("#{long} 1"),
        format!("#1{long} 1"),
        format!("##{long}"),
        format!("#:{long}/a{{}}"),
        format!("\"\\q{long}\""),
        format!("{{:{long} 1 :{long} 2}}"),
        format!("1e4{}", "0".repeat(5000)),
        format!("{}/0", "1".repeat(5000)),
    ] {
        for message in x(&text).unwrap_err() {
            assert!(message.len() < 160, "{message}");
        }
    }
    assert_eq!(
        x("#inst \"s3cret\""),
        Err(vec!["this is not a date or time".to_owned()])
    );
}

#[test]
fn the_first_of_many_warnings_are_shown_and_the_rest_counted() {
    for (one, source) in [
        ("x", "{:apps [{:name \"a\" :x []}] MANY}"),
        ("(f)", "{:apps [{:name \"a\" :x [MANY]}]}"),
        ("'q", "{:apps [{:name \"a\" :x [MANY]}]}"),
        (":pm2-clj/remove", "{:apps [{:name \"a\" :x [MANY]}]}"),
    ] {
        let many = |count: usize| -> String {
            let keys = (0..count).map(|n| match one {
                "x" => format!(":x{n} 1 "),
                one => format!("{one} "),
            });
            source.replace("MANY", &keys.collect::<String>())
        };
        let rendered = read(many(100).as_bytes(), &Options::default());
        assert_eq!(rendered.diagnostics.warnings(), 100, "{one}");
        assert_eq!(rendered.diagnostics.omitted().count(), 0, "{one}");
        let rendered = read(many(5000).as_bytes(), &Options::default());
        assert!(rendered.document.is_some(), "{one}");
        assert_eq!(rendered.diagnostics.iter().count(), 100, "{one}");
        assert_eq!(rendered.diagnostics.warnings(), 5000, "{one}");
        assert!(!rendered.diagnostics.has_errors(), "{one}");
        // Warnings do not hide errors.
        let broken =
            many(5000)
                .replacen(":x []", ":x [08 09]", 1)
                .replacen(":x [", ":y 08 :z 09 :x [", 1);
        let rendered = read(broken.as_bytes(), &Options::default());
        let errors = rendered.diagnostics.iter().filter(|found| found.is_error());
        assert!(errors.count() >= 2, "{one}");
    }
}
