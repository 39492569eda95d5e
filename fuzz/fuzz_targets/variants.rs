//! A definition in a mode, with values set and removed: the first line is the mode, the second sets, the third
//! removes, the rest is the definition.
#![no_main]

use edn_render::{Options, read};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let mut lines = text.splitn(4, '\n');
    let mut next = || lines.next().unwrap_or_default().to_owned();
    let options = Options {
        mode: Some(next()),
        set: next().split(' ').map(str::to_owned).collect(),
        unset: next().split(' ').map(str::to_owned).collect(),
        allow_missing_mode: true,
    };
    let source = next();
    let once = read(source.as_bytes(), &options);
    let again = read(source.as_bytes(), &options);
    let value = |rendered: &edn_render::Rendered| {
        rendered
            .document
            .as_ref()
            .map(|document| document.value().clone())
    };
    assert_eq!(value(&once), value(&again));
});
