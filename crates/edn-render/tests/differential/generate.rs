//! Random definitions: realistic ones, in every notation that EDN allows, and typos.

/// A small generator of random numbers: the same seed gives the same definitions everywhere.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        // Zero would stay zero.
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11
    }

    pub fn below(&mut self, most: usize) -> usize {
        usize::try_from(self.next() % most.max(1) as u64).unwrap()
    }

    /// True once in this many times.
    pub fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    pub fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())]
    }
}

#[rustfmt::skip]
const KEYS: &[&str] = &[
    ":name", ":script", ":args", ":cwd", ":interpreter", ":exec_mode", ":instances", ":watch", ":env",
    ":max_memory_restart", ":out_file", ":error_file", ":autorestart", ":kill_timeout", ":cron_restart",
    ":min_uptime", ":time", ":env_production", ":stop_exit_codes", ":ignore_watch", ":a/b", ":x.y/z", ":+",
    ":a'b",
];
#[rustfmt::skip]
const ODD_KEYS: &[&str] = &[
    "\"name\"", "script", "a/b", "1", "1.5", "nil", "true", "\\a", "-1", "0x1F", "1e21", ":1", ":1a", ":a#b",
    ":a:b", "\"\"", "#inst \"2020\"", "[1]", "{}", "__proto__", ":__proto__", "apps", "\"apps\"", ":x/apps",
];
#[rustfmt::skip]
const LEAVES: &[&str] = &[
    "nil", "true", "false", "0", "-0", "1", "-1", "+1", "42", "3000", "1.5", "-2.50", "1.", "00.5", "1e3",
    "1E-7", "1e21", "1.0", "1M", "1.5M", "1e3M", "1N", "0x1F", "0XfF", "-0x10", "0755", "08", "09.5", "2r101",
    "36rZz", "1r1", "37r1", "8r9", "1/2", "-3/4", "+1/3", "1/0", "0/5", "9007199254740993",
    "123456789012345678901234567890", "0.1", "1e400", "-1e-400", "##NaN", "##Inf", "##-Inf", "##x", ".5", "-.5",
    "+", "-", "/", "a/b", "a//", "a/b/c", "/a", "a/", ":a/", ":/", ":/a", "::a", ":a::b", ":a:", "a:", "a:b",
    "foo", "foo.bar", "ns.x/y", "a'", "'a", "a#", "#a", "%", "&", "<=>", "*x*", "é", "漢", "😀", ":é", "-a", "+a",
    "-1a", "1a", "1-2", "1+2", ".", "..", "...", "a.", "true1", "nil/x", "x/nil", "true/a", ":nil", ":true",
    ":a/:b", "a/:b", ":a/:b:c", ":a/::b", "a/::b", "a/:", "2r12", "16rFG", "36rZZZZZZZZZZZZZZZZ", "7r6543210123456",
    "0x20000000000001", "0x3FFFFFFFFFFFFFFFFF", "0777777777777777777777777", "-0xFFFFFFFFFFFFFFF8N",
    "# inst \"2020\"", "#\ninst \"2020\"", "# foo 1", "# {1 2}", "#js {:a :b}", "#js [b]", "#js {:a/b \\c, d nil}",
    "#queue [#{1} [1]]", ":pm2-clj/remove", ":pm2-clj.dsl/remove",
    ":a/1", "a/1", ":1/a", "\\a", "\\newline", "\\space", "\\tab", "\\return", "\\backspace", "\\formfeed",
    "\\u0041", "\\u00e9", "\\o101", "\\o377", "\\o400", "\\o777", "\\o07", "a//", ":a//", "a/b//", "\\é", "\\漢", "\\😀", "\\ab", "\\(", "\\\\", "\\\"",
    "\\;", "\\ud800", "\\u12", "\\,", "\\o8", "\\o", "#inst \"2020\"", "#inst \"2020-02-29T23:59:59.123456Z\"",
    "#inst \"2021-02-29\"", "#inst \"2020-01-01T00:00:00+05:30\"", "#inst \"2020-13\"",
    "#inst \"2020-01-01T00:00:00-23:59\"", "#inst \"20\"", "#inst 5",
    "#uuid \"97bda55b-6175-4c39-9e04-7c0205c709dc\"", "#uuid \"x\"", "#js []", "#js {:a 1}", "#js [[1]]",
    "#queue [1 2]", "#queue []", "#foo 1", "#a/b 1", "@x", "~x", "`x", "'x", "#'x", "#(f)", "#\"re\"", "#=(x)",
    "#?(:clj 1)", "#<x>", "^:k [1]", "^:k x", "^{:a 1} {}", "^\"s\" #{1}", "^sym ()", "^:a ^:b []", "^:k 1",
    "^1 []", "#^:k []", "^:k \"s\"", "^nil []", "[]", "{}", "()", "#{}",
];
#[rustfmt::skip]
const TEXTS: &[&str] = &[
    "api", "./server.js", "production", "a b", "", "/var/log/x.log", "é漢😀", "a;b", "a#b", "{}", "[", "\\n",
    "\\t\\r\\b\\f", "\\\\", "\\\"", "\\u0041", "\\u00e9\\u4e2d", "\\ud83d\\ude00", "\\ud83d", "\\ude00", "\\0",
    "\\101", "\\377", "\\400", "\\8", "\\x", "\\u00", "\\u00g0", "\\a", "a\nb", "a\r\nb", "\t", "\u{feff}",
    "\u{2028}", "\\é", "\\7777", "\\0a", "\\0 ", "\\0#", "\\08", "\\ud83d\\u0041",
];
#[rustfmt::skip]
const SPACES: &[&str] = &[
    " ", " ", " ", " ", " ", "\n", "\n   ", ", ", ",", "\t", "\r\n", "  ", "\u{a0}", "\u{2028}", "\u{feff}",
    "\u{b}", " ; note\n", ";\n", " ;; a \"b\" [\n", " #_x ", " #_ {:a 1} ", " #_#_ a b ", " #_\"s\" ",
    " #! x\n", " #_#inst \"2020\" ", " #_#foo 1 ", " #_ ##NaN ", " #_ 1/0 ", " #_1e400 ",
    " #_ #uuid \"x\" ", " #_ #js {:a [1]} ", " #_ {[1] 2} ", " ; a\r b\n", ";\r\n", "\u{3000}", "\u{1c}", "\u{85}", "\u{180e}",
];

