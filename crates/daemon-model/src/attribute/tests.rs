use super::*;

#[test]
fn names_are_unique_over_the_whole_table() {
    let mut seen = std::collections::BTreeMap::new();
    for attribute in ATTRIBUTES {
        for name in attribute.names() {
            assert_eq!(seen.insert(name.clone(), attribute.name), None, "{name}");
        }
    }
}

#[test]
fn aliases_are_found() {
    assert_eq!(find("interpreter").unwrap().name, "exec_interpreter");
    assert_eq!(find("maxMemoryRestart").unwrap().name, "max_memory_restart");
}

#[test]
fn a_word_of_one_letter_stays_small_in_camel_case() {
    for (name, camel) in [
        ("max_memory_restart", "maxMemoryRestart"),
        ("cwd", "cwd"),
        ("a_b_cd", "abCd"),
    ] {
        assert_eq!(camel_case(name), camel);
    }
}
