//! Any bytes: read, rendered, and every finding drawn. What renders reads back the same from its artifact.
#![no_main]

use edn_render::{DrawStyle, Excerpts, Options, draw, read, read_map, to_json};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|source: &[u8]| {
    let rendered = read(source, &Options::default());
    for found in &rendered.diagnostics {
        if let Some(span) = found.span {
            assert!(span.start <= span.end && span.end <= source.len());
        }
        for style in [
            DrawStyle::default(),
            DrawStyle {
                color: true,
                width: Some(24),
            },
        ] {
            for excerpts in [Excerpts::in_full(source), Excerpts::redacted(source)] {
                assert!(draw(found, "x.edn", &excerpts, style).ends_with('\n'));
            }
        }
    }
    let stops = |found: &daemon_model::Diagnostic| found.is_error() && found.level != daemon_model::Level::Definition;
    let errors = rendered.diagnostics.iter().any(stops);
    assert_eq!(rendered.document.is_none(), errors);
    if let Some(partial) = &rendered.partial {
        assert!(errors, "what renders is not partial");
        for (_, part) in partial.partial_apps(usize::MAX) {
            assert!(part.value.is_object());
        }
    }
    if let Some(document) = rendered.document {
        let text = to_json(document.value(), Some("header"));
        let again = edn_render::artifact::parse(text.as_bytes()).expect("it was just printed");
        let mut expected = document.value().clone();
        expected.shift_remove("//");
        assert!(edn_render::differences(&again, &expected).is_empty());
    }
    let _ = read_map(source);
});
