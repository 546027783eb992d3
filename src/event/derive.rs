//! Derives values from a row: alignment, the result that explains the verdict, and the class of failure.
//!
//! `None` if the report has too little data. Names are compared as A-labels. Alignment is that of RFC 7489 section 3.1, with
//! organisational domains from the public suffix list; RFC 9989's tree walk would need the DNS of that time.

use std::cmp::Reverse;

use crate::{
    domain_name::{ascii, comparable},
    report::{DkimAuth, Override, SpfAuth},
};

const PASS: &str = "pass";

/// Alignment mode: `adkim` or `aspf`, as published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Relaxed,
    Strict,
    /// Present, but not understood.
    Unknown,
}

impl Mode {
    /// Defaults to relaxed if the tag is missing (RFC 7489 section 6.3).
    pub(super) fn of(told: Option<&str>) -> Self {
        match told {
            None | Some("r") => Mode::Relaxed,
            Some("s") => Mode::Strict,
            Some(_) => Mode::Unknown,
        }
    }
}

/// The domain and result of one DKIM signature or SPF check.
#[derive(Debug, Clone, Copy)]
pub(super) struct Identifier<'a> {
    domain: Option<&'a str>,
    result: Option<&'a str>,
    /// True for SPF of HELO, which ranks below SPF of MAIL FROM.
    helo: bool,
    /// False for SPF of HELO if MAIL FROM is the identity that DMARC uses.
    counts: bool,
}

impl<'a> From<&'a DkimAuth<'_>> for Identifier<'a> {
    fn from(told: &'a DkimAuth<'_>) -> Self {
        Self { domain: told.domain.as_deref(), result: told.result.as_deref(), helo: false, counts: true }
    }
}

/// Identity of SPF that DMARC uses for a mail: HELO only with the null reverse-path (RFC 7489 section 3.1.2).
#[derive(Debug, Clone, Copy)]
pub(super) struct Spf {
    helo_counts: bool,
}

impl Spf {
    /// Without `envelope_from` and a result of MAIL FROM, a HELO result can be that of the null reverse-path; the `verdict`
    /// `fail` says that it was not used.
    pub(super) fn of(
        told: &[SpfAuth<'_>],
        envelope_from: Option<&str>,
        has_null_sender: bool,
        verdict: Option<&str>,
    ) -> Self {
        let is_checked = || told.iter().any(|told| !is_helo(told) && told.domain.is_some());
        let helo_counts = has_null_sender || (envelope_from.is_none() && verdict != Some("fail") && !is_checked());
        Self { helo_counts }
    }

    pub(super) fn identifiers<'a>(self, told: &'a [SpfAuth<'_>]) -> impl Iterator<Item = Identifier<'a>> {
        told.iter().map(move |told| {
            let helo = is_helo(told);
            let counts = !helo || self.helo_counts;
            Identifier { domain: told.domain.as_deref(), result: told.result.as_deref(), helo, counts }
        })
    }
}

/// `ehlo` is how some reporters call it.
fn is_helo(told: &SpfAuth<'_>) -> bool {
    matches!(told.scope.as_deref(), Some("helo" | "ehlo"))
}

impl Identifier<'_> {
    fn passes(&self) -> bool {
        self.counts && self.result == Some(PASS)
    }

    /// True if it passed and is aligned with `header_from`.
    fn vouches(&self, header_from: Option<&str>, mode: Mode) -> Option<bool> {
        let passes = self.result.map(|result| result == PASS);
        let aligned = match (self.domain, header_from) {
            (Some(domain), Some(header_from)) => aligned(domain, header_from, mode),
            _ => None,
        };
        match (passes, aligned) {
            (Some(false), _) | (_, Some(false)) => Some(false),
            (Some(true), Some(true)) => Some(true),
            _ => None,
        }
    }
}

/// Index of the result that explains the verdict: the first passing and aligned one, else the first passing one, else the
/// first; MAIL FROM before HELO, and what DMARC does not use last.
pub(super) fn explaining<'a>(
    told: impl Iterator<Item = Identifier<'a>>,
    header_from: Option<&str>,
    mode: Mode,
) -> Option<usize> {
    let rank = |told: Identifier<'_>| {
        let vouches = told.counts && told.vouches(header_from, mode) == Some(true);
        (Reverse(vouches), Reverse(told.passes()), !told.counts, told.helo)
    };
    // `min_by_key` returns the first of equals.
    told.map(rank).enumerate().min_by_key(|(_, rank)| *rank).map(|(position, _)| position)
}

