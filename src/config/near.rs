//! Finds the known name that a mistyped one is most similar to, for "did you mean".

use strsim::osa_distance;

/// Returns the nearest of `known`, if at most a third of the letters differ.
pub(crate) fn nearest<'k>(written: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let written = written.to_ascii_lowercase().replace('-', "_");
    let tolerance = (written.chars().count() / 3).max(1);
    known
        .into_iter()
        .filter(|name| name.len().abs_diff(written.len()) <= tolerance)
        .map(|name| (osa_distance(&written, name), name))
        .filter(|&(distance, name)| distance <= tolerance && distance < name.len())
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn suggestions_cover_swapped_missing_and_wrong_letters_and_hyphens() {
        let known = ["ca_file", "crt_file", "key_file", "server_name"];
        assert_eq!(nearest("ca_flie", known), Some("ca_file"));
        assert_eq!(nearest("servername", known), Some("server_name"));
        assert_eq!(nearest("CA-File", known), Some("ca_file"));
        assert_eq!(nearest("timeout", known), None);
        assert_eq!(nearest("", known), None);
    }

    #[test]
    fn suggestions_for_a_long_key_are_cheap() {
        assert_eq!(nearest(&"x".repeat(2_000_000), ["ca_file"]), None);
    }
}
