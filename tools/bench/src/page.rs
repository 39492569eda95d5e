//! The page with the tables, inside of hand-written text.

use camino::Utf8Path;

use crate::section::{SUMMARY, Section};

/// The markers around the generated part of the page.
const BEGIN: &str = "<!-- begin: written by `cargo xtask bench --write` -->\n";
const END: &str = "<!-- end -->\n";

/// The chart, beside the page.
const CHART: &str = "benchmarks.svg";

/// The marker before each part.
fn mark(part: &str) -> String {
    format!("<!-- part: {part} -->\n")
}

/// Writes sections into the page, and its chart beside it. Other sections stay if they were measured on the same machine with the
/// same versions.
pub fn write(file: &Utf8Path, about: &str, sections: &mut [Section]) -> Result<(), String> {
    let text = std::fs::read_to_string(file).map_err(|error| format!("{file}: {error}"))?;
    let new: Vec<(&str, String)> = sections
        .iter_mut()
        .map(|section| (section.part, section.finish().to_owned()))
        .collect();
    let order = crate::PARTS.map(|(part, _)| part);
    let text = merged(&text, about, &new, &order).map_err(|error| format!("{file}: {error}"))?;
    if let Some(chart) = sections.iter().find_map(|section| section.chart.as_ref()) {
        let image = file.with_file_name(CHART);
        std::fs::write(&image, chart.svg()).map_err(|error| format!("{image}: {error}"))?;
    }
    std::fs::write(file, text).map_err(|error| format!("{file}: {error}"))
}

/// The text with new sections replacing those of the same name.
fn merged(
    text: &str,
    about: &str,
    new: &[(&str, String)],
    order: &[&str],
) -> Result<String, String> {
    let markers = "it has no generated part between its two markers";
    let (before, rest) = text.split_once(BEGIN).ok_or(markers)?;
    let (generated, after) = rest.split_once(END).ok_or(markers)?;
    let mut written = String::new();
    for part in order {
        let fresh = new.iter().find(|(name, _)| name == part);
        let section = match fresh {
            Some((_, section)) => Some(section.trim().to_owned()),
            None => known(generated, part),
        };
        if let Some(section) = section {
            if fresh.is_none() && !generated.contains(about) {
                return Err(format!(
                    "the part `{part}` was measured on another machine or with other versions: measure all parts"
                ));
            }
            written += &format!("\n{}{section}\n", mark(part));
        }
    }
    let summary = summary(&written);
    Ok(format!(
        "{before}{BEGIN}\n{about}{summary}{written}\n{END}{after}"
    ))
}

/// The chart, and a table with the summary lines of the parts.
fn summary(sections: &str) -> String {
    let lines = sections.lines().filter_map(|line| {
        let line = line.strip_prefix(SUMMARY)?;
        line.strip_suffix(" -->")
    });
    let rows: String = lines.map(|line| format!("| {line} |\n")).collect();
    if rows.is_empty() {
        return String::new();
    }
    format!(
        "\n![How long an edit takes, with pm2-sync and without]({CHART})\n\n\
         | | pm2-sync | compared with | which takes | comparison |\n| --- | ---: | --- | ---: | ---: |\n{rows}"
    )
}

/// The section of a part in the generated text.
fn known(generated: &str, part: &str) -> Option<String> {
    let (_, rest) = generated.split_once(&mark(part))?;
    let section = rest.split("<!-- part: ").next()?;
    Some(section.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORDER: [&str; 2] = ["a", "b"];

    fn page(about: &str, sections: &[(&str, &str)]) -> String {
        let new: Vec<(&str, String)> = sections
            .iter()
            .map(|(part, text)| (*part, (*text).to_owned()))
            .collect();
        let empty = format!("by hand\n{BEGIN}{END}after\n");
        merged(&empty, about, &new, &ORDER).unwrap()
    }

    #[test]
    fn one_part_is_replaced_and_the_others_stay() {
        let full = page("m\n", &[("a", "### A\n"), ("b", "### B\n")]);
        assert!(full.starts_with("by hand\n") && full.ends_with("after\n"));
        let changed = merged(&full, "m\n", &[("a", "### A2".to_owned())], &ORDER).unwrap();
        assert_eq!(changed, full.replace("### A", "### A2"));
    }

    #[test]
    fn the_summary_gathers_a_line_of_each_part() {
        let line =
            |what: &str| format!("### x\n\n{SUMMARY}{what} | 1 ms | it | 2 ms | 2.0x faster -->\n");
        let page = page("m\n", &[("a", &line("one")), ("b", &line("two"))]);
        let (summary, _) = page.split_once("<!-- part: a -->").unwrap();
        let rows =
            "| one | 1 ms | it | 2 ms | 2.0x faster |\n| two | 1 ms | it | 2 ms | 2.0x faster |\n";
        assert!(summary.contains(rows), "{summary}");
        // It is not mistaken for a part when one is measured again.
        let again = merged(&page, "m\n", &[("a", line("one"))], &ORDER).unwrap();
        assert_eq!(again, page);
    }

    #[test]
    fn measurements_of_another_machine_are_not_mixed_in() {
        let full = page("m\n", &[("a", "### A\n"), ("b", "### B\n")]);
        assert!(merged(&full, "n\n", &[("a", String::new())], &ORDER).is_err());
        let both = [("a", "x".to_owned()), ("b", "y".to_owned())];
        assert!(merged(&full, "n\n", &both, &ORDER).is_ok());
        assert!(merged("no markers", "m\n", &[], &ORDER).is_err());
    }
}
