//! Findings as GitHub Actions annotations: workflow commands on standard output.
//!
//! Source of the format and its escapes: GitHub, "Workflow commands for GitHub Actions", and `actions/toolkit`,
//! `packages/core/src/command.ts`.

use daemon_model::{Diagnostic, Diagnostics, Severity};

use reconcile::definitions::TreeFinding;

use super::Printer;

/// Annotations for one file, one per line.
#[must_use]
pub fn annotations(diagnostics: &Diagnostics, file: &str, printer: &Printer) -> String {
    let rest = diagnostics.remainder();
    let all = diagnostics.iter().chain(&rest);
    all.map(|found| annotation(&printer.readable(found), file))
        .collect()
}

fn annotation(found: &Diagnostic, file: &str) -> String {
    let word = word(found.severity);
    let mut properties = vec![format!("file={}", property(file))];
    if let Some(start) = found.location {
        properties.push(format!("line={}", start.line));
        properties.push(format!("col={}", start.column));
        // GitHub shows column ranges only within one line. Our end is one past the last character.
        if let Some(end) = found.end_location.filter(|end| end.line == start.line) {
            properties.push(format!("endLine={}", end.line));
            properties.push(format!(
                "endColumn={}",
                end.column.max(start.column + 1) - 1
            ));
        }
    }
    properties.push(format!("title={}", property("pm2-sync")));
    let mut message = if found.path.is_empty() {
        found.message.clone()
    } else {
        format!("{}: {}", found.path, found.message)
    };
    for label in &found.labels {
        if let Some(place) = label.location {
            message = format!(
                "{message}\n{} ({}:{})",
                label.message, place.line, place.column
            );
        }
    }
    if let Some(help) = &found.help {
        message = format!("{message}\nhelp: {help}");
    }
    format!("::{word} {}::{}\n", properties.join(","), data(&message))
}

/// An annotation for a path of the tree.
#[must_use]
pub fn about_path(found: &TreeFinding, file: &str) -> String {
    let message = match found.help {
        Some(help) => format!("{}\nhelp: {help}", found.message),
        None => found.message.clone(),
    };
    let line = found.line.map(|line| format!(",line={line}"));
    format!(
        "::{} file={}{},title=pm2-sync::{}\n",
        word(found.severity),
        property(file),
        line.unwrap_or_default(),
        data(&message)
    )
}

fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    }
}

fn data(text: &str) -> String {
    text.replace('%', "%25")
        .replace('\r', "%0D")
        .replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use daemon_model::{Level, Location, Span};

    use super::*;

    #[test]
    fn delimiters_of_workflow_commands_are_escaped() {
        let mut found = Diagnostic::new(Severity::Error, Level::Definition, "100 %\r\n::error::no")
            .at_path("apps[0].env.A,B:C")
            .with_help("write `%25`");
        found.span = Some(Span::new(3, 9));
        found.location = Some(Location { line: 2, column: 4 });
        found.end_location = Some(Location {
            line: 2,
            column: 10,
        });
        insta::assert_snapshot!(annotation(&found, "a,b:c%/x\n.edn"), @"::error file=a%2Cb%3Ac%25/x%0A.edn,line=2,col=4,endLine=2,endColumn=9,title=pm2-sync::apps[0].env.A,B:C: 100 %25%0D%0A::error::no%0Ahelp: write `%2525`");
        found.end_location = Some(Location { line: 3, column: 1 });
        found.severity = Severity::Warning;
        insta::assert_snapshot!(annotation(&found, "x.edn"), @"::warning file=x.edn,line=2,col=4,title=pm2-sync::apps[0].env.A,B:C: 100 %25%0D%0A::error::no%0Ahelp: write `%2525`");
    }
}
