//! Any bytes: read, rendered, and every finding drawn. What renders reads back the same from its artifact.
#![no_main]

use edn_render::{DrawStyle, Options, draw, read, read_map, to_json};
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
                ..DrawStyle::default()
            },
        ] {
            assert!(draw(found, "x.edn", source, style).ends_with('\n'));
        }
    }
    let errors = rendered.diagnostics.iter().any(|found| found.is_error());
    assert_eq!(rendered.document.is_none(), errors);
    if let Some(draft) = &rendered.draft {
        assert!(errors, "what renders needs no draft");
        for (_, part) in draft.parts(usize::MAX) {
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