/// `dkim_aligned`, `spf_aligned`: true if any result that counts passed for a domain aligned with `header_from`. Without
/// results, false if the `verdict` is `fail`, else `None`. Never false if the list of results is cut.
pub(super) fn any_vouches<'a>(
    told: impl Iterator<Item = Identifier<'a>>,
    header_from: Option<&str>,
    mode: Mode,
    verdict: Option<&str>,
    is_cut: bool,
) -> Option<bool> {
    let mut answer = is_cut.then_some(None);
    for told in told.filter(|told| told.counts) {
        match (told.vouches(header_from, mode), answer) {
            (Some(true), _) => return Some(true),
            (Some(false), None) => answer = Some(Some(false)),
            (Some(false), Some(_)) => {}
            (None, _) => answer = Some(None),
        }
    }
    answer.unwrap_or((verdict == Some("fail")).then_some(false))
}

/// True if `domain` is aligned with `header_from`; `None` if that depends on an unknown mode, or one of them is no domain
/// name.
pub(super) fn aligned(domain: &str, header_from: &str, mode: Mode) -> Option<bool> {
    let (domain, header_from) = (ascii(domain)?, ascii(header_from)?);
    let strict = domain == header_from;
    let relaxed = strict || psl::domain_str(&domain).is_some_and(|org| psl::domain_str(&header_from) == Some(org));
    match mode {
        Mode::Strict => Some(strict),
        Mode::Relaxed => Some(relaxed),
        Mode::Unknown => (strict == relaxed).then_some(strict),
    }
}

/// `dmarc_pass`, from `policy_evaluated`.
pub(super) fn dmarc_pass(dkim: Option<&str>, spf: Option<&str>) -> Option<bool> {
    match (dkim, spf) {
        (None, None) => None,
        _ => Some(dkim == Some(PASS) || spf == Some(PASS)),
    }
}

/// The policy that receivers are asked to apply to `header_from`: `p` for the domain that published it, `sp` (or `p`) for
/// its subdomains, one level lower in test mode. `np` is not used: it is for domains that do not exist, which no report
/// states.
pub(super) fn policy_effective<'a>(
    header_from: Option<&str>,
    domain: Option<&str>,
    p: Option<&'a str>,
    sp: Option<&'a str>,
    testing: Option<&str>,
) -> Option<&'a str> {
    let (header_from, domain) = (comparable(header_from?), comparable(domain?));
    let below = || header_from.strip_suffix(&*domain).is_some_and(|labels| labels.ends_with('.'));
    let published = if header_from == domain {
        p?
    } else if below() {
        sp.or(p)?
    } else {
        return None;
    };
    Some(if testing == Some("y") { one_level_below(published) } else { published })
}

/// The policy that the owner of a domain with `t=y` expects to be applied (RFC 9989 section 4.7).
fn one_level_below(policy: &str) -> &str {
    match policy {
        "reject" => "quarantine",
        "quarantine" => "none",
        other => other,
    }
}

/// `override_reason`: the type of the first reason that has one.
pub(super) fn override_reason<'a>(reasons: &'a [Override<'_>]) -> Option<&'a str> {
    reasons.iter().find_map(|reason| reason.kind.as_deref())
}

/// `failure_class`: `pass`; `forwarded`, if the reporter says so; `misaligned`, if something passed, but for another domain;
/// `unauthenticated`, if nothing passed. `None` also if our own alignment contradicts the verdict.
pub(super) fn failure_class<'a>(
    dmarc_pass: Option<bool>,
    aligned: [Option<bool>; 2],
    reasons: &[Override<'_>],
    told: impl Iterator<Item = Identifier<'a>>,
    is_cut: bool,
) -> Option<&'static str> {
    if dmarc_pass? {
        return Some("pass");
    }
    if reasons.iter().any(tells_of_forwarding) {
        return Some("forwarded");
    }
    let mut told = told.filter(|told| told.counts).map(|told| told.passes()).peekable();
    if aligned.contains(&Some(true)) || told.peek().is_none() {
        return None;
    }
    match told.any(|passes| passes) {
        true => Some("misaligned"),
        false if is_cut => None,
        false => Some("unauthenticated"),
    }
}

fn tells_of_forwarding(reason: &Override<'_>) -> bool {
    match reason.kind.as_deref() {
        Some("forwarded" | "mailing_list" | "trusted_forwarder") => true,
        // Receivers that accepted an ARC chain report it this way: RFC 8617 section 7.2.2 puts `arc=pass` first.
        Some("local_policy") => {
            let comment = reason.comment.as_deref().unwrap_or_default();
            comment.get(..8).is_some_and(|start| start.eq_ignore_ascii_case("arc=pass"))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests;
