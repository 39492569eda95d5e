//! Tables of aligned columns whose last one wraps.

use super::text::{Line, Tone};

/// Rows of aligned columns. The last column gets the remaining width, and wraps.
#[derive(Debug, Default)]
pub struct Table {
    header: Vec<&'static str>,
    rows: Vec<Vec<Line>>,
}

const GAP: usize = 2;
/// The narrowest readable last column.
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
    pub fn row(&mut self, cells: impl IntoIterator<Item = Line>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// Adds a line below the last cell of the last row.
    pub fn continue_row(&mut self, text: Line) {
        let mut cells = vec![Line::default(); self.header.len() - 1];
        cells.push(text);
        self.rows.push(cells);
    }

    /// Whether it has no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Whether the last column stays readable at this width; always true without a terminal.
    #[must_use]
    pub fn fits(&self, width: Option<usize>) -> bool {
        width.is_none_or(|width| self.before_last(&self.widths()) + LEAST_LAST <= width)
    }

    /// The table as text, at most `width` columns wide if possible. The first line is the header.
    #[must_use]
    pub fn draw(&self, width: Option<usize>, color: bool) -> String {
        let widths = self.widths();
        let before_last = self.before_last(&widths);
        let last = width.map(|width| width.saturating_sub(before_last));
        // Too little room: put the last cell on its own line.
        let is_stacked = last.is_some_and(|last| last < LEAST_LAST);
        let header: Vec<Line> = self
            .header
            .iter()
            .map(|head| Line::default().with(Tone::Faint, head))
            .collect();
        let mut out = String::new();
        for row in std::iter::once(&header).chain(&self.rows) {
            let Some((text, cells)) = row.split_last() else {
                continue;
            };
            let mut line = String::new();
            for (cell, width) in cells.iter().zip(&widths) {
                line.push_str(&cell.paint(color));
                line.push_str(&" ".repeat(width + GAP - cell.width()));
            }
            let (indent, room) = match is_stacked {
                true => (GAP, width.map_or(usize::MAX, |width| width - GAP)),
                false => (before_last, last.unwrap_or(usize::MAX)),
            };
            if is_stacked {
                if !line.trim().is_empty() {
                    out.push_str(line.trim_end());
                    out.push('\n');
                }
                line = " ".repeat(indent);
            }
            for part in text.wrap(room) {
                line.push_str(&part.paint(color));
                if !line.trim().is_empty() {
                    out.push_str(line.trim_end());
                    out.push('\n');
                }
                line = " ".repeat(indent);
            }
        }
        out
    }

    fn widths(&self) -> Vec<usize> {
        let column = |n: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(n));
            let widest = cells.map(Line::width).max().unwrap_or(0);
            widest.max(self.header[n].len())
        };
        (0..self.header.len()).map(column).collect()
    }

    /// The width of all columns but the last.
    fn before_last(&self, widths: &[usize]) -> usize {
        widths[..widths.len() - 1]
            .iter()
            .map(|width| width + GAP)
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(&["A", "NAME", "WHY"]);
        table.row(["x", "日本", "one two three four five six"].map(Line::from));
        table.continue_row("more".into());
        table.row(["xyz", "n\u{1b}", ""].map(Line::from));
        table
    }

    #[test]
    fn columns_align_and_the_last_one_wraps() {
        insta::assert_snapshot!(table().draw(Some(36), false), @r"
        A    NAME     WHY
        x    日本     one two three four
                      five six
                      more
        xyz  n\u{1b}
        ");
    }

    #[test]
    fn the_last_column_goes_below_where_there_is_no_room_beside() {
        let table = table();
        assert!(table.fits(Some(34)) && !table.fits(Some(33)));
        insta::assert_snapshot!(table.draw(Some(20), false), @r"
        A    NAME
          WHY
        x    日本
          one two three four
          five six
          more
        xyz  n\u{1b}
        ");
    }
}
