//! Finds the known name that a mistyped one is most similar to, for "did you mean".

/// Returns the nearest of `known`, if at most a third of the letters differ.
pub(crate) fn nearest<'k>(written: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let written = written.to_ascii_lowercase().replace('-', "_");
    let tolerance = (written.chars().count() / 3).max(1);
    known
        .into_iter()
        .filter(|name| name.len().abs_diff(written.len()) <= tolerance)
        .map(|name| (distance(&written, name), name))
        .filter(|&(distance, name)| distance <= tolerance && distance < name.len())
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, name)| name)
}

/// Edit distance: number of letters to insert, delete, replace, or swap with a neighbour (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    // rows[i][j]: distance from the first i letters of a to the first j of b; the borders are all deletions or insertions.
    let mut rows: Vec<Vec<usize>> = (0..=a.len()).map(|i| (i..=i + b.len()).collect()).collect();
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let wrong = usize::from(a[i - 1] != b[j - 1]);
            let mut least = (rows[i - 1][j] + 1).min(rows[i][j - 1] + 1).min(rows[i - 1][j - 1] + wrong);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = least;
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn finds_swapped_missing_and_wrong_letters_and_hyphens_but_no_other_word() {
        let known = ["ca_file", "crt_file", "key_file", "server_name"];
        assert_eq!(nearest("ca_flie", known), Some("ca_file"));
        assert_eq!(nearest("servername", known), Some("server_name"));
        assert_eq!(nearest("CA-File", known), Some("ca_file"));
        assert_eq!(nearest("timeout", known), None);
        assert_eq!(nearest("", known), None);
    }

    #[test]
    fn a_long_unknown_key_is_no_reason_to_compute_for_long() {
        assert_eq!(nearest(&"x".repeat(2_000_000), ["ca_file"]), None);
    }
}