#[rustfmt::skip]
const SLIPS: &[&str] = &[
    "\"", "\\", "#", "^", "_", ":", "/", "'", "@", "~", "`", ";", "[", "]", "{", "}", "(", ")", "#_", "#{", "0",
    "1", "x", "N", "M", "r", "+", "-", ".", "\u{feff}", "é", "😀", ",", "\n", "\u{0}", "\u{7f}", "##", "::",
    "#:", "e", "|", "%", "\u{200b}",
];

const PROFILES: &[&str] = &[
    ":profiles {:dev {:apps []}}",
    ":profiles {:dev {:x ##NaN :y [1/0 {[1] 1}]} :b #uuid \"x\"}",
];
const DEPLOYS: &[&str] = &[
    ":deploy {:production {:user \"u\"}}",
    ":deploy {:staging {:env {:A 1 :B :c} :host [\"h\"]}}",
];

/// One definition.
pub fn definition(random: &mut Random) -> String {
    let mut out = String::new();
    if random.once_in(20) {
        out.push_str(random.pick(&[
            "\u{feff}",
            "#! /bin/x\n",
            ";; head\n",
            "#_ old ",
            "^:m ",
            "\n\n",
        ]));
    }
    out.push('{');
    if random.once_in(15) {
        entry(random, &mut out, ":name", 2);
    }
    out.push_str(":apps");
    space(random, &mut out);
    let (open, close) = random.pick(&[
        ("[", "]"),
        ("[", "]"),
        ("[", "]"),
        ("[", "]"),
        ("[", "]"),
        ("[", "]"),
        ("(", ")"),
        ("#{", "}"),
        ("^:m [", "]"),
    ]);
    out.push_str(open);
    for n in 0..random.below(4) {
        if n > 0 {
            space(random, &mut out);
        }
        map(random, &mut out, 3);
    }
    out.push_str(close);
    // Mostly once each: a duplicate key hides everything else.
    for more in [PROFILES, DEPLOYS, &[":x 1"]] {
        if random.once_in(3) {
            space(random, &mut out);
            out.push_str(random.pick(more));
        }
    }
    if random.once_in(40) {
        out.push_str(" :profiles {:dev 08} :x 2");
    }
    if random.once_in(10) {
        space(random, &mut out);
    }
    out.push('}');
    if random.once_in(15) {
        out.push_str(random.pick(&["\n", " ; end", " x", "}", " {}", " #_x", "\u{feff}"]));
    }
    // One in five has a typo.
    if random.once_in(5) {
        for _ in 0..=random.below(2) {
            slip(random, &mut out);
        }
    }
    out
}

