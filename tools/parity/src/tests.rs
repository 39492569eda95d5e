use super::*;

const PM2_CLJ: &str = r#"case "$2" in
*/equal/*) echo '{"apps": [{"script": "/bin/sleep", "args": ["1.0"], "name": "equal"}]}' ;;
*/broken/*) echo '{"apps": []}' ;;
*/gone/*) exit 3 ;;
*) echo '{"apps": [{"name": "other", "script": "s", "n": 10.0, "env": {"TOKEN": "b"}}], "x": 1}' ;;
esac
"#;

fn lines(definitions: &[(&str, &str)]) -> Parity {
    let dir = tempfile::tempdir().unwrap();
    let root = Utf8Path::from_path(dir.path()).unwrap();
    let write = |path: &str, text: &str| {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("pm2-clj.sh", PM2_CLJ);
    write("pm2-sync.edn", r#"{:pm2-clj ["sh" "pm2-clj.sh"]}"#);
    for (id, text) in definitions {
        write(&format!("system/daemons/{id}/ecosystem.pm2.edn"), text);
    }
    let parity = run(root, Environment::read()).unwrap();
    assert!(!root.join(".generated").exists());
    parity
}

#[test]
fn equal_definitions_differ_in_nothing() {
    let equal = r#"{:apps [{:name "equal" :script "/bin/sleep" :args ["1.0"]}]}"#;
    let parity = lines(&[("equal", equal)]);
    assert_eq!((parity.compared, parity.differ), (1, 0));
    assert!(parity.lines.is_empty());
}

#[test]
fn each_difference_is_a_line_and_values_of_variables_stay_hidden() {
    let other = r#"{:apps [{:name "other" :script "t" :n 10 :env {:TOKEN "a"}} {:name "more"}]}"#;
    let gone = r#"{:apps [{:name "gone" :script "/bin/sleep" :args ["1"]}]}"#;
    let parity = lines(&[("broken", ""), ("gone", gone), ("other", other)]);
    assert_eq!((parity.compared, parity.differ), (3, 3));
    assert_eq!(
        parity.lines,
        [
            "broken: only pm2-clj renders it: the file is empty: expected a map with `:apps`",
            "gone: only pm2-sync renders it: pm2-clj failed (exit status: 3)",
            r#"other: apps[0].script: pm2-sync "t", pm2-clj "s""#,
            "other: apps[0].env.TOKEN: pm2-sync ***, pm2-clj ***",
            "other: apps[1]: pm2-sync a map, pm2-clj nothing",
            "other: x: pm2-sync nothing, pm2-clj 1",
        ]
    );
}
