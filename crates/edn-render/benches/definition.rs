//! A definition of 12 apps, and 10,000 definitions from disk: `cargo bench --package edn-render`.

#![allow(missing_docs, reason = "criterion makes a public function")]
#![expect(clippy::unwrap_used, reason = "a measurement that cannot go on fails")]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use edn_render::{Options, read};

fn definition(first: usize) -> String {
    let app = |n: usize| {
        format!(
            "  {{:name \"service-{n}\" ; number {n}\n   :script \"./services/{n}/server.js\"\n   :args [\"--port\" \"{}\"]\n   \
             :cwd \"services/{n}\"\n   :env {{:NODE_ENV \"production\" :PORT {} :LIMIT 1.5}}\n   :instances 2\n   \
             :watch [\"src\" \"lib\"]\n   :max_memory_restart \"300M\"\n   :kill_timeout 5000}}\n",
            3000 + n,
            3000 + n
        )
    };
    let apps: String = (first..first + 12).map(app).collect();
    format!(
        "{{:apps [\n{apps}]\n :profiles {{:dev {{:apps [{{:name \"service-{first}\" :watch true}}]}}}}}}\n"
    )
}

fn render(source: &[u8], options: &Options) -> usize {
    let rendered = read(black_box(source), options);
    rendered.document.unwrap().to_json(Some("header")).len()
}

fn twelve_apps(criterion: &mut Criterion) {
    let source = definition(0);
    let dev = Options {
        mode: Some("dev".to_owned()),
        ..Options::default()
    };
    for (name, options) in [
        ("twelve apps", Options::default()),
        ("twelve apps in a mode", dev),
    ] {
        criterion.bench_function(name, |bencher| {
            bencher.iter(|| render(source.as_bytes(), &options));
        });
    }
}

fn ten_thousand_files(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().unwrap();
    let files: Vec<_> = (0..10_000)
        .map(|n| {
            let file = dir.path().join(format!("{n}.edn"));
            std::fs::write(&file, definition(12 * n)).unwrap();
            file
        })
        .collect();
    let mut group = criterion.benchmark_group("ten thousand files");
    group.sample_size(10);
    group.bench_function("read and rendered", |bencher| {
        bencher.iter(|| {
            let sources = files.iter().map(|file| std::fs::read(file).unwrap());
            sources
                .map(|source| render(&source, &Options::default()))
                .sum::<usize>()
        });
    });
    group.finish();
}

criterion_group!(benches, twelve_apps, ten_thousand_files);
criterion_main!(benches);