fn space(random: &mut Random, out: &mut String) {
    if random.once_in(8) {
        out.push_str(random.pick(SPACES));
        if random.once_in(6) {
            return;
        }
    }
    out.push(' ');
}

fn map(random: &mut Random, out: &mut String, depth: usize) {
    out.push_str(match random.below(40) {
        0 => "#:ns{",
        1 => "^{:doc \"x\"} {",
        2 => "#:a.b {",
        _ => "{",
    });
    // Each key once, mostly.
    let first = random.below(KEYS.len());
    let step = random.pick(&[1, 5, 7, 11]);
    for n in 0..random.below(7) {
        if n > 0 {
            space(random, out);
        }
        entry(random, out, KEYS[(first + n * step) % KEYS.len()], depth);
    }
    out.push('}');
}

fn entry(random: &mut Random, out: &mut String, key: &str, depth: usize) {
    match random.below(80) {
        0 => out.push_str(random.pick(ODD_KEYS)),
        1 => out.push_str(random.pick(KEYS)),
        _ => out.push_str(key),
    }
    space(random, out);
    value(random, out, depth);
    out.push(' ');
}

fn value(random: &mut Random, out: &mut String, depth: usize) {
    match random.below(if depth == 0 { 14 } else { 20 }) {
        0..6 => {
            out.push('"');
            let odd = random.once_in(30);
            let texts = if odd { TEXTS } else { &TEXTS[..8] };
            for _ in 0..=random.below(2) {
                out.push_str(random.pick(texts));
            }
            out.push('"');
        }
        6..12 => {
            let plain = !random.once_in(40);
            let leaves = if plain { &LEAVES[..14] } else { LEAVES };
            out.push_str(random.pick(leaves));
        }
        12 => out.push_str(&random.below(100_000).to_string()),
        13 => out.push_str(&format!(
            "{}.{}e{}",
            random.below(1000),
            random.below(100_000),
            random.below(40)
        )),
        14 | 15 => map(random, out, depth - 1),
        n => {
            let (open, close) = match n {
                16 => ("(", ")"),
                17 => ("#{", "}"),
                _ => ("[", "]"),
            };
            out.push_str(open);
            for n in 0..random.below(5) {
                if n > 0 {
                    space(random, out);
                }
                value(random, out, depth - 1);
            }
            out.push_str(close);
        }
    }
}

/// Removes, adds or replaces a character.
fn slip(random: &mut Random, out: &mut String) {
    let places: Vec<usize> = out.char_indices().map(|(at, _)| at).collect();
    let Some(at) = places.get(random.below(places.len())).copied() else {
        return;
    };
    let length = out[at..].chars().next().map_or(0, char::len_utf8);
    match random.below(3) {
        0 => out.replace_range(at..at + length, ""),
        1 => out.insert_str(at, random.pick(SLIPS)),
        _ => out.replace_range(at..at + length, random.pick(SLIPS)),
    }
}
