//! Findings about one definition, up to a limit, with a count of the rest.

use crate::{Diagnostic, Finding, Level, Severity};

/// How many findings about one definition are kept. Errors displace warnings.
pub const MAX_FINDINGS: usize = 100;

/// Has a severity.
pub trait HasSeverity {
    /// The severity.
    fn severity(&self) -> Severity;
}

impl HasSeverity for Finding {
    fn severity(&self) -> Severity {
        self.severity
    }
}

impl HasSeverity for Diagnostic {
    fn severity(&self) -> Severity {
        self.severity
    }
}

/// How many findings were omitted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Omitted {
    /// Errors.
    pub errors: usize,
    /// Warnings.
    pub warnings: usize,
}

impl Omitted {
    /// The total.
    #[must_use]
    pub fn count(self) -> usize {
        self.errors.saturating_add(self.warnings)
    }

    fn add(&mut self, severity: Severity) {
        let count = match severity {
            Severity::Error => &mut self.errors,
            Severity::Warning => &mut self.warnings,
        };
        *count = count.saturating_add(1);
    }
}

/// At most [`MAX_FINDINGS`] findings, and a count of the rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capped<T> {
    list: Vec<T>,
    /// How many of the kept ones are errors.
    errors: usize,
    omitted: Omitted,
}

/// Findings about a rendered document.
pub type Findings = Capped<Finding>;

/// Findings about a definition, with their positions in its text.
pub type Diagnostics = Capped<Diagnostic>;

impl<T> Default for Capped<T> {
    fn default() -> Self {
        Self {
            list: Vec::new(),
            errors: 0,
            omitted: Omitted::default(),
        }
    }
}

impl<T: HasSeverity> Capped<T> {
    /// Adds a finding, or counts it if there is no room.
    pub fn push(&mut self, found: T) {
        // An omitted finding is counted.
        let _ = self.keep(found);
    }

    /// Adds a finding as [`Self::push`] does, and returns it for further changes.
    ///
    /// # Errors
    /// The finding itself when it is omitted.
    pub fn keep(&mut self, found: T) -> Result<&mut T, T> {
        let severity = found.severity();
        if self.is_full(severity) {
            self.omit(severity);
            return Err(found);
        }
        if self.list.len() >= MAX_FINDINGS {
            let is_warning = |known: &T| known.severity() == Severity::Warning;
            if let Some(last) = self.list.iter().rposition(is_warning) {
                self.list.remove(last);
                self.omit(Severity::Warning);
            }
        }
        self.errors += usize::from(severity == Severity::Error);
        let at = self.list.len();
        self.list.push(found);
        Ok(&mut self.list[at])
    }

    /// Whether a further finding of this severity would be omitted, so that it need not be built.
    #[must_use]
    pub fn is_full(&self, severity: Severity) -> bool {
        match severity {
            Severity::Error => self.errors >= MAX_FINDINGS,
            Severity::Warning => self.list.len() >= MAX_FINDINGS,
        }
    }

    /// Counts a finding without adding it.
    pub fn omit(&mut self, severity: Severity) {
        self.omitted.add(severity);
    }

    /// Counts findings that were omitted elsewhere.
    pub fn omit_all(&mut self, omitted: Omitted) {
        self.omitted.errors = self.omitted.errors.saturating_add(omitted.errors);
        self.omitted.warnings = self.omitted.warnings.saturating_add(omitted.warnings);
    }

    /// Whether there are errors.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.errors > 0
    }

    /// How many errors there are, including omitted ones.
    #[must_use]
    pub fn errors(&self) -> usize {
        self.errors.saturating_add(self.omitted.errors)
    }

    /// How many warnings there are, including omitted ones.
    #[must_use]
    pub fn warnings(&self) -> usize {
        let kept = self.list.len() - self.errors;
        kept.saturating_add(self.omitted.warnings)
    }

    /// How many were omitted.
    #[must_use]
    pub fn omitted(&self) -> Omitted {
        self.omitted
    }

    /// Whether there are no findings.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty() && self.omitted == Omitted::default()
    }

    /// The kept findings.
    pub fn iter(&self) -> std::slice::Iter<'_, T> {
        self.list.iter()
    }

    /// The kept findings, mutably. Their severity must not change.
    pub fn iter_mut(&mut self) -> std::slice::IterMut<'_, T> {
        self.list.iter_mut()
    }
}

