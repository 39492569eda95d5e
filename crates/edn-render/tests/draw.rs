//! Drawing findings on difficult lines.

use edn_render::{DrawStyle, Excerpts, Options, draw, read};

fn drawn(source: &[u8], style: DrawStyle) -> String {
    let rendered = read(source, &Options::default());
    rendered
        .diagnostics
        .iter()
        .map(|found| draw(found, "x.edn", &Excerpts::in_full(source), style))
        .collect()
}

fn plain(source: &str) -> String {
    drawn(source.as_bytes(), DrawStyle::default())
}

#[test]
fn tabs_are_four_columns() {
    insta::assert_snapshot!(plain("{:apps\t[{:name \"a\"\n\t\t:x\t08\t:y 1}]}"), @"
    error: invalid number `08`
     --> x.edn:2:6
      |
    2 |         :x    08    :y 1}]}
      |               ^^
    ");
}

#[test]
fn both_ends_of_lines_count_once() {
    let unix = plain("{:apps [\n 08\n]}");
    assert_eq!(plain("{:apps [\r\n 08\r\n]}"), unix);
    assert_eq!(plain("{:apps [\r 08\r]}"), unix);
    insta::assert_snapshot!(unix, @"
    error: invalid number `08`
     --> x.edn:2:2
      |
    2 |  08
      |  ^^
    ");
}

#[test]
fn wide_and_combining_characters_take_the_columns_they_take() {
    insta::assert_snapshot!(plain("{:name \"漢字\" :e\u{301} \"😀\" :x 08}"), @r#"
    error: invalid number `08`
     --> x.edn:1:24
      |
    1 | {:name "漢字" :é "😀" :x 08}
      |                          ^^
    "#);
}

#[test]
fn characters_that_move_the_cursor_are_not_printed() {
    insta::assert_snapshot!(plain("{:a \"\u{1b}[2J\u{202e}\u{7f}\" :x 08}"), @r#"
    error: invalid number `08`
     --> x.edn:1:17
      |
    1 | {:a "�[2J��" :x 08}
      |                 ^^
    "#);
}

#[test]
fn a_long_line_is_shown_around_the_position() {
    let long = "x".repeat(1000);
    insta::assert_snapshot!(plain(&format!("{{:a \"{long}\" :b 08 :c \"{long}\"}}")), @r#"
    error: invalid number `08`
     --> x.edn:1:1011
      |
    1 | ...xxxxxxxxxxxxxxxxxxxxxxxxxxxx" :b 08 :c "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx...
      |                                     ^^
    "#);
    // The first of two positions on one long line is far from the second.
    insta::assert_snapshot!(plain(&format!("{{:key 1 :a \"{long}\" :key 2}}")), @r#"
    error: duplicate key `:key`
     --> x.edn:1:1015
      |
    1 | {:key 1 :a "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx...
      |  ---- first defined here
    1 | ...xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx" :key 2}
      |                                     ^^^^
    "#);
    insta::assert_snapshot!(plain(&format!("{{:apps [] :k {}}}", "漢".repeat(200) + "@")), @r#"
    warning: k: unknown key `:k` beside `:apps`: PM2 ignores it
     --> x.edn:1:11
      |
    1 | {:apps [] :k 漢漢漢漢漢漢漢漢漢漢漢漢漢漢漢漢漢漢漢漢漢漢漢漢漢漢漢漢漢漢漢漢...
      |           ^^
    error: invalid character `@` in a symbol
     --> x.edn:1:214
      |
    1 | ...漢漢漢漢漢漢漢漢漢漢漢漢漢漢漢漢@}
      |                                    ^
    "#);
}

#[test]
fn a_byte_order_mark_is_no_part_of_the_first_line() {
    insta::assert_snapshot!(plain("\u{feff}{:a 08 :b \"x\"}"), @r#"
    error: invalid number `08`
     --> x.edn:1:5
      |
    1 | {:a 08 :b "x"}
      |     ^^
    "#);
    // A finding about the byte order mark itself is still drawn.
    assert!(plain("\u{feff}").starts_with("error: the file is empty"));
}

#[test]
fn the_arrow_is_above_the_bar_for_numbers_of_any_length() {
    let far = format!("{{:a 1{}:a 2}}", "\n".repeat(1233));
    insta::assert_snapshot!(plain(&far), @"
    error: duplicate key `:a`
        --> x.edn:1234:1
         |
       1 | {:a 1
         |  -- first defined here
         ...
    1234 | :a 2}
         | ^^
    ");
}

#[test]
fn several_findings_are_sorted_and_show_their_second_places() {
    insta::assert_snapshot!(plain("{:a 08\n :b 1\n\n\n\n :b 2\n :c {:d \\xx}}"), @r"
    error: invalid number `08`
     --> x.edn:1:5
      |
    1 | {:a 08
      |     ^^
    error: duplicate key `:b`
     --> x.edn:6:2
      |
    2 |  :b 1
      |  -- first defined here
      ...
    6 |  :b 2
      |  ^^
    error: no character has this name
     --> x.edn:7:9
      |
    7 |  :c {:d \xx}}
      |         ^^^
    ");
}

#[test]
fn colours_are_those_of_a_terminal() {
    let style = DrawStyle {
        color: true,
        width: None,
    };
    let text = drawn(b"{:a 1\n :a 2}", style);
    insta::assert_snapshot!(text.replace('\u{1b}', "ESC"), @"
    ESC[1;31merrorESC[0mESC[1m:ESC[0m ESC[1mduplicate key `:a`ESC[0m
     ESC[34m-->ESC[0m x.edn:2:2
      ESC[34m|ESC[0m
    ESC[34m1ESC[0m ESC[34m|ESC[0m {:a 1
      ESC[34m|ESC[0m  ESC[34m--ESC[0m first defined here
    ESC[34m2ESC[0m ESC[34m|ESC[0m  :a 2}
      ESC[34m|ESC[0m  ESC[1;31m^^ESC[0m
    ");
    let without = ["1;31", "1;33", "34", "1", "0"]
        .iter()
        .fold(text, |text, code| {
            text.replace(&format!("\u{1b}[{code}m"), "")
        });
    assert_eq!(without, plain("{:a 1\n :a 2}"));
}

fn redacted(source: &str) -> String {
    let excerpts = Excerpts::redacted(source.as_bytes());
    let rendered = read(source.as_bytes(), &Options::default());
    rendered
        .diagnostics
        .iter()
        .map(|found| draw(found, "x.edn", &excerpts, DrawStyle::default()))
        .collect()
}

#[test]
fn a_redacted_line_shows_only_what_is_certainly_no_secret() {
    insta::assert_snapshot!(redacted("{:apps [{:name \"a\" :instances 2 :args [\"x\" :k] :env {:TOKEN \"s3cr\\\"et\" :A b \"C\" 1}, :time true} ; note\n] :x #{1} :deploy {:p {:user \"u\"}}}"), @"
    warning: x: unknown key `:x` beside `:apps`: PM2 ignores it
     --> x.edn:2:3
      |
    2 | ] :x #{*} :deploy {:p {:user ***}}}
      |   ^^
    ");
    // The string that a message quotes is shown, but no other.
    insta::assert_snapshot!(redacted("{:apps [{:name \"a\" :x/name \"b\" :args (f \"c\")}]}"), @r#"
    error: apps[0].name: becomes the same JSON key `name` as another
     --> x.edn:1:20
      |
    1 | {:apps [{:name "*" :x/name "*" :args (f "*")}]}
      |          ----- first defined here
      |                    ^^^^^^^
    warning: apps[0].args: `f` is not called: this is a list of strings
     --> x.edn:1:38
      |
    1 | {:apps [{:name "*" :x/name "*" :args (f "*")}]}
      |                                      ^^^^^^^
    help: write the value itself, or a vector where a list is meant
    "#);
}

#[test]
fn an_invalid_source_is_hidden_from_the_first_possible_environment_on() {
    insta::assert_snapshot!(redacted("{:apps [{:name \"a\" :x 08 :env {:PW 0hunter2}}\n {:name \"b\" :x 09}]}"), @r#"
    error: invalid number `08`
     --> x.edn:1:23
      |
    1 | {:apps [{:name "*" :x 08 :*******************
      |                       ^^
    error: invalid number `***`
     --> x.edn:1:36
      |
    1 | {:apps [{:name "*" :x ** :*******************
      |                                    ^^^^^^^^
    error: invalid number `***`
     --> x.edn:2:16
      |
    2 | (not shown: this may be a value of an environment variable)
    "#);
    // If a quote is missing, the start of strings is unknown.
    insta::assert_snapshot!(redacted("{:apps [{:name \"a :env {:PW \"hunter2\" :B \"y\"}}]}"), @r#"
    error: unexpected end of file: the string is never closed
     --> x.edn:1:49
      |
    1 | {:apps [{:name "********************************
      |                                            - opened here
      |                                                 ^
    "#);
    insta::assert_snapshot!(redacted("{:apps [{:x 08 \"\\u0065nv\" {:PW 0hunter2}}]}"), @r#"
    error: invalid number `08`
     --> x.edn:1:13
      |
    1 | {:apps [{:x 08 "***************************
      |             ^^
    error: invalid number `***`
     --> x.edn:1:32
      |
    1 | {:apps [{:x ** "***************************
      |                                ^^^^^^^^
    "#);
}
