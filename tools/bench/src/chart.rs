//! The chart at the top of the page: bars in hand-written SVG.

use std::fmt::Write;

use crate::measure::{Way, millis};

/// Groups of bars.
pub struct Chart {
    /// The title.
    pub title: String,
    /// The groups, from top to bottom.
    pub groups: Vec<Group>,
}

/// Bars of the same work. The first is pm2-sync's.
pub struct Group {
    /// The work.
    pub title: String,
    /// The name of each way, with its median in milliseconds.
    pub bars: Vec<(String, f64)>,
}

impl Group {
    /// One bar for each measured way.
    pub fn of(title: &str, ways: &[Way]) -> Self {
        let bars = ways
            .iter()
            .filter_map(|way| Some((way.name.replace('`', ""), way.median()?)));
        Self {
            title: title.to_owned(),
            bars: bars.collect(),
        }
    }
}

const WIDTH: f64 = 760.0;
const NAMES: f64 = 300.0;
const ROOM_FOR_TIMES: f64 = 80.0;
const LINE: f64 = 22.0;
const STYLE: &str = "text{font:13px system-ui,sans-serif;fill:#333}.title{font-weight:600}.ours{fill:#2b7a3d}.other{fill:#b5b9bf}\
    @media(prefers-color-scheme:dark){text{fill:#ddd}.other{fill:#6b7078}}";

impl Chart {
    /// The chart as SVG.
    pub fn svg(&self) -> String {
        let lines: usize = self.groups.iter().map(|group| group.bars.len() + 2).sum();
        let height = (lines as f64 + 1.5) * LINE;
        let bars = self.groups.iter().flat_map(|group| &group.bars);
        let longest = bars
            .map(|(_, median)| *median)
            .fold(f64::MIN_POSITIVE, f64::max);
        let scale = (WIDTH - NAMES - ROOM_FOR_TIMES) / longest;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{0}\">\n\
             <style>{STYLE}</style>\n<text class=\"title\" x=\"0\" y=\"{LINE}\">{0}</text>\n",
            escaped(&self.title)
        );
        let mut y = LINE;
        for group in &self.groups {
            y += 2.0 * LINE;
            let title = escaped(&group.title);
            let _ = writeln!(
                svg,
                "<text class=\"title\" x=\"0\" y=\"{y}\">{title}</text>"
            );
            for (n, (name, median)) in group.bars.iter().enumerate() {
                y += LINE;
                let class = if n == 0 { "ours" } else { "other" };
                let (width, top) = (median * scale, y - 12.0);
                let _ = writeln!(
                    svg,
                    "<text x=\"0\" y=\"{y}\">{}</text><rect class=\"{class}\" x=\"{NAMES}\" y=\"{top}\" width=\"{width:.1}\" \
                     height=\"15\"/><text x=\"{:.1}\" y=\"{y}\">{}</text>",
                    escaped(name),
                    NAMES + width + 6.0,
                    millis(*median)
                );
            }
        }
        svg + "</svg>\n"
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_bar_fills_the_room_and_the_others_are_in_proportion() {
        let bars = vec![("a <b>".to_owned(), 10.0), ("c".to_owned(), 40.0)];
        let group = Group {
            title: "one".to_owned(),
            bars,
        };
        let chart = Chart {
            title: "both".to_owned(),
            groups: vec![group],
        };
        let svg = chart.svg();
        assert!(
            svg.contains("width=\"95.0\"") && svg.contains("width=\"380.0\""),
            "{svg}"
        );
        assert!(
            svg.contains("a &lt;b>") && svg.contains(">40.0 ms<"),
            "{svg}"
        );
    }
}
