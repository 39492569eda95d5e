//! Tables of aligned columns whose last one wraps.

use unicode_width::UnicodeWidthStr;

use super::Tone;

/// Rows of aligned columns. The last column takes what room is left and wraps.
#[derive(Debug, Default)]
pub struct Table {
    header: Vec<&'static str>,
    rows: Vec<Vec<(String, Tone)>>,
}

const GAP: usize = 2;
const LEAST_LAST: usize = 20;

impl Table {
    /// A table with these column heads.
    #[must_use]
    pub fn new(header: &[&'static str]) -> Self {
        Self {
            header: header.to_vec(),
            rows: Vec::new(),
        }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: Vec<(String, Tone)>) {
        self.rows.push(cells);
    }

    /// Puts the rows in order of their text, first column first.
    pub fn sort(&mut self) {
        let text = |row: &Vec<(String, Tone)>| -> Vec<String> {
            row.iter().map(|(text, _)| text.clone()).collect()
        };
        self.rows.sort_by_cached_key(text);
    }

    /// Whether it has no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The table as text, at most `width` columns wide where that can be done.
    #[must_use]
    pub fn draw(&self, width: Option<usize>, color: bool) -> String {
        let columns = self.header.len();
        let widths: Vec<usize> = (0..columns)
            .map(|n| {
                let cells = self
                    .rows
                    .iter()
                    .filter_map(|row| row.get(n))
                    .map(|(text, _)| text.width());
                cells.chain([self.header[n].width()]).max().unwrap_or(0)
            })
            .collect();
        let before_last: usize = widths[..columns - 1].iter().map(|width| width + GAP).sum();
        let last = width.map(|width| width.saturating_sub(before_last).max(LEAST_LAST));
        let mut out = String::new();
        let header = self
            .header
            .iter()
            .map(|head| ((*head).to_owned(), Tone::Faint))
            .collect();
        for row in std::iter::once(&header).chain(&self.rows) {
            draw_row(&mut out, row, &widths, before_last, last, color);
        }
        out
    }
}

fn draw_row(
    out: &mut String,
    row: &[(String, Tone)],
    widths: &[usize],
    before_last: usize,
    last: Option<usize>,
    color: bool,
) {
    let mut line = String::new();
    let Some(((text, tone), cells)) = row.split_last() else {
        return;
    };
    for ((cell, tone), width) in cells.iter().zip(widths) {
        line.push_str(&tone.paint(cell, color));
        line.push_str(&" ".repeat(width + GAP - cell.width()));
    }
    for (n, part) in wrap(text, last).into_iter().enumerate() {
        if n > 0 {
            line = " ".repeat(before_last);
        }
        line.push_str(&tone.paint(&part, color));
        out.push_str(line.trim_end());
        out.push('\n');
    }
}

/// Breaks text at spaces so that no line is wider than `width`, where words allow it.
fn wrap(text: &str, width: Option<usize>) -> Vec<String> {
    let Some(width) = width else {
        return vec![text.to_owned()];
    };
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let full = lines
            .last()
            .is_some_and(|line| !line.is_empty() && line.width() + 1 + word.width() > width);
        if full {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align_and_the_last_one_wraps() {
        let mut table = Table::new(&["A", "NAME", "WHY"]);
        let plain = |text: &str| (text.to_owned(), Tone::Plain);
        table.row(vec![
            plain("x"),
            plain("日本"),
            plain("one two three four five six"),
        ]);
        table.row(vec![plain("xyz"), plain("n"), plain("")]);
        insta::assert_snapshot!(table.draw(Some(31), false), @r"
        A    NAME  WHY
        x    日本  one two three four
                   five six
        xyz  n
        ");
    }
}
