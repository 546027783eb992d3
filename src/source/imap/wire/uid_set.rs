//! UID sets (`1:5,9`), split to keep command lines short.

/// Maximum octets of a set. Servers reject or truncate lines over 1,000 octets (Yahoo); this leaves room for the rest of
/// the command.
const SET_OCTETS: usize = 800;

/// UID set of one command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UidSet {
    /// The set in IMAP syntax.
    pub text: String,
    pub uids: Vec<u32>,
}

/// Returns the sets for `uids`, which must be sorted.
pub fn sets(uids: &[u32]) -> Vec<UidSet> {
    let mut sets = Vec::new();
    let mut set = String::new();
    let mut begin = 0;
    for (range, end) in ranges(uids) {
        if !set.is_empty() && set.len() + range.len() >= SET_OCTETS {
            let before = end.start;
            sets.push(UidSet { text: std::mem::take(&mut set), uids: uids[begin..before].to_vec() });
            begin = before;
        }
        if !set.is_empty() {
            set.push(',');
        }
        set += &range;
    }
    if !set.is_empty() {
        sets.push(UidSet { text: set, uids: uids[begin..].to_vec() });
    }
    sets
}

/// Returns ranges of consecutive UIDs as text, with the indices they cover.
fn ranges(uids: &[u32]) -> impl Iterator<Item = (String, std::ops::Range<usize>)> + '_ {
    let mut at = 0;
    std::iter::from_fn(move || {
        let first = *uids.get(at)?;
        let begin = at;
        at += 1;
        while uids.get(at).is_some_and(|&uid| uid.checked_sub(1) == uids.get(at - 1).copied()) {
            at += 1;
        }
        let last = *uids.get(at - 1)?;
        let text = if last == first { first.to_string() } else { format!("{first}:{last}") };
        Some((text, begin..at))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_written_as_ranges() {
        let uids = vec![1, 2, 3, 4, 5, 9];
        assert_eq!(sets(&uids), [UidSet { text: "1:5,9".into(), uids: uids.clone() }]);
        assert_eq!(sets(&[u32::MAX]), [UidSet { text: "4294967295".into(), uids: vec![u32::MAX] }]);
        assert!(sets(&[]).is_empty());
    }

    #[test]
    fn no_command_line_exceeds_a_thousand_octets_and_no_uid_is_lost() {
        let uids: Vec<u32> = (0..5000).map(|n| 4_000_000_000 + 2 * n).collect();
        let sets = sets(&uids);
        assert!(sets.len() > 1);
        assert!(sets.iter().all(|set| set.text.len() <= SET_OCTETS));
        assert_eq!(sets.iter().flat_map(|set| set.uids.clone()).collect::<Vec<_>>(), uids);
        for UidSet { text, uids } in sets {
            assert_eq!(text.split(',').count(), uids.len());
        }
    }
}
