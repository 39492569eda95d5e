use super::*;
use crate::attribute::find;

fn read(name: &str, value: Value) -> Result<Option<Value>, String> {
    coerce(find(name).unwrap(), &value).map_err(|unfit| unfit.message.full().to_owned())
}

#[test]
fn numbers_print_as_in_javascript() {
    for (number, text) in [
        (10.0, "10"),
        (-0.0, "0"),
        (1e21, "1e+21"),
        (123e18, "123000000000000000000"),
        (1.5e-7, "1.5e-7"),
        (0.000_001, "0.000001"),
        (-2.5, "-2.5"),
        (5e-324, "5e-324"),
    ] {
        assert_eq!(js_number(number), text);
    }
}

#[test]
fn spellings_of_one_value_are_one_value() {
    assert_eq!(
        read("max_memory_restart", json!("300M")),
        Ok(Some(json!(314_572_800)))
    );
    assert_eq!(
        read("max_memory_restart", json!("314572800")),
        Ok(Some(json!(314_572_800)))
    );
    assert_eq!(read("min_uptime", json!("10s")), Ok(Some(json!(10_000))));
    assert_eq!(read("kill_timeout", json!("300")), Ok(Some(json!(300))));
    assert_eq!(read("kill_timeout", json!(300.0)), Ok(Some(json!(300))));
    assert_eq!(
        read("exec_mode", json!("cluster")),
        Ok(Some(json!("cluster_mode")))
    );
    assert_eq!(read("instances", json!("max")), Ok(Some(json!(0))));
    assert_eq!(read("stop_exit_codes", json!([0])), Ok(Some(json!(0))));
    assert_eq!(
        read("args", json!(["--port", 3000, true])),
        Ok(Some(json!(["--port", "3000", "true"])))
    );
    assert_eq!(read("cron_restart", json!(0)), Ok(None));
}

#[test]
fn a_process_sees_the_text_that_javascript_makes() {
    for (value, text) in [
        (json!(2.0), "2"),
        (json!(-0.0), "0"),
        (json!(-2.5), "-2.5"),
        (json!(1e21), "1e+21"),
        (json!(123e18), "123000000000000000000"),
        (json!(1.5e-7), "1.5e-7"),
        (json!(0.000_001), "0.000001"),
        (json!(9_007_199_254_740_993_i64), "9007199254740992"),
        (
            json!({ "b": 1.0, "2": [null, true], "1": "x" }),
            r#"{"1":"x","2":[null,true],"b":1}"#,
        ),
    ] {
        assert_eq!(env_text(&value), text);
    }
}

#[test]
fn the_canonical_form_is_its_own() {
    let values = [
        json!(true),
        json!(false),
        json!(0),
        json!(1.0),
        json!(-3),
        json!(1e300),
        json!(""),
        json!("0"),
        json!("0s"),
        json!("7"),
        json!("12K"),
        json!("5m"),
        json!("max"),
        json!("fork"),
        json!("-a \"b c\" 'd'"),
        json!("1 2 3 4 5"),
        json!(["a", 1, true]),
        json!([0]),
        json!([1, "2"]),
        json!([]),
        json!({ "b": 1.0, "a": null }),
    ];
    for attribute in crate::attribute::ATTRIBUTES {
        for value in &values {
            if let Some(once) = canonical(attribute, value) {
                let twice = canonical(attribute, &once);
                assert_eq!(twice.as_ref(), Some(&once), "{} {value}", attribute.name);
            }
        }
    }
}

#[test]
fn zero_means_zero() {
    assert_eq!(read("max_restarts", json!(0)), Ok(Some(json!(0))));
}

#[test]
fn words_are_split_as_pm2_splits_them() {
    assert_eq!(
        split_words(r#"-a "b c" --k="d e" --m='f g' "" 'h' i"j"#),
        ["-a", "b c", r#"--k="d e""#, "--m='f g'", "h", r#"i"j"#]
    );
}

#[test]
fn a_value_of_the_wrong_type_names_the_expected_one() {
    assert_eq!(
        read("instances", json!("two")),
        Err("expected an integer or \"max\", got \"two\"".into())
    );
    for (name, value) in [
        ("args", json!([{}])),
        ("max_memory_restart", json!("300MB")),
        ("min_uptime", json!(5)),
        ("min_uptime", json!("50")),
        ("min_uptime", json!("10 s")),
        ("instances", json!(2.5)),
        ("instances", json!(100_000)),
        ("instances", json!("-1.5")),
        ("kill_timeout", json!("0x10")),
        ("kill_timeout", json!(-1)),
        ("autorestart", json!("yes")),
        ("env", json!("A=1")),
        ("cron_restart", json!("every day")),
        ("cron_restart", json!("60 * * * *")),
        ("cron_restart", json!("* * * *")),
        ("cron_restart", json!("@daily")),
        ("cron_restart", json!("5-1 * * * *")),
        ("cron_restart", json!("1-5,8 0 1 JAN-MAR 1")),
        ("cron_restart", json!("0 9,12-15 * * *")),
        ("cron_restart", json!("*/5,1 * * * *")),
        ("cron_restart", json!("0 0 31/2 * *")),
        ("cron_restart", json!("0 0 1 DEC/1 *")),
        ("cron_restart", json!("?,? * * * *")),
        ("cron_restart", json!("0\u{a0}0 * * * *")),
        ("cron_restart", json!("+1 * * * *")),
        ("cron_restart", json!("0 0 L,1 * *")),
    ] {
        assert!(read(name, value.clone()).is_err(), "{name} {value}");
    }
    for pattern in [
        "*/5 * * * *",
        "0 0 * * SUN",
        "0 30 4 L * ?",
        "1,8 0-4/2 1 JAN-MAR 1",
        "1/5 */24 * * 7",
    ] {
        assert!(read("cron_restart", json!(pattern)).is_ok(), "{pattern}");
    }
}