impl Diagnostics {
    /// A diagnostic about the omitted findings, if there are any.
    #[must_use]
    pub fn remainder(&self) -> Option<Diagnostic> {
        let severity = match self.omitted {
            Omitted {
                errors: 0,
                warnings: 0,
            } => return None,
            Omitted { errors: 0, .. } => Severity::Warning,
            _ => Severity::Error,
        };
        let message = match self.omitted.count() {
            1 => "1 more finding is not shown".to_owned(),
            count => format!("{count} more findings are not shown"),
        };
        Some(Diagnostic::new(severity, Level::Definition, message))
    }

    /// The same findings as warnings.
    #[must_use]
    pub fn as_warnings(self) -> Self {
        let mut warnings = Self::default();
        warnings.omitted.warnings = self.omitted.count();
        warnings.extend(self.list.into_iter().map(|mut found| {
            found.severity = Severity::Warning;
            found
        }));
        warnings
    }

    /// Sorts the findings by position; those without one come last.
    pub fn sort(&mut self) {
        let place = |found: &Diagnostic| found.span.map(|span| (span.start, span.end));
        self.list
            .sort_by_key(|found| place(found).unwrap_or((usize::MAX, 0)));
    }
}

impl<T: HasSeverity> Extend<T> for Capped<T> {
    fn extend<I: IntoIterator<Item = T>>(&mut self, iter: I) {
        for found in iter {
            self.push(found);
        }
    }
}

impl<T: HasSeverity> FromIterator<T> for Capped<T> {
    fn from_iter<I: IntoIterator<Item = T>>(iter: I) -> Self {
        let mut all = Self::default();
        all.extend(iter);
        all
    }
}

impl<'a, T> IntoIterator for &'a Capped<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.list.iter()
    }
}

impl<T> IntoIterator for Capped<T> {
    type Item = T;
    type IntoIter = std::vec::IntoIter<T>;

    fn into_iter(self) -> Self::IntoIter {
        self.list.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(severity: Severity) -> Diagnostic {
        Diagnostic::new(severity, Level::Definition, "")
    }

    #[test]
    fn errors_displace_warnings() {
        let mut all = Diagnostics::default();
        assert!(all.is_empty());
        for _ in 0..150 {
            all.push(found(Severity::Warning));
        }
        assert_eq!((all.iter().count(), all.warnings()), (MAX_FINDINGS, 150));
        assert!(all.is_full(Severity::Warning) && !all.is_full(Severity::Error));
        for n in 1..=150 {
            let kept = all.keep(found(Severity::Error)).is_ok();
            assert_eq!(kept, n <= MAX_FINDINGS);
            assert_eq!((all.errors(), all.warnings()), (n, 150));
            assert_eq!(all.iter().count(), MAX_FINDINGS);
        }
        assert!(all.iter().all(Diagnostic::is_error));
        assert_eq!(
            all.omitted(),
            Omitted {
                errors: 50,
                warnings: 150
            }
        );
    }

    #[test]
    fn findings_omitted_elsewhere_count() {
        let mut all = Diagnostics::default();
        assert!(!all.has_errors());
        assert!(all.remainder().is_none());
        all.push(found(Severity::Warning));
        assert!(!all.has_errors());
        let omitted = Omitted {
            errors: 2,
            warnings: 3,
        };
        assert_eq!(omitted.count(), 5);
        all.omit_all(omitted);
        assert_eq!((all.errors(), all.warnings()), (2, 4));
        let remainder = all.remainder().unwrap();
        assert!(remainder.is_error());
        assert_eq!(
            remainder.message.to_string(),
            "5 more findings are not shown"
        );
        all.push(found(Severity::Error));
        assert!(all.has_errors());
        let all = all.as_warnings();
        assert_eq!((all.errors(), all.warnings()), (0, 7));
        assert!(!all.has_errors());
    }
}
