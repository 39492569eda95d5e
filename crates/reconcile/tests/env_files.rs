//! Compares our reading of env files with node's own `--env-file` and with docker compose. Differences are listed with each case;
//! docs/values.md documents the rules.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;

use daemon_model::{
    AppSpec, DaemonId, DocumentPath, EnvFile, EnvFileState, SpecContext, Values, env_text,
};
use serde_json::json;

/// A reader's result for a text: variables, or a refusal.
#[derive(Debug, Clone, Copy)]
enum Reads {
    Vars(&'static [(&'static str, &'static str)]),
    Refuses,
}
use Reads::{Refuses, Vars};

/// The results of the other readers.
#[derive(Debug, Clone, Copy)]
enum Others {
    /// Both agree with ours.
    Agree,
    /// Node reads this; compose agrees with ours.
    Node(Reads),
    /// Compose reads this; node agrees with ours.
    Compose(Reads),
    /// Node and compose read these.
    Both(Reads, Reads),
}
use Others::{Agree, Both, Compose, Node};

type Case = (&'static str, Reads, Others);

/// References can use `TOKEN`, which the caller passes on, in readers that support them.
const CASES: &[Case] = &[
    // Plain.
    ("", Vars(&[]), Agree),
    ("\n\r\n \t\n", Vars(&[]), Agree),
    ("A=1", Vars(&[("A", "1")]), Agree),
    ("A=1\nB=2\n", Vars(&[("A", "1"), ("B", "2")]), Agree),
    ("A=1\r\nB=2\r\n", Vars(&[("A", "1"), ("B", "2")]), Agree),
    ("A =1", Vars(&[("A", "1")]), Agree),
    ("A= 1", Vars(&[("A", "1")]), Agree),
    ("  A=1  ", Vars(&[("A", "1")]), Agree),
    (
        "\tA\t=\t1\t",
        Vars(&[("A", "1")]),
        Node(Vars(&[("\tA\t", "\t1\t")])),
    ),
    ("A=", Vars(&[("A", "")]), Agree),
    ("A=\nB=2", Vars(&[("A", ""), ("B", "2")]), Agree),
    ("A=   \nB=2", Vars(&[("A", ""), ("B", "2")]), Agree),
    ("A=1\nA=2", Vars(&[("A", "2")]), Agree),
    ("A=a=b=", Vars(&[("A", "a=b=")]), Agree),
    ("A=1:B", Vars(&[("A", "1:B")]), Agree),
    ("A=a b  c", Vars(&[("A", "a b  c")]), Agree),
    ("A=ä€😀", Vars(&[("A", "ä€😀")]), Agree),
    ("A={\"x\": 1}", Vars(&[("A", "{\"x\": 1}")]), Agree),
    ("A_b1=1", Vars(&[("A_b1", "1")]), Agree),
    ("A.B=1\nA-B=2", Vars(&[("A-B", "2"), ("A.B", "1")]), Agree),
    (
        "\u{feff}A=1",
        Vars(&[("A", "1")]),
        Node(Vars(&[("\u{feff}A", "1")])),
    ),
    ("A: 1", Vars(&[("A", "1")]), Node(Vars(&[]))),
    (
        "A: a=b",
        Vars(&[("A", "a=b")]),
        Node(Vars(&[("A: a", "b")])),
    ),
    // `export`.
    ("export A=1", Vars(&[("A", "1")]), Agree),
    (
        "  export   A=1",
        Vars(&[("A", "1")]),
        Node(Vars(&[("  A", "1")])),
    ),
    (
        "export\tA=1",
        Vars(&[("A", "1")]),
        Node(Vars(&[("export\tA", "1")])),
    ),
    ("exportA=1", Vars(&[("exportA", "1")]), Agree),
    ("export_A=1", Vars(&[("export_A", "1")]), Agree),
    ("export A='x y'", Vars(&[("A", "x y")]), Agree),
    // Comments.
    ("# A=1", Vars(&[]), Node(Vars(&[("# A", "1")]))),
    ("  # A=1\nB=2", Vars(&[("B", "2")]), Agree),
    ("A=1 # x", Vars(&[("A", "1")]), Agree),
    ("A=1 #x", Vars(&[("A", "1")]), Agree),
    (
        "A=1\t# x",
        Vars(&[("A", "1")]),
        Both(Vars(&[("A", "1\t")]), Vars(&[("A", "1\t# x")])),
    ),
    ("A=1#x", Vars(&[("A", "1#x")]), Node(Vars(&[("A", "1")]))),
    ("A=#x", Vars(&[("A", "")]), Compose(Vars(&[("A", "#x")]))),
    (
        "A= # x\nB=2",
        Vars(&[("A", ""), ("B", "2")]),
        Compose(Vars(&[("A", "# x"), ("B", "2")])),
    ),
    ("A=\"1 # x\"", Vars(&[("A", "1 # x")]), Agree),
    ("A='1 # x' # y", Vars(&[("A", "1 # x")]), Agree),
    ("A=\"1\"# y", Vars(&[("A", "1")]), Agree),
    // Single quotes.
    ("A='x'", Vars(&[("A", "x")]), Agree),
    ("A=''", Vars(&[("A", "")]), Agree),
    ("A=' x '", Vars(&[("A", " x ")]), Agree),
    ("A='x\ny'", Vars(&[("A", "x\ny")]), Agree),
    ("A='x\r\ny'", Vars(&[("A", "x\ny")]), Agree),
    ("A='\\n\\t\\\\'", Vars(&[("A", "\\n\\t\\\\")]), Agree),
    ("A='say \"x\"'", Vars(&[("A", "say \"x\"")]), Agree),
    (
        "A='it\\'s'",
        Vars(&[("A", "it's")]),
        Node(Vars(&[("A", "it\\")])),
    ),
    ("A='$B ${B} $$'", Vars(&[("A", "$B ${B} $$")]), Agree),
    // Double quotes.
    ("A=\"x\"", Vars(&[("A", "x")]), Agree),
    ("A=\"\"", Vars(&[("A", "")]), Agree),
    ("A=\" x \"", Vars(&[("A", " x ")]), Agree),
    ("A=\"x\ny\"\nB=2", Vars(&[("A", "x\ny"), ("B", "2")]), Agree),
    ("A=\"x\\ny\"", Vars(&[("A", "x\ny")]), Agree),
    ("A=\"it's\"", Vars(&[("A", "it's")]), Agree),
    (
        "A=\"a\\\"b\"",
        Vars(&[("A", "a\"b")]),
        Node(Vars(&[("A", "a\\")])),
    ),
    (
        "A=\"a\\tb\\\\c\"",
        Vars(&[("A", "a\tb\\c")]),
        Node(Vars(&[("A", "a\\tb\\\\c")])),
    ),
    (
        "A=\"\\0123\\q\\x07\"",
        Vars(&[("A", "S\\q\\x07")]),
        Node(Vars(&[("A", "\\0123\\q\\x07")])),
    ),
    (
        "A=\"\\$B\"",
        Vars(&[("A", "$B")]),
        Node(Vars(&[("A", "\\$B")])),
    ),
    // Without quotes, later backslashes and quotes are plain text.
    ("A=a\\nb\\", Vars(&[("A", "a\\nb\\")]), Agree),
    ("A=x\"y\"", Vars(&[("A", "x\"y\"")]), Agree),
    (
        "A=`x y`",
        Vars(&[("A", "`x y`")]),
        Node(Vars(&[("A", "x y")])),
    ),
    // References.
    (
        "A=1\nB=${A}2",
        Vars(&[("A", "1"), ("B", "12")]),
        Node(Vars(&[("A", "1"), ("B", "${A}2")])),
    ),
    (
        "A=1\nB=$A-2",
        Vars(&[("A", "1"), ("B", "1-2")]),
        Node(Vars(&[("A", "1"), ("B", "$A-2")])),
    ),
    (
        "A=1\nB=\"x ${A}\"",
        Vars(&[("A", "1"), ("B", "x 1")]),
        Node(Vars(&[("A", "1"), ("B", "x ${A}")])),
    ),
    (
        "A=${TOKEN}",
        Vars(&[("A", "t")]),
        Node(Vars(&[("A", "${TOKEN}")])),
    ),
    (
        "A=${B:-x y}",
        Vars(&[("A", "x y")]),
        Node(Vars(&[("A", "${B:-x y}")])),
    ),
    (
        "A=${B:-${TOKEN}}",
        Vars(&[("A", "t")]),
        Node(Vars(&[("A", "${B:-${TOKEN}}")])),
    ),
    (
        "A=\nB=${A:-x}",
        Vars(&[("A", ""), ("B", "x")]),
        Node(Vars(&[("A", ""), ("B", "${A:-x}")])),
    ),
    (
        "A=a$$b",
        Vars(&[("A", "a$b")]),
        Node(Vars(&[("A", "a$$b")])),
    ),
    ("A=5$", Vars(&[("A", "5$")]), Compose(Refuses)),
    ("A=pa$1word", Vars(&[("A", "pa$1word")]), Compose(Refuses)),
    (
        "A=pa$word",
        Refuses,
        Both(Vars(&[("A", "pa$word")]), Vars(&[("A", "pa")])),
    ),
    (
        "A=${B}",
        Refuses,
        Both(Vars(&[("A", "${B}")]), Vars(&[("A", "")])),
    ),
    (
        "A=${B:?needed}",
        Refuses,
        Node(Vars(&[("A", "${B:?needed}")])),
    ),
    (
        "A=${TOKEN:+x}",
        Refuses,
        Both(Vars(&[("A", "${TOKEN:+x}")]), Vars(&[("A", "x")])),
    ),
    (
        "A=${B-x}",
        Refuses,
        Both(Vars(&[("A", "${B-x}")]), Vars(&[("A", "x")])),
    ),
    ("A=${B", Refuses, Node(Vars(&[("A", "${B")]))),
    // Refused texts.
    ("A", Refuses, Both(Vars(&[]), Vars(&[]))),
    (
        "A=1\nB\nC=3",
        Refuses,
        Both(
            Vars(&[("A", "1"), ("B\nC", "3")]),
            Vars(&[("A", "1"), ("C", "3")]),
        ),
    ),
    ("=1", Refuses, Both(Vars(&[]), Vars(&[("", "1")]))),
    ("A B=1", Refuses, Node(Vars(&[("A B", "1")]))),
    ("1A=1", Refuses, Both(Vars(&[("1A", "1")]), Vars(&[]))),
    (
        "A[0]=1",
        Refuses,
        Both(Vars(&[("A[0]", "1")]), Vars(&[("A[0]", "1")])),
    ),
    ("A=\"x", Refuses, Node(Vars(&[]))),
    ("A='x\nB=2", Refuses, Node(Vars(&[("A", "'x"), ("B", "2")]))),
    (
        "A=\"x\"y",
        Refuses,
        Both(Vars(&[("A", "x")]), Vars(&[("A", "x")])),
    ),
    (
        "A=\"x\" B=2",
        Refuses,
        Both(Vars(&[("A", "x")]), Vars(&[("A", "x"), ("B", "2")])),
    ),
];

fn map(variables: &[(&str, &str)]) -> BTreeMap<String, String> {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    variables.iter().map(owned).collect()
}

/// Our result; none if the text is refused.
fn here(text: &str) -> Option<BTreeMap<String, String>> {
    let file = EnvFile::parse(text.as_bytes()).ok()?;
    let mut values = Values::new([("TOKEN".to_owned(), "t".to_owned())].into(), [].into());
    values.insert("/w/.env".into(), Arc::new(EnvFileState::Present(file)));
    let context = SpecContext {
        root: "/w".into(),
        home: "/h".into(),
        env_name: None,
        deploy: None,
    };
    let app = json!({ "name": "a", "script": "a.js", "env_file": ".env" });
    let id = DaemonId::new("d").unwrap();
    let (spec, _) = AppSpec::resolve(&id, &app, &DocumentPath::root(), &context, &values);
    let spec = spec?;
    let env = spec.env().iter();
    Some(
        env.map(|(name, value)| (name.clone(), env_text(value)))
            .collect(),
    )
}

/// What node's own `--env-file` reads: the variables that it adds.
fn node(path: &std::path::Path) -> BTreeMap<String, String> {
    let output = Command::new("node")
        .arg(format!("--env-file={}", path.display()))
        .args(["-p", "JSON.stringify(process.env)"])
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let mut env: BTreeMap<String, String> = serde_json::from_slice(&output.stdout).unwrap();
    env.remove("PATH");
    env
}

fn read(reads: Reads) -> Option<BTreeMap<String, String>> {
    match reads {
        Vars(variables) => Some(map(variables)),
        Refuses => None,
    }
}

#[test]
fn env_files_read_like_compose_and_node_except_listed_differences() {
    assert!(CASES.len() >= 60, "{}", CASES.len());
    let dir = tempfile::tempdir().unwrap();
    let mut wrong = Vec::new();
    for (n, (text, expected, others)) in CASES.iter().enumerate() {
        let own = here(text);
        if own != read(*expected) {
            wrong.push(format!("{text:?}: read as {own:?}"));
        }
        let path = dir.path().join(format!("{n}.env"));
        std::fs::write(&path, text).unwrap();
        let by_node = Some(node(&path));
        let expected_of_node = match others {
            Node(reads) | Both(reads, _) => read(*reads),
            Agree | Compose(_) => read(*expected),
        };
        if by_node != expected_of_node {
            wrong.push(format!("{text:?}: node reads {by_node:?}"));
        }
        // A listed difference must be one.
        let listed = match others {
            Agree => vec![],
            Node(reads) | Compose(reads) => vec![*reads],
            Both(node, compose) => vec![*node, *compose],
        };
        if listed.iter().any(|reads| read(*reads) == own) {
            wrong.push(format!("{text:?}: no difference"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The cases of compose's own documentation, "Env-file syntax".
#[test]
fn the_documented_cases_of_compose_pass() {
    for (text, value) in [
        ("VAR=VAL", "VAL"),
        ("VAR=\"VAL\"", "VAL"),
        ("VAR='VAL'", "VAL"),
        ("VAR=VAL # comment", "VAL"),
        ("VAR=VAL# not a comment", "VAL# not a comment"),
        ("VAR=\"VAL # not a comment\"", "VAL # not a comment"),
        ("VAR=\"VAL\" # comment", "VAL"),
        ("VAR='$OTHER'", "$OTHER"),
        ("VAR='${OTHER}'", "${OTHER}"),
        ("VAR='Let\\'s go!'", "Let's go!"),
        (
            "VAR=\"{\\\"hello\\\": \\\"json\\\"}\"",
            "{\"hello\": \"json\"}",
        ),
        ("VAR=\"some\\tvalue\"", "some\tvalue"),
        ("VAR='some\\tvalue'", "some\\tvalue"),
        ("VAR=some\\tvalue", "some\\tvalue"),
        ("VAR='SECRET\nLINE'", "SECRET\nLINE"),
        ("VAR=${TOKEN:-other}", "t"),
    ] {
        assert_eq!(here(text), Some(map(&[("VAR", value)])), "{text:?}");
    }
}
