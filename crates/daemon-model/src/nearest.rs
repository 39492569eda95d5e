//! Suggests the known name that a misspelt one may mean.

/// Normalizes a name: `max-restarts`, `max_restarts` and `maxRestarts` become one.
pub(crate) fn letters(name: &str) -> String {
    name.replace(['-', '_'], "").to_lowercase()
}

/// The name among `known` that is nearest to a misspelt one, if any is near: another spelling of the same letters, or one that
/// differs in few of them.
#[must_use]
pub fn nearest_name<'k>(
    name: &str,
    known: impl IntoIterator<Item = &'k str> + Clone,
) -> Option<&'k str> {
    let wanted = letters(name);
    let mut spellings = known.clone().into_iter();
    spellings
        .find(|known| letters(known) == wanted)
        .or_else(|| fewest_differences(name, known))
}

/// The name that differs from `name` in the fewest letters, and in at most one of five.
pub(crate) fn fewest_differences<'k>(
    name: &str,
    known: impl IntoIterator<Item = &'k str>,
) -> Option<&'k str> {
    let most = |known: &str| 1 + known.len() / 5;
    let length = name.chars().count();
    let has = characters(name);
    known
        .into_iter()
        // Each extra or missing letter is one difference, and so is each letter that only one of them has. This leaves only a few
        // of thousands of names to compare closely.
        .filter(|known| known.len().abs_diff(length) <= most(known))
        .filter(|known| {
            let other = characters(known);
            let differences = (has & !other).count_ones().max((other & !has).count_ones());
            differences as usize <= most(known)
        })
        .map(|known| (strsim::damerau_levenshtein(known, name), known))
        .filter(|(distance, known)| *distance <= most(known))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

/// The set of characters in a name, as bits. Characters may share a bit, so names may look more alike than they are, never less.
fn characters(name: &str) -> u64 {
    name.chars()
        .fold(0, |bits, c| bits | 1 << (u32::from(c) & 63))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_name_is_near_to_one() {
        let known = ["daemons", "pass-env", "on-remove", "services/api", "api"];
        for (written, meant) in [
            ("deamons", Some("daemons")),
            ("passEnv", Some("pass-env")),
            ("pass_env", Some("pass-env")),
            ("ON-REMOVE", Some("on-remove")),
            ("on-remov", Some("on-remove")),
            ("services/apis", Some("services/api")),
            ("service/ap", Some("services/api")),
            ("apj", Some("api")),
            ("ap", Some("api")),
            ("xyz", None),
            ("serv", None),
            ("", None),
        ] {
            assert_eq!(nearest_name(written, known), meant, "{written}");
        }
        assert_eq!(
            nearest_name("api", ["apa", "apb", "apic"]),
            Some("apa"),
            "the first of the nearest"
        );
        assert_eq!(nearest_name(&"x".repeat(1_000_000), known), None);
    }
}
