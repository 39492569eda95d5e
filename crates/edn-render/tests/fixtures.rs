//! Each file of `fixtures/render` tests one rule of the reader or the renderer.

use edn_render::{DrawStyle, Excerpts, Options, draw, read, to_json};

#[test]
fn every_rule_of_the_renderer() {
    insta::glob!("../../../fixtures/render", "*.edn", |path| {
        let source = std::fs::read(path).unwrap();
        let name = path.file_name().unwrap().to_str().unwrap();
        let rendered = read(&source, &Options::default());
        let mut text = String::new();
        for found in &rendered.diagnostics {
            text += &draw(
                found,
                name,
                &Excerpts::in_full(&source),
                DrawStyle::default(),
            );
        }
        if let Some(document) = &rendered.document {
            text += &to_json(document.value(), None);
        }
        insta::assert_snapshot!(text);
    });
}
