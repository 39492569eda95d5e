//! A definition of 12 apps: read, rendered, printed: `cargo bench --package edn-render`.

#![allow(missing_docs, reason = "criterion makes a public function")]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use edn_render::{Options, read, to_json};

fn definition() -> String {
    let app = |n: usize| {
        format!(
            "  {{:name \"service-{n}\" ; number {n}\n   :script \"./services/{n}/server.js\"\n   :args [\"--port\" \"{}\"]\n   \
             :cwd \"services/{n}\"\n   :env {{:NODE_ENV \"production\" :PORT {} :LIMIT 1.5}}\n   :instances 2\n   \
             :watch [\"src\" \"lib\"]\n   :max_memory_restart \"300M\"\n   :kill_timeout 5000}}\n",
            3000 + n,
            3000 + n
        )
    };
    let apps: String = (0..12).map(app).collect();
    format!(
        "{{:apps [\n{apps}]\n :profiles {{:dev {{:apps [{{:name \"service-3\" :watch true}}]}}}}}}\n"
    )
}

fn twelve_apps(criterion: &mut Criterion) {
    let source = definition();
    let dev = Options {
        mode: Some("dev".to_owned()),
        ..Options::default()
    };
    for (name, options) in [
        ("twelve apps", Options::default()),
        ("twelve apps in a mode", dev),
    ] {
        criterion.bench_function(name, |bencher| {
            bencher.iter(|| {
                let rendered = read(black_box(source.as_bytes()), &options);
                rendered
                    .document
                    .map(|document| to_json(document.value(), Some("header")))
            });
        });
    }
}

criterion_group!(benches, twelve_apps);
criterion_main!(benches);
